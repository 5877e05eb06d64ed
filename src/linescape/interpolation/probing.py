"""Networks in, everything about the lines between them out: curves, shape numbers with intervals, distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Literal

from linescape.errors import StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.groups import Groups
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import Distance, State, distances
from linescape.interpolation.curve import Curve
from linescape.interpolation.scanning import scan
from linescape.interpolation.stopping import LEVEL, Until
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
        """How the statistics of BatchNorm were treated; none for a network without them."""
        curve = next(iter(self.curves.values()))
        return tuple(curve.provenance.get("batchnorm", dict.fromkeys(series.batchnorm for series in curve)))

    @cached_property
    def heights(self) -> Mapping[tuple[str, str, str, str], Mapping[str, Estimate]]:
        """(line, data, measure, batchnorm) -> each height by name, with its 95 % interval over examples.

        Where examples were drawn until a height was known closely enough, its interval is the one that the stopping
        does not spoil. Series of a single example have no interval and are left out.
        """
        found = {}
        for label, curve in self.curves.items():
            stated = curve.provenance.get("until", {}).get("intervals", {})
            for series in curve:
                if series.values.shape[1] > 1:
                    key = (series.data, series.measure, series.batchnorm)
                    kept = stated.get("/".join(key), {}).items()
                    sequential = {name: Estimate(value, low, high, LEVEL) for name, (value, low, high) in kept}
                    found[label, *key] = estimates(series.alphas, series.values, LOSS_STATISTICS) | sequential
        return found


def probe(
    start: State,
    end: State,
    evaluator: Evaluator,
    groups: Groups | None = None,
    alphas: int | Sequence[float] | None = None,
    batchnorm: str | Sequence[str] = "interpolate",
    progress: bool | None = None,
    adaptive: bool = False,
    until: float | Until | None = None,
    keep: Path | None = None,
) -> Probe:
    """Walk the whole line and each group's layer-wise line; arguments as for `scan` and `groups`.

    Raises:
        StateError, AlphaError, GroupError, EndsError, DataError, MeasureError, RecipeError: as the steps that it takes.
    """
    line = Line(start, end)
    paths = {WHOLE: line} | {label: Only(line, names) for label, names in (groups or {}).items()}
    curves = {
        label: scan(path, evaluator, alphas, batchnorm, progress, adaptive, until, keep)
        for label, path in paths.items()
    }
    return Probe(curves, distances(start, end, groups), tuple(curves[WHOLE].provenance["notes"]))


def between(
    states: Mapping[str, State],
    evaluator: Evaluator,
    pairs: Literal["last", "all"] = "last",
    alphas: int | Sequence[float] | None = None,
    batchnorm: str | Sequence[str] = "interpolate",
    progress: bool | None = None,
    adaptive: bool = False,
    until: float | Until | None = None,
    keep: Path | None = None,
) -> Probe:
    """Walk the lines between several networks, such as the checkpoints of one training; other arguments as for `scan`.

    `states` may be a mapping that reads a state when it is asked for it: no more than the two ends of a line are held
    at a time.

    Args:
        states: networks by name, in their order.
        evaluator: the network and its data.
        pairs: ``last``, from each to the last; or ``all``, from each to each that comes later.

    Raises:
        StateError: there are fewer than two states, or they do not fit together.
        AlphaError, EndsError, DataError, MeasureError, RecipeError: as the steps that it takes.
    """
    names = list(states)
    if len(names) < 2:
        raise StateError(f"There are {len(names)} states ({', '.join(names)}), and a line needs two. Add another one.")
    chosen = list(combinations(names, 2)) if pairs == "all" else [(name, names[-1]) for name in names[:-1]]
    curves: dict[str, Curve] = {}
    moved: dict[str, Distance] = {}
    held: dict[str, State] = {}
    for pair in chosen:
        evaluator.release()
        held = {name: state for name, state in held.items() if name in pair}  # before another one is read
        for name in pair:
            if name not in held:
                held[name] = states[name]
        start, end = (held[name] for name in pair)
        label = f"{pair[0]} to {pair[1]}"
        curves[label] = scan(Line(start, end), evaluator, alphas, batchnorm, progress, adaptive, until, keep)
        moved[label] = distances(start, end)["all"]
        del start, end
    notes = dict.fromkeys(note for curve in curves.values() for note in curve.provenance["notes"])
    return Probe(curves, moved, tuple(notes), dict(zip(curves, chosen, strict=True)))
