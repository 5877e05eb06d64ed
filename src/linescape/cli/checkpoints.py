"""Commands on checkpoints: compare two, measure the line between them, write a network that lies between them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich import box
from rich.table import Column, Table

from linescape.cli.consoles import Many, Out, echo, echo_err, show
from linescape.cli.soups import Choice, average_several
from linescape.errors import MismatchError, RecipeError, printable

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from linescape.checkpoints import Contents
    from linescape.checkpoints.align import Fit


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


def diff(start: Path, end: Path, *, reading: Reading = PLAIN) -> dict[str, Any]:
    """Compare two checkpoints: names, shapes and types of tensors, which would move, and the distance of each block.

    The distance is Euclidean, in the unit of the weights: of all parameters of a block together, relative to the norm
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


def probe_files(
    start: Path,
    end: Path | None = None,
    *,
    pairs: Literal["last", "all"] | None = None,
    model: str | None = None,
    data: str | None = None,
    layers: Annotated[bool, Parameter(negative="")] = False,
    pattern: Annotated[tuple[str, ...], Many] = (),
    slerp: Annotated[bool, Parameter(negative="")] = False,
    merged: Annotated[bool, Parameter(negative="")] = False,
    align: Annotated[tuple[Literal["weights", "activations"], ...], Many] = (),
    aligned_out: Path | None = None,
    measure: Annotated[tuple[str, ...], Many] = ("cross_entropy", "error"),
    batchnorm: Annotated[tuple[str, ...], Many] = ("interpolate",),
    alphas: int | None = None,
    adaptive: Annotated[bool, Parameter(negative="")] = False,
    until: float | None = None,
    smallest_effect: Annotated[tuple[str, ...], Many] = (),
    precision: Literal["bfloat16"] | None = None,
    device: str = "cpu",
    out: Out = Path("probe"),
    reading: Reading = PLAIN,
) -> dict[str, Any]:
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
        slerp: also measure the spherical path, tensor by tensor, as tools that merge language models do.
        merged: also measure the line in merged weights, of networks with LoRA, beside the one in their factors.
        align: also measure the line to END with its units permuted so that they fit those of START (Git Re-Basin): by
            weights or by activations.
        aligned_out: write END with its units permuted, in its own format, to this file or folder.
        measure: what to measure for each example: cross_entropy, error, binary_cross_entropy, binary_error or
            squared_error.
        batchnorm: how to set BatchNorm statistics along the line: interpolate, recalibrate, start, end or batch.
        alphas: number of equally spaced positions, both ends included; 50, or 101 with --adaptive.
        adaptive: measure only the positions that the barrier and min Delta depend on: about a tenth of the passes.
        until: draw examples until the barrier and min Delta are known to +- this many nats.
        smallest_effect: rises up to this height matter to nobody: of the loss, or MEASURE=HEIGHT, as in 0.02 error=0.5.
            By default 0.05 nats and 1 percentage point.
        precision: bfloat16 is faster where the processor has instructions for it, and is not used elsewhere; the
            report states its deviation from full precision.
        device: where to compute: cpu, cuda, ...
        out: folder for the report.
        reading: how to read the checkpoints.
    """
    from linescape import report
    from linescape.checkpoints import trajectory
    from linescape.checkpoints.align import pair, renamed
    from linescape.checkpoints.diff import compare
    from linescape.cli import probe_output, specs
    from linescape.cli.beside import Beside, paths_beside
    from linescape.evaluation.evaluator import Evaluator
    from linescape.geometry import groups
    from linescape.interpolation import resume
    from linescape.interpolation.options import ScanOptions
    from linescape.interpolation.probing import between, probe

    with report.reserved(out):  # of two probes, the first to end would remove the points of the other
        report.check_place(out)
        device = specs.device(device)
        measures = specs.measures_named(measure)
        effects = specs.smallest_effects(smallest_effect, measure)
        kept = out / "points"
        options = ScanOptions(alphas=alphas, batchnorm=batchnorm, adaptive=adaptive, until=until, keep=kept)
        options.check_between()
        if saved := resume.count(kept):
            echo_err(f"{kept} holds {saved} points of an interrupted probe; those that match are not measured again.")
        if end is None:
            if layers or pattern or slerp or merged or align or reading.allow_missing or reading.only_shared:
                raise RecipeError(
                    "--layers, --pattern, --slerp, --merged, --align, --allow-missing and --only-shared are for two "
                    "checkpoints. Name both, or omit these options."
                )
            course = trajectory.find(start, lambda path: renamed(reading.read(path), reading.fit()))
            network, measured, remarks = specs.network_and_data(
                model, data, course.metadata, course.last, course.read(course.last)
            )
            evaluator = Evaluator(network.to(device), measured, measures, precision=precision, copy=False)
            states = course.states(network, device)
            result = between(states, evaluator, pairs or "last", options)
            course.check_unchanged()
            title, notes = f"Checkpoints of {start.resolve().name}", (*course.notes, *remarks)
        else:
            if pairs:
                raise RecipeError("--pairs is for a folder of checkpoints. Name the folder alone, or omit --pairs.")
            first, last = map(reading.read, (start, end))
            network, measured, remarks = specs.network_and_data(model, data, last.metadata, end, last)
            chosen = groups.by_pattern(network, pattern)
            if layers:
                chosen = groups.joined(groups.by_block(network), chosen)
            in_file = renamed(last, reading.fit())
            first, last = pair(first, last, reading.fit(), network)
            echo_err(str(compare(first, last)))
            evaluator = Evaluator(network.to(device), measured, measures, precision=precision, copy=False)
            begin, finish = (contents.into(network).to(device) for contents in (first, last))
            others, told = paths_beside(begin, finish, evaluator, Beside(slerp, merged, align, aligned_out), in_file)
            result = probe(begin, finish, evaluator, chosen, options, others)
            for contents in (first, last):
                contents.check_unchanged()
            title, notes = f"{start.name} to {end.name}", (*_of(first, last), *_of(last, first), *remarks, *told)
        page = report.write_probe(result, out, title, notes, smallest_effect=effects)
        resume.clear(kept)
        probe_output.show(result, result.summary(effects))
        for note in dict.fromkeys((*result.notes, *notes)):
            echo_err(f"note: {note}")
        echo(str(page))
        return {"page": page, "notes": [*result.notes, *notes], **json.loads((out / "probe.json").read_bytes())}


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
    """Write the network at one position on the line between two checkpoints, or the mean of several.

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
    from linescape.checkpoints.align import pair, renamed
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
    fit = reading.fit()
    fitted = []
    for other in others:
        first = renamed(other, fit)
        if fit.allow_missing or fit.only_shared:
            paired, noted = pair(first, last, replace(fit, rename=()))
            first = replace(paired, tensors={name: paired[name] for name in last}, notes=(*paired.notes, *noted.notes))
        fitted.append(first)
    measured, resolved = None, None
    if model or data or choice.best or choice.greedy:
        resolved = specs.network_and_data(model, data, last.metadata, (end, *more)[-1], last)
    if resolved and not several:
        network, known, _ = resolved
        measured = averaging.recalibrated(first, last, alpha, network, Evaluator(network, known, copy=False))
        if not measured:
            echo_err("note: The network has no BatchNorm statistics to recompute.")
    try:
        if several:
            notes = average_several((*fitted, last), choice, resolved, out)
        else:
            notes = averaging.average(first, last, alpha, out, measured)
    except MismatchError as error:
        raise MismatchError(
            f"{error} `linescape diff` lists the differences; --only-shared, --allow-missing and --rename allow them."
        ) from error
    for note in dict.fromkeys(notes):
        echo_err(f"note: {note}")
    echo(str(out))
    return {"path": out, "alpha": alpha, "notes": list(dict.fromkeys(notes))}


def _of(contents: Contents, other: Contents) -> list[str]:
    """The notes of a checkpoint; its name precedes those that the other does not share."""
    return [note if note in other.notes else f"{Path(contents.path).name}: {note}" for note in contents.notes]
