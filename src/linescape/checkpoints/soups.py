"""Model soups: means of networks that were fine-tuned from one start, and which of them to take.

Source: Wortsman et al. 2022 (arXiv 2203.05482). `averaging.mean` writes a soup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from linescape.errors import DataError, StateError, suggest
from linescape.evaluation import batchnorm
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.packed import check_no_factors, check_not_packed
from linescape.geometry.paths import Line
from linescape.geometry.spectral_norm import Vectors, normed
from linescape.geometry.state import State, check_finite, check_pair
from linescape.geometry.tensors import identical, mean


@dataclass(frozen=True)
class Trial:
    """A network that was tried for a soup.

    Attributes:
        name: of the network.
        alone: its mean of the measure.
        soup: the mean of the measure of the soup with it.
        kept: whether it stayed in the soup.
    """

    name: str
    alone: float
    soup: float
    kept: bool


@dataclass(frozen=True)
class Soup:
    """A greedy soup.

    Attributes:
        members: names of the networks in it.
        state: their mean; where the network has BatchNorm and there are calibration data, with statistics of its own.
        value: its mean of the measure.
        trials: all networks, from the best alone to the worst.
    """

    members: tuple[str, ...]
    state: State
    value: float
    trials: tuple[Trial, ...]


def mean_state(states: Sequence[State]) -> State:
    """The mean of states of one network; integers are the last's.

    Args:
        states: one or more.

    Raises:
        StateError: they do not fit together; or what differs holds NaN or infinity or has no mean.
    """
    *others, last = states
    for other in others:
        check_pair(other, last)
    moving = {name for name in last if any(not identical(other[name], last[name]) for other in others)}
    check_not_packed(last, moving)
    check_no_factors(last, moving)
    for state in states:
        check_finite(state, "A network", moving)
    vectors = Vectors((of for of in normed(moving) if of.weight in moving), *states)
    means = {name: mean([state[name] for state in states]) for name in moving}
    found = {name: vectors.find(name, 0.5, lambda other: means.get(other, last[other])) for name in vectors.of}
    return last.replace({**means, **found})


def greedy(states: Mapping[str, State], evaluator: Evaluator, data: str, measure: str = "error") -> Soup:
    """The greedy soup: from the best network to the worst, each stays in the mean if the mean is no worse with it.

    So the soup is never worse than the best network on these data, which chose it: measure it on others. Means with
    BatchNorm get statistics measured on the evaluator's calibration data, where it has such.

    Args:
        states: networks by name.
        evaluator: of them.
        data: name of the data that choose.
        measure: name of the measure that chooses; lower is better.

    Raises:
        DataError: there are no such data or no such measure.
        StateError: there are no networks; or as `mean_state`.
    """
    for name, known in ((data, evaluator.data), (measure, evaluator.measures)):
        if name not in known:
            raise DataError(f"The evaluator has no {name!r} to choose by. {suggest(name, known)}")

    if not states:
        raise StateError("There are no networks to take the mean of. Name at least one.")

    def value(state: State) -> float:
        return float(evaluator(state)[data, measure].mean(dtype=float))

    alone = {name: value(state) for name, state in states.items()}
    first, *others = sorted(states, key=lambda name: (math.isnan(alone[name]), alone[name]))
    trials = [Trial(first, alone[first], alone[first], True)]
    members, best, best_state = {first}, alone[first], states[first]
    for name in others:
        tried = mean_state([state for one, state in states.items() if one in {*members, name}])
        tried = with_own_statistics(tried, evaluator)
        reached = value(tried)
        kept = reached <= best
        trials.append(Trial(name, alone[name], reached, kept))
        if kept:
            members, best, best_state = {*members, name}, reached, tried
    return Soup(tuple(name for name in states if name in members), best_state, best, tuple(trials))


def with_own_statistics(state: State, evaluator: Evaluator) -> State:
    """The state with BatchNorm's statistics measured on the calibration data; as it is without BatchNorm or data.

    Raises:
        DataError: as `Evaluator.recalibrated`.
    """
    if not batchnorm.layers(evaluator.model) or evaluator.calibration not in evaluator.data:
        return state
    measured = evaluator.recalibrated(Line(state, state), 0.0)
    return state.replace({name: value.to(state[name].device) for name, value in measured.items()})
