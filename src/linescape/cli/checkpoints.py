"""Commands about checkpoints: how they differ, the lines between them, the network at a position between two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich import box
from rich.table import Column, Table

from linescape import checkpoints, report
from linescape.checkpoints import Contents, averaging, trajectory
from linescape.checkpoints.align import Fit, pair, renamed
from linescape.checkpoints.diff import compare
from linescape.cli import specs
from linescape.cli.consoles import Many, answer, aside, remark, tell
from linescape.errors import RecipeError, StateError
from linescape.evaluation.evaluator import Evaluator, Precision
from linescape.geometry import groups
from linescape.interpolation import resume
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.probing import WHOLE as WHOLE_LINE
from linescape.interpolation.probing import Probe, between, probe


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Reading:
    """How two checkpoints are read, and made to fit together.

    Attributes:
        ema: read the moving averages of the weights that the files hold beside them.
        rename: PATTERN=NEW, replaced in all names of both by regular expression.
        allow_missing: tensors whose names match these patterns stay at the end's values if they are not in both or have
            another shape.
        only_shared: all such tensors do.
    """

    ema: Annotated[bool, Parameter(negative="")] = False
    rename: Annotated[tuple[str, ...], Many] = ()
    allow_missing: Annotated[tuple[str, ...], Many] = ()
    only_shared: Annotated[bool, Parameter(negative="")] = False

    def fit(self) -> Fit:
        """What may differ."""
        for text in self.rename:
            if "=" not in text:
                raise RecipeError(f"--rename {text!r} has no '='. Write PATTERN=NEW; an empty NEW takes the match out.")
        return Fit(
            [(old, new) for old, _, new in (text.rpartition("=") for text in self.rename)],
            self.allow_missing,
            self.only_shared,
        )


PLAIN = Reading()

_STATISTICS = {"barrier": "barrier_above_chord", "min Delta": "min_delta"}
"""Short for a narrow terminal -> name in `linescape.shape`."""


def diff(start: Path, end: Path, *, reading: Reading = PLAIN) -> None:
    """Say how two checkpoints differ: names, shapes, types, what would move, and how far each block lies apart.

    Args:
        start: the checkpoint at alpha = 0.
        end: the checkpoint at alpha = 1.
        reading: how they are read.
    """
    first, last = (checkpoints.read(path, reading.ema) for path in (start, end))
    last = renamed(last, reading.fit())
    first = renamed(first, reading.fit()).named_as(last)
    found = compare(first, last)
    for path, held in ((start, first), (end, last)):
        count = sum(value.numel() for value in held.values())
        tell(f"{path}: {held.file_format.kind}, {len(held):,} tensors, {count:,} numbers")
        for note in held.notes:
            tell(f"  {note}")
    tell(str(found))
    table = Table(Column("block", overflow="fold"), "parameters", "distance", "relative", "root mean square")
    for block, apart in found.distances.items():
        table.add_row(
            block, f"{apart.count:,}", f"{apart.total:.4g}", f"{apart.relative:.4g}", f"{apart.per_parameter:.3g}"
        )
    answer.print(table)


def probe_files(
    start: Path,
    end: Path | None = None,
    *,
    pairs: Literal["last", "all"] | None = None,
    model: str | None = None,
    data: str | None = None,
    layers: Annotated[bool, Parameter(negative="")] = False,
    pattern: Annotated[tuple[str, ...], Many] = (),
    batchnorm: Annotated[tuple[str, ...], Many] = ("interpolate",),
    alphas: int | None = None,
    adaptive: Annotated[bool, Parameter(negative="")] = False,
    until: float | None = None,
    precision: Precision | None = None,
    device: str = "cpu",
    out: Path = Path("probe"),
    reading: Reading = PLAIN,
) -> None:
    """Walk the line between two checkpoints, or the lines between those of a training; write a page, its figures and
    its tables.

    Args:
        start: the checkpoint at alpha = 0: a file, or the folder of a Hugging Face or distributed checkpoint. Without
            END, a folder of checkpoints of one training, in the order of the numbers in their names.
        end: the checkpoint at alpha = 1.
        pairs: of a folder, last: from each checkpoint to the last (the default); all: from each to each later one.
        model: module:callable or file.py:function that returns your network; torchvision:NAME, timm:NAME with settings,
            as in timm:vit_tiny_patch16_224,num_classes=10; hf:FOLDER, a Hugging Face folder; or a network of linescape,
            as in resnet,depth=18. linescape's own checkpoints and Hugging Face folders name theirs.
        data: module:callable or file.py:function that returns {"train": ..., "test": ...}, each (inputs, targets) or
            batches; images:FOLDER,size=224; hf-data:FOLDER, a data set on disk; text:FILE,length=128 for language
            models; or a data set of linescape, as in fashion-mini,size=14. linescape's own checkpoints name theirs.
        layers: also walk each block's line, the other blocks at the end's state.
        pattern: also walk the line of the tensors whose names match this regular expression.
        batchnorm: treatments of BatchNorm statistics: interpolate, recalibrate, start, end, batch.
        alphas: equally spaced positions, both ends included; 50, or 101 with --adaptive.
        adaptive: measure only those positions that barrier and min Delta need: a tenth of the forward passes.
        until: draw examples until barrier and min Delta are known to +- this, in nats.
        precision: bfloat16 to walk in it, in about half the time; how far it is from full precision is recorded.
        device: where to measure: cpu, cuda, ...
        out: folder for the report.
        reading: how the checkpoints are read.
    """
    report.check_place(out)
    if alphas == 2:
        raise RecipeError("--alphas 2 leaves no position between the ends. Ask for 3 or more; 50 are usual.")
    kept = out / "points"
    options = ScanOptions(alphas=alphas, batchnorm=batchnorm, adaptive=adaptive, until=until, keep=kept)
    if held := resume.count(kept):
        remark(f"{kept} holds {held} points of a probe that was stopped: what fits is not measured again.")
    if end is None:
        if layers or pattern or reading.allow_missing or reading.only_shared:
            raise RecipeError(
                "--layers, --pattern, --allow-missing and --only-shared are for two checkpoints. Name both, or leave "
                "them out."
            )
        course = trajectory.find(start, lambda path: renamed(checkpoints.read(path, reading.ema), reading.fit()))
        network, measured, remarks = specs.network_and_data(
            model, data, course.metadata, list(course.paths.values())[-1]
        )
        evaluator = Evaluator(network.to(specs.device(device)), measured, precision=precision, copy=False)
        states = course.states(network, device)
        found = between(states, evaluator, pairs or "last", options)
        title, notes = f"Checkpoints of {start.resolve().name}", (*course.notes, *remarks)
    else:
        if pairs:
            raise RecipeError("--pairs is for a folder of checkpoints. Name the folder alone, or leave --pairs out.")
        first, last = (checkpoints.read(path, reading.ema) for path in (start, end))
        network, measured, remarks = specs.network_and_data(model, data, last.metadata, end)
        first, last = pair(first, last, reading.fit(), network)
        remark(str(compare(first, last)))
        chosen = (groups.by_block(network) if layers else {}) | groups.by_pattern(network, pattern)
        evaluator = Evaluator(network.to(specs.device(device)), measured, precision=precision, copy=False)
        begin, finish = (held.into(network).to(device) for held in (first, last))
        found = probe(begin, finish, evaluator, chosen, options)
        title, notes = f"{start.name} to {end.name}", (*_of(first, last), *_of(last, first), *remarks)
    _show(found)
    for note in dict.fromkeys((*found.notes, *notes)):
        remark(f"note: {note}")
    tell(str(report.write_probe(found, out, title, notes)))
    resume.clear(kept)


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
    """Write the network at one position between two checkpoints in the form of the second, tensor after tensor.

    Args:
        start: the checkpoint at alpha = 0: a file, or a folder that is one checkpoint.
        end: the checkpoint at alpha = 1, whose format, names and order are kept.
        out: the file or folder to write; nothing may be there.
        alpha: the position; beyond 0 and 1 the line goes on.
        model: your network, as for probe: with it, BatchNorm statistics are measured anew on its training data.
        data: its data, as for probe.
        reading: how the checkpoints are read.
    """
    first, last = (checkpoints.read(path, reading.ema) for path in (start, end))
    fit = reading.fit()
    first = renamed(first, fit)
    if fit.allow_missing or fit.only_shared:
        paired, noted = pair(first, last, replace(fit, rename=()))
        first = replace(paired, tensors={name: paired[name] for name in last}, notes=(*paired.notes, *noted.notes))
    measured = None
    if model or data:
        network, known, _ = specs.network_and_data(model, data, last.metadata, end)
        measured = averaging.recalibrated(first, last, alpha, network, Evaluator(network, known, copy=False))
        if not measured:
            remark("note: The network has no statistics of BatchNorm to measure.")
    try:
        notes = averaging.average(first, last, alpha, out, measured)
    except StateError as error:
        raise StateError(
            f"{error} `linescape diff` names all that differs; --only-shared, --allow-missing or --rename help."
        ) from error
    for note in dict.fromkeys(notes):
        remark(f"note: {note}")
    tell(str(out))


def _of(found: Contents, other: Contents) -> list[str]:
    """The notes of a checkpoint, with its name where the other's are not the same."""
    return [note if note in other.notes else f"{Path(found.path).name}: {note}" for note in found.notes]


def _show(found: Probe) -> None:
    aside.print(_table(found))
    perplexities = found.curves[WHOLE_LINE].perplexities if WHOLE_LINE in found.curves else {}
    several = len({treatment for _, treatment in perplexities}) > 1
    for (data, treatment), along in perplexities.items():
        where = f"{data} data" + (f" (BatchNorm {treatment})" if several else "")
        said = f"start {along[0]:.4g}, end {along[-1]:.4g}, highest on the line {along.max():.4g}"
        remark(f"perplexity on {where}: {said}")


def _table(found: Probe) -> Table:
    """Statistics of each line; what is the same in all rows stands in the title, the rest in one column, ``of``."""
    # Between several networks there are many lines.
    statistics = {key: of for key, of in found.statistics.items() if not found.pairs or key[2] == "cross_entropy"}
    data, measures, treatments = ({key[part] for key in statistics} for part in (1, 2, 3))
    title = "Statistics" + _same(" of {}", measures) + _same(" on {} data", data)
    title += (_same(", BatchNorm {}", treatments) if found.treatments else "") + ", with 95 % intervals over examples"
    caption = ", ".join(f"{short}: {name}" for short, name in _STATISTICS.items())
    table = Table(title=title, caption=caption, box=box.SIMPLE, pad_edge=False)  # fits 80 columns
    table.add_column("line", overflow="fold")  # blocks of transformers differ in the ends of long names
    differ = [part for part, values in ((1, data), (2, measures), (3, treatments)) if len(values) > 1]
    if differ:
        table.add_column("of")
    for short in _STATISTICS:
        table.add_column(short, no_wrap=True)
    for key, numbers in statistics.items():
        of = [" ".join(key[part] for part in differ)] if differ else []
        shown = (numbers[name] for name in _STATISTICS.values())
        table.add_row(key[0], *of, *(f"{number.value:.3g} ({number.low:.3g}, {number.high:.3g})" for number in shown))
    return table


def _same(words: str, values: set[str]) -> str:
    return words.format(*values) if len(values) == 1 else ""
