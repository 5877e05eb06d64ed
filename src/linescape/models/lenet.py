"""LeNet-5's layout (LeCun et al. 1998) with ReLU and max pooling: `recipe.LeNet`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from linescape.errors import RecipeError


class LeNet(nn.Module):
    """Two 5x5 convolutions of 6 and 16 channels, each pooled, then layers of 120, 84 and `classes` units.

    With 28x28 grey images 44,426 parameters, with 32x32 colour images 62,006, as in Li et al. 2018 (arXiv 1804.08838).
    Images under 28 pixels are padded by 2 before each convolution, so that something is left of them: 14x14 works.
    Layers are initialised as torch does.
    """

    blocks: dict[str, tuple[str, ...]]
    """``conv1``, ``conv2``, ``fc1``, ``fc2`` and ``fc``, which is the layer ``fc3``."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        padding = 0 if min(height, width) >= 28 else 2
        sides = [((side + 2 * padding - 4) // 2 + 2 * padding - 4) // 2 for side in (height, width)]
        if min(sides) < 1:
            raise RecipeError(f"Nothing is left of {height} x {width} images after LeNet's pooling. Use 4 x 4 or more.")
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=padding)
        self.conv2 = nn.Conv2d(6, 16, 5, padding=padding)
        self.fc1 = nn.Linear(16 * sides[0] * sides[1], 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)
        self.blocks = {"conv1": ("conv1",), "conv2": ("conv2",), "fc1": ("fc1",), "fc2": ("fc2",), "fc": ("fc3",)}

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)`` of the size it was built for."""
        x = F.max_pool2d(F.relu(self.conv1(images)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))
        logits: Tensor = self.fc3(x)
        return logits
