"""One step of training: forward, loss, backward, update.

On the CPU it is done piece by piece, with linescape's own 3x3 convolutions if the recipe asks for them. On a GPU a step
is short, and starting its hundreds of kernels one by one takes longer than they do. So after a few steps the whole of
it is recorded as a CUDA graph and replayed, and in a long training the network is compiled before. Where either is not
possible, a warning says so and training goes on without.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from linescape.data import Mixed
from linescape.engine import with_winograd
from linescape.errors import RecipeError
from linescape.recipe import Optimizer

WORTH_COMPILING = 5000
"""Steps of a whole training on a GPU from which on compiling its network, about a minute, is won back."""

_BEFORE_RECORDING = 3
"""Steps that are done piece by piece on a GPU: libraries choose their kernels and the optimizer makes its tensors."""


class Step:
    """Does steps of one training.

    Args:
        module: the network, in training mode on the device; with `Optimizer.native` its convolutions are replaced.
        spec: the recipe's optimizer.
        device: where the network is.
        steps: of the whole training, from its beginning.

    Attributes:
        optimizer: torch's; it holds the momenta.
        forward: the network, or the network compiled.

    Raises:
        RecipeError: native convolutions are asked for, and this device or machine has none.
    """

    def __init__(self, module: nn.Module, spec: Optimizer, device: torch.device | str, steps: int) -> None:
        self.module, self.spec, self.device = module, spec, torch.device(device)
        self.on_gpu = self.device.type == "cuda"
        if spec.native:
            _use_native_convolutions(module, self.device)
        self.optimizer = _optimizer(spec, module, self.on_gpu)
        self.forward: Callable[[Tensor], Tensor] = module
        if self.on_gpu and steps >= WORTH_COMPILING:
            self.forward = torch.compile(module, dynamic=False)
        self.pieces = 0
        self.recorded: _Recorded | None = None
        self.records = self.on_gpu

    def __call__(self, batch: Mixed, lr: float, seed: int) -> Tensor:
        """Do a step. If its loss is NaN or infinite, parameters and momenta stay as they are.

        Args:
            batch: normalised inputs and labels on the device.
            lr: learning rate of this step.
            seed: of what the network draws, such as dropout.

        Returns:
            Mean loss in nats and number of examples that the network got wrong, float32 ``(2,)``. On a GPU it may not
            be computed yet, and the next step overwrites it.
        """
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # a recorded step reads it from the GPU's memory
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        with seeded(seed, self.device), _fast_products(self.device):
            if self.records and self.pieces >= _BEFORE_RECORDING and batch.share == 1:
                if self.recorded is None:
                    self._record(batch)
                if self.recorded is not None and self.recorded.inputs.shape == batch.inputs.shape:
                    return self.recorded(batch)
            self.pieces += 1
            return self._apart_from_recording(batch) if self.on_gpu else self.in_pieces(batch)

    def in_pieces(self, batch: Mixed) -> Tensor:
        """A step that looks at its loss before it goes on."""
        self.optimizer.found_inf = None  # type: ignore[attr-defined]
        loss, met = self._loss(batch)
        if math.isfinite(met[0]):
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return met

    def at_once(self, batch: Mixed) -> Tensor:
        """The same without looking, as it can be recorded; the optimizer's kernel does nothing if the loss is lost."""
        loss, met = self._loss(batch)
        self.optimizer.found_inf = (~met[0].isfinite()).float()  # type: ignore[attr-defined]
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return met

    def _loss(self, batch: Mixed) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.precision == "bfloat16"):
            outputs = self._outputs(batch.inputs).float()
        loss = batch.loss(outputs)
        wrong = (outputs.argmax(1) != batch.foremost) | outputs.isnan().any(1)
        return loss, torch.stack((loss.detach(), wrong.sum().float()))

    def _outputs(self, inputs: Tensor) -> Tensor:
        try:
            outputs: Tensor = self.forward(inputs)
        except Exception as error:
            if self.forward is self.module:
                raise
            self.forward = self.module
            _warn("The network could not be compiled, so it is trained as it is, only slower", error)
            outputs = self.forward(inputs)
        return outputs

    def _apart_from_recording(self, batch: Mixed) -> Tensor:
        # Not on the default stream: what autograd keeps of it there could not be recorded later.
        here, apart = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        apart.wait_stream(here)
        with torch.cuda.stream(apart):
            met = self.in_pieces(batch)
        here.wait_stream(apart)
        return met

    def _record(self, batch: Mixed) -> None:
        try:
            self.recorded = _Recorded(self, batch)
        except RuntimeError as error:
            self.records = False
            _warn("A step could not be recorded as a CUDA graph, so it is done piece by piece, only slower", error)


class _Recorded:
    """A step on batches of one shape as a CUDA graph; recording it does not do it."""

    def __init__(self, step: Step, batch: Mixed) -> None:
        # A copy in the inputs' layout: the graph reads from where these are.
        self.inputs, self.targets = batch.inputs.clone(), batch.targets.clone()
        step.optimizer.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.met = step.at_once(Mixed(self.inputs, self.targets, self.targets, 1.0))

    def __call__(self, batch: Mixed) -> Tensor:
        self.inputs.copy_(batch.inputs)
        self.targets.copy_(batch.targets)
        self.graph.replay()
        return self.met


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Torch's global random state set from a seed, and put back afterwards; dropout draws from it."""
    device = torch.device(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which reseeds every accelerator too
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def _fast_products(device: torch.device) -> Iterator[None]:
    """On a GPU, float32 matrix products in TF32 (11 significant bits, sums in float32), as torch's convolutions are."""
    if device.type != "cuda":
        yield
        return
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # the caller used torch's newer settings, with which it refuses the older ones: they stay
        yield
        return
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _use_native_convolutions(module: nn.Module, device: torch.device) -> None:
    if device.type != "cpu":
        reason = f"but it is to run on {device.type}, and they are for the CPU"
    elif not with_winograd(module):
        reason = "but they cannot be compiled on this machine: that needs gcc, and Linux with AVX2"
    else:
        return
    raise RecipeError(
        f"The recipe trains with linescape's own convolutions (native=True), {reason}. Without them weights would have "
        "other bits than those that the recipe's key stands for. Train it where they can be used, or give the recipe "
        "native=False, which is another key."
    )


def _optimizer(spec: Optimizer, module: nn.Module, on_gpu: bool) -> torch.optim.Optimizer:
    # fused: one kernel over all tensors; on the CPU too, where a loop over small tensors costs as much as they do.
    lr = torch.tensor(spec.lr, device=next(module.parameters()).device) if on_gpu else spec.lr
    common: dict[str, Any] = {"lr": lr, "weight_decay": spec.weight_decay, "fused": True}
    if spec.name == "sgd":
        return torch.optim.SGD(module.parameters(), momentum=spec.momentum, **common)
    kind = torch.optim.Adam if spec.name == "adam" else torch.optim.AdamW
    return kind(module.parameters(), betas=(spec.momentum, 0.999), capturable=on_gpu, **common)


def _warn(what: str, error: Exception) -> None:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    warnings.warn(f"{what}: {lines[0]}", stacklevel=3)
