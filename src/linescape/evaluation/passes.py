"""A pass over data: from batches to a value for each example and measure.

Where targets are by position, the values are scaled so that all positions weigh the same, see `per_example`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from linescape.errors import DataError, MeasureError
from linescape.evaluation import remarks
from linescape.evaluation.batches import first_with_examples
from linescape.evaluation.by_length import Called
from linescape.evaluation.measures import Measure, counting
from linescape.evaluation.per_example import Values, of_batch, positions_of_an_example, scaled
from linescape.evaluation.runner import Runner
from linescape.evaluation.view import DataView


def _in_order(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values ``(n,)`` at their places ``(n,)``."""
    ordered = np.empty_like(values)
    ordered[places] = values
    return ordered


class Passes:
    """Passes over the same data by the same network.

    Args:
        measures: name -> function.
        view: of the data.
        runner: calls the network.

    Attributes:
        counting: measure -> targets -> how much each example counts, of those that are by position.
        said: name of the data -> what a result should say of its targets, which all passes look at until it is found.
    """

    def __init__(self, measures: Mapping[str, Measure], view: DataView, runner: Runner) -> None:
        self._measures, self._view, self._runner = measures, view, runner
        self.counting = {name: counts for name, of in measures.items() if (counts := counting(of))}
        self._key = object()  # under which the engine keeps results for these batches
        self._sizes: dict[tuple[str, str], int] = {}  # how many values a whole pass gave
        self.said: dict[str, str] = {}

    def of_batch(self, batch: Any) -> dict[str, np.ndarray]:
        """The values of one batch by itself ``(batch,)``, by measure."""
        with torch.no_grad():
            return of_batch(self._measures, *self._runner.call(batch))

    def by_engine(self, batch: Any, key: object) -> Called:
        """What one batch by itself gives by the engine, which may keep results under a key that is not None."""
        with torch.no_grad():
            outputs, targets = self._runner.call_engine(batch, None if key is None else (self._key, key))
            kept = [[leaf for leaf in pytree.tree_leaves(of) if isinstance(leaf, Tensor)] for of in (outputs, targets)]
            return Called(of_batch(self._measures, outputs, targets), *kept)

    def values(
        self,
        given: Mapping[str, Iterable[Any]],
        engine: bool = False,
        first: int = 0,
        said: list[str] | None = None,
        read: Callable[[Iterable[Any]], Iterable[Any]] = iter,
        places: Mapping[str, np.ndarray] | None = None,
    ) -> Values:
        """Per-example values of each data set.

        Args:
            given: name -> batches.
            engine: whether the engine is called, and not the network itself.
            first: examples at most of the first batch of each, if only these are measured.
            said: what a result should say of the outputs is added to it.
            read: gives the batches of a data set, perhaps on the device.
            places: name -> the place of each example, in the order in which they come, where that is not theirs.

        Raises:
            DataError, MeasureError: data or outputs do not fit.
        """
        measured: Values = {}
        with torch.no_grad(), self._runner.random_state_kept(), self._runner.using_threads():
            for name, batches in given.items():
                values: dict[str, list[np.ndarray]] = {measure: [] for measure in self._measures}
                counts: dict[str, list[np.ndarray]] = {measure: [] for measure in self.counting}
                for number, batch in enumerate([first_with_examples(batches)] if first else read(batches)):
                    with self._runner.refusing(f"batch {number + 1} of {name!r}", batch):
                        if engine:
                            outputs, targets = self._runner.call_engine(batch, key=(self._key, id(batches), number))
                        else:
                            outputs, targets = self._runner.call(self._runner.head(batch, first)[0] if first else batch)
                    for measure, of_measure in of_batch(self._measures, outputs, targets).items():
                        values[measure].append(of_measure)
                    if name not in self.said and (found := remarks.of_targets(self._measures, name, targets)):
                        self.said[name] = found
                    if said is not None:
                        said.extend(remarks.of_outputs(self._measures.values(), name, outputs))
                    for measure, count in self.counting.items():
                        if (positions := count(targets)) is not None:
                            counts[measure].append(positions.cpu().numpy())
                means = self._view.mean_positions
                for measure, positions_of in counts.items():
                    if positions_of and not first and self._view.is_whole:
                        means[name, measure] = positions_of_an_example(name, positions_of)
                for measure, parts in values.items():
                    joined = np.concatenate(parts) if parts else np.empty(0)
                    if not len(joined):
                        raise DataError(f"The data {name!r} have no examples, so there is nothing to average over.")
                    if not first and self._sizes.setdefault((name, measure), len(joined)) != len(joined):
                        raise MeasureError(
                            f"{measure!r} gave {len(joined)} values for the data {name!r}, after "
                            f"{self._sizes[name, measure]} before, which cannot be compared. It must give one for each "
                            "example, whatever the outputs are."
                        )
                    if counts.get(measure):
                        self._view.count_positions(name, self._runner.targets, self.counting)
                        joined = scaled(name, joined, np.concatenate(counts[measure]), means[name, measure])
                    measured[name, measure] = _in_order(joined, places[name]) if places and name in places else joined
        return measured
