"""Data sets by name as an evaluator reads them, whole or some of their examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from torch import Tensor

from linescape.errors import DataError, check_type
from linescape.evaluation.batches import as_tensors, of_dataset, repeatable, split
from linescape.evaluation.contents import checksum
from linescape.evaluation.measures import Counting
from linescape.evaluation.per_example import positions_of_an_example
from linescape.evaluation.repeated import Repeated
from linescape.evaluation.subsets import take

_JOINED = 64e6
"""Bytes of a network's outputs that one call may give: a small network is called with many batches at once."""


@dataclass(frozen=True, eq=False)
class DataView:
    """Data sets by name, or some of their examples.

    Attributes:
        batches: what each data set gives when it is read; may be read again and again.
        tensors: inputs and targets of those that were given as tensors.
        batch_size: examples in a batch of these.
        calibration: name of the data that ``recalibrate`` passes through the network.
        calibration_batches: these data; None where there are none of that name.
        all_batches: `batches` of all the examples, of which a sample is a part.
        mean_positions: (name, measure) -> mean number (or weight) of an example's positions that count, where the
            measure is by position and this is known; of all the examples, so that all samples have one scale.
        checksums: of the data that lie in memory, when a walk first began.
    """

    batches: Mapping[str, Iterable[Any]]
    tensors: Mapping[str, tuple[Tensor, Tensor]]
    batch_size: int
    calibration: str
    calibration_batches: Iterable[Any] | None
    all_batches: Mapping[str, Iterable[Any]]
    mean_positions: dict[tuple[str, str], float] = field(default_factory=dict)
    checksums: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, Any], batch_size: int, calibration: str) -> DataView:
        """The view of all examples.

        Args:
            data: as for `linescape.evaluation.evaluator.Evaluator`.
            batch_size: examples in a batch, where data are given as tensors.
            calibration: name of the data that ``recalibrate`` passes through the network.

        Raises:
            DataError: data are empty, can be read only once, are shuffled, or no data; batches are of no example.
        """
        if not isinstance(data, Mapping):
            raise DataError(
                f"The data are a {type(data).__name__}, but results are by the name of the data. Give them a name: "
                '{"test": ...}.'
            )
        check_type(batch_size, Integral, "batch_size", "Give a number of examples, 1 or more.")
        if batch_size < 1:
            raise DataError(f"batch_size={batch_size} leaves no example in a batch. Give 1 or more; 250 is usual.")
        if not data:
            raise DataError("There are no data to measure on. Pass for example data={'test': (inputs, targets)}.")
        data = {name: of_dataset(given, batch_size) for name, given in data.items()}
        tensors = {name: pair for name, given in data.items() if (pair := as_tensors(name, given)) is not None}
        batches = {
            name: split(*tensors[name], batch_size) if name in tensors else repeatable(name, given)
            for name, given in data.items()
        }
        batches = {
            name: given if isinstance(given, list | tuple) else Repeated(name, given) for name, given in batches.items()
        }
        return cls(batches, tensors, batch_size, calibration, batches.get(calibration), batches)

    @property
    def examples(self) -> int | None:
        """How many there are in all data sets together; None where some data are given as batches."""
        if set(self.tensors) != set(self.batches):
            return None
        return sum(len(targets) for _, targets in self.tensors.values())

    @property
    def is_whole(self) -> bool:
        """Whether this is the view of all examples."""
        return self.batches is self.all_batches

    def remarks(self) -> list[str]:
        """What a result should say of data that are read anew in each pass."""
        read = [batches for batches in self.all_batches.values() if isinstance(batches, Repeated)]
        return [remark for batches in read for remark in batches.remarks()]

    def check_unchanged(self) -> None:
        """Compare tensors and lists of batches with what they were before; others are compared whenever they are read.

        Raises:
            DataError: some were written to, so that what is known of them is no longer right.
        """
        for name, batches in self.batches.items() if self.is_whole else ():
            if not isinstance(batches, Repeated):
                found = checksum(batches, {})
                if self.checksums.setdefault(name, found) != found:
                    raise DataError(
                        f"The data {name!r} were written to since they were first measured, so what is known of them "
                        "is no longer right. Make a new Evaluator for new data."
                    )

    def sample(self, rows: Mapping[str, np.ndarray], calibration: np.ndarray | None = None) -> DataView:
        """A view of some of the examples.

        Args:
            rows: name -> places of the wanted examples ``(n,)``, rising; data sets not named are left out.
            calibration: the examples that ``recalibrate`` passes, by their places; as in this view by default.

        Raises:
            DataError: the examples of a batch cannot be told apart, or there are fewer.
        """
        tensors = {
            name: (self.tensors[name][0][chosen], self.tensors[name][1][chosen])
            for name, chosen in rows.items()
            if name in self.tensors
        }
        batches = {
            name: split(*tensors[name], self.batch_size)
            if name in tensors
            else take(self.batches[name], chosen, self.batch_size)
            for name, chosen in rows.items()
        }
        calibration_batches = self.calibration_batches
        if calibration is not None and calibration_batches is not None:
            calibration_batches = take(calibration_batches, calibration, self.batch_size)
        return DataView(
            batches,
            tensors,
            self.batch_size,
            self.calibration,
            calibration_batches,
            self.all_batches,
            self.mean_positions,
        )

    def joined(self, name: str, output_bytes: float) -> list[Any]:
        """Data that were given as tensors in larger batches, where one example's outputs take so many bytes."""
        several = max(1, int(_JOINED / max(output_bytes, 1.0)) // self.batch_size)
        return split(*self.tensors[name], self.batch_size * several)

    def count_positions(self, name: str, targets_of: Callable[[Any], Any], counting: Mapping[str, Counting]) -> None:
        """Find `mean_positions` of a data set, unless known or its targets are not by position.

        Args:
            name: the data set.
            targets_of: batch -> its targets.
            counting: measure -> targets -> how much each example counts.

        Raises:
            DataError: no position counts.
        """
        counts: dict[str, list[np.ndarray]] = {of: [] for of in counting if (name, of) not in self.mean_positions}
        for batch in self.all_batches[name] if counts else ():
            targets = targets_of(batch)
            for measure in list(counts):
                positions = counting[measure](targets)
                if positions is None:
                    del counts[measure]
                else:
                    counts[measure].append(positions.cpu().numpy())
            if not counts:
                return
        for measure, of_measure in counts.items():
            if of_measure:
                self.mean_positions[name, measure] = positions_of_an_example(name, of_measure)
