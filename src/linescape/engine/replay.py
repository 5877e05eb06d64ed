"""Parts of a graph that are captured once and then replayed: on a GPU one launch in place of hundreds.

A CUDA graph does the same operations on the same memory again. So weights are read where they are, as they are written
in place at each position; what belongs to a batch is copied to where the capture reads it; and Python's numbers, such
as alpha, are in no capture (see `partition`). Whether nothing else was written into it is not taken on trust: until a
capture has given, to the bit, what its operations give one by one at another position, results are those of the
operations.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from linescape.engine.partition import Part
from linescape.engine.rewrite import ALPHA
from linescape.errors import first_line
from linescape.geometry.tensors import identical

FEWEST = 8
"""Positions of a walk from which on capture may pay: to capture and to compare does the operations four times more."""

_SHAPES = 4
"""Most captures of a part: batches of other shapes are computed operation by operation."""


@dataclass(frozen=True, eq=False)
class Captured:
    """A function that was captured.

    Attributes:
        replay: does its operations again, on the same memory.
        outputs: where these write its results.
        size: bytes that it keeps.
    """

    replay: Callable[[], None]
    outputs: tuple[Tensor, ...]
    size: int


class Capturer(Protocol):
    """Captures functions; those that one capturer has captured share memory.

    A replay may write to all results of functions captured later, and to none of those captured before.
    """

    device: torch.device

    def capture(self, function: Callable[[], tuple[Tensor, ...]]) -> Captured:
        """Capture a call; whatever cannot be captured, such as a read of a value, is an error."""


class CudaCapturer:
    """Captures CUDA graphs.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pool: Any = None

    def capture(self, function: Callable[[], tuple[Tensor, ...]]) -> Captured:
        """Capture a call of a function on the device, after one on a stream of its own.

        Raises:
            RuntimeError: it cannot be captured.
        """
        with torch.cuda.device(self.device):
            current, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            with torch.cuda.stream(current):  # which a capture that fails may leave changed
                side.wait_stream(current)
                with torch.cuda.stream(side):
                    function()  # libraries choose their kernels
                current.wait_stream(side)
                self._pool = self._pool or torch.cuda.graph_pool_handle()
                graph = torch.cuda.CUDAGraph()
                # Other threads, such as that of a DataLoader which pins memory, may go on meanwhile.
                with torch.cuda.graph(graph, self._pool, capture_error_mode="thread_local"):
                    before = torch.cuda.memory_reserved()
                    outputs = function()
                return Captured(graph.replay, outputs, max(0, torch.cuda.memory_reserved() - before))


def capturer_on(device: torch.device) -> Capturer | None:
    """A capturer for a device; None where torch has none."""
    return CudaCapturer(device) if device.type == "cuda" else None


class Captures:
    """What the captured parts of one graph share.

    Args:
        capturer: captures them.
        take: whether so many bytes may be kept.
        note: told why nothing is captured any more.

    Attributes:
        first: the first position, at which nothing is captured.
        stopped: whether operations are done one by one from now on.
    """

    def __init__(self, capturer: Capturer, take: Callable[[int], bool], note: Callable[[str], None]) -> None:
        self.capturer, self.take = capturer, take
        self._note = note
        self.first: float | None = None
        self.stopped = False

    def stop(self, reason: str = "") -> None:
        """Do operations one by one from now on."""
        self.stopped = True
        if reason:
            self._note(f"On the GPU, operations were launched one by one, not as a captured graph: {reason}.")


@dataclass(eq=False)
class _Capture:
    """A capture of a part for one shape of what belongs to a batch.

    Attributes:
        captured: the capture.
        copies: where it reads what belongs to a batch, by name.
        others: what else it reads: where tensors are, and other values.
        alpha: the position at which it was made.
        results: what it gave there; None once it is trusted.
    """

    captured: Captured
    copies: dict[str, Tensor]
    others: tuple[object, ...]
    alpha: float
    results: list[Tensor] | None


class Replayed:
    """A part that is replayed where it can be, with the results of `Part.run`.

    Args:
        part: some operations.
        captures: shared with other parts of the same graph; what these need of each other is captured in order.
        of_batch: names of values that belong to a batch. Without, results stay where they are until the next call.
    """

    def __init__(self, part: Part, captures: Captures, of_batch: frozenset[str] = frozenset()) -> None:
        self._part, self._shared = part, captures
        self._copied = [name for name in part.needs if name in of_batch]
        self._read = [name for name in part.needs if name not in of_batch]
        self._of_batch = bool(of_batch)
        self._made: dict[tuple[object, ...], _Capture] = {}

    def run(self, values: MutableMapping[str, Any]) -> None:
        """Compute this part from `values`, and add its results to them."""
        capture = self._capture(values) if self._part.gives and self._may_replay(values) else None
        if capture is None:
            self._part.run(values)
            return
        for name, copied in capture.copies.items():
            copied.copy_(values[name])
        capture.captured.replay()
        outputs: list[Tensor] = list(capture.captured.outputs)
        if capture.results is not None and not self._compared(capture, outputs, values):
            return
        if self._of_batch:
            outputs = [output.clone() for output in outputs]
        values.update(zip(self._part.gives, outputs, strict=True))

    def _may_replay(self, values: MutableMapping[str, Any]) -> bool:
        shared = self._shared
        if shared.first is None:
            shared.first = values[ALPHA]
        if shared.stopped:
            self._made.clear()
        kind = shared.capturer.device.type
        plain = not (torch.is_grad_enabled() or torch.is_inference_mode_enabled() or torch.is_autocast_enabled(kind))
        return plain and not shared.stopped and values[ALPHA] != shared.first

    def _capture(self, values: MutableMapping[str, Any]) -> _Capture | None:
        """The capture for values of these shapes, made if there is none; None where there cannot be one."""
        others = tuple(_place(values[name]) for name in self._read)
        try:
            shape = tuple(_shape(values[name]) for name in self._copied)
            capture = self._made.get(shape)
        except TypeError:  # a value that cannot be compared
            return None
        if capture is not None and capture.others != others:
            self._stop("a tensor of the network lies elsewhere than it did")
            return None
        if capture is None and len(self._made) < _SHAPES:
            capture = self._new(values, others)
            if capture is not None:
                self._made[shape] = capture
        return capture

    def _new(self, values: MutableMapping[str, Any], others: tuple[object, ...]) -> _Capture | None:
        given = [values[name] for name in self._part.needs]
        if ALPHA in self._part.needs or not all(self._is_there(value) for value in given if isinstance(value, Tensor)):
            self._stop()
            return None
        copies = {name: values[name].clone() for name in self._copied if isinstance(values[name], Tensor)}
        read = [copies.get(name, values[name]) for name in self._part.needs]
        try:
            captured = self._shared.capturer.capture(lambda: tuple(self._part.module(*read)))
        except Exception as error:  # whatever torch raises of an operation that cannot be captured
            self._stop(f"they cannot be captured ({first_line(error)})")
            return None
        tensors = all(isinstance(output, Tensor) for output in captured.outputs)
        if not tensors or not self._shared.take(captured.size + sum(value.nbytes for value in copies.values())):
            self._stop()
            return None
        return _Capture(captured, copies, others, values[ALPHA], [])

    def _is_there(self, value: Tensor) -> bool:
        return value.device == self._shared.capturer.device

    def _compared(self, capture: _Capture, outputs: list[Tensor], values: MutableMapping[str, Any]) -> bool:
        """Compute the results operation by operation too; whether those of the replay are to be used."""
        self._part.run(values)
        expected = [values[name] for name in self._part.gives]
        if not all(map(identical, outputs, expected)):
            self._stop("a replay did not give the same numbers")
            return False
        if not capture.results:
            capture.results = [value.clone() for value in expected]
        elif values[ALPHA] != capture.alpha:
            if all(map(identical, capture.results, expected)):
                self._stop()  # as nothing changes, it cannot be told whether the capture is right
                return False
            capture.results = None
        return True

    def _stop(self, reason: str = "") -> None:
        self._shared.stop(reason)
        self._made.clear()


def _shape(value: Any) -> object:
    """What a capture depends on of a value that is copied: all of it where it is no tensor."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    return type(value), value


def _place(value: Any) -> object:
    return value.data_ptr() if isinstance(value, Tensor) else value
