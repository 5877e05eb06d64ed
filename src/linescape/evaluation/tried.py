"""Measures tried on the outputs of a few examples, before anything is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from linescape.errors import MeasureError, abbreviate
from linescape.evaluation.batches import is_whole, lengths, map_tensors
from linescape.evaluation.copies.observing import seed
from linescape.evaluation.measures import Measure
from linescape.evaluation.per_example import of_batch

_SAME = {"rtol": 1e-4, "atol": 1e-6}
"""How close values of the same outputs are: a sum may be done in another order."""


def check_repeatable(
    measures: Mapping[str, Measure], outputs: Any, targets: Any, apart: Callable[[], AbstractContextManager[None]]
) -> dict[str, np.ndarray]:
    """Measure the same outputs twice; returns the values by measure.

    Args:
        measures: by name.
        outputs: of a few examples.
        targets: of these.
        apart: a context in which random numbers are drawn apart from the caller's.

    Raises:
        MeasureError: they cannot be measured, or a measure is random or keeps something from call to call.
    """
    found = []
    for number in range(2):
        with apart():
            seed(number)
            found.append(_values(measures, outputs, targets))
    for name, values in found[0].items():
        again = found[1][name]
        if values.shape != again.shape or not np.allclose(values, again, **_SAME, equal_nan=True):
            raise MeasureError(
                f"The measure {name!r} gave other values when it was called again with the same outputs and "
                "targets, so positions could not be compared: it draws random numbers, or keeps something from "
                "one call to the next. Make it a function of these two alone."
            )
    return found[0]


def by_batch(
    measures: Mapping[str, Measure],
    outputs: Any,
    targets: Any,
    whole: Mapping[str, np.ndarray],
    apart: Callable[[], AbstractContextManager[None]],
) -> tuple[list[str], bool]:
    """The measures that give an example another value without the others of its batch.

    Such are those that compare examples with each other, the mean of a batch given to each of its examples, and shapes
    that are broadcast to all pairs by mistake.

    Args:
        measures: by name.
        outputs: of a few examples.
        targets: of these.
        whole: their values by measure.
        apart: a context in which random numbers are drawn apart from the caller's.

    Returns:
        Their names, and whether all others are known to give the same: the rows of some outputs cannot be told apart.
    """
    sizes = lengths((outputs, targets))
    count = max(sizes, default=0)
    if len(sizes) != 1 or count < 2 or is_whole((outputs, targets), count):
        return [], False
    acting, known = [], True
    for name, measure in measures.items():
        alike = [_alike({name: measure}, outputs, targets, some, whole[name][some], apart) for some in _parts(count)]
        if False in alike:
            acting.append(name)
        elif True not in alike:
            known = False
    return acting, known


def _parts(count: int) -> tuple[slice, slice]:
    """Examples without those beside them, and the first ones: targets may be places in the batch."""
    return slice(1, None, 2), slice(count // 2)


def _alike(
    measure: Mapping[str, Measure],
    outputs: Any,
    targets: Any,
    some: slice,
    expected: np.ndarray,
    apart: Callable[[], AbstractContextManager[None]],
) -> bool | None:
    """Whether some examples have the same values without the others; None where that is not known."""
    part = map_tensors((outputs, targets), lambda tensor: tensor[some])
    try:
        with apart():
            (alone,) = _values(measure, *part).values()
    except Exception:  # whatever a measure's own code raises
        return None
    if len(alone) != len(expected):
        return None
    return np.allclose(alone, expected, **_SAME, equal_nan=True)


def remark(acting: Mapping[str, object]) -> list[str]:
    """What a result should say of measures that `by_batch` found."""
    if not acting:
        return []
    return [
        f"By {abbreviate(list(acting))} an example has another value without the others of its batch. So values depend "
        "on how the data are put into batches, and intervals, which take examples as independent, need not hold. If "
        "this is not meant, see whether shapes are broadcast, such as outputs (batch, 1) and targets (batch,)."
    ]


def _values(measures: Mapping[str, Measure], outputs: Any, targets: Any) -> dict[str, np.ndarray]:
    return of_batch(measures, *map_tensors((outputs, targets), torch.clone))
