"""Per-example values of a batch, and their scale where examples have a target for each of many positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from linescape.errors import DataError, LinescapeError, MeasureError, first_line
from linescape.evaluation.measures import Measure

Values = dict[tuple[str, str], np.ndarray]
"""(data, measure) -> values ``(examples,)``."""


def of_batch(measures: Mapping[str, Measure], outputs: Any, targets: Any) -> dict[str, np.ndarray]:
    """The values of each measure ``(batch,)``, by its name.

    Raises:
        MeasureError: a measure fails or gives no value an example, or two give different numbers of them.
    """
    by_measure: dict[str, np.ndarray] = {}
    for name, measure in measures.items():
        before = _versions((outputs, targets))
        try:
            values = measure(outputs, targets)
        except LinescapeError:
            raise
        except Exception as error:  # whatever the user's own code raises
            raise MeasureError(
                f"The measure {name!r} failed with {type(error).__name__}: {first_line(error)}. It was given outputs "
                f"of {_shape(outputs)} and targets of {_shape(targets)}. Correct it, or pick these out in `forward`."
            ) from error
        if not isinstance(values, Tensor) or values.ndim != 1:
            raise MeasureError(
                f"The measure {name!r} returned {_shape(values)}; it must return one value an example, "
                f"shape (batch,), so that intervals can be computed. {_advice(values)}"
            )
        if isinstance(targets, Tensor) and targets.ndim and len(values) != len(targets):
            raise MeasureError(
                f"The measure {name!r} returned {_shape(values)} for targets of {_shape(targets)}; it must return one "
                "value an example. Give examples that do not count the value 0 rather than leaving them out."
            )
        if len(measures) > 1 and _versions((outputs, targets)) != before:
            raise MeasureError(
                f"The measure {name!r} writes to its outputs or targets, which the other measures read too. Let it "
                "work on a copy, such as outputs.clone()."
            )
        by_measure[name] = _numpy(values)
    sizes = {name: len(values) for name, values in by_measure.items()}
    if len(set(sizes.values())) > 1:
        raise MeasureError(f"The measures disagree on the number of examples in a batch: {sizes}.")
    return by_measure


def positions_of_an_example(data: str, counts: Sequence[np.ndarray]) -> float:
    """The mean number (or weight) of an example's positions that count, from those of each example, batch by batch.

    Raises:
        DataError: no position counts.
    """
    mean = float(np.concatenate(counts).mean(dtype=float))
    if not mean > 0:
        raise DataError(
            f"No position of the data {data!r} counts: all targets are ignored (as -100 is) or have weight 0, so there "
            "is nothing to average over. Give targets to some."
        )
    return mean


def scaled(data: str, values: np.ndarray, counts: np.ndarray, mean: float) -> np.ndarray:
    """Values ``(n,)`` whose mean over all examples is the mean over all positions.

    Args:
        data: name of the data.
        values: the mean of each example over its positions.
        counts: how many positions of each example count ``(n,)``.
        mean: mean number of positions in all examples, from `positions_of_an_example`.

    Raises:
        MeasureError: there are not as many values as counts.
    """
    if len(values) != len(counts):
        raise MeasureError(
            f"The targets of {data!r} have {len(counts)} examples, but {len(values)} values were measured, so values "
            "and positions do not belong together. Let the first axis of the targets count the examples."
        )
    with np.errstate(invalid="ignore"):  # an example of no position may be infinite
        return np.asarray(values * (counts / mean)).astype(values.dtype)


def _numpy(values: Tensor) -> np.ndarray:
    """As float32, or float64 where that has fewer digits than the values."""
    exact = torch.promote_types(values.dtype, torch.float32) if values.dtype.is_floating_point else torch.float64
    return np.asarray(values.detach().cpu().to(exact if values.dtype.itemsize >= 4 else torch.float32).numpy())


def _versions(values: Any) -> list[int]:
    """How often each tensor has been written to."""
    leaves = (leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor))
    return [leaf._version for leaf in leaves if not leaf.is_inference()]


def _advice(values: Any) -> str:
    if isinstance(values, Tensor) and values.ndim > 1:
        return "Take the mean over all axes but the first, as in values.flatten(1).mean(1)."
    return "Leave out its mean or sum: torch's losses do with reduction='none'."


def _shape(values: Any) -> str:
    return f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
