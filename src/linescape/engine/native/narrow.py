"""Convolutions with few channels, with the ReLU and the pooling after them, in one pass over memory.

torch's convolutions keep a processor busy where channels are many. With one to three channels of the images, as in a
LeNet, they take several times as long as their multiplications need, and pooling takes as long again, since it reads
what was just written. So both are done while an image is in the cache, in C (``kernels.c``). Sums are in float32, in
the order of the weights, whatever the number of threads or examples.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from linescape.engine.native.build import as_int64, lanes, library, pointer

_INPUTS, _OUTPUTS = 4, 8
"""Most channels of images and results for which it is faster than torch's convolutions, without pooling."""

_POOLED_INPUTS = 32
"""The same for images where the result is pooled. With AVX2, torch takes 1.1 to 5.8 times as long for both with 1 to
32 channels of images and 6 to 64 of results, and 0.7 times as long with 128 (dev/LOG.md, 2026-11-30)."""


def suits(inputs: int, outputs: int, pooled: bool) -> bool:
    """Whether `convolution` is faster than torch's operations.

    Args:
        inputs: channels of the images.
        outputs: channels of the result.
        pooled: whether maxima of the result are wanted.
    """
    return inputs <= _POOLED_INPUTS if pooled else inputs <= _INPUTS and outputs <= _OUTPUTS


def packed(weight: Tensor) -> Tensor:
    """A weight ``(outputs, inputs, rows, columns)`` as `convolution` takes it: outputs last, in whole registers."""
    outputs, inputs, rows, columns = weight.shape
    panels = math.ceil(outputs / lanes())
    whole = F.pad(weight.float(), (0, 0, 0, 0, 0, 0, 0, panels * lanes() - outputs))
    return whole.reshape(panels, lanes(), inputs, rows, columns).permute(0, 3, 4, 2, 1).contiguous()


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    outputs: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    window: tuple[int, int],
    relu: bool,
) -> Tensor:
    """A convolution, with a ReLU and maxima of windows side by side after it.

    Args:
        x: images ``(examples, inputs, height, width)``, in float32; best with channels last.
        weight: from `packed`.
        bias: ``(outputs,)``.
        outputs: channels of the result.
        stride: of the convolution: rows, columns.
        padding: zeros at both sides of the rows and of the columns.
        window: rows and columns of the windows whose maxima are taken; ``(1, 1)`` for none. What fills no window is
            left out.
        relu: whether negative results become 0.

    Returns:
        Images ``(examples, outputs, height, width)`` with channels last.

    Raises:
        MemoryError: there is no memory for an image with its padding.
    """
    examples, inputs, *sides = x.shape
    panels, *kernel = weight.shape[:3]
    x = x.contiguous(memory_format=torch.channels_last)
    shift = torch.zeros(panels * lanes())
    if bias is not None:
        shift[:outputs] = bias
    axes = zip(sides, padding, kernel, stride, window, strict=True)
    pooled = [((side + 2 * pad - size) // step + 1) // most for side, pad, size, step, most in axes]
    shape = (examples, outputs, *pooled)
    result = torch.empty(shape, memory_format=torch.channels_last)
    sizes = as_int64(examples, *sides, inputs, outputs, *kernel, *stride, *padding, *window, relu)
    if library().narrow(pointer(x), pointer(weight), pointer(shift), pointer(result), *sizes):
        raise MemoryError("There is no memory for an image with its padding.")
    return result
