"""3x3 convolutions with a quarter of the multiplications, by Winograd's minimal filtering F(4x4, 3x3).

Source: Lavin & Gray 2016 (arXiv 1509.09308), section 4.3. Each 4x4 patch of the result comes from a 6x6 patch of the
input by 36 products a channel in place of 144. The transforms around the products cost more than what is saved unless
they happen in the cache, so they are in C (``kernels.c``).

Sums are in float32 for images in bfloat16 too, since 36 rounded products would give ten times the error; that is still
faster than a direct convolution in bfloat16. Relative error for random numbers (norm of the difference by norm): 0.7e-6
to 3e-6 in float32, where a direct convolution has 0.2e-6 to 0.6e-6; 1.7e-3 in bfloat16, where a direct one has 2.1e-3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from linescape.engine.native.build import as_int64, lanes, library, panel, pointer

PATCH = 4
"""Side of the patches of a result."""

LEAST, _MOST = 32, 4096
"""Fewest channels for which it is faster, and most channels of an input."""

PAYS = 128
"""Fewest patches that must be computed for one state. Transforming its weights takes as long as 10 to 20 patches save
in float32, and with 512 channels as long as 140 save in bfloat16."""

_WASTE = 2.0
"""Largest ratio of the area of all patches to that of an image: images of 5 x 5 take four whole patches."""

_TOGETHER = 112
"""Patches whose products are summed before the sums are written to memory."""


def suits(outputs: int, inputs: int, height: int, width: int) -> bool:
    """Whether `convolution` is faster than a direct one.

    Args:
        outputs: channels of the result.
        inputs: channels of the images.
        height: of the images.
        width: of the images.
    """
    fitting = inputs % lanes() == 0 and outputs % panel() == 0 and min(inputs, outputs) >= LEAST and inputs <= _MOST
    covered = PATCH * math.ceil(height / PATCH) * PATCH * math.ceil(width / PATCH)
    return fitting and covered <= _WASTE * height * width


def transformed(weight: Tensor, into: Tensor) -> Tensor:
    """Write a weight ``(outputs, inputs, 3, 3)`` in the form that `convolution` takes, and return it.

    `into` has 36 numbers for each output and input. It is reused for each new weight, since allocating fresh memory
    would take as long as the products.
    """
    outputs, inputs = weight.shape[:2]
    weight = weight.float().contiguous()
    library().winograd_weights(pointer(weight), pointer(into), *as_int64(outputs, inputs))
    return into


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None, relu: bool) -> Tensor:
    """A 3x3 convolution of stride 1 and padding 1, plus `other`, with a ReLU after it.

    Args:
        x: images ``(examples, inputs, height, width)``, in float32 or bfloat16; best with channels last.
        weight: from `transformed`.
        bias: ``(outputs,)``.
        other: added to the result, of its shape and type.
        relu: whether negative results become 0.

    Raises:
        MemoryError: there is no memory for the transforms.
    """
    examples, inputs, height, width = x.shape
    outputs = weight.numel() // (36 * inputs)
    x = x.contiguous(memory_format=torch.channels_last)
    other = None if other is None else other.contiguous(memory_format=torch.channels_last)
    bias = None if bias is None else bias.float().contiguous()
    shape = (examples, outputs, height, width)
    result = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    half = x.dtype == torch.bfloat16
    sizes = as_int64(examples, height, width, inputs, outputs, relu, half)
    if library().winograd(pointer(x), pointer(weight), pointer(bias), pointer(other), pointer(result), *sizes):
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
    scratch = torch.empty(36 * (inputs * outputs + _TOGETHER * (inputs + outputs)))
    result = torch.empty(outputs, inputs, 3, 3)
    sizes = as_int64(_TOGETHER, examples, height, width, inputs, outputs)
    library().winograd_gradient(pointer(x), pointer(of_result), pointer(result), pointer(scratch), *sizes)
    return result
