"""Networks in, everything about the lines between them out: curves, their statistics with intervals, distances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from linescape import presentation
from linescape.errors import EndsError, GroupError, MeasureError, StateError, abbreviate, check_type
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import Measure
from linescape.geometry.given import Network, as_ends, as_state
from linescape.geometry.groups import Groups, check_names
from linescape.geometry.paths import Line, Only, Path
from linescape.geometry.state import Distance, State, distances
from linescape.geometry.tensors import in_float64
from linescape.interpolation import resume
from linescape.interpolation.curve import Curve, as_pandas
from linescape.interpolation.options import DEFAULT, ScanOptions
from linescape.interpolation.scanning import scan
from linescape.interpolation.stopping import LEVEL, level_of_others
from linescape.interpolation.summary import Summary, summarise
from linescape.shape import LOSS_STATISTICS, Estimate, estimates

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from linescape.interpolation.curve import Plot

WHOLE = "whole"
"""The label of the line of the whole network."""

_EVALUATOR = "Give an Evaluator(network, {'test': (inputs, targets)}), or use linescape.compare(a, b, data)."


@dataclass(frozen=True, eq=False)
class Probe:
    """The line between two networks, or the lines between several.

    Attributes:
        curves: of two networks, the line of the whole network under ``whole``, then each group's layer-wise line (the
            other groups at the end's state); of several, a line for each of `pairs`.
        distances: of two networks, from start to end, of all parameters (``all``) and of each group; of several, of all
            parameters of each pair.
        notes: what a reader should know, in words.
        beside: other paths between the same two networks, or to one that computes what the end does, by name: an arc
            (`Slerp`), or the line to the aligned end (`align`).
        pairs: of several networks, the label of each line (``step-100 to step-500``) -> the names of its two ends.
    """

    curves: Mapping[str, Curve]
    distances: Mapping[str, Distance]
    notes: tuple[str, ...] = ()
    pairs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    beside: Mapping[str, Curve] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Probe({abbreviate(list(self.curves))}: {next(iter(self.curves.values()))!r})"

    def _repr_html_(self) -> str:
        html: str = presentation.report("notebook").of_probe(self)
        return html

    def frame(self) -> pl.DataFrame:
        """A row for each position and series of each line, and of those beside: as `Curve.frame`, after ``line``."""
        import polars as pl  # which takes half a second

        return pl.concat(
            curve.frame().select(pl.lit(label).alias("line"), pl.all())
            for label, curve in (*self.curves.items(), *self.beside.items())
        )

    def to_pandas(self) -> pd.DataFrame:
        """`frame` as a DataFrame of pandas.

        Raises:
            RecipeError: pandas is not installed.
        """
        return as_pandas(self.frame())

    def plot(self, style: Mapping[str, Any] | None = None) -> Plot:
        """Draw the line (with the paths beside it), or the layer-wise lines, or those from all networks to the last.

        Each measure has a panel.

        Of several data sets or BatchNorm treatments, a figure of several lines shows the first. `Curve.plot` draws one
        line with all of its data, also into axes of your own.

        Args:
            style: as for `Curve.plot`.

        Raises:
            RecipeError: a setting of `style` is unknown.
        """
        plot: Plot = presentation.report("plots").of_probe(self, style)
        return plot

    @property
    def treatments(self) -> tuple[str, ...]:
        """Treatments of BatchNorm statistics; none for a network without them."""
        curve = next(iter(self.curves.values()))
        return tuple(curve.provenance.get("batchnorm", dict.fromkeys(series.batchnorm for series in curve)))

    @cached_property
    def statistics(self) -> Mapping[tuple[str, str, str, str], Mapping[str, Estimate]]:
        """(line, data, measure, batchnorm) -> each of `shape.LOSS_STATISTICS` with its 95 % interval over examples.

        Where examples were drawn until a statistic was known closely enough, its interval and those of the others
        remain valid in spite of the stopping. Series of a single example have no interval and are left out.
        """
        statistics = {}
        for label, curve in {**self.curves, **self.beside}.items():
            stated = curve.provenance.get("until", {}).get("intervals", {})
            level = level_of_others(curve.provenance)
            for series in curve:
                if series.values.shape[1] > 1:
                    key = (series.data, series.measure, series.batchnorm)
                    intervals = stated.get("/".join(key), {}).items()
                    sequential = {name: Estimate(value, low, high, LEVEL) for name, (value, low, high) in intervals}
                    found = estimates(series.alphas, series.values, LOSS_STATISTICS, level=level)
                    others = {name: replace(estimate, level=LEVEL) for name, estimate in found.items()}
                    statistics[label, *key] = others | sequential
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
        return summarise(self.curves, self.statistics, bool(self.pairs), smallest_effect, self.beside, self.notes)


def probe(
    start: Network,
    end: Network,
    evaluator: Evaluator,
    groups: Groups | None = None,
    options: ScanOptions = DEFAULT,
    beside: Mapping[str, Path] | None = None,
) -> Probe:
    """Scan the line of the whole network and each group's layer-wise line.

    Args:
        start: the network at alpha = 0: a module, a state dict or a `State`.
        end: the network at alpha = 1.
        evaluator: the network and its data.
        groups: name -> tensors that move together, as from `linescape.geometry.groups`.
        options: of every line.
        beside: other paths by name, measured beside the line.

    Raises:
        RecipeError: an argument is of another type.
        AlphaError: the options have no position between the two ends.
        EndsError: an end is a module that computes something else than the evaluator's network with the same weights.
        StateError, GroupError, DataError, MeasureError, StoreError: as `Line`, `Only` and `scan`.
    """
    check_type(evaluator, Evaluator, "The evaluator", _EVALUATOR)
    check_type(groups or {}, Mapping, "The value of groups", "Give a dictionary: groups.by_block(model), for example.")
    check_names(groups or {})
    options.check_between()
    if taken := {WHOLE, *(groups or {})}.intersection(beside or {}):
        raise GroupError(f"A path beside the line is named {min(taken)!r}, as one of the lines. Give it another name.")
    first, last = as_ends(start, end, evaluator.model)
    for network, state in ((start, first), (end, last)):
        check_computes_alike(network, state, evaluator)
    line = Line(first, last)
    lines = {WHOLE: line} | {label: Only(line, names) for label, names in (groups or {}).items()}
    curves = {label: scan(path, evaluator, options) for label, path in lines.items()}
    others = {label: scan(path, evaluator, options) for label, path in (beside or {}).items()}
    of_kept = [note for curve in curves.values() for note in curve.provenance["notes"] if note in resume.NOTES]
    of_paths = [note for curve in (curves[WHOLE], *others.values()) for note in curve.provenance["notes"]]
    equal = [] if line.moving else ["The two networks are equal, so nothing changes along the line."]
    notes = dict.fromkeys([*equal, *of_paths, *of_kept])
    return Probe(curves, distances(first, last, groups), tuple(notes), beside=others)


def between(
    states: Mapping[str, Network],
    evaluator: Evaluator,
    pairs: Literal["last", "all"] = "last",
    options: ScanOptions = DEFAULT,
) -> Probe:
    """Scan the lines between several networks, such as the checkpoints of one training.

    `states` may be a mapping that reads a state when it is asked for it: no more than the two ends of a line are in
    memory at a time.

    Args:
        states: networks by name, in their order: modules, state dicts or `State`.
        evaluator: the network and its data.
        pairs: ``last``, from each to the last; or ``all``, from each to each that comes later.
        options: of every line.

    Raises:
        StateError: there are fewer than two states, or they do not fit together.
        AlphaError: the options have no position between the two ends.
        EndsError, DataError, MeasureError, StoreError: as `scan`.
    """
    check_type(evaluator, Evaluator, "The evaluator", _EVALUATOR)
    check_type(states, Mapping, "The value of states", "Give a dictionary, name -> network.")
    options.check_between()
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
                in_memory[name] = _checked(states[name], f"The network {name!r}", evaluator)
        start, end = (in_memory[name] for name in pair)
        curves[label] = scan(Line(start, end), evaluator, options)
        moved[label] = distances(start, end)["all"]
        del start, end
    notes = dict.fromkeys(note for curve in curves.values() for note in curve.provenance["notes"])
    return Probe(curves, moved, tuple(notes), dict(zip(curves, chosen, strict=True)))


def _checked(network: Network, what: str, evaluator: Evaluator) -> State:
    state = as_state(network, what, evaluator.model)
    check_computes_alike(network, state, evaluator)
    return state


def check_computes_alike(network: Network, state: State, evaluator: Evaluator) -> None:
    """Raise `EndsError` if a module differs from the evaluator's network in more than its weights.

    Args:
        network: what an end was given as; only a module can differ.
        state: its weights.
        evaluator: of the network that is measured.
    """
    if not isinstance(network, nn.Module):
        return
    try:
        _compare(network, state, evaluator, {"outputs": _summed})
    except MeasureError:  # outputs that are no tensors
        _compare(network, state, evaluator, evaluator.measures)


def _compare(network: nn.Module, state: State, evaluator: Evaluator, measures: Mapping[str, Measure]) -> None:
    own = Evaluator(network, evaluator.data, measures, evaluator.forward)
    point = Line(state, state)
    found = evaluator.measuring(measures).spot_check(point, 1.0)
    for (data, measure), values in own.spot_check(point, 1.0).items():
        close = 1e-3 * np.abs(values[np.isfinite(values)]).max(initial=0.0)
        # A few examples may flip: kernels on a GPU need not repeat to the bit.
        if np.mean(np.isclose(values, found[data, measure], rtol=0, atol=close, equal_nan=True)) < 0.9:
            raise EndsError(
                f"A {type(network).__name__} and the network that is measured, with the same weights, give different "
                f"{measure} on the first examples of {data!r}: they compute different things (other layers, settings "
                "or code), so no line between their weights connects them. Build both from the same code with the same "
                "settings."
            )


def _summed(outputs: Any, _targets: Any) -> Tensor:
    """A number for each example that differs where outputs do: their sum, each with a weight of its own."""
    if not isinstance(outputs, Tensor) or not outputs.ndim:
        raise MeasureError("The outputs are no tensor. Compare what is measured of them.")
    values = torch.view_as_real(outputs) if outputs.is_complex() else outputs
    values = in_float64(values).reshape(len(outputs), -1)
    return values @ torch.linspace(1, 2, values.shape[1], dtype=torch.float64, device=values.device)
