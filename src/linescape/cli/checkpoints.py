"""Commands on the weights alone: compare two checkpoints, write a network that lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich import box
from rich.table import Column, Table

from linescape.cli.consoles import Out, echo, echo_err, show
from linescape.cli.reading import PLAIN, Reading
from linescape.cli.soups import Choice, average_several
from linescape.errors import MismatchError, RecipeError, printable

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from linescape.checkpoints import Contents
    from linescape.checkpoints.align import Fit


def diff(start: Path, end: Path, *, reading: Reading = PLAIN) -> dict[str, Any]:
    """List what differs between two checkpoints.

    Names, shapes and types of tensors, those that would move along the line, and the distance of each block. It is
    Euclidean, in the unit of the weights: of all parameters of a block together, relative to the norm
    of the block in START, and as the root mean square of the change of one parameter.

    Args:
        start: the checkpoint at alpha = 0.
        end: the checkpoint at alpha = 1.
        reading: how to read the checkpoints.
    """
    from linescape.checkpoints.align import renamed
    from linescape.checkpoints.diff import compare

    first, last = map(reading.read, (start, end))
    last = renamed(last, reading.fit())
    first = renamed(first, reading.fit()).named_as(last)
    differences = compare(first, last)
    read: dict[str, Any] = {}
    for end_of_line, path, contents in (("start", start, first), ("end", end, last)):
        count = sum(tensor.numel() for tensor in contents.values())
        echo(f"{path}: {contents.file_format.kind}, {len(contents):,} tensors, {count:,} values")
        for note in contents.notes:
            echo(f"  {note}")
        read[end_of_line] = {
            "path": path,
            "format": contents.file_format.kind,
            "tensors": len(contents),
            "values": count,
            "notes": contents.notes,
        }
    echo(str(differences))
    table = Table(Column("block", no_wrap=True), box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("parameters", "distance", "relative to start", "root mean square"):
        table.add_column(heading, justify="right", no_wrap=True)
    for block, distance in differences.distances.items():
        table.add_row(
            printable(block),
            f"{distance.count:,}",
            f"{distance.total:.4g}",
            f"{distance.relative:.4g}",
            f"{distance.per_parameter:.3g}",
        )
    show(table)
    return {**read, **asdict(differences)}


def average_files(
    start: Path,
    end: Path,
    *more: Path,
    out: Out,
    alpha: float = 0.5,
    extrapolate: Annotated[bool, Parameter(negative="")] = False,
    model: str | None = None,
    data: str | None = None,
    choice: Choice = Choice(),  # noqa: B008 - it is frozen
    reading: Reading = PLAIN,
) -> dict[str, Any]:
    """Average two or more checkpoints.

    Writes the network at one position on the line between two checkpoints, or the mean of several, as a checkpoint.

    Args:
        start: the checkpoint at alpha = 0: a file, or a folder that is one checkpoint.
        end: the checkpoint at alpha = 1. Format, names and order of the last checkpoint are kept.
        more: further checkpoints; what is written is then the mean of all (a model soup, Wortsman et al. 2022).
        out: the file or folder to write; it must not exist.
        alpha: the position: 0 is START, 1 is END.
        extrapolate: allow a position below 0 or above 1.
        model: the network, as for probe. With it, BatchNorm statistics are recomputed on the training data.
        data: the data, as for probe.
        choice: whether it is chosen on data, and how.
        reading: how to read the checkpoints.
    """
    from linescape.checkpoints import averaging, check_new
    from linescape.cli import specs
    from linescape.evaluation.evaluator import Evaluator

    several = choice.check(2 + len(more), alpha)
    if not (extrapolate or 0 <= alpha <= 1):
        raise RecipeError(
            f"--alpha {alpha:g} is not between the two checkpoints: 0 is {start}, 1 is {end}, and 0.3 is 30 % of the "
            "way. Beyond them networks seldom work; if you want one there, add --extrapolate."
        )
    *others, last = map(reading.read, (start, end, *more))
    check_new(out, last)
    fitted = _fitted(others, last, reading.fit())
    measured, resolved = None, None
    if model or data or choice.best or choice.greedy:
        resolved = specs.network_and_data(model, data, last.metadata, (end, *more)[-1], last)
    if resolved and not several:
        network, known, _ = resolved
        measured = averaging.recalibrated(fitted[0], last, alpha, network, Evaluator(network, known, copy=False))
        if not measured:
            echo_err("note: The network has no BatchNorm statistics to recompute.")
    try:
        if several:
            notes = average_several((*fitted, last), choice, resolved, out)
        else:
            notes = averaging.average(fitted[0], last, alpha, out, measured)
    except MismatchError as error:
        raise MismatchError(
            f"{error} `linescape diff` lists the differences; --only-shared, --allow-missing and --rename allow them."
        ) from error
    for note in dict.fromkeys(notes):
        echo_err(f"note: {note}")
    echo(str(out))
    return {"path": out, "alpha": alpha, "notes": list(dict.fromkeys(notes))}


def _fitted(others: Sequence[Contents], last: Contents, fit: Fit) -> list[Contents]:
    """Checkpoints under other names, as asked for, and with the last one's values of what they need not have."""
    from linescape.checkpoints.align import pair, renamed

    fitted = []
    for other in others:
        first = renamed(other, fit)
        if fit.allow_missing or fit.only_shared:
            paired, noted = pair(first, last, replace(fit, rename=()))
            first = replace(paired, tensors={name: paired[name] for name in last}, notes=(*paired.notes, *noted.notes))
        fitted.append(first)
    return fitted
