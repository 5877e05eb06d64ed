from __future__ import annotations

from linescape.recipe import MLP
from tests.support.tensor_shapes import meta


def test_the_mlp_of_li_et_al_has_199210_parameters() -> None:
    assert sum(p.numel() for p in meta(MLP((200, 200)), (1, 28, 28), 10).parameters()) == 199_210
