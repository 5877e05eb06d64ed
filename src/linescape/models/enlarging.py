"""Enlarges images before the first layer, for networks that were designed for larger images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from linescape.errors import RecipeError


def checked(resolution: int, shape: tuple[int, ...]) -> int:
    """The side to which images of this shape ``(channels, height, width)`` are enlarged; 0 keeps them.

    Raises:
        RecipeError: the images are larger already.
    """
    if resolution and resolution < max(shape[1:]):
        raise RecipeError(
            f"The resolution is {resolution}, but the images are {shape[1]} x {shape[2]} and can only be enlarged. "
            "Give their longer side or more, or 0 to keep them."
        )
    return resolution


def enlarged(images: Tensor, resolution: int) -> Tensor:
    """Images ``(batch, channels, height, width)`` as squares of a side of `resolution`, bilinearly; 0 keeps them."""
    return F.interpolate(images, (resolution, resolution), mode="bilinear") if resolution else images
