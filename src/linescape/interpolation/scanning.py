"""Scans a path: the network is put at each alpha in turn and measured.

`walk` yields point by point and keeps none, so that a caller can save each; `scan` returns the whole curve, of a grid
with all examples or with fewer forward passes (`linescape.interpolation.economical`).
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TextColumn

from linescape.engine.products import computed_in_float32
from linescape.errors import AlphaError, EndsError, abbreviate, check_type
from linescape.evaluation import batchnorm
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.per_example import Values
from linescape.geometry import paths
from linescape.interpolation import resume
from linescape.interpolation.agreement import compare, largest_difference
from linescape.interpolation.curve import Curve, Key, Point
from linescape.interpolation.economical import EconomicalScan
from linescape.interpolation.identity import UnidentifiedError
from linescape.interpolation.options import DEFAULT, ScanOptions
from linescape.version import VERSION

_ACTING = (
    "Examples act on each other: in a smaller batch they have other values. So values depend on how the data are put "
    "into batches, and intervals, which take examples as independent, need not hold."
)


def scan(path: paths.Path, evaluator: Evaluator, options: ScanOptions = DEFAULT) -> Curve:
    """Measure a path and return its curve; both ends are measured and checked against direct evaluation.

    Args:
        path: from `linescape.geometry.paths`.
        evaluator: the network and its data.
        options: which positions and examples are measured, and how; see `ScanOptions`.

    Raises:
        EndsError: the scan does not reproduce the networks at its ends.
        DataError, MeasureError, StateError: data, outputs or tensors do not fit.
        StoreError: points cannot be saved.
        RecipeError: an argument is of another type.
    """
    _check(path, evaluator, options)
    shown = sys.stderr.isatty() if options.progress is None else options.progress
    if options.economical:
        return _scan_economically(path, evaluator, options, shown)
    alphas = options.positions
    known: dict[float, Point] = {}
    folder, notes = None, []
    if options.keep is not None and path.given_by_ends:
        evaluator.start_path(path, len(alphas))  # so that errors are the same as without `keep`
        try:
            folder = resume.folder_of(Path(options.keep), path, evaluator, options.treatments)
        except UnidentifiedError as what:
            notes.append(f"Points were not kept, as data or measures hold {what}, whose content is unknown.")
        else:
            kept = resume.read(folder)
            notes += [resume.DAMAGED] if resume.lost(folder, kept) else []
            known = {point.alpha: point for point in kept if point.alpha in alphas}
        if known and not _repeats(known, path, evaluator, options):
            known = {}
            notes.append(resume.CHANGED)
    points = walk(path, evaluator, options, known)
    if folder is not None:
        points = _kept(points, folder)
    if shown and len(known) < len(alphas):
        points = _with_bar(points, len(alphas) - len(known), evaluator)
    return _noted(collect([*known.values(), *points], path, evaluator), notes)


def _repeats(known: Mapping[float, Point], path: paths.Path, evaluator: Evaluator, options: ScanOptions) -> bool:
    """Whether a position that is known has the same values when it is measured again, to the bit."""
    alpha = max(known)
    others = [other for other in options.positions if other != alpha]
    (again,) = _measured(path, evaluator, options.positions, options.treatments, others)
    before = known[alpha].values
    return before.keys() == again.values.keys() and all(
        np.array_equal(before[key], values, equal_nan=True) for key, values in again.values.items()
    )


def _noted(curve: Curve, notes: Sequence[str]) -> Curve:
    """A curve with further notes in its provenance."""
    return Curve(curve.alphas, curve.values, {**curve.provenance, "notes": [*curve.provenance["notes"], *notes]})


def _scan_economically(path: paths.Path, evaluator: Evaluator, options: ScanOptions, shown: bool) -> Curve:
    with Progress(TextColumn("{task.description}"), console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("Scanning")
        economical = EconomicalScan(
            lambda some, alphas: _measured(path, some, alphas, options.treatments),
            evaluator,
            options,
            report=lambda passes: bar.update(task, description=f"Scanning: {passes:,} forward passes"),
        )
        points, checked = economical.measure()
        curve = collect(points, path, checked)
    return _noted(Curve(curve.alphas, curve.values, {**curve.provenance, **economical.provenance}), economical.notes)


def walk(
    path: paths.Path, evaluator: Evaluator, options: ScanOptions = DEFAULT, done: Collection[float] = ()
) -> Iterator[Point]:
    """Yield a `Point` for each position that is not in `done`, the same to the bit as if none were.

    The evaluator's working copy is in use until the generator ends, so walk one path at a time with it.

    Args:
        path: from `linescape.geometry.paths`.
        evaluator: the network and its data.
        options: its positions and treatments of BatchNorm; all positions are measured, on all examples.
        done: positions that have been measured before.

    Raises:
        DataError, MeasureError, StateError: data, outputs or tensors do not fit.
    """
    _check(path, evaluator, options)
    return _measured(path, evaluator, options.positions, options.treatments, done)


def _check(path: paths.Path, evaluator: Evaluator, options: ScanOptions) -> None:
    check_type(path, paths.Path, "The path", "Give a path between two states, such as Line(start, end).")
    check_type(evaluator, Evaluator, "The evaluator", "Give an Evaluator(network, {'test': (inputs, targets)}).")
    check_type(options, ScanOptions, "options", "Give ScanOptions, as in ScanOptions(alphas=50).")


def _measured(
    path: paths.Path,
    evaluator: Evaluator,
    alphas: Sequence[float],
    treatments: tuple[str, ...],
    done: Collection[float] = (),
) -> Iterator[Point]:
    with evaluator.lent():
        yield from _measured_on_copy(path, evaluator, alphas, treatments, done)


def _measured_on_copy(
    path: paths.Path,
    evaluator: Evaluator,
    alphas: Sequence[float],
    treatments: tuple[str, ...],
    done: Collection[float],
) -> Iterator[Point]:
    norms = batchnorm.statistics(evaluator.model)
    distinct = treatments if norms else treatments[:1]  # without BatchNorm all treatments are one
    evaluator.start_path(path, len(alphas) * len(distinct))
    ends = {end: {n: path.tensor(n, alpha).clone() for n in norms} for end, alpha in (("start", 0.0), ("end", 1.0))}
    if alphas and alphas[0] in done:
        evaluator.load_position(path, alphas[0])
        for treatment in distinct:
            evaluator.warm_up(treatment, ends)
    left = [alpha for alpha in alphas if alpha not in done]
    for alpha in left:
        begun = time.perf_counter()
        evaluator.load_position(path, alpha)
        # Points of `interpolate` are compared with new copies by `collect`, which cannot know measured statistics.
        direct: dict[str, Values] = {of: {} for of in distinct if of != "interpolate" and alpha == left[-1]}
        measured = {treatment: evaluator.measure(treatment, ends, direct.get(treatment)) for treatment in distinct}
        values = {
            (data, measure, treatment): array
            for treatment in treatments
            for (data, measure), array in measured.get(treatment, measured[treatments[0]]).items()
        }
        point = Point(alpha, values, time.perf_counter() - begun)
        for treatment, plainly in direct.items():
            compare(point, [treatment], plainly, evaluator)
        yield point


def collect(points: Iterable[Point], path: paths.Path, evaluator: Evaluator) -> Curve:
    """Put points together in the order of alpha, check both ends, and add the provenance.

    Raises:
        AlphaError: there are no points.
        EndsError: the points at alpha = 0 and 1, or one between, differ from a direct evaluation of a new copy there.
    """
    points = list(points)
    for point in points:
        check_type(point, Point, "A point", "Give the points that `walk` yields.")
    ordered = sorted(points, key=lambda point: point.alpha)
    if not ordered:
        raise AlphaError("There are no points to make a curve of.")
    treatments = tuple(dict.fromkeys(treatment for _, _, treatment in ordered[0].values))
    said: list[str] = []
    deviations, between = _deviations(ordered, path, evaluator, treatments, said)
    values = _stacked(ordered)
    norms = bool(batchnorm.layers(evaluator.model))
    notes = [*evaluator.notes(path), *said[:1], *_notes_on_treatments(evaluator, treatments)]
    provenance = {
        "linescape": VERSION,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "device": _device_name(evaluator),
        "dtype": str(evaluator.dtype).removeprefix("torch."),
        "batchnorm": list(treatments) if norms else [],
        "batch_size": evaluator.batch_size,
        "calibration": evaluator.calibration if "recalibrate" in treatments else None,
        "examples": {data: int(array.shape[1]) for (data, _, _), array in values.items()},
        **({"positions_per_example": dict(evaluator.weights)} if evaluator.weights else {}),
        "seconds": round(sum(point.seconds for point in ordered), 3),
        "largest_deviation_at_ends": deviations,
        "largest_deviation_between": between,
        **_precision(ordered, path, evaluator, treatments),
        "compiled": evaluator.engine.compiled,
        "notes": notes,
        **path.describe(),
    }
    return Curve(np.array([point.alpha for point in ordered]), values, provenance)


def _deviations(
    ordered: Sequence[Point], path: paths.Path, evaluator: Evaluator, treatments: Sequence[str], said: list[str]
) -> tuple[dict[str, float | None], float | None]:
    """How far the points at both ends, and the one nearest to the middle, are from a direct evaluation.

    What a result should say of examples that act on each other is added to `said`.
    """
    by_alpha = {point.alpha: point for point in ordered}
    middle = min((alpha for alpha in by_alpha if alpha not in (0.0, 1.0)), key=lambda a: abs(a - 0.5), default=None)
    exact = [treatment for treatment in treatments if treatment == "interpolate"]
    between = None if middle is None else _deviation(by_alpha[middle], path, evaluator, exact, said)
    at_ends = {
        end: _deviation(by_alpha[alpha], path, evaluator, [t for t in treatments if t in ("interpolate", end)], said)
        for end, alpha in (("start", 0.0), ("end", 1.0))
        if alpha in by_alpha
    }
    return at_ends, between


def _stacked(ordered: Sequence[Point]) -> dict[Key, np.ndarray]:
    """The values of all points ``(alphas, examples)``.

    Raises:
        EndsError: points have other numbers of examples.
    """
    sizes = {key: {len(point.values[key]) for point in ordered} for key in ordered[0].values}
    if changing := [key for key, different in sizes.items() if len(different) > 1]:
        raise EndsError(
            f"The data {changing[0][0]!r} had {' and then '.join(map(str, sorted(sizes[changing[0]])))} examples at "
            "different positions, so these cannot be compared. Make the data repeatable."
        )
    return {key: np.stack([point.values[key] for point in ordered]) for key in ordered[0].values}


def _notes_on_treatments(evaluator: Evaluator, treatments: Sequence[str]) -> list[str]:
    notes = []
    if not batchnorm.layers(evaluator.model) and len(treatments) > 1:
        notes.append("The network has no BatchNorm with running statistics: all treatments are the same.")
    if (others := batchnorm.untreated(evaluator.model)) and set(treatments) != {"interpolate"}:
        notes.append(
            f"{abbreviate(others)} are no statistics of torch's BatchNorm, so no treatment changes them: they move "
            "with the weights."
        )
    return notes


@dataclass(frozen=True)
class Cost:
    """What a scan will cost: positions, forward passes (of one example each), and seconds."""

    alphas: int
    passes: int
    seconds: float

    def __str__(self) -> str:
        duration = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        return f"{self.alphas} alphas, {self.passes:,} forward passes, about {duration}"


def cost(path: paths.Path, evaluator: Evaluator, options: ScanOptions = DEFAULT) -> Cost:
    """Estimate how long a scan of all its positions takes, from the time that two of them take.

    The first also prepares what all need, so the second counts for the others.

    Args:
        path: what would be scanned.
        evaluator: the network and its data.
        options: of the scan.

    Returns:
        Number of positions, of evaluated examples, and seconds.

    Raises:
        DataError, MeasureError, StateError: data, outputs or tensors do not fit.
    """
    return _cost(list(islice(walk(path, evaluator, options), 2)), len(options.positions), evaluator)


def _cost(timed: Sequence[Point], alphas: int, evaluator: Evaluator) -> Cost:
    series = timed[0].values
    examples = {data: len(values) for (data, _, _), values in series.items()}
    treatments = len({treatment for _, _, treatment in series}) if batchnorm.layers(evaluator.model) else 1
    return Cost(
        alphas, alphas * treatments * sum(examples.values()), timed[0].seconds + timed[-1].seconds * (alphas - 1)
    )


def _kept(points: Iterator[Point], folder: Path) -> Iterator[Point]:
    for point in points:
        resume.keep(folder, point)
        yield point


def _deviation(
    point: Point, path: paths.Path, evaluator: Evaluator, exact: Sequence[str], said: list[str]
) -> float | None:
    """Largest deviation of a point's values from direct evaluation; None where no treatment is `exact` there."""
    if not exact:
        return None
    try:
        return compare(point, exact, evaluator.spot_check(path, point.alpha), evaluator)
    except EndsError:  # where examples of a batch act on each other, fewer of them have other values
        deviation = compare(point, exact, evaluator(path.at(point.alpha)), evaluator)
    if not evaluator.acting:  # of which the evaluator tells
        said.append(_ACTING)
    return deviation


def _precision(
    ordered: Sequence[Point], path: paths.Path, evaluator: Evaluator, treatments: tuple[str, ...]
) -> dict[str, object]:
    """The precision of a scan, and how far a reduced one is from the full one at a few positions.

    ``mean`` is the difference of the means, ``example`` the largest difference of one example, each over the examples
    that are evaluated directly, and the largest over the first, the middle and the last position.
    """
    if evaluator.precision is None:
        return {"precision": _own_precision(evaluator)}
    deviations: dict[str, dict[str, float]] = {}
    if "interpolate" in treatments:
        for point in (ordered[0], ordered[len(ordered) // 2], ordered[-1]):
            for (data, measure), exact in evaluator.spot_check(path, point.alpha).items():
                values = point.values[data, measure, "interpolate"][: len(exact)]
                worst = deviations.setdefault(
                    f"{data}/{measure}", {"examples": len(exact), "mean": 0.0, "example": 0.0}
                )
                worst["example"] = max(worst["example"], largest_difference(values, exact))
                worst["mean"] = max(worst["mean"], abs(float(values.mean(dtype=float) - exact.mean(dtype=float))))
    return {"precision": evaluator.precision, "deviation_from_full_precision": deviations}


def _own_precision(evaluator: Evaluator) -> str:
    """The network's own type, and the one of its products where that is another.

    Products of bfloat16 are computed in float32 on a processor without instructions for them. Whether those of float32
    are computed in TF32 depends on the GPU and on settings: by default convolutions are and matrix products are not
    (``torch.backends.cudnn.allow_tf32``, ``torch.set_float32_matmul_precision``). TF32 has 11 significant bits, its
    sums are in float32.
    """
    name = str(evaluator.dtype).removeprefix("torch.")
    if evaluator.dtype == torch.bfloat16 and computed_in_float32(evaluator.device):
        return f"{name}, products in float32"
    if evaluator.dtype != torch.float32 or evaluator.device.type != "cuda":
        return name
    if torch.cuda.get_device_capability(evaluator.device) < (8, 0):  # before Ampere
        return name
    try:
        rounded = {
            "convolutions": torch.backends.cudnn.allow_tf32,
            "matrix products": torch.get_float32_matmul_precision() != "highest",
        }
    except RuntimeError:  # torch does not say where its older and newer settings were both used
        return f"{name}, in TF32 where the caller set it"
    inexact = " and ".join(what for what, is_so in rounded.items() if is_so)
    return f"{name}, {inexact} in TF32" if inexact else name


def _with_bar(points: Iterator[Point], alphas: int, evaluator: Evaluator) -> Iterator[Point]:
    console = Console(stderr=True)
    timed = list(islice(points, 2))
    console.print(f"Scanning: {_cost(timed, alphas, evaluator)}")
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("Scanning", total=alphas)
        for point in chain(timed, points):
            bar.advance(task)
            yield point


def _device_name(evaluator: Evaluator) -> str:
    if evaluator.device.type == "cuda":
        return torch.cuda.get_device_name(evaluator.device)
    return evaluator.device.type + (f", threads: {evaluator.threads}" if evaluator.threads else "")
