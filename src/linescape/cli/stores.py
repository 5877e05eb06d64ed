"""Commands on a store: whether its results are whole, what it can do without, and results taken elsewhere."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from linescape.cli.consoles import Many, echo, echo_err, stderr
from linescape.cli.studies import WHOLE, Selection
from linescape.cli.usage import epilogue
from linescape.errors import StoreError, UnfinishedError, plural

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from linescape.studies.exchange import Exchange
    from linescape.studies.garbage import Garbage
    from linescape.studies.store import Store
    from linescape.studies.study import Study

app = App(name="store", help="Check, copy and clean up the results of studies.")


@app.command(name="check", help_epilogue=epilogue("store check"))
def check_store(store: str = "runs") -> dict[str, Any]:
    """Verify every result.

    Reads all bytes, and ends with exit code 3 if some results are damaged.

    Args:
        store: folder of results, or an address such as s3://bucket/folder.
    """
    from linescape.studies import inventory

    columns = (TextColumn("reading"), BarColumn(20), MofNCompleteColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        bar = progress.add_task("reading")
        found = inventory.check(_existing(store), lambda done, total: progress.update(bar, completed=done, total=total))
    echo(f"{plural(found.whole, 'result')} {_is(found.whole)} whole; {decimal(found.bytes)} in all")
    if found.begun:
        echo(f"{plural(len(found.begun), 'task')} {_is(len(found.begun))} begun and not done")
    for link in found.links:
        echo_err(f"note: {link} is a link to another folder and no part of the store, so it is not read.")
    for reason in found.damaged.values():
        echo(f"Damaged: {reason}")
    if found.damaged:
        raise UnfinishedError(
            f"{_damaged(len(found.damaged))}. linescape study run makes those of its study again.",
            asdict(found),
        )
    return asdict(found)


@app.command(name="gc", help_epilogue=epilogue("store gc"))
def collect_garbage(
    store: str = "runs",
    *,
    keep: Annotated[tuple[str, ...], Many] = (),
    delete: Annotated[bool, Parameter(negative="")] = False,
) -> dict[str, Any]:
    """List what can be removed, and remove it with --delete.

    What is left over from finished or killed work may always go; results only if studies are named with --keep, and
    none of them needs these.

    Args:
        store: folder of results, or an address such as s3://bucket/folder.
        keep: studies whose results stay, at all scales; also of your own file.py, which defines study, or file.py:name.
        delete: remove it.
    """
    from linescape.studies import garbage

    place = _existing(store)
    found = garbage.find_garbage(place, _studies(keep) if keep else None)
    stayed = garbage.remove(place, found) if delete else []
    for each in found:
        echo(f"{each.folder}: {decimal(each.bytes)}, {each.reason}")
    for each in stayed:
        echo_err(f"{each.folder} stays, as another process works there.")
    size = sum(each.bytes for each in found) - sum(each.bytes for each in stayed)
    gone = f"{decimal(size)} removed" if delete else f"{decimal(size)} can go. Remove it with --delete"
    echo_err(gone if found else "There is nothing that can go.")
    return {"garbage": [_entry(each) for each in found], "bytes": size, "deleted": delete, "stayed": len(stayed)}


@app.command(name="export", help_epilogue=epilogue("store export"))
def export_store(out: Path, name: str | None = None, selection: Selection = WHOLE) -> dict[str, Any]:
    """Write results as one zip archive.

    Each result is verified first.

    Args:
        out: the archive.
        name: only results of this study and what they need; also of your own file.py, which defines study, or
            file.py:name. Without it, all results.
    """
    from linescape.studies.exchange import export_results

    if name is None and replace(selection, store=WHOLE.store) != WHOLE:
        raise StoreError("--scale, --arms and --runs are parts of a study. Name the study after the archive.")
    told = export_results(_existing(selection.store), out, selection.study(name) if name else None)
    if told.missing:
        they = "it is" if told.missing == 1 else "they are"
        echo_err(f"{plural(told.missing, 'task')} of the study {_is(told.missing)} not done, so {they} not in it.")
    echo(str(out))
    return {"archive": out, **_ended(told, "written")}


@app.command(name="import", help_epilogue=epilogue("store import"))
def import_store(archive: Path, store: str = "runs") -> dict[str, Any]:
    """Add the results in an archive.

    Those that the store does not have yet. Each is verified, and none is overwritten.

    Args:
        archive: what linescape store export wrote.
        store: folder of results, or an address such as s3://bucket/folder.
    """
    from linescape.studies.exchange import import_results
    from linescape.studies.store import Store

    told = import_results(Store(store), archive)
    if told.there:
        echo_err(f"{plural(told.there, 'result')} {'was' if told.there == 1 else 'were'} there already.")
    return _ended(told, "taken")


def _ended(told: Exchange, verb: str) -> dict[str, Any]:
    echo_err(f"{plural(told.taken, 'result')} {verb}, {decimal(told.bytes)}")
    for reason in told.damaged:
        echo_err(f"Left out: {reason}")
    if told.damaged:
        left_out = f"{'was' if len(told.damaged) == 1 else 'were'} left out"
        raise UnfinishedError(f"{_damaged(len(told.damaged))} and {left_out}.", asdict(told))
    return asdict(told)


def _damaged(count: int) -> str:
    return f"{plural(count, 'result')} {_is(count)} damaged"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _existing(store: str) -> Store:
    from linescape.studies.store import Store

    found = Store(store)
    if not found.exists():
        raise StoreError(f"{store} has no results. Name their folder, or an address such as s3://bucket/folder.")
    return found


def _studies(names: tuple[str, ...]) -> list[Study]:
    from linescape import studies

    return [studies.find(name, scale) for name in names for scale in studies.scales(name)]


def _entry(garbage: Garbage) -> dict[str, Any]:
    return {"folder": garbage.folder, "reason": garbage.reason, "bytes": garbage.bytes}
