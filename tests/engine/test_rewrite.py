"""Results between those of two fixed ends, on every kind of path and where values overflow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from linescape.evaluation.measures import cross_entropy, error, squared_error
from linescape.geometry.paths import Bend, Line, Only, Path, Ray
from linescape.geometry.state import State
from tests.support.engine import compared, labels, state
from tests.support.engine_networks import IMAGES, VECTORS, Head, small


def test_other_paths_and_positions_beyond_the_ends() -> None:
    net, whole, data = small()
    third = state(net, 3, lambda net: net(IMAGES[:24]))
    bend = Bend([whole.start, third, whole.end])
    ray = Ray(whole.start, {n: 0.1 * v for n, v in third.items() if n in third.parameters})
    alphas = (-0.5, 0.0, 0.3, 0.5, 0.8, 1.0, 1.7)
    for path in (
        bend,
        ray,
        Only(bend, ["fc.weight", "conv1.weight"]),
        Only(ray, ["fc.bias"]),
        Only(whole, ["fc.weight"]),
    ):
        compared(path, net, data, alphas=alphas, batch_size=16)
    compared(whole, net, data, alphas=(-0.2, 0.0, 1.0, 1.1))
    compared(Only(whole, ["fc.weight", "fc.bias"], fixed=third), net, data, alphas=alphas)


@pytest.mark.parametrize("block", ["", "fc1", "fc2"])
def test_what_overflows_is_the_same(block: str) -> None:
    net = Head()
    start = State.from_module(net)
    start = start.replace({"fc1.weight": start["fc1.weight"].abs()})  # sums overflow in whatever order
    huge = {
        "fc1.weight": start["fc1.weight"],
        "fc2.weight": torch.full((3, 8), 1e38),
        "fc2.bias": torch.full((3,), 3e38),
    }
    path: Path = Line(start, start.replace(huge))
    if block:
        huge["fc1.weight"] = torch.full((8, 12), 3e38)
        wide = start.replace({name: value for name, value in huge.items() if name.startswith(block)})
        path = Only(Line(start, wide), [name for name in start if name.startswith(block)])
    with np.errstate(all="ignore"):
        found = compared(path, net, (VECTORS.abs() + 1.2, labels(40)), measures=[cross_entropy, squared_error, error])
    if block != "fc1":
        assert not np.isfinite(found["squared_error"].values).all()
