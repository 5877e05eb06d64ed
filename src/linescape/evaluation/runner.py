"""Forward passes of one network, on a private copy: by plain calls, or by the engine along a path."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from linescape.engine import Fast, operations, threads
from linescape.errors import LinescapeError
from linescape.evaluation import batchnorm
from linescape.evaluation.batches import head, to_device
from linescape.evaluation.forward import Forward, default_forward, default_targets, remarks
from linescape.geometry.paths import Path
from linescape.geometry.state import State

Precision = Literal["bfloat16"]

_FEW = 32
"""Examples by which the engine decides how it computes."""


class Runner:
    """Calls one network with batches.

    Args:
        model: any network; a private copy in eval mode is called, on the model's device.
        forward: (model, batch) -> (outputs, targets).
        precision: what the engine computes in; None is the network's own type.
        memory: bytes that the engine may take besides the copy.
        copy: whether a copy is made; otherwise the network itself is written to.

    Attributes:
        model: the copy.
        engine: stands in for it along a path.
        device: of the copy.
        dtype: of its first tensor.
        statistics: names of BatchNorm's running statistics.
        threads: on the CPU, how many are used; None until `choose_threads`, and on a GPU.
    """

    def __init__(
        self, model: nn.Module, forward: Forward, precision: Precision | None, memory: float, copy: bool
    ) -> None:
        self.model = (deepcopy(model) if copy else model).eval().requires_grad_(False)
        self.forward = forward
        self.precision = precision
        self.engine = Fast(self.model, torch.bfloat16 if precision else None, memory)
        first = next(iter(self.model.state_dict().values()), torch.zeros(()))
        self.device, self.dtype = first.device, first.dtype
        self.statistics = batchnorm.statistics(self.model)
        self.threads: int | None = None
        self._tensors = dict(self.model.state_dict(keep_vars=True))
        self._path: Path | None = None
        self._alpha = 0.0
        self._takes_fewer = True

    def load(self, state: State) -> None:
        """Write a state into the copy.

        Raises:
            StateError: the state is not one of this network.
        """
        self._path = None
        state.load_into(self.model)

    def start_path(self, path: Path, examples: int | None, may_prepare: bool) -> None:
        """A path is walked from now on.

        Args:
            path: whose tensors `load_position` writes.
            examples: that are measured at each position, if known.
            may_prepare: whether the walk is worth seconds of preparation.

        Raises:
            StateError: the path is not one of this network.
        """
        # A walk may go on, with other examples or positions.
        if self.engine.path is not path or (may_prepare and not self.engine.may_prepare):
            ends = (lambda name, end: path.tensor(name, float(end == "end"))) if path.straight else None
            self.engine.start_path(path, path.moving, ends, examples, may_prepare)
        self._path, self._alpha = None, 0.0

    def load_position(self, path: Path, alpha: float) -> None:
        """Write a path's position into the copy: everything the first time, then what moves."""
        names = path.moving if self._path is path else path.template
        with torch.inference_mode():
            for name in names:
                path.write(name, alpha, self._tensors[name])
        self._path, self._alpha = path, alpha

    def release(self) -> None:
        """Let go of the path that was walked last, and of what the engine keeps for it."""
        self._path = None
        self.engine.start_path(None, frozenset())

    @contextmanager
    def treated(
        self, treatment: str, ends: Mapping[str, Mapping[str, Tensor]], calibration_batches: Callable[[], Iterable[Any]]
    ) -> Iterator[None]:
        """Put a treatment of BatchNorm on the copy, see `linescape.evaluation.batchnorm`, and take it off again.

        Args:
            treatment: its name.
            ends: for ``start`` and ``end``, tensors by name that hold at least the running statistics.
            calibration_batches: gives those of ``recalibrate``; asked only if they are needed.
        """

        def calibrate() -> None:
            with self.random_state_kept():
                for batch in calibration_batches():
                    self.call(batch)

        with batchnorm.treated(self.model, treatment, ends, calibrate):
            yield

    def treated_statistics(self, calibration_batches: Callable[[], Iterable[Any]]) -> dict[str, Tensor]:
        """The running statistics that ``recalibrate`` measures of the copy as it stands, by name, on the CPU."""
        with torch.no_grad(), self.treated("recalibrate", {}, calibration_batches):
            return {name: self._tensors[name].to("cpu", copy=True) for name in sorted(self.statistics)}

    def update_engine(self, treatment: str) -> None:
        """Tell the engine that the copy holds another position, or is under another treatment of BatchNorm."""
        measured = self.statistics if treatment == "recalibrate" else frozenset()
        fixed = self.statistics if treatment in ("start", "end") else frozenset()
        self.engine.update(treatment, self._alpha, also=measured, but=fixed)

    def warm_up(self, data: Iterable[Iterable[Any]]) -> None:
        """Let the engine decide how it computes, by a few examples of each data set."""
        with self.random_state_kept(), self.using_threads():
            for batches in data:
                for first in islice(batches, 1):
                    self.call_engine(self.head(first, _FEW)[0])

    def call(self, batch: Any) -> tuple[Any, Any]:
        """(outputs, targets) of a batch, by a plain call of the network."""
        return self.forward(self.model, to_device(batch, self.device))

    def call_engine(self, batch: Any, key: object = None) -> tuple[Any, Any]:
        """(outputs, targets) of a batch by the engine, which may keep results for batches of the same key."""
        self.engine.set_batch(key)
        return self.forward(self.engine, to_device(batch, self.device))

    def targets(self, batch: Any) -> Any:
        """The targets of a batch; the network is called only where the user's own `forward` makes them."""
        if self.forward is default_forward:
            return default_targets(self.model, to_device(batch, self.device))
        with torch.inference_mode(), self.random_state_kept():
            return self.call(batch)[1]

    def head(self, batch: Any, count: int) -> tuple[Any, float]:
        """As `linescape.evaluation.batches.head`; all of a batch where the user's own `forward` reads it, or where the
        network takes no fewer."""
        return head(batch, count) if self.forward is default_forward and self._takes_fewer else (batch, 1.0)

    def first_call(self, few: Any, share: float, batch: Any) -> tuple[Any, float, tuple[Any, Any, int]]:
        """`count_operations` of the first few examples of a batch, a fraction of it, which are returned before.

        All of the batch where the network fails on a few, as on some nodes of a graph, and then from now on.
        """
        try:
            return few, share, self.count_operations(few)
        except LinescapeError:
            raise
        except Exception as error:  # whatever the network's own code raises
            if share == 1.0:
                raise
            try:
                counted = self.count_operations(batch)
            except Exception:
                raise error from None
        self._takes_fewer = False
        return batch, 1.0, counted

    def count_operations(self, batch: Any) -> tuple[Any, Any, int]:
        """(outputs, targets) of a batch, and how many operations a plain call takes."""
        if self.forward is default_forward:
            with self.random_state_kept():  # what labels mean is settled before operations are counted
                self.engine.notes |= dict.fromkeys(remarks(self.model, to_device(batch, self.device)))
        called: list[tuple[Any, Any]] = []
        with torch.no_grad(), self.random_state_kept():
            count = operations(lambda: called.append(self.call(batch)))
        return *called[0], count

    def failing_hook(self, error: BaseException) -> str | None:
        """The hook of the network in which an error was raised, as text."""
        running = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
        for layer, module in self.model.named_modules():
            for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
                if getattr(hook, "__code__", getattr(type(hook).__call__, "__code__", None)) in running:
                    return f"{getattr(hook, '__qualname__', type(hook).__name__)} of the layer {layer!r}"
        return None

    def choose_threads(self, operations_per_call: float) -> None:
        """Choose the number of threads, for good, by the operations of a batch; on a GPU there is nothing to choose."""
        if self.threads is None and self.device.type == "cpu":
            self.threads = threads.suitable(operations_per_call)

    def using_threads(self) -> AbstractContextManager[None]:
        """The chosen number of threads."""
        return nullcontext() if self.threads is None else threads.using(self.threads)

    def random_state_kept(self) -> AbstractContextManager[None]:
        """Random numbers that are drawn inside leave the caller's random state as it was."""
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])
