"""One step of training: forward, loss, backward, update.

On the CPU it is eager, with linescape's own 3x3 convolutions if the recipe asks for them. On a GPU a step is short, and
launching its hundreds of kernels one by one takes longer than they run. So after a few eager steps a whole step is
captured as a CUDA graph and replayed, and in a long training the network is compiled first. Where either is not
possible, a warning says so and training continues without it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from linescape.data import Mixed
from linescape.engine import with_winograd
from linescape.engine.products import bfloat16_products
from linescape.errors import RecipeError
from linescape.recipe import Optimizer
from linescape.training.what_is_trained import WhatIsTrained

WORTH_COMPILING = 5000
"""Steps of a training on a GPU from which on compiling its network, which takes about a minute, saves time."""

_EAGER_STEPS = 3
"""Eager steps on a GPU before one is captured: libraries choose their kernels, and the optimizer makes its tensors."""


class Step:
    """Does steps of one training.

    Args:
        module: the network, in training mode on the device; with `Optimizer.native` its convolutions are replaced.
        spec: the recipe's optimizer.
        device: where the network is.
        steps: number of steps of the whole training.
        trained: how the network's weights follow from what is trained.

    Attributes:
        parameters: what is trained, by name.
        optimizer: torch's; it holds the momenta.
        forward: the network, or its compiled form.

    Raises:
        RecipeError: native convolutions are asked for, and this device or machine has none.
    """

    def __init__(
        self,
        module: nn.Module,
        spec: Optimizer,
        device: torch.device | str,
        steps: int,
        trained: WhatIsTrained | None = None,
    ) -> None:
        self.module, self.spec, self.device = module, spec, torch.device(device)
        self.trained = trained or WhatIsTrained()
        self.on_gpu = self.device.type == "cuda"
        if spec.native:
            _use_native_convolutions(module, self.device)
        self.parameters = self.trained.bind(module, spec.weight_decay)
        decay = spec.weight_decay if self.trained.plain else 0.0
        self.optimizer = _optimizer(spec, list(self.parameters.values()), decay, self.on_gpu)
        self.forward: Callable[[Tensor], Tensor] = module
        fixed = self.on_gpu and self.trained.plain
        if fixed and steps >= WORTH_COMPILING:
            self.forward = torch.compile(module, dynamic=False)
        self.products = bfloat16_products(self.device) if spec.precision == "bfloat16" else nullcontext()
        self.eager_steps = 0
        self.captured: _CapturedStep | None = None
        self.captures = fixed

    def __call__(self, batch: Mixed, lr: float, seed: int, weights_seed: int = 0) -> Tensor:
        """Do a step. If its loss is NaN or infinite, parameters and momenta do not change.

        Args:
            batch: normalised inputs and labels on the device.
            lr: learning rate of this step.
            seed: of the network's random draws, such as dropout.
            weights_seed: of those that decide its weights in this step, where some do.

        Returns:
            Mean loss in nats and number of misclassified examples, float32 ``(2,)``. On a GPU it may not be computed
            yet, and the next step overwrites it.
        """
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # a captured step reads it from the GPU's memory
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        with seeded(seed, self.device), _fast_products(self.device), self.products:
            if self.captures and self.eager_steps >= _EAGER_STEPS and batch.share == 1:
                if self.captured is None:
                    self._capture(batch)
                if self.captured is not None and self.captured.inputs.shape == batch.inputs.shape:
                    return self.captured(batch)
            self.eager_steps += 1
            if self.on_gpu:
                return self._eager_step_on_side_stream(batch, weights_seed)
            return self.eager_step(batch, weights_seed)

    def eager_step(self, batch: Mixed, weights_seed: int = 0) -> Tensor:
        """A step that checks its loss on the CPU before it changes anything."""
        self.optimizer.found_inf = None  # type: ignore[attr-defined]
        with self.trained.step(weights_seed):
            loss, metrics = self._loss(batch)
            self.module.zero_grad()
            if finite := math.isfinite(metrics[0]):
                loss.backward()  # type: ignore[no-untyped-call]
        if finite:
            self.optimizer.step()
            self.trained.settle()
        return metrics

    def captured_step(self, batch: Mixed) -> Tensor:
        """The same without that check, so that it can be captured; the optimizer's kernel ignores losses not finite."""
        loss, metrics = self._loss(batch)
        self.optimizer.found_inf = (~metrics[0].isfinite()).float()  # type: ignore[attr-defined]
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return metrics

    def _loss(self, batch: Mixed) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.precision == "bfloat16"):
            outputs = self._outputs(batch.inputs).float()
        loss = batch.loss(outputs)
        wrong = (outputs.argmax(1) != batch.majority_label) | outputs.isnan().any(1)
        return loss, torch.stack((loss.detach(), wrong.sum().float()))

    def _outputs(self, inputs: Tensor) -> Tensor:
        try:
            outputs: Tensor = self.forward(inputs)
        except Exception as error:
            if self.forward is self.module:
                raise
            self.forward = self.module
            _warn("The network could not be compiled, so it is trained as it is, which is slower", error)
            outputs = self.forward(inputs)
        return outputs

    def _eager_step_on_side_stream(self, batch: Mixed, weights_seed: int) -> Tensor:
        # Autograd keeps the stream of an eager step, and a graph could not be captured after one on the default stream.
        current, side = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            metrics = self.eager_step(batch, weights_seed)
        current.wait_stream(side)
        return metrics

    def _capture(self, batch: Mixed) -> None:
        try:
            self.captured = _CapturedStep(self, batch)
        except RuntimeError as error:
            self.captures = False
            _warn("A step could not be captured as a CUDA graph, so steps are eager, which is slower", error)


class _CapturedStep:
    """A step on batches of one shape as a CUDA graph; capturing it does not run it."""

    def __init__(self, step: Step, batch: Mixed) -> None:
        # Copies in the inputs' layout: the graph always reads from their memory.
        self.inputs, self.targets = batch.inputs.clone(), batch.targets.clone()
        step.optimizer.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.metrics = step.captured_step(Mixed(self.inputs, self.targets, self.targets, 1.0))

    def __call__(self, batch: Mixed) -> Tensor:
        self.inputs.copy_(batch.inputs)
        self.targets.copy_(batch.targets)
        self.graph.replay()
        return self.metrics


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """A context with torch's global random state set from a seed, restored afterwards; dropout draws from it."""
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
    except RuntimeError:  # the caller used torch's newer settings, which exclude this one, so they are left alone
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


def _optimizer(
    spec: Optimizer, parameters: Sequence[nn.Parameter], decay: float, on_gpu: bool
) -> torch.optim.Optimizer:
    # fused: one kernel for all tensors; it pays on the CPU too, where looping over small tensors costs as much.
    lr = torch.tensor(spec.lr, device=parameters[0].device) if on_gpu else spec.lr
    common: dict[str, Any] = {"lr": lr, "weight_decay": decay, "fused": True}
    if spec.name == "sgd":
        return torch.optim.SGD(parameters, momentum=spec.momentum, **common)
    kind = torch.optim.Adam if spec.name == "adam" else torch.optim.AdamW
    return kind(parameters, betas=(spec.momentum, 0.999), capturable=on_gpu, **common)


def _warn(what: str, error: Exception) -> None:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    warnings.warn(f"{what}: {lines[0]}", stacklevel=3)
