"""3x3 convolutions with a quarter of the multiplications: Winograd's minimal filtering F(4x4, 3x3).

Source: Lavin & Gray 2016 (arXiv 1509.09308), section 4.3. Each 4x4 patch of the result comes from a 6x6 patch of the
input by 36 products a channel in place of 144. The transforms around the products cost more than what is saved unless
they happen in the cache, so they are in C (``kernels.c``).

Sums are in float32 for images in bfloat16 too, since 36 rounded products would be ten times as far off; that is still
faster than a direct convolution in bfloat16. Relative error of a convolution of drawn numbers (norm of the difference
by norm): float32 0.7e-6 to 3e-6, a direct one 0.2e-6 to 0.6e-6; bfloat16 1.7e-3, a direct one 2.1e-3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from linescape.engine.native.build import at, lanes, needed, numbers, panel

PATCH = 4
"""Side of the patches that a result is made of."""

LEAST, _MOST = 32, 4096
"""Channels from which on it is faster, and most channels of an input."""

PAYS = 128
"""Patches that a state must have. Transforming its weights takes as long as 10 to 20 patches save in float32, and, with
512 channels, as long as 140 save in bfloat16."""

_WASTE = 2.0
"""Most that patches may have of an image's numbers: they are whole, and images of 5 x 5 take four of them."""


_TOGETHER = 112
"""Patches whose products are summed before the sums go back to memory."""


def suits(outputs: int, inputs: int, height: int, width: int) -> bool:
    """Whether a convolution of these channels and images is faster so."""
    whole = inputs % lanes() == 0 and outputs % panel() == 0 and min(inputs, outputs) >= LEAST and inputs <= _MOST
    covered = PATCH * math.ceil(height / PATCH) * PATCH * math.ceil(width / PATCH)
    return whole and covered <= _WASTE * height * width


def transformed(weight: Tensor, into: Tensor) -> Tensor:
    """Write a weight ``(outputs, inputs, 3, 3)`` in the form that `convolution` takes.

    `into` has 36 numbers for each output and input, and is used again for each new weight: fresh memory would take as
    long as the products.
    """
    outputs, inputs = weight.shape[:2]
    weight = weight.float().contiguous()
    needed().winograd_weights(at(weight), at(into), *numbers(outputs, inputs))
    return into


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None, relu: bool) -> Tensor:
    """A 3x3 convolution of stride 1 and padding 1; plus `other`; its ReLU.

    Args:
        x: images ``(examples, inputs, height, width)``, in float32 or bfloat16; best with channels last.
        weight: from `transformed`.
        bias: ``(outputs,)``.
        other: added to the result, of its shape and type.
        relu: whether negative results become 0.
    """
    examples, inputs, height, width = x.shape
    outputs = weight.numel() // (36 * inputs)
    x = x.contiguous(memory_format=torch.channels_last)
    other = None if other is None else other.contiguous(memory_format=torch.channels_last)
    bias = None if bias is None else bias.float().contiguous()
    shape = (examples, outputs, height, width)
    result = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    half = x.dtype == torch.bfloat16
    sizes = numbers(examples, height, width, inputs, outputs, relu, half)
    if needed().winograd(at(x), at(weight), at(bias), at(other), at(result), *sizes):
        raise MemoryError("There is no memory for the transforms of a convolution.")
    return result


def gradient(x: Tensor, of_result: Tensor) -> Tensor:
    """The gradient of the weights ``(outputs, inputs, 3, 3)`` of a convolution.

    Args:
        x: its images ``(examples, inputs, height, width)``, in float32; best with channels last.
        of_result: the gradient of its result ``(examples, outputs, height, width)``, likewise.
    """
    examples, inputs, height, width = x.shape
    outputs = of_result.shape[1]
    x, of_result = (images.contiguous(memory_format=torch.channels_last) for images in (x, of_result))
    room = torch.empty(36 * (inputs * outputs + _TOGETHER * (inputs + outputs)))
    found = torch.empty(outputs, inputs, 3, 3)
    sizes = numbers(_TOGETHER, examples, height, width, inputs, outputs)
    needed().winograd_gradient(at(x), at(of_result), at(found), at(room), *sizes)
    return found
