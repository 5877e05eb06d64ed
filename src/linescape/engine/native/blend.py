"""The result of a convolution between those at the two ends of a line, with what follows it, in one pass over memory.

Where a layer's input is fixed, its result on a straight line is ``(1 - alpha) start + alpha end`` of two kept results.
The BatchNorm after it scales each channel. Mixing, scaling, addition and ReLU together take no longer than one of them
alone, while torch's operations for them take as long as the convolution that they save. In C (``kernels.c``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from linescape.engine.native.build import as_int64, lanes, library, pointer


def suits(channels: int) -> bool:
    """Whether `mixed` takes images of so many channels."""
    return channels % lanes() == 0


def factors(
    alpha: float,
    channels: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mean: Tensor | None = None,
    var: Tensor | None = None,
    eps: float = 0.0,
) -> Tensor:
    """The factors of both ends and the shift, for each channel ``(3, channels)``, with the BatchNorm after them.

    Args:
        alpha: the position between the ends.
        channels: of the images.
        weight: of the BatchNorm ``(channels,)``, as the following.
        bias: of the BatchNorm.
        mean: running mean; None without a BatchNorm.
        var: running variance; None without a BatchNorm.
        eps: of the BatchNorm.
    """
    scale = torch.ones(channels) if var is None else torch.rsqrt(var.float() + eps)
    if weight is not None:
        scale = scale * weight.float()
    shift = torch.zeros(channels) if mean is None else -mean.float() * scale
    if bias is not None:
        shift = shift + bias.float()
    return torch.stack([scale * (1.0 - alpha), scale * alpha, shift])


def mixed(start: Tensor, end: Tensor, factors: Tensor, other: Tensor | None, relu: bool) -> Tensor:
    """The sum of both ends, each channel times its factor, plus the shift and `other`, with a ReLU after it.

    Args:
        start: images ``(examples, channels, height, width)``, in float32 or bfloat16, with channels last.
        end: the same at the other end.
        factors: from `factors`.
        other: added to the result, of its shape and type.
        relu: whether negative results become 0.
    """
    start, end = (images.contiguous(memory_format=torch.channels_last) for images in (start, end))
    other = None if other is None else other.contiguous(memory_format=torch.channels_last)
    result = torch.empty_like(start)
    channels = start.shape[1]
    sizes = as_int64(start.numel() // channels, channels, relu, start.dtype == torch.bfloat16)
    library().mix(pointer(start), pointer(end), *map(pointer, factors), pointer(other), pointer(result), *sizes)
    return result
