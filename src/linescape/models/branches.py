"""The residual blocks of a ResNet: with normalisation, and without it by a scalar or by Fixup."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from linescape.models.norms import norm
from linescape.recipe import Norm


class Conv(NamedTuple):
    """One convolution of a residual branch."""

    inputs: int
    outputs: int
    kernel: int
    stride: int

    def build(self, bias: bool = False) -> nn.Conv2d:
        """The layer, padded so that only the stride changes the size."""
        return nn.Conv2d(self.inputs, self.outputs, self.kernel, self.stride, self.kernel // 2, bias=bias)


def shortcut(convs: tuple[Conv, ...]) -> Conv | None:
    """The 1x1 convolution that maps a block's input to the shape of its output; None if they have the same shape."""
    stride = max(conv.stride for conv in convs)
    if stride == 1 and convs[0].inputs == convs[-1].outputs:
        return None
    return Conv(convs[0].inputs, convs[-1].outputs, 1, stride)


class Branch(nn.Module):
    """A residual block: convolutions ``conv1``, ... each with ``bn1``, ...; the input is added before the last ReLU.

    In training, sums and ReLUs are in place: no gradient needs their inputs, and steps are 5 % faster on the CPU, with
    the same bits. In evaluation nothing is overwritten, as hooks may keep it.

    Args:
        convs: the convolutions, in order.
        kind: of the norm layers after them.
        skips: False leaves out the sum with the input.
        bias: whether the convolutions have one.
        identity: whether what is added to the input starts at zero, see `recipe.ResNet`; without norm, a scalar
            ``scale``, at first 0, multiplies it.
    """

    def __init__(self, convs: tuple[Conv, ...], kind: Norm, skips: bool, bias: bool, identity: bool = False) -> None:
        super().__init__()
        self.length, self.skips = len(convs), skips
        for number, conv in enumerate(convs, 1):
            self.add_module(f"conv{number}", conv.build(bias))
            self.add_module(f"bn{number}", norm(kind, conv.outputs))
        project = shortcut(convs) if skips else None
        self.downsample = nn.Sequential(project.build(bias), norm(kind, project.outputs)) if project else None
        self.scale = nn.Parameter(torch.zeros(1)) if identity and kind == "none" else None
        if identity and kind != "none":
            nn.init.zeros_(getattr(self, f"bn{self.length}").weight)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps ``(batch, channels, height, width)`` to those of the next block."""
        out = x
        for number in range(1, self.length + 1):
            out = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(out))
            if number < self.length:
                out = relu(out, inplace=self.training)
        if self.scale is not None:
            out = out * self.scale
        if self.skips:
            added = x if self.downsample is None else self.downsample(x)
            out = out.add_(added) if self.training else out + added
        return relu(out, inplace=self.training)


class FixupBranch(nn.Module):
    """A residual block without normalisation that trains (Zhang, Dauphin & Ma 2019, arXiv 1901.09321).

    A scalar bias, at first 0, precedes each convolution (``bias1a``, ...) and each addition or activation
    (``bias1b``, ...), and a scalar multiplier ``scale``, at first 1, follows the last convolution. Names are those of
    the authors' code. The authors train the scalars at a tenth of the learning rate; at one rate for all, deep
    networks (20 layers) become unstable from 0.05 on.
    """

    bias1a: nn.Parameter

    def __init__(self, convs: tuple[Conv, ...]) -> None:
        super().__init__()
        self.length = len(convs)
        for number, conv in enumerate(convs, 1):
            setattr(self, f"bias{number}a", nn.Parameter(torch.zeros(1)))
            self.add_module(f"conv{number}", conv.build())
            if number == self.length:
                self.scale = nn.Parameter(torch.ones(1))
            setattr(self, f"bias{number}b", nn.Parameter(torch.zeros(1)))
        project = shortcut(convs)
        self.downsample = project.build() if project else None

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps ``(batch, channels, height, width)`` to those of the next block."""
        first = x + self.bias1a
        out = first
        for number in range(1, self.length + 1):
            if number > 1:
                out = out + getattr(self, f"bias{number}a")
            out = getattr(self, f"conv{number}")(out)
            if number < self.length:
                out = relu(out + getattr(self, f"bias{number}b"))
        out = out * self.scale + getattr(self, f"bias{self.length}b")
        return relu(out + (x if self.downsample is None else self.downsample(first)))

    @torch.no_grad()
    def initialise(self, blocks: int) -> None:
        """Fixup's rules 1 and 2 for a network of `blocks` residual blocks, from He-initialised convolutions.

        The last convolution of the branch is 0; the m - 1 others are scaled by ``blocks ** (-1 / (2m - 2))``.
        """
        for number in range(1, self.length):
            getattr(self, f"conv{number}").weight.mul_(blocks ** (-1 / (2 * self.length - 2)))
        nn.init.zeros_(getattr(self, f"conv{self.length}").weight)
