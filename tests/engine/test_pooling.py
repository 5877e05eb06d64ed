"""Maxima of windows side by side, by rows and columns: equal to torch's pooling; no other pooling is touched."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from linescape.engine import rewrite
from linescape.engine.rewrite import aten


def rewritten(network: nn.Module) -> fx.GraphModule:
    traced = fx.symbolic_trace(network)
    rewrite.pool_by_axis(traced.graph)
    traced.recompile()
    return traced


def taken(traced: fx.GraphModule) -> bool:
    return any(node.target is rewrite.maxima for node in traced.graph.nodes)


class Pooled(nn.Module):
    """One call of a pooling."""

    def __init__(self, function: object, *args: object, **kwargs: object) -> None:
        super().__init__()
        self.function, self.args, self.kwargs = function, args, kwargs

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.function(images, *self.args, **self.kwargs)  # type: ignore[operator]
        return pooled


@pytest.mark.parametrize("function", rewrite._POOLING)
@pytest.mark.parametrize("window", [2, (2, 3), [3], (1, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_equal_to_the_pooling_of_torch(
    function: object, window: object, layout: torch.memory_format, dtype: torch.dtype
) -> None:
    network = Pooled(function, list(window) if isinstance(window, tuple) else window)
    images = torch.randn(3, 5, 11, 14, generator=torch.Generator().manual_seed(0), dtype=dtype)
    images[0, 0, 1, 1], images[1, 2, 3, 4], images[2, 0] = torch.nan, -torch.inf, -torch.inf
    images = images.contiguous(memory_format=layout)
    traced = rewritten(network)
    assert taken(traced)
    expected, found = network(images), traced(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert found.is_contiguous(memory_format=layout)
    assert torch.equal(traced(images[1]), network(images[1]))


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 1},
        {"stride": (2, 3)},
        {"padding": 1},
        {"dilation": 2},
        {"ceil_mode": True},
        {"return_indices": True},
    ],
)
def test_other_windows_are_left_to_torch(settings: dict[str, object]) -> None:
    network = Pooled(F.max_pool2d, 2, **settings)
    assert not taken(rewritten(network))


def test_strides_that_equal_the_window() -> None:
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for network in (Pooled(F.max_pool2d, 2, 2), Pooled(aten.max_pool2d.default, [2, 2], [2, 2], [0, 0], [1, 1], False)):
        traced = rewritten(network)
        assert taken(traced)
        assert torch.equal(traced(images), network(images))


def test_images_smaller_than_a_window_are_refused_as_by_torch() -> None:
    network = Pooled(F.max_pool2d, 4)
    with pytest.raises(RuntimeError, match="too small"):
        rewritten(network)(torch.zeros(1, 1, 3, 3))
