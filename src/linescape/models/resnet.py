"""Residual networks (He et al. 2015, arXiv 1512.03385) with torchvision's names and initialisation: `recipe.ResNet`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from linescape import recipe
from linescape.models.branches import Branch, Conv, FixupBranch
from linescape.models.enlarging import checked, enlarged
from linescape.models.norms import norm

_FOUR_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class ResNet(nn.Module):
    """A stem, stages ``layer1`` ... of residual blocks, global average pooling and ``fc``.

    Depths 18, 34 and 50 have state-dict names and shapes of torchvision's resnet18, resnet34 and resnet50 (stem
    ``imagenet`` with or without pooling, width 64, 3 channels, batch norm; the stem ``cifar`` has another shape of
    ``conv1.weight`` and nothing else). Depths 6n + 2 have three stages of n basic blocks (He et al. 2015, section 4.2);
    the first block of the second and third stage has a projection shortcut (option B; the source's CIFAR networks have
    option A, which pads with zeros). Group and layer norm have the names of the batch norm (``bn1``).

    ``norm="none"`` is Fixup (`branches.FixupBranch`). With ``identity``, and without skips, there is nothing to fix up:
    convolutions then have a bias, and the initialisation is He's.
    """

    blocks: dict[str, tuple[str, ...]]
    """``stem``, ``layer1``, ... and ``fc``."""

    def __init__(self, spec: recipe.ResNet, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        counts = _stages(spec)
        fixup = spec.norm == "none" and spec.skips and not spec.identity
        bias = spec.norm == "none" and not fixup
        self.resolution = checked(spec.resolution, shape)
        kernel, stride = (3, 1) if spec.stem == "cifar" else (7, 2)
        self.conv1 = Conv(shape[0], spec.width, kernel, stride).build(bias)
        if fixup:
            self.bias1 = nn.Parameter(torch.zeros(1))
        else:
            self.bn1 = norm(spec.norm, spec.width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if spec.stem == "imagenet" else nn.Identity()
        self.stages = [f"layer{number}" for number in range(1, len(counts) + 1)]
        channels = spec.width
        for number, (name, count) in enumerate(zip(self.stages, counts, strict=True)):
            stage = nn.Sequential()
            for block in range(count):
                convs = _branch(spec.depth, channels, spec.width * 2**number, 2 if number and not block else 1)
                added = FixupBranch(convs) if fixup else Branch(convs, spec.norm, spec.skips, bias, spec.identity)
                stage.append(added)
                channels = convs[-1].outputs
            self.add_module(name, stage)
        if fixup:
            self.bias2 = nn.Parameter(torch.zeros(1))
        self.fc = nn.Linear(channels, classes)
        self.fixup = fixup
        self.blocks = {"stem": ("conv1", "bias1") if fixup else ("conv1", "bn1")}
        self.blocks |= {name: (name,) for name in self.stages}
        self.blocks["fc"] = ("bias2", "fc") if fixup else ("fc",)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)``."""
        x = self.conv1(enlarged(images, self.resolution))
        x = x + self.bias1 if self.fixup else self.bn1(x)
        x = self.maxpool(relu(x, inplace=self.training))  # as in `Branch`
        for name in self.stages:
            x = getattr(self, name)(x)
        x = x.mean((2, 3))
        logits: Tensor = self.fc(x + self.bias2 if self.fixup else x)
        return logits


def _stages(spec: recipe.ResNet) -> tuple[int, ...]:
    """Blocks in each stage."""
    return _FOUR_STAGES.get(spec.depth) or ((spec.depth - 2) // 6,) * 3


def _branch(depth: int, inputs: int, width: int, stride: int) -> tuple[Conv, ...]:
    if depth == 50:  # the bottleneck, with its stride in the 3x3 convolution as in torchvision
        return Conv(inputs, width, 1, 1), Conv(width, width, 3, stride), Conv(width, 4 * width, 1, 1)
    return Conv(inputs, width, 3, stride), Conv(width, width, 3, 1)


def _initialise(network: ResNet) -> None:
    """He initialisation by fan-out for convolutions, as in torchvision; `fc` and norms as torch makes them."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    branches = [module for module in network.modules() if isinstance(module, FixupBranch)]
    for branch in branches:
        branch.initialise(len(branches))
    if branches:
        nn.init.zeros_(network.fc.weight)
        nn.init.zeros_(network.fc.bias)
