"""Networks with updates of LoRA: compared with the networks into which these are merged by hand, and with peft."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from linescape import models
from linescape.data import Dataset, Split
from linescape.errors import RecipeError
from linescape.geometry.low_rank import measured
from linescape.geometry.packed import low_rank_pairs
from linescape.geometry.state import State
from linescape.models.low_rank import Updated
from linescape.recipe import MLP, VGG, Data, LeNet, LoRA, Model, Optimizer, Random, Recipe, ResNet, Schedule, Trained
from linescape.training import interventions
from linescape.training.initialisation import carried_over, draw
from linescape.training.loop import Checkpoint, train

SHAPE = (1, 10, 10)
BASES: list[MLP | LeNet | VGG | ResNet] = [
    MLP((7, 6), norm="batch"),
    LeNet(),
    VGG(11, 2),
    ResNet(8, 4),
    ResNet(8, 4, "none"),
    ResNet(50, 2, stem="imagenet"),
]


def drawn(spec: Model, seed: int = 0) -> Any:
    return models.draw(spec, SHAPE, 4, Random(), seed)


def lived_in(network: nn.Module) -> nn.Module:
    """The network in float64 with random numbers for what is drawn as 0, each B among it, in eval mode."""
    generator = torch.Generator().manual_seed(5)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return network.double().eval()


def inputs() -> Tensor:
    return torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def plain(spec: LoRA, network: nn.Module) -> nn.Module:
    """The network without updates, with each product in its weight."""
    tensors = network.state_dict()
    merged = {name.replace(".base_layer.", "."): value for name, value in tensors.items() if "lora_" not in name}
    for name in tensors:
        if name.endswith("lora_B.weight"):
            layer = name.removesuffix(".lora_B.weight")
            up, down = tensors[name], tensors[f"{layer}.lora_A.weight"]
            weight = merged[f"{layer}.weight"]
            merged[f"{layer}.weight"] = weight + spec.alpha / spec.rank * torch.einsum(
                "or,ri->oi", up.flatten(1), down.flatten(1)
            ).reshape(weight.shape)
    without: nn.Module = drawn(spec.model).double().eval()
    without.load_state_dict(merged)
    return without


@pytest.mark.parametrize("base", BASES)
def test_it_is_the_network_with_the_products_in_its_weights(base: MLP | LeNet | VGG | ResNet) -> None:
    spec = LoRA(base, 3, 5.0)
    network = lived_in(drawn(spec))
    expected = plain(spec, network)(inputs())
    assert not torch.allclose(drawn(base).double().eval()(inputs()), expected, rtol=1e-3)
    torch.testing.assert_close(network(inputs()), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("base", BASES)
def test_every_layer_but_the_last_has_an_update_and_all_else_is_fixed(base: MLP | LeNet | VGG | ResNet) -> None:
    network, without = drawn(LoRA(base, 3)), drawn(base)
    layers = {name for name, layer in without.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    head = {name for name in layers if name in without.blocks["fc"]}
    assert len(head) == 1
    assert {name for name, layer in network.named_modules() if isinstance(layer, Updated)} == layers - head
    state = State.from_module(network)
    pairs = low_rank_pairs(list(state), list(state))
    assert {pair.layer for pair in pairs} == layers - head
    found = [measured(pair, network, state) for pair in pairs[:2]]
    assert all(update.weight == f"{update.up.removesuffix('lora_B.weight')}base_layer.weight" for update in found)
    assert [update.scale for update in found] == pytest.approx([8 / 3] * len(found))
    for name, parameter in network.named_parameters():
        whole = any(f"{name}.".startswith(f"{prefix}.") for prefix in network.blocks["fc"])
        assert parameter.requires_grad == ("lora_" in name or whole), name


def test_a_is_as_peft_draws_it_and_b_is_0() -> None:
    network = drawn(LoRA(MLP((300, 300)), 40))
    for name, value in network.state_dict().items():
        if "lora_B" in name:
            assert not value.any()
        elif "lora_A" in name:
            bound = value.shape[1] ** -0.5  # Kaiming uniform with a = sqrt(5): sqrt(6 / ((1 + 5) fan_in))
            assert 0.99 * bound < float(value.abs().max()) <= bound
            assert float(value.std()) == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize("base", [MLP((7, 6)), ResNet(8, 4)])
def test_it_is_pefts_network(base: MLP | ResNet) -> None:
    peft = pytest.importorskip("peft")
    spec = LoRA(base, 3, 5.0)
    network, without = lived_in(drawn(spec)), drawn(base)
    layers = [name for name, layer in network.named_modules() if isinstance(layer, Updated)]
    config = peft.LoraConfig(r=3, lora_alpha=5.0, target_modules=layers)
    theirs = peft.get_peft_model(copy.deepcopy(without), config).base_model.model.double().eval()
    renamed = {
        name.replace("lora_A.", "lora_A.default.").replace("lora_B.", "lora_B.default."): value
        for name, value in network.state_dict().items()
    }
    theirs.load_state_dict(renamed)
    torch.testing.assert_close(network(inputs()), theirs(inputs()), rtol=1e-12, atol=1e-12)


# ---- where it starts, and what is trained ----------------------------------------------------------------------------

BASE = Recipe(Data("spiral"), MLP((6, 5), norm="batch"), Optimizer(lr=0.1, batch_size=8), Schedule(1))


def data() -> Dataset:
    images = torch.randn(32, 1, 10, 10, generator=torch.Generator().manual_seed(2))
    split = Split(images, torch.arange(32) % 4)
    return Dataset("random", split, split, 4, (0.0,), (1.0,))


def started(init: Trained, network: nn.Module, other: State) -> Checkpoint:
    return carried_over(init, network, other, Checkpoint(other, 3, {"momentum_buffer/x": torch.ones(1)}))


def test_it_starts_from_the_network_without_updates_and_computes_the_same() -> None:
    recipe = replace(BASE, model=LoRA(BASE.model, 2), seed=1)  # type: ignore[arg-type]
    tuned = interventions.pretrained(recipe, Data("spiral"), seed=7)
    init = tuned.init
    assert isinstance(init, Trained)
    assert init.recipe == replace(BASE, seed=7), "pre-training has no updates"
    other, network = drawn(BASE.model, 3), draw(tuned, SHAPE, 4)
    start = started(init, network, State.from_module(other))
    assert not start.optimizer
    factors = [name for name in start.state if "lora_" in name]
    assert len(factors) == 4
    assert all(torch.equal(start.state[name], network.state_dict()[name]) for name in factors)
    head = {name: start.state[name] for name in ("layers.2.weight", "layers.2.bias")}
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in head.items()), "it is drawn anew"
    start.state.load_into(network)
    other.load_state_dict({**other.state_dict(), **head})
    images = inputs().float()
    assert torch.equal(network.eval()(images), other.eval()(images))


def test_a_training_with_updates_can_be_gone_on_with() -> None:
    spec = LoRA(MLP((6,)), 2)
    first, network = State.from_module(lived_in(drawn(spec, 1)).float()), drawn(spec, 2)
    start = started(Trained(replace(BASE, model=spec)), network, first)
    assert all(torch.equal(start.state[name], first[name]) for name in first)
    with pytest.raises(RecipeError, match=r"'layers.0.weight' .* lacks it"):
        started(Trained(replace(BASE, model=spec)), drawn(spec.model), first)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_only_factors_and_the_last_layer_are_trained_and_decay(optimizer: str) -> None:
    recipe = replace(
        BASE,
        model=LoRA(BASE.model, 2),  # type: ignore[arg-type]
        optimizer=Optimizer(optimizer, lr=0.1, batch_size=8, weight_decay=0.3),  # type: ignore[arg-type]
    )
    start = State.from_module(draw(recipe, SHAPE, 4))
    *_, last = train(recipe, data(), start)
    end = last.checkpoint().state
    moved = {name for name in end if not torch.equal(end[name], start[name])}
    expected = {f"layers.{n}.lora_{of}.weight" for n in (0, 1) for of in "AB"} | {"layers.2.weight", "layers.2.bias"}
    statistics = {name for name in start if "running_" in name or "num_batches" in name}
    assert moved == expected | statistics
