"""Walks a path: at each alpha the network is placed, measured, and the values handed on.

`walk` yields point by point and holds nothing, so that a caller can save each; `scan` walks and collects: on a whole
grid with all examples, or with fewer passes (`linescape.interpolation.economical`).
"""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, islice, pairwise
from pathlib import Path as Place
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TextColumn

from linescape.errors import AlphaError, EndsError
from linescape.evaluation import batchnorm as bn
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.per_example import Values
from linescape.geometry.paths import Path
from linescape.interpolation import resume as kept
from linescape.interpolation.curve import Curve, Point
from linescape.interpolation.economical import Sparing
from linescape.interpolation.stopping import Until


class _Close(NamedTuple):
    """How close a walk must be to direct evaluation at its ends: for one example, and for which share of them."""

    values: dict[str, float]
    share: float


_CLOSE = {None: _Close({"rtol": 1e-4, "atol": 1e-5}, 0.97), "bfloat16": _Close({"rtol": 0.1, "atol": 0.1}, 0.8)}


def scan(
    path: Path,
    evaluator: Evaluator,
    alphas: int | Sequence[float] | None = None,
    batchnorm: str | Sequence[str] = "interpolate",
    progress: bool | None = None,
    adaptive: bool = False,
    until: float | Until | None = None,
    keep: Place | None = None,
) -> Curve:
    """Walk a path and return its curve; both ends are measured and checked against direct evaluation.

    With `adaptive` only the positions are measured that `barrier_above_chord` and `min_delta` need (eight at most),
    found with a few examples; see `linescape.interpolation.refinement`. Both are then numbers of the measured
    positions, so never above those of the whole grid; numbers of the course (area, fractions of points) are coarse on
    so few. The positions suit the evaluator's first measure (or that of `until`) on all data under all treatments:
    better one treatment at a time.

    With `until` examples are drawn, the same ones at all alphas, until the numbers are known closely enough; see
    `linescape.interpolation.stopping`. ``curve.provenance["until"]`` holds the intervals, right 95 times in 100 in
    spite of the stopping. The examples come from anywhere in the data, by a fixed seed, and are kept in memory. Under
    the treatment ``batch`` the value of an example depends on the others in its batch, hence on what was drawn.

    Either way the curve is an ordinary one: all its examples were measured at all its positions.
    ``curve.provenance["passes"]`` says what was spent, search and checks included, and what the whole grid takes.

    Args:
        path: from `linescape.geometry.paths`.
        evaluator: the network and its data.
        alphas: number of equally spaced positions from 0 to 1, or the positions; 0 and 1 are added if they are missing.
            50 by default; 101 with `adaptive`, which costs as much whatever the grid.
        batchnorm: one treatment or several, each a series of its own; see `linescape.evaluation.batchnorm`.
        progress: draw a bar with the time left; by default where standard error is a terminal.
        adaptive: measure only the positions that the heights need.
        until: half the width that 95 % intervals may have, in the unit of the evaluator's first measure, or an `Until`
            that names heights and measure.
        keep: a folder in which each point of a straight path is kept when it is measured. A walk that was stopped goes
            on from there, to the bit as if it had not been; see `linescape.interpolation.resume`. With `adaptive` or
            `until` nothing is kept.

    Raises:
        StoreError: `keep` cannot be written.
        AlphaError: positions are empty, unsorted, repeated or not finite; with `adaptive`, some lie outside [0, 1].
        EndsError: the walk does not reproduce the networks at its ends.
        DataError, MeasureError, StateError: data, outputs or tensors do not fit.
        RecipeError: `until` is not a positive width.
    """
    positions = grid((101 if adaptive else 50) if alphas is None else alphas)
    treatments = (batchnorm,) if isinstance(batchnorm, str) else tuple(batchnorm)
    bn.check_treatments(treatments)
    shown = sys.stderr.isatty() if progress is None else progress
    if adaptive or until is not None:
        wanted = until if until is None or isinstance(until, Until) else Until(until)
        with Progress(TextColumn("{task.description}"), console=Console(stderr=True), disable=not shown) as bar:
            task = bar.add_task("Walking")
            sparing = Sparing(
                lambda some, at: walk(path, some, at, treatments),
                evaluator,
                positions,
                treatments,
                report=lambda passes: bar.update(task, description=f"Walking: {passes:,} forward passes"),
            )
            found, checked = sparing.measure(adaptive, wanted)
            curve = collect(found, path, checked, treatments)
            notes = [*curve.provenance["notes"], *sparing.notes]
            return Curve(curve.alphas, curve.values, {**curve.provenance, **sparing.about, "notes": notes})
    known: dict[float, Point] = {}
    place = None
    if keep is not None and path.straight:
        evaluator.start_path(path, len(positions))  # what does not fit is said as without `keep`
        place = kept.place_of(keep, path, evaluator, treatments)
        known = {point.alpha: point for point in kept.read(place) if point.alpha in positions}
    points = walk(path, evaluator, positions, treatments, known)
    if place is not None:
        points = _kept(points, place)
    if shown and len(known) < len(positions):
        points = _with_bar(points, len(positions) - len(known), evaluator, treatments)
    return collect([*known.values(), *points], path, evaluator, treatments)


def grid(alphas: int | Sequence[float]) -> tuple[float, ...]:
    """Positions of a walk: ``linspace(0, 1, alphas)``, or the given ones with 0 and 1 added where missing.

    Raises:
        AlphaError: fewer than two, empty, unsorted, repeated, or not finite.
    """
    if isinstance(alphas, int):
        if alphas < 2:
            raise AlphaError(f"alphas={alphas}, but a line has two ends. Ask for 2 positions or more; 50 are usual.")
        return tuple(float(alpha) for alpha in np.linspace(0.0, 1.0, alphas))
    given = [float(alpha) for alpha in alphas]
    if not given:
        raise AlphaError("alphas is empty, so there is nothing to measure. Give a number of positions, such as 50.")
    if not all(math.isfinite(alpha) for alpha in given):
        raise AlphaError(f"alphas holds NaN or infinity: {given}. Give finite positions; 0 is the start, 1 the end.")
    if any(right <= left for left, right in pairwise(given)):
        raise AlphaError(f"alphas does not rise strictly: {given}. Sort it and drop repeated positions.")
    return tuple(sorted({0.0, 1.0, *given}))


def walk(
    path: Path,
    evaluator: Evaluator,
    alphas: Sequence[float],
    batchnorm: tuple[str, ...] = ("interpolate",),
    done: Collection[float] = (),
) -> Iterator[Point]:
    """Yield a `Point` for each alpha that is not in `done`, the same to the bit as if none were.

    The evaluator's working copy is in use until the generator ends, so walk one path at a time with it.

    Raises:
        DataError, MeasureError, StateError: data, outputs or tensors do not fit.
    """
    bn.check_treatments(batchnorm)
    norms = bn.statistics(evaluator.model)
    evaluator.start_path(path, len(alphas) * (len(batchnorm) if norms else 1))
    ends = {end: {n: path.tensor(n, at).clone() for n in norms} for end, at in (("start", 0.0), ("end", 1.0))}
    if alphas and alphas[0] in done:
        evaluator.load_position(path, alphas[0])
        for treatment in batchnorm if norms else batchnorm[:1]:
            evaluator.warm_up(treatment, ends)
    for alpha in alphas:
        if alpha in done:
            continue
        begun = time.perf_counter()
        evaluator.load_position(path, alpha)
        # Without BatchNorm all treatments are one, so it is measured once.
        found = {treatment: evaluator.measure(treatment, ends) for treatment in (batchnorm if norms else batchnorm[:1])}
        values = {
            (data, measure, treatment): array
            for treatment in batchnorm
            for (data, measure), array in found.get(treatment, found[batchnorm[0]]).items()
        }
        yield Point(alpha, values, time.perf_counter() - begun)


def collect(
    points: Iterable[Point], path: Path, evaluator: Evaluator, batchnorm: tuple[str, ...] = ("interpolate",)
) -> Curve:
    """Put points together in the order of alpha, check both ends, and add where the curve comes from.

    Raises:
        AlphaError: there are no points.
        EndsError: the points at alpha = 0 and 1 differ from a direct evaluation of the path's two ends.
    """
    ordered = sorted(points, key=lambda point: point.alpha)
    if not ordered:
        raise AlphaError("There are no points to make a curve of.")
    by_alpha = {point.alpha: point for point in ordered}
    checked = {
        end: _check_end(by_alpha[alpha], path, evaluator, end, batchnorm)
        for end, alpha in (("start", 0.0), ("end", 1.0))
        if alpha in by_alpha
    }
    values = {key: np.stack([point.values[key] for point in ordered]) for key in ordered[0].values}
    notes = list(evaluator.engine.notes)
    norms = bool(bn.layers(evaluator.model))
    if not norms and len(batchnorm) > 1:
        notes.append("The network has no BatchNorm with running statistics: all treatments are the same.")
    provenance = {
        "linescape": version("linescape"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "device": _device_name(evaluator),
        "dtype": str(evaluator.dtype).removeprefix("torch."),
        "batchnorm": list(batchnorm) if norms else [],
        "batch_size": evaluator.batch_size,
        "calibration": evaluator.calibration if "recalibrate" in batchnorm else None,
        "examples": {data: int(array.shape[1]) for (data, _, _), array in values.items()},
        **({"positions_per_example": dict(evaluator.weights)} if evaluator.weights else {}),
        "seconds": round(sum(point.seconds for point in ordered), 3),
        "largest_deviation_at_ends": checked,
        **_precision(ordered, path, evaluator, batchnorm),
        "compiled": evaluator.engine.compiled,
        "notes": notes,
        **path.describe(),
    }
    return Curve(np.array([point.alpha for point in ordered]), values, provenance)


@dataclass(frozen=True)
class Cost:
    """What a walk will cost: positions, forward passes (of one example each), and seconds."""

    alphas: int
    passes: int
    seconds: float

    def __str__(self) -> str:
        took = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        return f"{self.alphas} alphas, {self.passes:,} forward passes, about {took}"


def cost(
    path: Path, evaluator: Evaluator, alphas: Sequence[float], batchnorm: tuple[str, ...] = ("interpolate",)
) -> Cost:
    """Time two positions, the first of which also prepares what all need, and multiply the second.

    Raises:
        DataError, MeasureError, StateError: data, outputs or tensors do not fit.
    """
    return _cost(list(islice(walk(path, evaluator, alphas, batchnorm), 2)), len(alphas), evaluator, batchnorm)


def _cost(timed: Sequence[Point], alphas: int, evaluator: Evaluator, batchnorm: tuple[str, ...]) -> Cost:
    examples = {data: len(values) for (data, _, _), values in timed[0].values.items()}
    treatments = len(batchnorm) if bn.layers(evaluator.model) else 1
    return Cost(
        alphas, alphas * treatments * sum(examples.values()), timed[0].seconds + timed[-1].seconds * (alphas - 1)
    )


def _kept(points: Iterator[Point], place: Place) -> Iterator[Point]:
    for point in points:
        kept.keep(place, point)
        yield point


def _check_end(point: Point, path: Path, evaluator: Evaluator, end: str, batchnorm: tuple[str, ...]) -> float | None:
    """Largest deviation of an end's values from direct evaluation; None where no treatment is exact at this end."""
    exact = [treatment for treatment in batchnorm if treatment in ("interpolate", end)]
    if not exact:
        return None
    state = path.at(point.alpha)
    try:
        return _compare(point, evaluator, exact, evaluator.spot_check(state))
    except EndsError:  # examples that act on each other are another thing among fewer
        return _compare(point, evaluator, exact, evaluator(state))


def _compare(point: Point, evaluator: Evaluator, exact: Sequence[str], direct: Values) -> float:
    half = evaluator.precision or evaluator.dtype in (torch.float16, torch.bfloat16)
    close = _CLOSE["bfloat16" if half else None]
    largest = 0.0
    for treatment in exact:
        for (data, measure), expected in direct.items():
            found = point.values[data, measure, treatment][: len(expected)]
            same = found.shape == expected.shape and np.isclose(found, expected, equal_nan=True, **close.values)
            # A few of the examples may flip: kernels on a GPU need not repeat to the bit.
            if np.mean(same) < close.share:
                raise EndsError(
                    f"At alpha = {point.alpha:g} the walk found a mean {measure} of {found.mean():.6g} on {data!r}, "
                    f"but direct evaluation of the same network gives {expected.mean():.6g}. Either the data change "
                    "between passes (shuffling, random augmentation) or the network is random in eval mode. Make both "
                    "repeatable."
                )
            largest = max(largest, _apart(found, expected))
    return largest


def _precision(
    ordered: Sequence[Point], path: Path, evaluator: Evaluator, batchnorm: tuple[str, ...]
) -> dict[str, object]:
    """What a walk was computed in, and for a reduced precision how far it is from the full one at a few positions.

    ``mean`` is the difference of the means, ``example`` the largest difference of one example, each over the examples
    that are evaluated directly, and the largest over the first, the middle and the last position.
    """
    if evaluator.precision is None:
        return {"precision": _own_precision(evaluator)}
    apart: dict[str, dict[str, float]] = {}
    if "interpolate" in batchnorm:
        for point in (ordered[0], ordered[len(ordered) // 2], ordered[-1]):
            for (data, measure), expected in evaluator.spot_check(path.at(point.alpha)).items():
                found = point.values[data, measure, "interpolate"][: len(expected)]
                held = apart.setdefault(f"{data}/{measure}", {"examples": len(expected), "mean": 0.0, "example": 0.0})
                held["example"] = max(held["example"], _apart(found, expected))
                held["mean"] = max(held["mean"], abs(float(found.mean(dtype=float) - expected.mean(dtype=float))))
    return {"precision": evaluator.precision, "deviation_from_full_precision": apart}


def _own_precision(evaluator: Evaluator) -> str:
    """What the network's own type is computed in; torch multiplies float32 in TF32 on a GPU that has it, as it is set.

    Convolutions are by default, matrix products are not (``torch.backends.cudnn.allow_tf32``,
    ``torch.set_float32_matmul_precision``). TF32 has 11 significant bits, its sums are in float32.
    """
    name = str(evaluator.dtype).removeprefix("torch.")
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


def _apart(found: np.ndarray, expected: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(found - expected)[~(found == expected)], initial=0.0))


def _with_bar(
    points: Iterator[Point], alphas: int, evaluator: Evaluator, batchnorm: tuple[str, ...]
) -> Iterator[Point]:
    console = Console(stderr=True)
    timed = list(islice(points, 2))
    console.print(f"Walking: {_cost(timed, alphas, evaluator, batchnorm)}")
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("Walking", total=alphas)
        for point in chain(timed, points):
            bar.advance(task)
            yield point


def _device_name(evaluator: Evaluator) -> str:
    if evaluator.device.type == "cuda":
        return torch.cuda.get_device_name(evaluator.device)
    return evaluator.device.type + (f", threads: {evaluator.threads}" if evaluator.threads else "")
