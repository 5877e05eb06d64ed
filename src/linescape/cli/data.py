"""Commands about data sets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from linescape.cli.consoles import echo
from linescape.cli.usage import epilogue

app = App(name="data", help="List and download data sets.")


@app.command(name="list", help_epilogue=epilogue("data list"))
def list_data(root: Path | None = None) -> dict[str, Any]:
    """List the data sets.

    Numbers of training examples, test examples and classes, source and path.

    Args:
        root: folder of data sets; the environment variable LINESCAPE_DATA, or else one in your cache.
    """
    from linescape.data import sets
    from linescape.data.sources import SOURCES

    rows: list[tuple[str, ...]] = [("name", "training", "test", "classes", "source", "path")]
    sets_of_data = {}
    for name in sets.names():
        known, form = sets.known(name), sets.locate(name, root)
        origin = "its authors" if name in SOURCES else "the package"
        path = str(form.path) if form else "not downloaded" if name in SOURCES else "-"
        rows.append((name, *(f"{count:,}" for count in (*known.examples, known.classes)), origin, path))
        train, test = known.examples
        sets_of_data[name] = {"train": train, "test": test, "classes": known.classes, "path": form and form.path}
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:  # no path is cut or folded, so that it can be copied
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return sets_of_data


@app.command(name="get", help_epilogue=epilogue("data get"))
def get_data(
    name: str, *, copy: Annotated[Path | None, Parameter(name="--from")] = None, root: Path | None = None
) -> dict[str, Any]:
    """Download a data set.

    Checks it, and prints where it is, its sizes and channel means.

    Args:
        name: cifar10, cifar100, mnist or fashion-mnist.
        copy: a file or folder with your copy of it, to use instead of a download from its authors.
        root: folder of data sets; the environment variable LINESCAPE_DATA, or else one in your cache.
    """
    from linescape.data.fetch import get

    got = get(name, copy, root)
    echo(str(got))
    return asdict(got)
