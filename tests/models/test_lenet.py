from __future__ import annotations

from linescape.recipe import LeNet
from tests.support.tensor_shapes import meta


def test_lenet_has_the_sizes_of_li_et_al() -> None:
    count = {
        shape: sum(p.numel() for p in meta(LeNet(), shape, 10).parameters()) for shape in ((1, 28, 28), (3, 32, 32))
    }
    assert count == {(1, 28, 28): 44_426, (3, 32, 32): 62_006}
