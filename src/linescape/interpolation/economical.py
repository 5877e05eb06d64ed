"""A scan with fewer forward passes: finds the positions that matter, draws examples until they suffice.

It is given a function that measures positions, and returns ordinary points, all of the same positions and examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from linescape.errors import DataError, MeasureError, suggest
from linescape.evaluation import batchnorm, subsets
from linescape.evaluation.evaluator import DIRECT, Evaluator
from linescape.interpolation import refinement, stopping
from linescape.interpolation.curve import Key, Point
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.stopping import InterimLook, Until

INNER = 6
"""Positions between the ends that an adaptive scan measures on all examples."""

ROUGH = 2
"""What an adaptive scan may spend on finding them, in positions measured on all examples.

With the ends and the `INNER` ones that makes 10 positions, a tenth of a grid of 101.
"""

KINKS = 12
"""Further positions where the few examples may be measured, if the curve has kinks; they cost one of the `INNER`."""

FEWEST = 50
"""Examples with which positions are found at least; with fewer than some 700 in all, that is more than `ROUGH`."""

MeasureAt = Callable[[Evaluator, Sequence[float]], Iterator[Point]]
Rows = Mapping[str, np.ndarray]
"""Name of the data -> indices of examples in it ``(n,)``, rising."""


class Sample:
    """Some examples measured along a path. It grows by examples and by positions, all examples at all positions."""

    def __init__(self, measure_at: MeasureAt, alphas: Sequence[float]) -> None:
        self.measure_at = measure_at
        self.alphas = sorted(alphas)
        self.instalments: list[tuple[Evaluator, Rows]] = []
        self.points: dict[float, list[Point]] = {}

    def draw(self, evaluator: Evaluator, rows: Rows) -> None:
        """Add the examples of an evaluator, which are `rows` of the whole data."""
        self.instalments.append((evaluator, rows))
        self._measure(self.alphas, self.instalments[-1:])

    def add_positions(self, alphas: Sequence[float]) -> None:
        """Measure all examples at further positions."""
        self.alphas = sorted([*self.alphas, *alphas])
        self._measure(alphas, self.instalments)

    def rows(self, data: str) -> np.ndarray:
        """The indices of the sample's examples in some data, in the order in which they were drawn."""
        return np.concatenate([rows[data] for _, rows in self.instalments if data in rows])

    def values(self, key: Key) -> np.ndarray:
        """Per-example values ``(alphas, examples)``, examples in the order of the data."""
        drawn = [[point.values[key] for point in self.points[alpha] if key in point.values] for alpha in self.alphas]
        return np.stack([np.concatenate(parts) for parts in drawn])[:, np.argsort(self.rows(key[0]))]

    def merged(self) -> list[Point]:
        """A point of all examples for each position."""
        series = {key: self.values(key) for key in self.points[self.alphas[0]][0].values}
        return [
            Point(alpha, {key: values[k] for key, values in series.items()}, sum(p.seconds for p in self.points[alpha]))
            for k, alpha in enumerate(self.alphas)
        ]

    def _measure(self, alphas: Sequence[float], instalments: Sequence[tuple[Evaluator, Rows]]) -> None:
        for evaluator, rows in instalments:
            for point in self.measure_at(evaluator, alphas):
                for (data, measure, _), values in point.values.items():
                    if len(values) != len(rows[data]):
                        raise DataError(
                            f"{len(rows[data])} examples of {data!r} were measured, but {measure} gave {len(values)} "
                            "values. To scan with some of the examples, a batch must give one value for each row."
                        )
                self.points.setdefault(point.alpha, []).append(point)


@dataclass(frozen=True)
class _Search:
    """Looks for positions with a few examples.

    Attributes:
        sample: is measured at the positions that are found.
        rough: the few examples.
        rows: which these are of the whole data.
        all_drawn: whether the sample has all examples.
    """

    sample: Sample
    rough: Sample
    rows: Rows
    all_drawn: bool

    def values(self, key: Key, positions: Sequence[float]) -> np.ndarray:
        """Values of the few examples ``(positions, examples)``."""
        by_alpha = dict(zip(self.rough.alphas, self.rough.values(key), strict=True))
        if self.all_drawn:  # what is measured on all examples is measured on these too
            of_all = zip(self.sample.alphas, self.sample.values(key), strict=True)
            by_alpha |= {alpha: values[self.rows[key[0]]] for alpha, values in of_all}
        return np.stack([by_alpha[alpha] for alpha in positions]).astype(np.float64)


class EconomicalScan:
    """Finds positions, draws examples, and counts what both cost.

    Args:
        measure_at: measures an evaluator's examples at some positions of the path.
        evaluator: the network and all data.
        options: with `adaptive`, `until` or both.
        report: called with the number of forward passes so far.

    Attributes:
        passes: forward passes of one example each.
        provenance: what was done, for a curve's provenance (JSON-able).
        notes: what a reader of the curve should know, in words.
    """

    def __init__(
        self,
        measure_at: MeasureAt,
        evaluator: Evaluator,
        options: ScanOptions,
        report: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.measure_at, self.evaluator, self.options, self.report = measure_at, evaluator, options, report
        self.grid, self.treatments = options.positions, options.treatments
        self.totals = {data: subsets.count(batches) for data, batches in evaluator.data.items()}
        # One order for good: the same line gives the same curve, and lines on the same data share their examples.
        rng = np.random.default_rng(0)
        self.order = {data: rng.permutation(total) for data, total in self.totals.items()}
        self.calibrating = self.totals.get(evaluator.calibration, 0)
        self.has_batchnorm = bool(batchnorm.layers(evaluator.model))
        self.passes = 0
        self.provenance: dict[str, object] = {}
        self.notes: list[str] = []

    def measure(self) -> tuple[list[Point], Evaluator]:
        """The points, and an evaluator of their examples for the check of both ends (whose cost is counted).

        Raises:
            DataError, MeasureError, StateError: data, outputs or tensors do not fit.
        """
        adaptive, until = self.options.adaptive, self.options.stopping_rule
        known = list(self.evaluator.measures)
        measure = (until.measure if until else None) or known[0]
        if measure not in known:
            raise MeasureError(
                f"Examples cannot be drawn until {measure!r} is known: the evaluator has no such measure. "
                f"{suggest(measure, known)}"
            )
        keys = [(data, measure, treatment) for data in self.totals for treatment in self.treatments]
        most = max(self.totals.values())
        sample = Sample(self._measure_whole, (0.0, 1.0) if adaptive else self.grid)
        first = most if until is None else stopping.next_sample_size([], until.within, most) or most
        self._draw(sample, 0, first)
        if adaptive:
            self.provenance["adaptive"] = self._choose_positions(sample, keys, all_drawn=until is None)
        if until:
            self.provenance["until"] = self._draw_until(sample, keys, until, most)
        rows = {data: np.sort(sample.rows(data)) for data in self.totals}
        drawn = {data: len(indices) for data, indices in rows.items()}
        checked = self.evaluator if drawn == self.totals else self.evaluator.sample(rows)
        self.provenance["passes"] = {
            "spent": self.passes + 2 * sum(min(count, DIRECT) for count in drawn.values()),
            "grid": len(self.grid) * self._passes_at_one(sum(self.totals.values()), self.calibrating),
        }
        return sample.merged(), checked

    def _choose_positions(self, sample: Sample, keys: Sequence[Key], all_drawn: bool) -> dict[str, object]:
        """Find the positions that matter with a few examples, and measure the sample there."""
        rough_indices = refinement.rough_positions(np.array(self.grid))
        search = self._search(sample, rough_indices, all_drawn)
        self._refine(search, rough_indices, keys)
        self.notes.append(
            f"{len(sample.alphas)} of {len(self.grid)} positions were measured, those that barrier_above_chord and "
            "min_delta need. Statistics of the course, such as the mean loss, are coarse, and a bump between positions "
            "may be missed."
        )
        means = {"/".join(key): search.rough.values(key).mean(axis=1, dtype=np.float64).tolist() for key in keys}
        return {
            "grid": len(self.grid),
            "rough_alphas": search.rough.alphas,
            "rough_examples": {data: len(indices) for data, indices in search.rows.items()},
            "rough_means": means,
        }

    def _search(self, sample: Sample, rough_indices: np.ndarray, all_drawn: bool) -> _Search:
        """A few examples, measured at rough positions of the grid."""
        counts = {
            data: max(FEWEST, ROUGH * total // max(1, rough_indices.size - 2)) for data, total in self.totals.items()
        }
        if not all_drawn:  # the sample may turn out to be a small part of the data
            counts = {data: min(count, stopping.FIRST) for data, count in counts.items()}
        # From the far end of the order: if those who decide where to look were also those looked at first, a position
        # would be chosen for the same chance that makes its loss look high.
        rows = {data: np.sort(self.order[data][-count:]) for data, count in counts.items()}
        calibration = rows.get(self.evaluator.calibration)

        def measure_few(evaluator: Evaluator, positions: Sequence[float]) -> Iterator[Point]:
            return self._counted(evaluator, positions, 0 if calibration is None else len(calibration))

        inside = [self.grid[index] for index in rough_indices[1:-1]]
        rough = Sample(measure_few, inside if all_drawn else [0.0, *inside, 1.0])
        rough.draw(self.evaluator.sample(rows, calibration), rows)
        return _Search(sample, rough, rows, all_drawn)

    def _refine(self, search: _Search, rough_indices: np.ndarray, keys: Sequence[Key]) -> None:
        """Add positions to the sample, one after another, where the curves that the few examples tell need them."""
        alphas = np.array(self.grid)
        sample, rough = search.sample, search.rough
        inner, allowed_kinks = INNER, KINKS
        while True:
            measured = np.searchsorted(alphas, sample.alphas)
            rough_indices = np.union1d(rough_indices, measured)
            means = {key: sample.values(key).mean(axis=1, dtype=np.float64) for key in keys}
            positions = [self.grid[index] for index in rough_indices]
            curves = [
                refinement.predict_curve(alphas, rough_indices, search.values(key, positions), measured, mean)
                for key, mean in means.items()
            ]
            kinks = np.unique(np.concatenate([refinement.kinks(alphas, rough_indices, curve) for curve in curves]))
            kinks = kinks[:allowed_kinks]
            if kinks.size:
                rough.add_positions([self.grid[index] for index in kinks])
                rough_indices = np.union1d(rough_indices, kinks)
                allowed_kinks, inner = allowed_kinks - kinks.size, INNER - 1
                continue
            chosen = refinement.next_position(alphas, curves, measured)
            if chosen is None or measured.size >= 2 + inner:
                break
            sample.add_positions([self.grid[chosen]])
            if not search.all_drawn and self.grid[chosen] not in rough.alphas:
                rough.add_positions([self.grid[chosen]])

    def _draw_until(self, sample: Sample, keys: Sequence[Key], until: Until, most: int) -> dict[str, object]:
        """Draw examples until the intervals are narrow enough."""
        looks: list[InterimLook] = []
        while True:
            values = {key: sample.values(key) for key in keys}
            looks.append(stopping.look(sample.alphas, values, until.statistics, len(looks)))
            size = stopping.next_sample_size(looks, until.within, most)
            if size is None:
                break
            self._draw(sample, looks[-1].examples, size)
        last = looks[-1]
        named = " and ".join(until.statistics)
        if math.isnan(last.half_width):
            known = f"{named} have no interval, as some values are NaN or infinite: no more examples would help."
        else:
            known = f"{named} are known to +-{last.half_width:.3g}"
            reached = last.half_width <= until.within
            known += "." if reached else f", not to the +-{until.within:g} asked for: no more would help."
        self.notes.append(f"Up to {last.examples} of {most} examples were drawn; {known}")
        return {
            "within": until.within,
            "reached": last.half_width <= until.within,
            "level": stopping.LEVEL,
            "intervals": {
                "/".join(key): {name: [each.value, each.low, each.high] for name, each in by_name.items()}
                for key, by_name in last.intervals.items()
            },
            "looks": [
                {"examples": look.examples, "half_width": look.half_width, "spent": spent}
                for look, spent in zip(looks, stopping.SPENT, strict=False)
            ],
        }

    def _draw(self, sample: Sample, drawn: int, wanted: int) -> None:
        rows = {data: np.sort(order[drawn:wanted]) for data, order in self.order.items() if drawn < len(order)}
        everything = {data: len(indices) for data, indices in rows.items()} == self.totals
        evaluator = self.evaluator if everything else self.evaluator.sample(rows)
        sample.draw(evaluator, rows)

    def _measure_whole(self, evaluator: Evaluator, alphas: Sequence[float]) -> Iterator[Point]:
        return self._counted(evaluator, alphas, self.calibrating)

    def _counted(self, evaluator: Evaluator, alphas: Sequence[float], calibrating: int) -> Iterator[Point]:
        for point in self.measure_at(evaluator, alphas):
            examples = {data: len(values) for (data, _, _), values in point.values.items()}
            self.passes += self._passes_at_one(sum(examples.values()), calibrating)
            self.report(self.passes)
            yield point

    def _passes_at_one(self, examples: int, calibrating: int) -> int:
        """Forward passes at one position."""
        recalibrating = calibrating if self.has_batchnorm and "recalibrate" in self.treatments else 0
        return (len(self.treatments) if self.has_batchnorm else 1) * examples + recalibrating
