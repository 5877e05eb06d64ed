"""Data that are read anew in every pass and have to be the same each time.

Values at two positions can be compared only if they are of the same examples. So each batch is compared, by a checksum
of what it holds, with the batch of an earlier pass; and each pass reads with other random numbers, since otherwise data
that depend on these would be the same draw each time.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any, NoReturn

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from linescape.errors import DataError, LinescapeError, abbreviate, first_line
from linescape.evaluation.contents import checksum
from linescape.evaluation.copies.observing import random_state_kept

_CPU = torch.device("cpu")


class Repeated:
    """The batches of an iterable, each of which has to be what it was in earlier passes.

    Args:
        name: of the data, for messages.
        given: the iterable, such as a `DataLoader`.

    Raises:
        DataError: while it is read: a batch changed, there are more or fewer, or the data failed with an error.
    """

    def __init__(self, name: str, given: Iterable[Any]) -> None:
        self._name, self._given = name, given
        self._unknown: dict[str, None] = {}
        self._checksums: list[int] = []
        self._is_whole = False
        self._passes = 0

    def __len__(self) -> int:
        """The number of batches, where the data know it.

        Raises:
            TypeError: they do not.
        """
        return len(self._given)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        """Read the batches; the caller's generators of random numbers are left as they were."""
        self._passes += 1
        pass_number, number = self._passes, 0
        iterator = self._read(lambda: iter(self._given), pass_number, number)
        while True:
            try:
                batch = self._read(lambda: next(iterator), pass_number, number + 1)
            except StopIteration:
                break
            self._compare(number, checksum(batch, self._unknown))
            number += 1
            yield batch
        if number < len(self._checksums):
            self._refuse(f"The data {self._name!r} gave {number} batches, after {len(self._checksums)} or more before")
        self._is_whole = True

    def remarks(self) -> list[str]:
        """What a result should say of the data: which they are, and what could not be compared."""
        coverage = self._coverage if self._is_whole else None
        notes = [] if coverage is None else [coverage]
        if self._unknown:
            notes.append(
                f"Batches of {self._name!r} hold objects whose content is not known ({abbreviate(self._unknown)}), so "
                "these were not compared from pass to pass."
            )
        return notes

    @cached_property
    def _coverage(self) -> str | None:
        """Whether a `DataLoader` gave each example of its data set once, by the indices that its sampler gives."""
        if not isinstance(self._given, DataLoader):
            return None
        if isinstance(self._given.dataset, IterableDataset):
            lacking = f"The data {self._name!r} lack those of the last batch, where it was not full: drop_last=True."
            return self._again or (lacking if self._given.drop_last else None)
        by_batch: Any = self._given.batch_sampler
        given_at_once = islice(self._given.sampler if by_batch is None else by_batch, len(self._checksums))
        try:
            with random_state_kept(_CPU):
                indices = [int(index) for some in given_at_once for index in ([some] if by_batch is None else some)]
            size = len(self._given.dataset)  # type: ignore[arg-type]
        except Exception:  # whatever the user's own code raises, as for a data set whose keys are texts
            return None
        different = len(set(indices))
        if different == len(indices) == size:
            return None
        sampler = getattr(by_batch, "sampler", by_batch or self._given.sampler)
        dropped = " with drop_last=True" if self._given.drop_last or getattr(by_batch, "drop_last", False) else ""
        return (
            f"The data {self._name!r} are {different} of the {size} examples of their data set"
            + (f", some more than once ({len(indices)} in all)" if different < len(indices) else "")
            + f": those that a {type(sampler).__name__}{dropped} gives. Means and intervals are of these."
        )

    @property
    def _again(self) -> str | None:
        """Whether several processes read the same of an `IterableDataset`."""
        different = len(set(self._checksums))
        if self._given.num_workers < 2 or 2 * different > len(self._checksums):  # type: ignore[attr-defined]
            return None
        return (
            f"The data {self._name!r} have {len(self._checksums)} batches, of which {different} are different: each "
            "worker process of the DataLoader reads all of its IterableDataset, so examples come several times and "
            "intervals are too narrow. Share them out by torch.utils.data.get_worker_info(), or set num_workers=0."
        )

    def _read(self, read: Any, pass_number: int, number: int) -> Any:
        with random_state_kept(_CPU):
            _seed(pass_number * 1_000_003 + number)
            try:
                return read()
            except (StopIteration, LinescapeError):
                raise
            except Exception as error:  # whatever the data's own code raises
                where = f"when their batch {number} was read" if number else "before their first batch"
                raise DataError(
                    f"The data {self._name!r} failed {where}, with {type(error).__name__}: {first_line(error)}. "
                    "Correct them, or leave out what cannot be read."
                ) from error

    def _compare(self, number: int, found: int) -> None:
        if number == len(self._checksums):
            if self._is_whole:
                self._refuse(f"The data {self._name!r} gave more batches than the {number} of an earlier pass")
            self._checksums.append(found)
        elif self._checksums[number] != found:
            self._refuse(f"Batch {number + 1} of the data {self._name!r} is not what it was in an earlier pass")

    def _refuse(self, found: str) -> NoReturn:
        raise DataError(
            f"{found}, so what is measured at two positions could not be compared. The data change between passes: "
            "they are shuffled, drawn or augmented at random, or were written to. Build them without, or pass "
            "list(...) of them; for other data make a new Evaluator."
        )


def _seed(number: int) -> None:
    torch.default_generator.manual_seed(number)  # that of a GPU would first have to be initialised
    np.random.seed(number % 2**32)  # noqa: NPY002 - what the data's code draws from
    random.seed(number)
