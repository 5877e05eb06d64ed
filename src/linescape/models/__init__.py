"""Builds the network of a recipe; the blocks of every network have names.

Every network of linescape has an attribute ``blocks``: block name to the prefixes of its tensors, from input to output.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from linescape import recipe
from linescape.errors import RecipeError
from linescape.geometry.groups import by_block
from linescape.models.efficientnet import EfficientNetLite
from linescape.models.lenet import LeNet
from linescape.models.low_rank import with_updates
from linescape.models.lstm import LSTM
from linescape.models.mlp import MLP
from linescape.models.own import build_own, check_own
from linescape.models.resnet import ResNet
from linescape.models.vgg import VGG

__all__ = [
    "HEAD",
    "LSTM",
    "MLP",
    "VGG",
    "EfficientNetLite",
    "LeNet",
    "Network",
    "ResNet",
    "build",
    "check",
    "draw",
    "outline",
    "redraw",
]

HEAD = "fc"
"""The block that gives the logits in every network of linescape, which training on other labels has to replace."""

Network = MLP | LeNet | LSTM | VGG | ResNet | EfficientNetLite | nn.Module


def build(spec: recipe.Model, shape: tuple[int, ...], classes: int) -> Network:
    """A network, initialised from torch's global random numbers on the current device (also ``meta``).

    One of the user's own is what its function returns, whatever `shape` and `classes`.

    Args:
        spec: which network.
        shape: of one input, ``(channels, height, width)`` or ``(features,)``.
        classes: number of logits.

    Raises:
        RecipeError: the network is impossible for this shape.
    """
    if classes < 1 or not shape or min(shape) < 1:
        raise RecipeError(f"No network takes inputs of shape {shape} to {classes} classes. Both must be positive.")
    if isinstance(spec, recipe.OwnModel):
        return build_own(spec)
    if isinstance(spec, recipe.LoRA):
        network = build(spec.model, shape, classes)
        return with_updates(network, spec, by_block(network)[HEAD])
    if isinstance(spec, recipe.MLP):
        return MLP(spec, shape, classes)
    if isinstance(spec, recipe.LSTM):
        return LSTM(spec, shape, classes)
    if len(shape) != 3:
        raise RecipeError(
            f"A {type(spec).__name__} takes images (channels, height, width), but the inputs have shape {shape}. "
            "Use an MLP or an LSTM, or another data set."
        )
    if isinstance(spec, recipe.LeNet):
        return LeNet(shape, classes)
    if isinstance(spec, recipe.EfficientNetLite):
        return EfficientNetLite(spec, shape, classes)
    return VGG(spec, shape, classes) if isinstance(spec, recipe.VGG) else ResNet(spec, shape, classes)


def outline(spec: recipe.Model, shape: tuple[int, ...], classes: int) -> Network:
    """A network for its names, shapes and blocks; its values mean nothing, and take no memory in those of linescape.

    It may be the one that an earlier call returned, so it is to be read only.

    Raises:
        RecipeError: the network is impossible for this shape.
    """
    if isinstance(spec, recipe.OwnModel):  # whose code may need values
        return draw(spec, shape, classes, recipe.Random(), seed=0)
    return _outline(spec, shape, classes)


@lru_cache(maxsize=64)
def _outline(spec: recipe.Model, shape: tuple[int, ...], classes: int) -> Network:
    with torch.device("meta"), _NothingDrawn():
        return build(spec, shape, classes)


class _NothingDrawn(TorchFunctionMode):
    """Leaves out random initialisation: on the device ``meta``, torch imports its compiler for it, which takes 1 s."""

    FUNCTIONS = (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_)

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return next(iter((*args, *kwargs.values()))) if func in self.FUNCTIONS else func(*args, **kwargs)


def check(spec: recipe.Model, network: nn.Module, inputs: Tensor, classes: int) -> None:
    """Raise `RecipeError` if a network does not take these inputs, or cannot be trained on them.

    Args:
        spec: the recipe's part.
        network: the network on the CPU; it is only copied.
        inputs: a few normalised inputs.
        classes: number of labels.
    """
    if isinstance(spec, recipe.OwnModel):
        check_own(spec, network, inputs, classes)
    elif not inputs.is_floating_point():
        raise RecipeError(
            f"The inputs are whole numbers ({str(inputs.dtype).removeprefix('torch.')}), which the network "
            f"{recipe.title(spec)} cannot multiply by its weights. Where they are quantities, return them as float32; "
            "where they name something, such as tokens, use a network of your own that begins with an nn.Embedding "
            "(OwnModel.of)."
        )


def draw(spec: recipe.Model, shape: tuple[int, ...], classes: int, init: recipe.Random, seed: int) -> Network:
    """A freshly initialised network on the CPU, the same for the same arguments; global random numbers stay.

    Args:
        spec: which network.
        shape: of one input, ``(channels, height, width)`` or ``(features,)``.
        classes: number of logits.
        init: the scheme of initialisation.
        seed: of the random numbers.

    Raises:
        RecipeError: the network is impossible for this shape.
    """
    # Not torch.manual_seed, which would also reseed the caller's accelerators.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        network = build(spec, shape, classes)
        redraw(network, init)
    return network


_SCHEMES: dict[str, Callable[[Tensor], Tensor]] = {
    "kaiming_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "kaiming_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
}
"""Kaiming by fan-in with the gain of ReLU (He et al. 2015), Xavier and orthogonal with gain 1."""


@torch.no_grad()
def redraw(network: nn.Module, init: recipe.Random) -> None:
    """Initialise a network again in place, by a scheme of `recipe.Random`, from torch's global random numbers.

    ``normal`` and ``zeros`` set every parameter; buffers stay.
    """
    for parameter in network.parameters():
        if init.scheme == "normal":
            parameter.normal_()
        elif init.scheme == "zeros":
            parameter.zero_()
        elif parameter.ndim < 2:
            continue
        elif init.scheme in _SCHEMES:
            _SCHEMES[init.scheme](parameter)
        if init.scale != 1:
            parameter.mul_(init.scale)
