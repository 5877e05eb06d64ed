"""Data that are read anew in every pass and have to be the same each time.

Values at two positions can be compared only if they are of the same examples. So each batch is compared, by a checksum
of its tensors, with the batch of an earlier pass; and each pass reads with other random numbers, since otherwise data
that depend on these would be the same draw each time.
"""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from linescape.errors import DataError, LinescapeError, first_line
from linescape.evaluation.batches import parts
from linescape.evaluation.observing import random_state_kept

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
            self._compare(number, checksum(batch))
            number += 1
            yield batch
        if number < len(self._checksums):
            self._refuse(f"The data {self._name!r} gave {number} batches, after {len(self._checksums)} or more before")
        self._is_whole = True

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


def checksum(batch: Any, start: int = 0) -> int:
    """A number that differs where anything in a batch does that is a tensor, an array, a number or a text."""
    if held := parts(batch):
        for part in (*batch, *held) if isinstance(batch, Mapping) else held:
            start = checksum(part, start)
        return start
    if isinstance(batch, Tensor):
        for content in _contents(batch.detach()):
            start = zlib.crc32(content, start)
        return start
    if isinstance(batch, np.ndarray) and not batch.dtype.hasobject:
        return zlib.crc32(np.ascontiguousarray(batch).view(np.uint8).data, start)
    if isinstance(batch, str | bytes | int | float | complex | None):
        return zlib.crc32(repr(batch).encode("utf-8", "surrogatepass"), start)
    return start


def _contents(tensor: Tensor) -> Iterator[Any]:
    if tensor.layout == torch.strided and not (tensor.is_nested or tensor.is_quantized):
        yield f"{tensor.dtype} {tuple(tensor.shape)}".encode()
        whole = tensor.cpu().resolve_conj().resolve_neg().contiguous()
        yield whole.reshape(-1).view(torch.uint8).numpy().data
    else:  # sparse, nested or quantised: each kind has parts of its own
        saved = io.BytesIO()
        torch.save(tensor, saved)
        yield saved.getbuffer()


def _seed(number: int) -> None:
    torch.default_generator.manual_seed(number)  # that of a GPU would first have to be initialised
    np.random.seed(number % 2**32)  # noqa: NPY002 - what the data's code draws from
    random.seed(number)
