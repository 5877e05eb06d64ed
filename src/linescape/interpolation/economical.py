"""A walk with fewer passes: finds the positions that matter, draws examples until they suffice, and counts the cost.

It is given a function that walks; what it hands back are ordinary points, all of the same positions and examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from linescape.errors import AlphaError, DataError, MeasureError, suggest
from linescape.evaluation import batchnorm as bn
from linescape.evaluation import subsets
from linescape.evaluation.evaluator import DIRECT, Evaluator
from linescape.interpolation import refinement as choosing
from linescape.interpolation import stopping
from linescape.interpolation.curve import Key, Point
from linescape.interpolation.stopping import Look, Until

INNER = 6
"""Positions between the ends that an adaptive walk measures on all examples."""

ROUGH = 2
"""What an adaptive walk may spend on finding them, in positions measured on all examples.

With the ends and the `INNER` ones that makes 10 positions, a tenth of a grid of 101.
"""

KINKS = 12
"""Further positions where the few examples may be measured, if the curve has kinks; they cost one of the `INNER`."""

FEWEST = 50
"""Examples with which positions are found at least; with fewer than some 700 in all, that is more than `ROUGH`."""

Walk = Callable[[Evaluator, Sequence[float]], Iterator[Point]]
Rows = Mapping[str, np.ndarray]
"""Name of the data -> places of examples in it ``(n,)``, rising."""


class Sample:
    """Some examples measured along a path. It grows by examples and by positions, all examples at all positions."""

    def __init__(self, walk: Walk, alphas: Sequence[float]) -> None:
        self.walk = walk
        self.alphas = sorted(alphas)
        self.pieces: list[tuple[Evaluator, Rows]] = []
        self.points: dict[float, list[Point]] = {}

    def draw(self, evaluator: Evaluator, rows: Rows) -> None:
        """Add the examples of an evaluator, which stand at `rows` of the whole data."""
        self.pieces.append((evaluator, rows))
        self._measure(self.alphas, self.pieces[-1:])

    def go_to(self, alphas: Sequence[float]) -> None:
        """Add positions."""
        self.alphas = sorted([*self.alphas, *alphas])
        self._measure(alphas, self.pieces)

    def rows(self, data: str) -> np.ndarray:
        """Which examples of the data are here, in the order in which they were drawn."""
        return np.concatenate([rows[data] for _, rows in self.pieces if data in rows])

    def values(self, key: Key) -> np.ndarray:
        """Per-example values ``(alphas, examples)``, examples in the order of the data."""
        drawn = [[point.values[key] for point in self.points[alpha] if key in point.values] for alpha in self.alphas]
        return np.stack([np.concatenate(parts) for parts in drawn])[:, np.argsort(self.rows(key[0]))]

    def whole(self) -> list[Point]:
        """A point for each position, of all examples."""
        held = {key: self.values(key) for key in self.points[self.alphas[0]][0].values}
        return [
            Point(alpha, {key: values[k] for key, values in held.items()}, sum(p.seconds for p in self.points[alpha]))
            for k, alpha in enumerate(self.alphas)
        ]

    def _measure(self, alphas: Sequence[float], pieces: Sequence[tuple[Evaluator, Rows]]) -> None:
        for evaluator, rows in pieces:
            for point in self.walk(evaluator, alphas):
                for (data, measure, _), values in point.values.items():
                    if len(values) != len(rows[data]):
                        raise DataError(
                            f"{len(rows[data])} examples of {data!r} were measured, but {measure} gave {len(values)} "
                            "values. To walk with some of the examples, a batch must give one value for each row."
                        )
                self.points.setdefault(point.alpha, []).append(point)


class Sparing:
    """Finds positions, draws examples, and accounts for both.

    Args:
        walk: measures an evaluator's examples at some positions of the path.
        evaluator: the network and all data.
        grid: the positions to choose from, rising, 0 and 1 among them.
        treatments: of BatchNorm.
        report: told the forward passes made so far.

    Attributes:
        passes: forward passes of one example each.
        about: what was done, for a curve's provenance (JSON-able).
        notes: what a reader of the curve should know, in words.
    """

    def __init__(
        self,
        walk: Walk,
        evaluator: Evaluator,
        grid: Sequence[float],
        treatments: tuple[str, ...],
        report: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.walk, self.evaluator, self.grid, self.treatments, self.report = walk, evaluator, grid, treatments, report
        self.totals = {data: subsets.count(batches) for data, batches in evaluator.data.items()}
        # One order for good: the same line gives the same curve, and lines on the same data share their examples.
        rng = np.random.default_rng(0)
        self.order = {data: rng.permutation(total) for data, total in self.totals.items()}
        self.calibrating = self.totals.get(evaluator.calibration, 0)
        self.norms = bool(bn.layers(evaluator.model))
        self.passes = 0
        self.about: dict[str, object] = {}
        self.notes: list[str] = []

    def measure(self, adaptive: bool, until: Until | None) -> tuple[list[Point], Evaluator]:
        """The points, and an evaluator of the examples that they are of, for the check of both ends (which is counted).

        Raises:
            AlphaError: positions to choose from lie outside [0, 1].
            DataError, MeasureError, StateError: data, outputs or tensors do not fit.
        """
        known = list(self.evaluator.measures)
        measure = (until.measure if until else None) or known[0]
        if measure not in known:
            raise MeasureError(f"There is no measure {measure!r} to be sure of. {suggest(measure, known)}")
        keys = [(data, measure, treatment) for data in self.totals for treatment in self.treatments]
        most = max(self.totals.values())
        sample = Sample(self._walk_whole, (0.0, 1.0) if adaptive else self.grid)
        self._draw(sample, 0, most if until is None else stopping.more([], until.within, most) or most)
        if adaptive:
            self.about["adaptive"] = self._place(sample, keys, all_drawn=until is None)
        if until:
            self.about["until"] = self._suffice(sample, keys, until, most)
        rows = {data: np.sort(sample.rows(data)) for data in self.totals}
        drawn = {data: len(at) for data, at in rows.items()}
        checked = self.evaluator if drawn == self.totals else self.evaluator.sample(rows)
        self.about["passes"] = {
            "spent": self.passes + 2 * sum(min(count, DIRECT) for count in drawn.values()),
            "grid": len(self.grid) * self._at_one(sum(self.totals.values()), self.calibrating),
        }
        return sample.whole(), checked

    def _place(self, sample: Sample, keys: Sequence[Key], all_drawn: bool) -> dict[str, object]:
        """Find the positions that matter with a few examples, and measure the sample there."""
        alphas = np.array(self.grid)
        if alphas[0] < 0 or alphas[-1] > 1:
            raise AlphaError(
                f"The positions run from {alphas[0]:g} to {alphas[-1]:g}, but adaptive=True chooses from 0 to 1, where "
                "the numbers of a curve are. Leave the others out, or walk without it."
            )
        places = choosing.first(alphas)
        share = {data: max(FEWEST, ROUGH * total // max(1, places.size - 2)) for data, total in self.totals.items()}
        if not all_drawn:  # the sample may turn out to be a small part of the data
            share = {data: min(few, stopping.FIRST) for data, few in share.items()}
        # From the far end of the order: if those who decide where to look were also those looked at first, a position
        # would be chosen for the same chance that makes its loss look high.
        rows = {data: np.sort(self.order[data][-few:]) for data, few in share.items()}
        calibration = rows.get(self.evaluator.calibration)
        inside = [self.grid[place] for place in places[1:-1]]

        def walk(evaluator: Evaluator, at: Sequence[float]) -> Iterator[Point]:
            return self._walk(evaluator, at, 0 if calibration is None else len(calibration))

        rough = Sample(walk, inside if all_drawn else [0.0, *inside, 1.0])
        rough.draw(self.evaluator.sample(rows, calibration), rows)

        def few(key: Key) -> np.ndarray:
            held = dict(zip(rough.alphas, rough.values(key), strict=True))
            if all_drawn:  # what is measured on all examples is measured on these too
                held |= {a: v[rows[key[0]]] for a, v in zip(sample.alphas, sample.values(key), strict=True)}
            return np.stack([held[self.grid[place]] for place in places]).astype(np.float64)

        inner, kinks = INNER, KINKS
        while True:
            told = np.searchsorted(alphas, sample.alphas)
            places = np.union1d(places, told)
            means = {key: sample.values(key).mean(axis=1, dtype=np.float64) for key in keys}
            curves = [choosing.likely(alphas, places, few(key), told, mean) for key, mean in means.items()]
            unsure = np.unique(np.concatenate([choosing.unsure(alphas, places, curve) for curve in curves]))[:kinks]
            if unsure.size:
                rough.go_to([self.grid[at] for at in unsure])
                places, kinks, inner = np.union1d(places, unsure), kinks - unsure.size, INNER - 1
                continue
            place = choosing.missing(alphas, curves, told)
            if place is None or told.size >= 2 + inner:
                break
            sample.go_to([self.grid[place]])
            if not all_drawn and self.grid[place] not in rough.alphas:
                rough.go_to([self.grid[place]])
        self.notes.append(
            f"{len(sample.alphas)} of {len(self.grid)} positions were measured, those that barrier_above_chord and "
            "min_delta need; other numbers of the course are coarse, and a bump between positions may be missed."
        )
        return {
            "grid": len(self.grid),
            "rough_alphas": rough.alphas,
            "rough_examples": {data: len(at) for data, at in rows.items()},
            "rough_means": {"/".join(key): rough.values(key).mean(axis=1, dtype=np.float64).tolist() for key in keys},
        }

    def _suffice(self, sample: Sample, keys: Sequence[Key], until: Until, most: int) -> dict[str, object]:
        """Draw examples until the intervals are narrow enough."""
        looks: list[Look] = []
        while True:
            held = {key: sample.values(key) for key in keys}
            looks.append(stopping.look(sample.alphas, held, until.heights, len(looks)))
            wanted = stopping.more(looks, until.within, most)
            if wanted is None:
                break
            self._draw(sample, looks[-1].examples, wanted)
        last = looks[-1]
        self.notes.append(
            f"Up to {last.examples} of {most} examples were drawn; {' and '.join(until.heights)} are known to "
            f"+-{last.half:.3g}"
            + ("." if last.half <= until.within else f", not to the +-{until.within:g} asked for: no more would help.")
        )
        return {
            "within": until.within,
            "reached": last.half <= until.within,
            "level": stopping.LEVEL,
            "intervals": {
                "/".join(key): {name: [found.value, found.low, found.high] for name, found in numbers.items()}
                for key, numbers in last.intervals.items()
            },
            "looks": [
                {"examples": look.examples, "half_width": look.half, "spent": spent}
                for look, spent in zip(looks, stopping.SPENT, strict=False)
            ],
        }

    def _draw(self, sample: Sample, seen: int, wanted: int) -> None:
        rows = {data: np.sort(order[seen:wanted]) for data, order in self.order.items() if seen < len(order)}
        everything = {data: len(at) for data, at in rows.items()} == self.totals
        drawn = self.evaluator if everything else self.evaluator.sample(rows)
        sample.draw(drawn, rows)

    def _walk_whole(self, evaluator: Evaluator, alphas: Sequence[float]) -> Iterator[Point]:
        return self._walk(evaluator, alphas, self.calibrating)

    def _walk(self, evaluator: Evaluator, alphas: Sequence[float], calibrating: int) -> Iterator[Point]:
        for point in self.walk(evaluator, alphas):
            examples = {data: len(values) for (data, _, _), values in point.values.items()}
            self.passes += self._at_one(sum(examples.values()), calibrating)
            self.report(self.passes)
            yield point

    def _at_one(self, examples: int, calibrating: int) -> int:
        """Forward passes at one position."""
        again = calibrating if self.norms and "recalibrate" in self.treatments else 0
        return (len(self.treatments) if self.norms else 1) * examples + again
