"""Results of a convolution between those at the two ends of a line, with what follows them, in one pass of memory.

Where a layer's input rests, its result on a straight line is ``(1 - alpha) start + alpha end`` of two kept results. The
BatchNorm after it is a scaling of each channel. Mixing, scaling, addition and ReLU together take no longer than one of
them alone, while torch's operations for them take as long as the convolution that they save. In C (``kernels.c``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from linescape.engine.native.build import at, lanes, needed, numbers


def suits(channels: int) -> bool:
    """Whether images of so many channels can be mixed so."""
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
    """What `mixed` multiplies both ends by and then adds, with the BatchNorm after it: ``(3, channels)``."""
    scale = torch.ones(channels) if var is None else torch.rsqrt(var.float() + eps)
    if weight is not None:
        scale = scale * weight.float()
    shift = torch.zeros(channels) if mean is None else -mean.float() * scale
    if bias is not None:
        shift = shift + bias.float()
    return torch.stack([scale * (1.0 - alpha), scale * alpha, shift])


def mixed(start: Tensor, end: Tensor, factors: Tensor, other: Tensor | None, relu: bool) -> Tensor:
    """Both ends, each channel times its factor, summed; plus the shift; plus `other`; its ReLU.

    Args:
        start: images ``(examples, channels, height, width)``, in float32 or bfloat16, with channels last.
        end: the same at the other end.
        factors: from the function of this name.
        other: added to the result, of its shape and type.
        relu: whether negative results become 0.
    """
    start, end = (images.contiguous(memory_format=torch.channels_last) for images in (start, end))
    other = None if other is None else other.contiguous(memory_format=torch.channels_last)
    result = torch.empty_like(start)
    channels = start.shape[1]
    sizes = numbers(start.numel() // channels, channels, relu, start.dtype == torch.bfloat16)
    needed().mix(at(start), at(end), *map(at, factors), at(other), at(result), *sizes)
    return result
