from __future__ import annotations

import torch
import torch.nn.functional as F

from linescape.models.norms import norm
from tests.support.drawn import inputs


def test_group_norm_has_32_groups_and_two_channels_or_more_in_each() -> None:
    groups = {channels: norm("group", channels).num_groups for channels in (1, 2, 3, 8, 16, 24, 64, 512)}
    assert groups == {1: 1, 2: 1, 3: 1, 8: 4, 16: 8, 24: 12, 64: 32, 512: 32}


def test_layer_norm_is_over_an_example() -> None:
    x = inputs((6, 3, 3)) * 3 + 1
    out = norm("layer", 6)(x).flatten(1)
    torch.testing.assert_close(out, F.layer_norm(x.flatten(1), (54,)))
