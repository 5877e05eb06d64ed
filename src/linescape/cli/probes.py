"""The command `probe`: the line between two checkpoints, or the lines between those of one training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter

from linescape.cli.beside import NOTHING, Beside, paths_beside, write_aligned
from linescape.cli.consoles import Many, Out, echo, echo_err
from linescape.cli.measuring import BY_DEFAULT, Measuring
from linescape.cli.reading import PLAIN, Reading
from linescape.errors import RecipeError

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from linescape.checkpoints import Contents
    from linescape.interpolation.options import ScanOptions
    from linescape.interpolation.probing import Probe


class _Measured(NamedTuple):
    """What was measured; title and notes of its page."""

    probe: Probe
    title: str
    notes: Sequence[str]


def probe_files(
    start: Path,
    end: Path | None = None,
    *,
    pairs: Literal["last", "all"] | None = None,
    measuring: Measuring = BY_DEFAULT,
    beside: Beside = NOTHING,
    alphas: int | None = None,
    adaptive: Annotated[bool, Parameter(negative="")] = False,
    until: float | None = None,
    smallest_effect: Annotated[tuple[str, ...], Many] = (),
    out: Out = Path("probe"),
    reading: Reading = PLAIN,
) -> dict[str, Any]:
    """Measure the line between two checkpoints.

    Loss and error at positions on the line between two checkpoints, or between the checkpoints of one training. Writes
    a report: an HTML page, its figures and its tables. An interrupted probe continues when it is run again.

    Args:
        start: the checkpoint at alpha = 0: a file, or the folder of a Hugging Face or distributed checkpoint. Without
            END: a folder of checkpoints of one training, ordered by the numbers in their names.
        end: the checkpoint at alpha = 1.
        pairs: which lines to measure in a folder. last: from each checkpoint to the last one (the default); all: from
            each checkpoint to each later one.
        measuring: network, data, measures, device.
        beside: which further lines and paths.
        alphas: number of equally spaced positions, both ends included; 50, or 101 with --adaptive.
        adaptive: measure only the positions that the barrier and min Delta depend on: about a tenth of the passes.
        until: draw examples until the barrier and min Delta are known to +- this many nats.
        smallest_effect: rises up to this height do not matter: of the loss, or MEASURE=HEIGHT, as in 0.02 error=0.5.
            By default 0.05 nats and 1 percentage point.
        out: folder for the report.
        reading: how to read the checkpoints.
    """
    from linescape import report
    from linescape.cli import probe_output, specs
    from linescape.interpolation import resume
    from linescape.interpolation.options import ScanOptions

    with report.reserved(out):  # of two probes, the first to end would remove the points of the other
        report.check_place(out)
        measuring.check()
        effects = specs.smallest_effects(smallest_effect, measuring.measure)
        kept = out / "points"
        options = ScanOptions(alphas=alphas, batchnorm=measuring.batchnorm, adaptive=adaptive, until=until, keep=kept)
        options.check_between()
        if saved := resume.count(kept):
            echo_err(f"{kept} holds {saved} points of an interrupted probe; those that match are not measured again.")
        if end is None:
            measured = _of_folder(start, pairs or "last", measuring, beside, options, reading)
        elif pairs:
            raise RecipeError("--pairs is for a folder of checkpoints. Name the folder alone, or omit --pairs.")
        else:
            measured = _of_two(start, end, measuring, beside, options, reading)
        page = report.write_probe(measured.probe, out, measured.title, measured.notes, smallest_effect=effects)
        resume.clear(kept)
        probe_output.show(measured.probe, measured.probe.summary(effects))
        notes = [*measured.probe.notes, *measured.notes]
        for note in dict.fromkeys(notes):
            echo_err(f"note: {note}")
        echo(str(page))
        return {"page": page, "notes": notes, **json.loads((out / "probe.json").read_bytes())}


def _of_folder(
    folder: Path,
    pairs: Literal["last", "all"],
    measuring: Measuring,
    beside: Beside,
    options: ScanOptions,
    reading: Reading,
) -> _Measured:
    """The lines between the checkpoints of one training."""
    from linescape.checkpoints import trajectory
    from linescape.checkpoints.align import renamed
    from linescape.interpolation.probing import between

    if beside != NOTHING or reading.allow_missing or reading.only_shared:
        raise RecipeError(
            "--layers, --pattern, --slerp, --merged, --align, --aligned-out, --allow-missing and --only-shared are for "
            "two checkpoints. Name both, or omit these options."
        )
    course = trajectory.find(folder, lambda path: renamed(reading.read(path), reading.fit()))
    resolved = measuring.resolve(course.metadata, course.last, course.read(course.last))
    states = course.states(resolved.network, measuring.device)
    probe = between(states, measuring.evaluator(resolved), pairs, options)
    course.check_unchanged()
    return _Measured(probe, f"Checkpoints of {folder.resolve().name}", (*course.notes, *resolved.notes))


def _of_two(
    start: Path, end: Path, measuring: Measuring, beside: Beside, options: ScanOptions, reading: Reading
) -> _Measured:
    """The line between two checkpoints, with what is asked for beside it; the aligned end is written."""
    from linescape.checkpoints.align import pair, renamed
    from linescape.checkpoints.diff import compare
    from linescape.interpolation.probing import probe

    first, last = map(reading.read, (start, end))
    resolved = measuring.resolve(last.metadata, end, last)
    network = resolved.network
    chosen = beside.groups(network)
    in_file = renamed(last, reading.fit())
    first, last = pair(first, last, reading.fit(), network)
    echo_err(str(compare(first, last)))
    evaluator = measuring.evaluator(resolved)
    begin, finish = (contents.into(network).to(measuring.device) for contents in (first, last))
    beside.check(in_file)
    others, told = paths_beside(begin, finish, evaluator, beside)
    probed = probe(begin, finish, evaluator, chosen, options, others)
    for contents in (first, last):
        contents.check_unchanged()
    left_out = write_aligned(others, network, beside, in_file)
    notes = (*_of(first, last), *_of(last, first), *resolved.notes, *told, *left_out)
    return _Measured(probed, f"{start.name} to {end.name}", notes)


def _of(contents: Contents, other: Contents) -> list[str]:
    """The notes of a checkpoint; its name precedes those that the other does not share."""
    return [note if note in other.notes else f"{Path(contents.path).name}: {note}" for note in contents.notes]
