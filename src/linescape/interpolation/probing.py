"""Networks in, everything about the lines between them out: curves, their statistics with intervals, distances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Literal

from linescape.errors import StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.groups import Groups, check_names
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import Distance, State, distances
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import DEFAULT, ScanOptions
from linescape.interpolation.scanning import scan
from linescape.interpolation.stopping import LEVEL
from linescape.interpolation.summary import Summary, summarise
from linescape.shape import LOSS_STATISTICS, Estimate, estimates

WHOLE = "whole"
"""The label of the line of the whole network."""


@dataclass(frozen=True, eq=False)
class Probe:
    """The line between two networks, or the lines between several.

    Attributes:
        curves: of two networks, the line of the whole network under ``whole``, then each group's layer-wise line (the
            other groups at the end's state); of several, a line for each of `pairs`.
        distances: of two networks, from start to end, of all parameters (``all``) and of each group; of several, of all
            parameters of each pair.
        notes: what a reader should know, in words.
        pairs: of several networks, the label of each line (``step-100 to step-500``) -> the names of its two ends.
    """

    curves: Mapping[str, Curve]
    distances: Mapping[str, Distance]
    notes: tuple[str, ...] = ()
    pairs: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def treatments(self) -> tuple[str, ...]:
        """Treatments of BatchNorm statistics; none for a network without them."""
        curve = next(iter(self.curves.values()))
        return tuple(curve.provenance.get("batchnorm", dict.fromkeys(series.batchnorm for series in curve)))

    @cached_property
    def statistics(self) -> Mapping[tuple[str, str, str, str], Mapping[str, Estimate]]:
        """(line, data, measure, batchnorm) -> each of `shape.LOSS_STATISTICS` with its 95 % interval over examples.

        Where examples were drawn until a statistic was known closely enough, its interval is the one that remains valid
        in spite of the stopping. Series of a single example have no interval and are left out.
        """
        statistics = {}
        for label, curve in self.curves.items():
            stated = curve.provenance.get("until", {}).get("intervals", {})
            for series in curve:
                if series.values.shape[1] > 1:
                    key = (series.data, series.measure, series.batchnorm)
                    intervals = stated.get("/".join(key), {}).items()
                    sequential = {name: Estimate(value, low, high, LEVEL) for name, (value, low, high) in intervals}
                    statistics[label, *key] = estimates(series.alphas, series.values, LOSS_STATISTICS) | sequential
        return statistics

    def summary(self, smallest_effect: float | Mapping[str, float] | None = None) -> Summary:
        """Is there a barrier, how high and where, what would averaging give, and which blocks matter: in brief.

        ``print(probe.summary())`` shows it in sentences; its attributes hold the same as data.

        Args:
            smallest_effect: rises up to this height matter to nobody: of the loss, in its unit, or for each measure by
                name. By default 0.05 nats of a cross entropy, 1 percentage point of an error, and of other measures 5 %
                of the value at the lower end.

        Raises:
            RecipeError: a smallest effect is not a positive number.
            MeasureError: it is of a measure that was not measured.
        """
        return summarise(self.curves, self.statistics, bool(self.pairs), smallest_effect)


def probe(
    start: State, end: State, evaluator: Evaluator, groups: Groups | None = None, options: ScanOptions = DEFAULT
) -> Probe:
    """Scan the line of the whole network and each group's layer-wise line.

    Args:
        start: the network at alpha = 0.
        end: the network at alpha = 1.
        evaluator: the network and its data.
        groups: name -> tensors that move together, as from `linescape.geometry.groups`.
        options: of every line.

    Raises:
        StateError, GroupError, EndsError, DataError, MeasureError, StoreError: as `Line`, `Only` and `scan`.
    """
    check_names(groups or {})
    line = Line(start, end)
    lines = {WHOLE: line} | {label: Only(line, names) for label, names in (groups or {}).items()}
    curves = {label: scan(path, evaluator, options) for label, path in lines.items()}
    return Probe(curves, distances(start, end, groups), tuple(curves[WHOLE].provenance["notes"]))


def between(
    states: Mapping[str, State],
    evaluator: Evaluator,
    pairs: Literal["last", "all"] = "last",
    options: ScanOptions = DEFAULT,
) -> Probe:
    """Scan the lines between several networks, such as the checkpoints of one training.

    `states` may be a mapping that reads a state when it is asked for it: no more than the two ends of a line are in
    memory at a time.

    Args:
        states: networks by name, in their order.
        evaluator: the network and its data.
        pairs: ``last``, from each to the last; or ``all``, from each to each that comes later.
        options: of every line.

    Raises:
        StateError: there are fewer than two states, or they do not fit together.
        EndsError, DataError, MeasureError, StoreError: as `scan`.
    """
    names = list(states)
    if len(names) < 2:
        raise StateError(f"There are {len(names)} states ({', '.join(names)}), and a line needs two. Add another one.")
    chosen = list(combinations(names, 2)) if pairs == "all" else [(name, names[-1]) for name in names[:-1]]
    labels = [f"{start} to {end}" for start, end in chosen]
    if alike := [label for label in labels if labels.count(label) > 1]:
        raise StateError(f"Two lines would both be called {alike[0]!r}. Give the networks names without ' to '.")
    curves: dict[str, Curve] = {}
    moved: dict[str, Distance] = {}
    in_memory: dict[str, State] = {}
    for label, pair in zip(labels, chosen, strict=True):
        evaluator.release()
        in_memory = {name: state for name, state in in_memory.items() if name in pair}  # before another one is read
        for name in pair:
            if name not in in_memory:
                in_memory[name] = states[name]
        start, end = (in_memory[name] for name in pair)
        curves[label] = scan(Line(start, end), evaluator, options)
        moved[label] = distances(start, end)["all"]
        del start, end
    notes = dict.fromkeys(note for curve in curves.values() for note in curve.provenance["notes"])
    return Probe(curves, moved, tuple(notes), dict(zip(curves, chosen, strict=True)))
