"""What is derived from graphs: permuting it never changes outputs, and it is as much as the literature permutes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape import models, recipe
from linescape.geometry.state import State
from linescape.interpolation.alignment.exporting import export
from linescape.interpolation.alignment.units import Structure, structure


def derived(network: nn.Module, *inputs: Tensor) -> Structure:
    return structure(export(network.eval(), inputs, {}), {}, State.from_module(network), inputs)


def check_function_kept(network: nn.Module, *inputs: Tensor) -> Structure:
    """Random weights, then a random permutation: outputs stay, and units did move."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                drawn = torch.randn(value.shape, generator=generator) * 0.3
                value.copy_(drawn.square() + 0.5 if name.endswith("running_var") else drawn)
    found = derived(network, *inputs)
    draws = np.random.default_rng(1)
    orders = {units.label: draws.permutation(units.count) for units in found.units}
    before = network(*inputs).detach()
    found.permuted(State.from_module(network), orders).load_into(network)
    after = network(*inputs).detach()
    assert torch.isfinite(before).all()
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4 * float(before.abs().max()))
    return found


IMAGES = torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(3))

COUNTS: list[tuple[Any, int]] = [
    (recipe.MLP(hidden=(9, 7)), 2),
    (recipe.MLP(hidden=(9, 7), norm="batch"), 2),
    (recipe.VGG(depth=11, width=4, norm="none", head="cifar"), 8),
    (recipe.VGG(depth=13, width=4, norm="batch", head="cifar"), 10),
    (recipe.ResNet(depth=8, width=4), 6),  # a stream for each stage, and the inside of each block
    (recipe.ResNet(depth=14, width=4), 9),
    (recipe.ResNet(depth=18, width=4), 12),
    (recipe.ResNet(depth=50, width=4), 4 + 1 + 2 * 16),
    (recipe.ResNet(depth=14, width=4, norm="none"), 9),
    (recipe.ResNet(depth=8, width=4, norm="none", skips=False), 7),
    (recipe.ResNet(depth=8, width=4, norm="layer"), 6),
]


@pytest.mark.parametrize(("spec", "count"), COUNTS)
def test_all_units_of_known_architectures_are_found(spec: Any, count: int) -> None:
    found = check_function_kept(models.build(spec, (1, 12, 12), 5), IMAGES)
    assert len(found.units) == count
    assert not found.fixed


def test_flattened_images_keep_the_places_of_each_channel() -> None:
    network = models.build(recipe.LeNet(), (1, 28, 28), 5)
    found = check_function_kept(network, torch.randn(4, 1, 28, 28))
    assert [units.label for units in found.units] == ["conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"]
    assert {member.inner for member in found.units[1].members} == {1, 16}


class Odd(nn.Module):
    """One hidden layer of 8 channels, then something between it and the next one."""

    def __init__(self, between: Any) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 6, 3)
        self.third = nn.Linear(6, 3)
        self.between = between
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.norm = nn.GroupNorm(4, 8)
        self.one_group, self.instance = nn.GroupNorm(1, 8), nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.several = nn.Conv2d(8, 16, 1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 1, groups=2)
        self.after = nn.Conv2d(16, 8, 1)
        self.slope = nn.PReLU(8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        logits: Tensor = self.third(torch.relu(self.second(self.between(self, hidden))).mean((2, 3)))
        return logits


def gram(x: Tensor) -> Tensor:
    return 0.01 * (x.flatten(2) @ x.flatten(2).transpose(1, 2))


FREE = {
    "per channel": lambda net, x: x * net.scale,
    "depthwise": lambda net, x: net.depthwise(x),
    "several": lambda net, x: net.after(net.several(x)),
    "gated": lambda net, x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "softmax": lambda net, x: x.softmax(1),
    "prelu": lambda net, x: net.slope(x),
    "one group": lambda net, x: net.one_group(x),
    "instance": lambda net, x: net.instance(x),
    "centred": lambda net, x: x - x.mean(1, keepdim=True),
    "in place": lambda net, x: x.mul_(2).add_(1),
    "tokens": lambda net, x: x.flatten(2).transpose(1, 2).permute(0, 2, 1).reshape(x.shape),
    "attention over channels": lambda net, x: (gram(x) @ x.flatten(2)).reshape(x.shape),
    "slice of space": lambda net, x: F.pad(x[:, :, 1:, ::2], (1, 1)),
}
FIXED = {
    "flip": lambda net, x: x.flip(1),
    "roll": lambda net, x: x.roll(1, 1),
    "shuffle": lambda net, x: x.reshape(-1, 2, 4, 12, 12).transpose(1, 2).reshape(-1, 8, 12, 12),
    "group norm": lambda net, x: net.norm(x),
    "grouped": lambda net, x: net.grouped(x),
    "halves": lambda net, x: torch.cat([x[:, 4:], x[:, :4]], 1),
    "chunks": lambda net, x: torch.cat([part * number for number, part in enumerate(x.chunk(2, 1), 1)], 1),
    "cumulative": lambda net, x: x.cumsum(1),
    "constant": lambda net, x: x * torch.arange(8.0).reshape(8, 1, 1),
    "padded": lambda net, x: F.pad(x[:, 1:], (0, 0, 0, 0, 1, 0)),
}


@pytest.mark.parametrize("kind", FREE)
def test_what_treats_units_alike_leaves_them_free(kind: str) -> None:
    found = check_function_kept(Odd(FREE[kind]), IMAGES)
    assert {"first.weight", "second.weight"} <= {units.label for units in found.units}


@pytest.mark.parametrize("kind", FIXED)
def test_what_depends_on_the_order_of_units_keeps_it(kind: str) -> None:
    found = check_function_kept(Odd(FIXED[kind]), IMAGES)
    labels = {units.label for units in found.units}
    assert "second.weight" in labels
    assert "first.weight" not in labels


def test_a_transformer_keeps_its_heads_and_frees_its_stream_and_inner_layers() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.places = nn.Embedding(11, 8), nn.Parameter(torch.zeros(1, 5, 8))
            self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
            self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
            self.one, self.two = nn.LayerNorm(8), nn.LayerNorm(8)
            self.head = nn.Linear(8, 11)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.embed(tokens) + self.places
            q, k, v = self.qkv(self.one(x)).reshape(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
            x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))
            x = x + self.down(F.gelu(self.up(self.two(x))))
            logits: Tensor = self.head(x)
            return logits

    tokens = torch.randint(0, 11, (4, 5), generator=torch.Generator().manual_seed(0))
    found = check_function_kept(Block(), tokens)
    assert [units.label for units in found.units] == ["out.weight", "up.weight"]
    assert "qkv.weight" in found.fixed


def test_units_of_a_recurrent_weight_lie_on_both_of_its_axes() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.again, self.out = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.into(x))
            for _ in range(2):
                x = torch.tanh(self.again(x))
            out: Tensor = self.out(x)
            return out

    found = check_function_kept(Twice(), torch.randn(4, 5))
    assert [units.label for units in found.units] == ["into.weight"]
    assert sum(member.name == "again.weight" for member in found.units[0].members) == 2
