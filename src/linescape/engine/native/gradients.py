"""Convolutions by `winograd` with gradients, for a network that is trained.

The result and the gradient of the input are both 3x3 convolutions. The gradient of the weights is a sum over patches of
products of the same transforms.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.engine.native import build, winograd


def with_winograd(network: nn.Module) -> bool:
    """Let the layers of a network whose convolutions suit be done so in float32, where this machine can; in place.

    Returns:
        Whether it can; true too of a network in which nothing suits.
    """
    suiting = [layer for layer in network.modules() if _suits(layer)]
    if suiting and not build.kernels():
        return False
    for layer in suiting:
        layer._conv_forward = _convolved  # type: ignore[assignment]
    return True


def _suits(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.Conv2d
        and (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and layer.weight.dtype == torch.float32
        and layer.weight.device.type == "cpu"
        and min(layer.in_channels, layer.out_channels) >= winograd.LEAST
    )


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    sides = x.shape[2:]
    both = all(winograd.suits(*channels, *sides) for channels in (weight.shape[:2], weight.shape[1::-1]))
    if not both or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return F.conv2d(x, weight, bias, padding=1)
    result: Tensor = _Convolution.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        of_x = _product(gradient, weight.flip(2, 3).transpose(0, 1), None) if needs_x else None
        of_weight = winograd.gradient(x, gradient) if needs_weight else None
        return of_x, of_weight, gradient.sum((0, 2, 3)) if needs_bias else None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    buffer = torch.empty(36 * weight.shape[0] * weight.shape[1])
    return winograd.convolution(x, winograd.transformed(weight, buffer), bias, None, relu=False)
