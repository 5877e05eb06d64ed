from __future__ import annotations

from typing import Any

import pytest

from linescape.recipe import VGG
from tests.support.tensor_shapes import Shapes, batch_norm, meta, shapes


def torchvision_vgg(layout: str, batch: bool) -> Shapes:
    """What torchvision's vgg11 ... vgg19 (_bn) hold, from its documentation; M is a pooling layer, as in its table."""
    expected: Shapes = {}
    at, channels = 0, 3
    for entry in layout.split():
        if entry == "M":
            at += 1
            continue
        expected[f"features.{at}.weight"] = (int(entry), channels, 3, 3)
        expected[f"features.{at}.bias"] = (int(entry),)
        channels = int(entry)
        if batch:
            expected |= batch_norm(f"features.{at + 1}", channels)
        at += 3 if batch else 2
    for layer, size in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        expected[f"classifier.{layer}.weight"] = size
        expected[f"classifier.{layer}.bias"] = size[:1]
    return expected


VGGS: dict[int, str] = {
    11: "64 M 128 M 256 256 M 512 512 M 512 512 M",
    13: "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    16: "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    19: "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_vggs_have_torchvisions_names_shapes_and_order(depth: Any, batch: bool) -> None:
    network = meta(VGG(depth, norm="batch" if batch else "none", head="imagenet"))
    assert list(shapes(network).items()) == list(torchvision_vgg(VGGS[depth], batch).items())
    counts = {(11, False): 132_863_336, (16, False): 138_357_544, (16, True): 138_365_992, (19, True): 143_678_248}
    if (depth, batch) in counts:
        assert sum(p.numel() for p in network.parameters()) == counts[depth, batch]


def test_layer_numbers_of_vgg_that_are_known_from_its_checkpoints() -> None:
    cases: list[tuple[Any, Any]] = [(16, "none"), (16, "batch"), (19, "none"), (19, "batch")]
    names = {(depth, kind): list(meta(VGG(depth, norm=kind, head="imagenet")).state_dict()) for depth, kind in cases}
    last = {
        key: [n for n in held if n.startswith("features") and n.endswith("weight")][-1] for key, held in names.items()
    }
    assert last[16, "none"] == "features.28.weight"
    assert last[16, "batch"] == "features.41.weight"
    assert last[19, "none"] == "features.34.weight"
    assert last[19, "batch"] == "features.50.weight"
