"""The normalisation layers of convolutional networks, by their names in a recipe."""

from __future__ import annotations

from torch import nn

from linescape.recipe import Norm


def norm(kind: Norm, channels: int) -> nn.Module:
    """A layer that normalises `channels` feature maps; the identity for ``none``.

    ``group`` has 32 groups (Wu & He 2018, arXiv 1803.08494), fewer in narrow networks so that each group has two
    channels or more; ``layer`` is one group: all channels and positions of an example together.
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "group":
        groups = max(g for g in range(1, 33) if channels % g == 0 and (g == 1 or channels // g >= 2))
        return nn.GroupNorm(groups, channels)
    if kind == "layer":
        return nn.GroupNorm(1, channels)
    return nn.Identity()
