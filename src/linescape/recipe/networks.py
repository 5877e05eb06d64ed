"""The networks of a recipe. What depends on the network's inputs is checked by `models.build`."""

from __future__ import annotations

import math
from typing import Literal

from linescape.errors import RecipeError
from linescape.recipe.content import Content
from linescape.recipe.own import OwnModel

_PIECES = 5

Norm = Literal["batch", "group", "layer", "none"]


class MLP(Content, frozen=True, tag_field="name", tag="mlp"):
    """A fully connected network.

    Attributes:
        hidden: widths of the hidden layers.
        activation: of the hidden layers. ``maxout`` (Goodfellow, Warde-Farley et al. 2013, arXiv 1302.4389) computes
            `pieces` linear outputs for each unit, and the unit is the largest of them.
        norm: of what a hidden layer's linear part computes, before the activation.
        pieces: of a maxout unit (5 in Goodfellow et al. 2015, arXiv 1412.6544).
        bias: which linear layers have one: ``hidden`` is all but the last (Wang et al. 2023, arXiv 2210.01019, compare
            networks with and without the last layer's), ``none`` none.
    """

    hidden: tuple[int, ...] = (200, 200)
    activation: Literal["relu", "tanh", "sigmoid", "maxout"] = "relu"
    norm: Literal["batch", "layer", "none"] = "none"
    pieces: int = _PIECES
    bias: Literal["all", "hidden", "none"] = "all"

    def _check(self) -> None:
        self._require("hidden", min(self.hidden, default=1) >= 1, "one unit or more for each hidden layer")
        self._require("pieces", self.pieces >= 1, "one linear output or more for each maxout unit")
        if self.pieces != _PIECES and self.activation != "maxout":
            raise RecipeError(
                f"pieces is {self.pieces}, but the activation is {self.activation!r}, and only maxout has pieces, so "
                "they would do nothing. Leave them out, or use activation 'maxout'."
            )
        if self.bias == "none" and self.norm != "none":
            raise RecipeError(
                f"bias is 'none' with norm {self.norm!r}, whose shifts are biases too, so the network would have some. "
                "Leave out the norm, or give bias 'hidden' or 'all'."
            )


class LeNet(Content, frozen=True, tag_field="name", tag="lenet"):
    """LeNet-5's layout with ReLU and max pooling."""


class LSTM(Content, frozen=True, tag_field="name", tag="lstm"):
    """A recurrent classifier of images, row by row, and of series ``(features, steps)`` or ``(steps,)``.

    Attributes:
        hidden: units of each layer.
        layers: LSTM layers, each of which reads the one before.
    """

    hidden: int = 128
    layers: int = 1

    def _check(self) -> None:
        self._require("hidden", self.hidden >= 1, "an LSTM one unit or more")
        self._require("layers", self.layers >= 1, "an LSTM one layer or more")


class VGG(Content, frozen=True, tag_field="name", tag="vgg"):
    """VGG; `width` channels in the first block (64 in the source), names as in torchvision.

    `head` is ``imagenet`` (torchvision's three layers of 4096) or ``cifar`` (one layer after global average pooling).
    """

    depth: Literal[11, 13, 16, 19] = 16
    width: int = 64
    norm: Norm = "batch"
    head: Literal["cifar", "imagenet"] = "cifar"

    def _check(self) -> None:
        self._require("width", self.width >= 1, "a VGG one channel or more (64 in the source)")


class ResNet(Content, frozen=True, tag_field="name", tag="resnet"):
    """A residual network in torchvision's layout, or the CIFAR layout for depths 8, 14, 20, 32, 44, 56.

    Attributes:
        depth: 18, 34, 50 have four stages (torchvision); 8, 14, 20, ... = 6n + 2 have three (He et al. 2015, 4.2).
        width: channels of the first stage (64 for torchvision's, 16 for the CIFAR layout).
        norm: ``none`` uses Fixup initialisation (Zhang et al. 2019) so that it trains.
        skips: False leaves the residual connections out.
        stem: ``cifar`` is one 3x3 convolution; ``imagenet`` is 7x7 with stride 2 and max pooling; ``imagenet-no-pool``
            leaves the pooling out, so that ImageNet weights fit and 32 x 32 images keep 16 x 16 places.
        resolution: side to which images are enlarged, bilinearly, before the first layer (224 is what ``imagenet`` was
            made for); 0 keeps them as they are.
        identity: whether what a residual block adds to its input starts at zero: by its last norm's weight (Goyal et
            al. 2017, arXiv 1706.02677), or without norm by a scalar (De & Smith 2020, arXiv 2002.10444) in place of
            Fixup. The two are compared by Lucas et al. 2021 (arXiv 2104.11044).
    """

    depth: int = 18
    width: int = 64
    norm: Norm = "batch"
    skips: bool = True
    stem: Literal["cifar", "imagenet", "imagenet-no-pool"] = "cifar"
    resolution: int = 0
    identity: bool = False

    def _check(self) -> None:
        if self.identity and not self.skips:
            raise RecipeError(
                "identity is True without skips, so a block that starts at zero would pass nothing on and the network "
                "could not learn. Leave out identity, or keep the residual connections."
            )
        self._require("width", self.width >= 1, "a ResNet one channel or more (64, or 16 for the CIFAR layout)")
        self._require("resolution", self.resolution >= 0, "a side in pixels, or 0 to keep images as they are")
        blocks, rest = divmod(self.depth - 2, 6)
        if self.depth not in (18, 34, 50) and (rest or blocks < 1):
            lower = max(1, blocks)
            raise RecipeError(
                f"There is no ResNet of depth {self.depth}. Use 18, 34 or 50 (four stages), or 6n + 2 (three stages), "
                f"such as {6 * lower + 2} or {6 * lower + 8}."
            )


class EfficientNetLite(Content, frozen=True, tag_field="name", tag="efficientnet-lite"):
    """EfficientNet-Lite0 in timm's layout (``tf_efficientnet_lite0``); it is made for images of 224 x 224.

    Attributes:
        resolution: side to which images are enlarged, bilinearly, before the first layer, as the network divides it by
            32; 0 keeps them as they are.
    """

    resolution: int = 0

    def _check(self) -> None:
        self._require("resolution", self.resolution >= 0, "a side in pixels, or 0 to keep images as they are")


class LoRA(Content, frozen=True, tag_field="name", tag="lora"):
    """A network of which low-rank updates are trained (Hu et al. 2021, arXiv 2106.09685), and its last layer.

    Each other linear and convolutional layer computes with ``W + alpha / rank * B A``, where W is fixed, and so are its
    bias and the parameters of norm layers; running statistics are not. Start from a training of the network without
    updates by `Trained`: A and B are then as they are drawn, and B is 0.

    Attributes:
        model: the network without updates.
        rank: of each update.
        alpha: the scale of updates times their rank, lora_alpha of peft.
    """

    model: MLP | LeNet | VGG | ResNet
    rank: int = 8
    alpha: float = 8.0

    def _check(self) -> None:
        self._require("rank", self.rank >= 1, "a rank of 1 or more")
        self._require("alpha", 0 < self.alpha < math.inf, "a positive, finite number")


Model = MLP | LeNet | LSTM | VGG | ResNet | EfficientNetLite | LoRA | OwnModel


def title(model: Model) -> str:
    """A network in a word or two, such as ``ResNet``, or as its function of one's own is called."""
    if isinstance(model, LoRA):
        return f"{title(model.model)} with LoRA of rank {model.rank}"
    return str(model) if isinstance(model, OwnModel) else type(model).__name__
