from __future__ import annotations

import torch
import torch.nn.functional as F

from linescape import models
from linescape.recipe import EfficientNetLite, Random
from tests.support.drawn import inputs


def test_efficientnet_enlarges_images_bilinearly() -> None:
    small, large = (models.draw(EfficientNetLite(side), (3, 32, 32), 3, Random(), 0).eval() for side in (0, 64))
    x = inputs((3, 32, 32))
    torch.testing.assert_close(large(x), small(F.interpolate(x, scale_factor=2, mode="bilinear")))
    assert not torch.equal(large(x), small(x))
