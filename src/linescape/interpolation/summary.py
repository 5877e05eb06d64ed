"""A probe in brief: is there a barrier on each line, what does each block contribute; as data, and in sentences.

The sentences are made in `linescape.report` when they are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from linescape import presentation
from linescape.errors import MeasureError, RecipeError, suggest
from linescape.interpolation.curve import Curve, Series
from linescape.interpolation.stopping import LEVEL, level_of_others
from linescape.shape import Estimate, set_back
from linescape.shape.verdict import HEIGHTS, Verdict, gain, judge

Statistics = Mapping[tuple[str, str, str, str], Mapping[str, Estimate]]
"""(line, data, measure, batchnorm) -> the statistics of that series, as `Probe.statistics`."""

ERRORS = ("error", "binary_error")

SMALLEST_EFFECTS = {"cross_entropy": 0.05, "binary_cross_entropy": 0.05, **dict.fromkeys(ERRORS, 1.0)}
"""Measure -> the smallest effect of interest where none is given, in nats and percentage points."""

RELATIVE_EFFECT = 0.05
"""The same of other measures, as a fraction of the value at the lower end: they have units of their own."""


@dataclass(frozen=True)
class SeriesVerdict:
    """The verdict on one measure of one line.

    Attributes:
        data: name of the data.
        measure: name of the measure.
        batchnorm: treatment of BatchNorm statistics.
        verdict: whether there is a barrier, and where.
        gain: how far the lowest point of the line lies below both ends, with its interval, which allows for the choice
            of the lowest of many; None but of the loss and the error that are told.
        relative_effect: the smallest effect is this fraction of the value at the lower end; None if it was given, or is
            that of `SMALLEST_EFFECTS`.
    """

    data: str
    measure: str
    batchnorm: str
    verdict: Verdict
    gain: Estimate | None
    relative_effect: float | None


@dataclass(frozen=True)
class LineSummary:
    """One line of whole networks.

    Attributes:
        label: of the line in the probe.
        series: the verdict on each series; first that of the loss which is told: of test data, or else the first.
        error_at: error in % at the `places` of the first series; empty where no error was measured.
        batchnorm: treatments of BatchNorm statistics; none for a network without them.
    """

    label: str
    series: tuple[SeriesVerdict, ...]
    error_at: Mapping[str, float]
    batchnorm: tuple[str, ...]

    @property
    def loss(self) -> SeriesVerdict:
        """The series that is told."""
        return self.series[0]

    @property
    def error(self) -> SeriesVerdict | None:
        """The error on the same data under the same treatment; None where it was not measured."""
        told = self.series[1:2]  # where it was measured, it comes next
        return told[0] if told and told[0].measure in ERRORS and told[0].gain else None


@dataclass(frozen=True)
class BlockSummary:
    """One measure of one layer-wise line: what it costs to set this block alone back to the start.

    Attributes:
        block: label of the line in the probe.
        data: name of the data.
        measure: name of the measure.
        batchnorm: treatment of BatchNorm statistics.
        lost: the measure with this block at the start and all others at the end, minus that at the end.
        share: `lost` as a fraction of what the whole network gains from start to end; None where that gain is not told
            from 0, or the line has other examples.
        verdict: whether there is a barrier on the block's line, and where.
    """

    block: str
    data: str
    measure: str
    batchnorm: str
    lost: Estimate
    share: Estimate | None
    verdict: Verdict


@dataclass(frozen=True, repr=False)
class Summary:
    """A probe in brief. ``str(summary)`` is `text` and the notes.

    Attributes:
        lines: of whole networks: one for two networks, one for each pair of several.
        blocks: of layer-wise lines, those of the told loss first, the block whose loss matters most on top.
        beside: other paths between the same two networks, as `Probe.beside`.
        notes: what a reader should know, as `Probe.notes`.
    """

    lines: tuple[LineSummary, ...]
    blocks: tuple[BlockSummary, ...]
    beside: tuple[LineSummary, ...]
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The verdict in one sentence; for several networks, one line of text for each line between them."""
        return str(presentation.report("verdict").headline(self))

    @property
    def text(self) -> str:
        """The verdict in sentences, a line of text for each paragraph; the first is `headline`."""
        return str(presentation.report("verdict").text(self))

    def __str__(self) -> str:
        return "\n".join([self.text, *(f"Note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """`headline`, `text`, and all else as dictionaries and lists, for JSON."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        return {"headline": self.headline, "text": self.text, **content}

    @property
    def shown_blocks(self) -> tuple[BlockSummary, ...]:
        """The blocks by the told loss, what matters most first."""
        of = self.lines[0].loss
        shown = (of.data, of.measure, of.batchnorm)
        return tuple(each for each in self.blocks if (each.data, each.measure, each.batchnorm) == shown)

    def error_of(self, block: str) -> BlockSummary | None:
        """The same block by the told error; None where no error was measured."""
        of = self.lines[0].error
        shown = of and (block, of.data, of.measure, of.batchnorm)
        return next(
            (each for each in self.blocks if (each.block, each.data, each.measure, each.batchnorm) == shown), None
        )


def summarise(
    curves: Mapping[str, Curve],
    statistics: Statistics,
    several: bool,
    smallest_effect: float | Mapping[str, float] | None = None,
    beside: Mapping[str, Curve] | None = None,
    notes: tuple[str, ...] = (),
) -> Summary:
    """Sum up the lines of a probe; see `Probe.summary`.

    Args:
        curves: the lines by label.
        statistics: of all series of more than one example.
        several: every line is one of whole networks; else the first is, and the others are layer-wise.
        smallest_effect: as for `Probe.summary`.
        beside: as `Probe.beside`.
        notes: as `Probe.notes`.

    Raises:
        RecipeError: a smallest effect is not a positive number.
        MeasureError: it is of a measure that was not measured.
    """
    measures = dict.fromkeys(series.measure for series in next(iter(curves.values())))
    effects = smallest_effects(smallest_effect, list(measures))
    labels = list(curves)
    whole = labels if several else labels[:1]
    lines = tuple(_line(label, curves[label], statistics, effects) for label in whole)
    told = lines[0].loss
    blocks = [
        _block(label, series, curves[label], curves[whole[0]], statistics, effects)
        for label in labels[len(whole) :]
        for series in curves[label]
    ]
    order = {block.block: -_sortable(block.lost.value) for block in blocks if _is(block, told)}
    blocks.sort(key=lambda block: (not _is(block, told), order.get(block.block, 0.0)))
    others = tuple(_line(label, curve, statistics, effects) for label, curve in (beside or {}).items())
    return Summary(lines, tuple(blocks), others, notes)


def loss_of(measures: Sequence[str]) -> str:
    """The measure whose curve is told in words: the cross entropy, or else the first."""
    return "cross_entropy" if "cross_entropy" in measures else measures[0]


def smallest_effects(given: float | Mapping[str, float] | None, measures: Sequence[str]) -> dict[str, float]:
    """The smallest effect of interest by measure; those that are not given are of `SMALLEST_EFFECTS`.

    Raises:
        RecipeError: one is not a positive number.
        MeasureError: it is of a measure that is not among `measures`.
    """
    chosen = dict(given) if isinstance(given, Mapping) else {} if given is None else {loss_of(measures): given}
    for measure, effect in chosen.items():
        if measure not in measures:
            raise MeasureError(f"A smallest effect is given for {measure!r}. {suggest(measure, measures)}")
        if not (isinstance(effect, int | float) and 0 < effect < math.inf):
            raise RecipeError(
                f"The smallest effect of {measure} is {effect!r}, and a verdict needs one above 0. Give a positive "
                "number in the unit of the measure, such as 0.05 for 0.05 nats."
            )
    return SMALLEST_EFFECTS | chosen


def _line(label: str, curve: Curve, statistics: Statistics, effects: Mapping[str, float]) -> LineSummary:
    every = sorted(curve, key=lambda series: series.data != "test")
    told = Series(
        every[0].alphas, every[0].values, every[0].data, loss_of([s.measure for s in every]), every[0].batchnorm
    )
    every.sort(key=lambda series: _rank(series, told))
    judged = []
    for series in every:
        is_told = series is every[0] or (_alike(series, told) and series.measure in ERRORS)
        gained = gain(series.alphas, series.values, level_of_others(curve.provenance)) if is_told else None
        verdict = _judge(label, series, curve, statistics, effects)
        effect = None if series.measure in effects else RELATIVE_EFFECT
        key = (series.data, series.measure, series.batchnorm)
        judged.append(SeriesVerdict(*key, verdict, gained and replace(gained, level=LEVEL), effect))
    errors = [series for series in every[1:] if _alike(series, told) and series.measure in ERRORS]
    error_at = {
        name: float(np.interp(place.alpha, errors[0].alphas, errors[0].mean))
        for name, place in judged[0].verdict.places.items()
        if errors
    }
    return LineSummary(label, tuple(judged), error_at, tuple(curve.provenance.get("batchnorm", ())))


def _judge(label: str, series: Series, curve: Curve, statistics: Statistics, effects: Mapping[str, float]) -> Verdict:
    ends = [abs(series.mean[list(series.alphas).index(alpha)]) for alpha in (0.0, 1.0)]
    known = statistics.get((label, series.data, series.measure, series.batchnorm))
    level = level_of_others(curve.provenance)  # which statistics are of already
    verdict = judge(
        series.alphas,
        series.values,
        effects.get(series.measure, RELATIVE_EFFECT * min(ends)),
        100.0 if series.measure in ERRORS else None,
        known and {name: known[name] for name in HEIGHTS},
        level,
    )
    heights = {name: replace(height, level=LEVEL) for name, height in verdict.heights.items()}
    return replace(verdict, heights=heights)


def _rank(series: Series, told: Series) -> tuple[bool, bool, bool, bool]:
    """The told loss first, then its error, then other measures, treatments and data."""
    return (
        series.data != told.data,
        series.batchnorm != told.batchnorm,
        series.measure != told.measure,
        series.measure not in ERRORS,
    )


def _alike(series: Series, told: Series) -> bool:
    return (series.data, series.batchnorm) == (told.data, told.batchnorm)


def _block(
    label: str, series: Series, curve: Curve, whole: Curve, statistics: Statistics, effects: Mapping[str, float]
) -> BlockSummary:
    key = (series.data, series.measure, series.batchnorm)
    first, last = (series.values[list(series.alphas).index(alpha)] for alpha in (0.0, 1.0))
    of_whole = whole[key]
    start = of_whole.values[list(of_whole.alphas).index(0.0)]
    level = level_of_others(curve.provenance)
    share = set_back.share(first, start, last, level) if len(start) == len(first) else None
    return BlockSummary(
        label,
        *key,
        lost=replace(set_back.lost(first, last, level), level=LEVEL),
        share=share and replace(share, level=LEVEL),
        verdict=_judge(label, series, curve, statistics, effects),
    )


def _is(block: BlockSummary, told: SeriesVerdict) -> bool:
    return (block.data, block.measure, block.batchnorm) == (told.data, told.measure, told.batchnorm)


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else math.inf
