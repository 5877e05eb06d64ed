from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linescape import models
from linescape.recipe import Model, Random, ResNet
from tests.support.drawn import inputs
from tests.support.tensor_shapes import Shapes, batch_norm, meta, shapes


def torchvision_resnet(depth: int, side: int) -> Shapes:
    """What ``torchvision.models.resnet18().state_dict()`` and its sisters hold, written down from its documentation."""
    blocks = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3]}[depth]
    expected: Shapes = {"conv1.weight": (64, 3, side, side), **batch_norm("bn1", 64)}
    for stage, (planes, count) in enumerate(zip([64, 128, 256, 512], blocks, strict=True), 1):
        for block in range(count):
            at = f"layer{stage}.{block}"
            if depth == 50:
                wide = 4 * planes
                first = (64 if stage == 1 else 2 * planes) if block == 0 else wide
                expected[f"{at}.conv1.weight"] = (planes, first, 1, 1)
                expected |= batch_norm(f"{at}.bn1", planes)
                expected[f"{at}.conv2.weight"] = (planes, planes, 3, 3)
                expected |= batch_norm(f"{at}.bn2", planes)
                expected[f"{at}.conv3.weight"] = (wide, planes, 1, 1)
                expected |= batch_norm(f"{at}.bn3", wide)
                projects = block == 0
            else:
                wide = planes
                first = planes // 2 if stage > 1 and block == 0 else planes
                expected[f"{at}.conv1.weight"] = (planes, first, 3, 3)
                expected |= batch_norm(f"{at}.bn1", planes)
                expected[f"{at}.conv2.weight"] = (planes, planes, 3, 3)
                expected |= batch_norm(f"{at}.bn2", planes)
                projects = stage > 1 and block == 0
            if projects:
                expected[f"{at}.downsample.0.weight"] = (wide, first, 1, 1)
                expected |= batch_norm(f"{at}.downsample.1", wide)
    last = 2048 if depth == 50 else 512
    return {**expected, "fc.weight": (1000, last), "fc.bias": (1000,)}


@pytest.mark.parametrize("stem", ["imagenet", "imagenet-no-pool", "cifar"])
@pytest.mark.parametrize(("depth", "count"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_resnets_have_torchvisions_names_shapes_and_order(depth: int, count: int, stem: Any) -> None:
    network = meta(ResNet(depth, stem=stem))
    side = 3 if stem == "cifar" else 7
    assert list(shapes(network).items()) == list(torchvision_resnet(depth, side).items())
    assert sum(p.numel() for p in network.parameters()) == count - 64 * 3 * (49 - side**2)


def test_a_state_dict_of_torchvisions_layout_loads_strictly() -> None:
    state = {name: torch.zeros(shape) for name, shape in torchvision_resnet(18, 7).items()}
    network = models.build(ResNet(18, stem="imagenet"), (3, 224, 224), 1000)
    assert str(network.load_state_dict(state)) == "<All keys matched successfully>"


def test_leaving_skips_out_takes_only_the_shortcuts_away() -> None:
    for depth in (8, 18, 50):
        with_skips, without = shapes(meta(ResNet(depth, 8))), shapes(meta(ResNet(depth, 8, skips=False)))
        assert without == {name: shape for name, shape in with_skips.items() if "downsample" not in name}


@pytest.mark.parametrize(("stem", "side"), [("cifar", 32), ("imagenet", 8), ("imagenet-no-pool", 16)])
def test_the_stems_leave_as_many_places_as_they_say(stem: Any, side: int) -> None:
    network = models.draw(ResNet(18, 2, stem=stem), (3, 32, 32), 3, Random(), 0)
    met: list[Tensor] = []
    network.get_submodule("layer1").register_forward_hook(lambda module, given, found: met.extend(given))
    network(inputs((3, 32, 32)))
    assert met[0].shape == (4, 2, side, side)


def test_resnet_20_of_width_16_has_the_size_of_he_et_al() -> None:
    # He et al. 2015, table 6: 0.27 M with option A; two projection shortcuts and their norms come on top.
    count = sum(p.numel() for p in meta(ResNet(20, 16), (3, 32, 32), 10).parameters())
    assert count == 269_722 + 16 * 32 + 64 + 32 * 64 + 128


def correlated_noise(count: int = 32) -> Tensor:
    coarse = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(coarse, 32, mode="bilinear")
    return (images - images.mean()) / images.std()


def initial_losses(spec: Model) -> list[float]:
    labels = torch.arange(32) % 10
    with torch.no_grad():
        return [
            float(
                F.cross_entropy(models.draw(spec, (3, 32, 32), 10, Random(), seed).eval()(correlated_noise()), labels)
            )
            for seed in range(3)
        ]


def test_the_loss_at_the_random_end_grows_with_depth_as_in_the_study() -> None:
    # Untouched running statistics make BatchNorm the identity, so activations grow with depth: the study's figures
    # start at 2.4 to 3.5 for ResNet-18 and above 9 for ResNet-34.
    for loss in initial_losses(ResNet(18)):
        assert 2.2 < loss < 3.6
    assert max(initial_losses(ResNet(34))) > 5


def test_fixup_starts_at_chance() -> None:
    for spec in (ResNet(20, 8, "none"), ResNet(50, 8, "none")):
        assert initial_losses(spec) == pytest.approx([math.log(10)] * 3)
