"""VGG (Simonyan & Zisserman 2015, arXiv 1409.1556) with torchvision's names and initialisation: `recipe.VGG`."""

from __future__ import annotations

from torch import Tensor, nn

from linescape import recipe
from linescape.models.norms import norm

_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS = (1, 2, 4, 8, 8)


class VGG(nn.Module):
    """Five blocks of 3x3 convolutions, each pooled to half its side, and a classifier.

    State-dict names and shapes are torchvision's vgg11 ... vgg19 (``norm="none"``) and vgg11_bn ... vgg19_bn
    (``"batch"``) for the head ``imagenet``, width 64 and 3 channels. The head ``cifar`` is one layer ``classifier``
    after global average pooling. The head ``imagenet`` has dropout, which draws from torch's global random numbers
    in training. Images under 32 pixels are pooled with their border kept, so that any size works.
    """

    blocks: dict[str, tuple[str, ...]]
    """``block1`` ... ``block5``; for the head ``imagenet`` then ``fc1`` and ``fc2``; last ``fc``."""

    def __init__(self, spec: recipe.VGG, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = shape[0]
        self.blocks = {}
        for number, (count, factor) in enumerate(zip(_CONVOLUTIONS[spec.depth], _WIDTHS, strict=True), 1):
            first = len(layers)
            for _ in range(count):
                layers.append(nn.Conv2d(channels, factor * spec.width, 3, padding=1))
                channels = factor * spec.width
                if spec.norm != "none":
                    layers.append(norm(spec.norm, channels))
                layers.append(nn.ReLU(inplace=True))
            self.blocks[f"block{number}"] = tuple(
                f"features.{at}" for at in range(first, len(layers)) if not isinstance(layers[at], nn.ReLU)
            )
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=min(shape[1:]) < 32))
        self.features = nn.Sequential(*layers)
        if spec.head == "imagenet":
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.classifier: nn.Module = nn.Sequential(
                nn.Linear(channels * 49, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(0.5),
                nn.Linear(4096, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(0.5),
                nn.Linear(4096, classes),
            )
            self.blocks |= {"fc1": ("classifier.0",), "fc2": ("classifier.3",), "fc": ("classifier.6",)}
        else:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Linear(channels, classes)
            self.blocks["fc"] = ("classifier",)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)``."""
        logits: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return logits


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
