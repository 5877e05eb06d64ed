"""Commands on checkpoints: compare two, measure the line between them, write a network that lies between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich import box
from rich.table import Column, Table

from linescape.cli.consoles import Many, echo, echo_err, stderr, stdout
from linescape.errors import MismatchError, RecipeError, printable

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from linescape.checkpoints import Contents
    from linescape.checkpoints.align import Fit
    from linescape.interpolation.probing import Probe


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read two checkpoints and match their tensors.

    Attributes:
        ema: read the moving average of the weights that is stored in the files.
        key: where the network is in files that hold several, such as teacher or state/model.
        rename: PATTERN=NEW; replaces a regular expression in the tensor names of both checkpoints.
        allow_missing: tensors whose names match one of these patterns may be missing from one checkpoint or differ in
            shape. They are held fixed at the values of END.
        only_shared: any tensor may be missing or differ in shape, and is then held fixed at the values of END.
    """

    ema: Annotated[bool, Parameter(negative="")] = False
    key: str | None = None
    rename: Annotated[tuple[str, ...], Many] = ()
    allow_missing: Annotated[tuple[str, ...], Many] = ()
    only_shared: Annotated[bool, Parameter(negative="")] = False

    def read(self, path: Path) -> Contents:
        """One of the checkpoints.

        Raises:
            CheckpointError: as `linescape.checkpoints.read`.
        """
        from linescape import checkpoints

        return checkpoints.read(path, self.ema, self.key)

    def fit(self) -> Fit:
        """The differences that are allowed, for `align.pair`.

        Raises:
            RecipeError: a `rename` has no ``=``.
        """
        from linescape.checkpoints.align import Fit

        for text in self.rename:
            if "=" not in text:
                raise RecipeError(f"--rename {text!r} has no '='. Write PATTERN=NEW; an empty NEW deletes the match.")
        return Fit(
            [(old, new) for old, _, new in (text.rpartition("=") for text in self.rename)],
            self.allow_missing,
            self.only_shared,
        )


PLAIN = Reading()

_STATISTICS = {"barrier": "barrier_above_chord", "min Delta": "min_delta"}
"""Heading of the column -> statistic in `linescape.shape`; short, for narrow terminals."""


_NARROWEST = 72
"""Columns that the numbers of `diff` take; a narrower terminal breaks the lines."""


def diff(start: Path, end: Path, *, reading: Reading = PLAIN) -> None:
    """Compare two checkpoints: names, shapes and types of tensors, which would move, and the distance of each block.

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
    for path, contents in ((start, first), (end, last)):
        count = sum(tensor.numel() for tensor in contents.values())
        echo(f"{path}: {contents.file_format.kind}, {len(contents):,} tensors, {count:,} values")
        for note in contents.notes:
            echo(f"  {note}")
    echo(str(differences))
    table = Table(Column("block", overflow="fold"), "parameters", "distance", "relative", "root mean square")
    for block, distance in differences.distances.items():
        table.add_row(
            printable(block),
            f"{distance.count:,}",
            f"{distance.total:.4g}",
            f"{distance.relative:.4g}",
            f"{distance.per_parameter:.3g}",
        )
    table.width = _NARROWEST if stdout.width < _NARROWEST else None  # rather than without its numbers
    stdout.print(table, crop=False)


def probe_files(
    start: Path,
    end: Path | None = None,
    *,
    pairs: Literal["last", "all"] | None = None,
    model: str | None = None,
    data: str | None = None,
    layers: Annotated[bool, Parameter(negative="")] = False,
    pattern: Annotated[tuple[str, ...], Many] = (),
    measure: Annotated[tuple[str, ...], Many] = ("cross_entropy", "error"),
    batchnorm: Annotated[tuple[str, ...], Many] = ("interpolate",),
    alphas: int | None = None,
    adaptive: Annotated[bool, Parameter(negative="")] = False,
    until: float | None = None,
    precision: Literal["bfloat16"] | None = None,
    device: str = "cpu",
    out: Path = Path("probe"),
    reading: Reading = PLAIN,
) -> None:
    """Measure loss and error along the line between two checkpoints, or between the checkpoints of one training.

    Writes a report: an HTML page, its figures and its tables. An interrupted probe continues when it is run again.

    Args:
        start: the checkpoint at alpha = 0: a file, or the folder of a Hugging Face or distributed checkpoint. Without
            END: a folder of checkpoints of one training, ordered by the numbers in their names.
        end: the checkpoint at alpha = 1.
        pairs: which lines to measure in a folder. last: from each checkpoint to the last one (the default); all: from
            each checkpoint to each later one.
        model: the network. module:callable or file.py:function that returns yours; torchvision:NAME or timm:NAME with
            settings, as in timm:vit_tiny_patch16_224,num_classes=10; hf:FOLDER, a Hugging Face folder; or a network of
            linescape, as in resnet,depth=18. Not needed for checkpoints of linescape and Hugging Face folders.
        data: the data. module:callable or file.py:function that returns {"train": ..., "test": ...}, each (inputs,
            targets) or an iterable of batches; images:FOLDER,size=224; hf-data:FOLDER, a Hugging Face data set on disk;
            text:FILE,length=128 for language models; or a data set of linescape, as in fashion-mini,size=14. Not needed
            for checkpoints of linescape.
        layers: also measure the layer-wise line of each block, with the other blocks held fixed at END.
        pattern: also measure the line of the tensors whose names match this regular expression, the others held fixed.
        measure: what to measure for each example: cross_entropy, error, binary_cross_entropy, binary_error or
            squared_error.
        batchnorm: how to set BatchNorm statistics along the line: interpolate, recalibrate, start, end or batch.
        alphas: number of equally spaced positions, both ends included; 50, or 101 with --adaptive.
        adaptive: measure only the positions that the barrier and min Delta depend on: about a tenth of the passes.
        until: draw examples until the barrier and min Delta are known to +- this many nats.
        precision: bfloat16 takes about half the time; the report states its deviation from full precision.
        device: where to compute: cpu, cuda, ...
        out: folder for the report.
        reading: how to read the checkpoints.
    """
    from linescape import report
    from linescape.checkpoints import trajectory
    from linescape.checkpoints.align import pair, renamed
    from linescape.checkpoints.diff import compare
    from linescape.cli import specs
    from linescape.evaluation.evaluator import Evaluator
    from linescape.geometry import groups
    from linescape.interpolation import resume
    from linescape.interpolation.options import ScanOptions
    from linescape.interpolation.probing import between, probe

    report.check_place(out)
    if alphas == 2:
        raise RecipeError("--alphas 2 leaves no position between the ends. Ask for 3 or more; 50 are usual.")
    device = specs.device(device)
    measures = specs.measures_named(measure)
    kept = out / "points"
    options = ScanOptions(alphas=alphas, batchnorm=batchnorm, adaptive=adaptive, until=until, keep=kept)
    if saved := resume.count(kept):
        echo_err(f"{kept} holds {saved} points of an interrupted probe; those that match are not measured again.")
    if end is None:
        if layers or pattern or reading.allow_missing or reading.only_shared:
            raise RecipeError(
                "--layers, --pattern, --allow-missing and --only-shared are for two checkpoints. Name both, or omit "
                "these options."
            )
        course = trajectory.find(start, lambda path: renamed(reading.read(path), reading.fit()))
        network, measured, remarks = specs.network_and_data(
            model, data, course.metadata, course.last, course.read(course.last)
        )
        evaluator = Evaluator(network.to(device), measured, measures, precision=precision, copy=False)
        states = course.states(network, device)
        result = between(states, evaluator, pairs or "last", options)
        title, notes = f"Checkpoints of {start.resolve().name}", (*course.notes, *remarks)
    else:
        if pairs:
            raise RecipeError("--pairs is for a folder of checkpoints. Name the folder alone, or omit --pairs.")
        first, last = map(reading.read, (start, end))
        network, measured, remarks = specs.network_and_data(model, data, last.metadata, end, last)
        chosen = groups.by_pattern(network, pattern)
        if layers:
            chosen = groups.joined(groups.by_block(network), chosen)
        first, last = pair(first, last, reading.fit(), network)
        echo_err(str(compare(first, last)))
        evaluator = Evaluator(network.to(device), measured, measures, precision=precision, copy=False)
        begin, finish = (contents.into(network).to(device) for contents in (first, last))
        result = probe(begin, finish, evaluator, chosen, options)
        for contents in (first, last):
            contents.check_unchanged()
        title, notes = f"{start.name} to {end.name}", (*_of(first, last), *_of(last, first), *remarks)
    page = report.write_probe(result, out, title, notes)
    resume.clear(kept)
    _show(result)
    for note in dict.fromkeys((*result.notes, *notes)):
        echo_err(f"note: {note}")
    echo(str(page))


def average_files(
    start: Path,
    end: Path,
    *,
    out: Annotated[Path, Parameter(name=("--out", "-o"))],
    alpha: float = 0.5,
    model: str | None = None,
    data: str | None = None,
    reading: Reading = PLAIN,
) -> None:
    """Write the network at one position on the line between two checkpoints, in the format of the second.

    Args:
        start: the checkpoint at alpha = 0: a file, or a folder that is one checkpoint.
        end: the checkpoint at alpha = 1; its format, names and order are kept.
        out: the file or folder to write; it must not exist.
        alpha: the position; values below 0 and above 1 extrapolate.
        model: the network, as for probe. With it, BatchNorm statistics are recomputed on the training data.
        data: the data, as for probe.
        reading: how to read the checkpoints.
    """
    from linescape.checkpoints import averaging, check_new
    from linescape.checkpoints.align import pair, renamed
    from linescape.cli import specs
    from linescape.evaluation.evaluator import Evaluator

    first, last = map(reading.read, (start, end))
    check_new(out, last)
    fit = reading.fit()
    first = renamed(first, fit)
    if fit.allow_missing or fit.only_shared:
        paired, noted = pair(first, last, replace(fit, rename=()))
        first = replace(paired, tensors={name: paired[name] for name in last}, notes=(*paired.notes, *noted.notes))
    measured = None
    if model or data:
        network, known, _ = specs.network_and_data(model, data, last.metadata, end, last)
        measured = averaging.recalibrated(first, last, alpha, network, Evaluator(network, known, copy=False))
        if not measured:
            echo_err("note: The network has no BatchNorm statistics to recompute.")
    try:
        notes = averaging.average(first, last, alpha, out, measured)
    except MismatchError as error:
        raise MismatchError(
            f"{error} `linescape diff` lists the differences; --only-shared, --allow-missing and --rename allow them."
        ) from error
    for note in dict.fromkeys(notes):
        echo_err(f"note: {note}")
    echo(str(out))


def _of(contents: Contents, other: Contents) -> list[str]:
    """The notes of a checkpoint; its name precedes those that the other does not share."""
    return [note if note in other.notes else f"{Path(contents.path).name}: {note}" for note in contents.notes]


def _show(result: Probe) -> None:
    from linescape.interpolation.probing import WHOLE as WHOLE_LINE

    stderr.print(_table(result))
    perplexities = result.curves[WHOLE_LINE].perplexities if WHOLE_LINE in result.curves else {}
    several = len({treatment for _, treatment in perplexities}) > 1
    for (data, treatment), values in perplexities.items():
        series = f"{data} data" + (f" (BatchNorm {treatment})" if several else "")
        echo_err(
            f"perplexity on {series}: start {values[0]:.4g}, end {values[-1]:.4g}, highest on the line "
            f"{values.max():.4g}"
        )


def _table(result: Probe) -> Table:
    """Statistics of each line; what all rows share stands in the title, the rest in the column ``of``."""
    # Between several networks there are many lines.
    rows = {key: row for key, row in result.statistics.items() if not result.pairs or key[2] == "cross_entropy"}
    data, measures, treatments = ({key[part] for key in rows} for part in (1, 2, 3))
    title = "Statistics" + _same(" of {}", measures) + _same(" on {} data", data)
    title += (_same(", BatchNorm {}", treatments) if result.treatments else "") + ", with 95 % intervals over examples"
    caption = ", ".join(f"{short}: {name}" for short, name in _STATISTICS.items())
    table = Table(title=title, caption=caption, box=box.SIMPLE, pad_edge=False)  # fits 80 columns
    table.add_column("line", overflow="fold")  # names of a transformer's blocks differ at their ends
    differ = [part for part, values in ((1, data), (2, measures), (3, treatments)) if len(values) > 1]
    if differ:
        table.add_column("of")
    for short in _STATISTICS:
        table.add_column(short, no_wrap=True)
    for key, row in rows.items():
        series = [" ".join(key[part] for part in differ)] if differ else []
        estimates = (row[name] for name in _STATISTICS.values())
        table.add_row(
            printable(key[0]), *series, *(f"{of.value:.3g} ({of.low:.3g}, {of.high:.3g})" for of in estimates)
        )
    return table


def _same(template: str, values: set[str]) -> str:
    return template.format(*values) if len(values) == 1 else ""
