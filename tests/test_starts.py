from __future__ import annotations

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from linescape import data
from linescape.errors import RecipeError
from linescape.recipe import MLP, Data, Optimizer, Random, Recipe, ResNet, Schedule, Trained
from linescape.space import State, lerp
from linescape.starts import at_barrier, carried_over, drawn
from linescape.train import Checkpoint, train

OTHER = Recipe(
    Data("fashion-mini", size=8, fraction=0.01), ResNet(8, 4), Optimizer(batch_size=50, weight_decay=0.1), Schedule(1)
)
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def ends() -> tuple[State, Checkpoint]:
    begin = drawn(OTHER, SHAPE, 10)
    *_, last = train(OTHER, data.load(OTHER.data, OTHER.seed), begin)
    return begin, last.checkpoint()


def follow(init: Trained, ends: tuple[State, Checkpoint], classes: int = 10) -> Checkpoint:
    return carried_over(replace(OTHER, init=init), init, SHAPE, classes, *ends)


def sources(found: State, **states: State) -> dict[str, set[str]]:
    """Which tensors of a state are those of which others (those that are equal in all are left out)."""
    differ = [name for name in found if not all(torch.equal(s[name], found[name]) for s in states.values())]
    return {key: {name for name in differ if torch.equal(state[name], found[name])} for key, state in states.items()}


def test_a_draw_depends_on_the_whole_recipe_and_nothing_else() -> None:
    first = drawn(OTHER, SHAPE, 10)
    torch.rand(3)
    assert torch.equal(drawn(OTHER, SHAPE, 10)["conv1.weight"], first["conv1.weight"])
    for other in (replace(OTHER, seed=1), replace(OTHER, optimizer=Optimizer())):
        assert not torch.equal(drawn(other, SHAPE, 10)["conv1.weight"], first["conv1.weight"])


def test_a_draw_follows_the_scheme() -> None:
    assert not any(value.any() for value in drawn(replace(OTHER, init=Random("zeros")), SHAPE, 10).parameters.values())


def test_everything_is_kept_unless_it_is_set_back(ends: tuple[State, Checkpoint]) -> None:
    found = follow(Trained(OTHER), ends)
    assert all(torch.equal(found.state[name], value) for name, value in ends[1].state.items())
    assert (found.step, found.optimizer, found.loss_sum, found.seen) == (0, {}, 0.0, 0)


@pytest.mark.parametrize("to", ["fresh", "own"])
@pytest.mark.parametrize("statistics", [True, False])
def test_a_block_is_set_back(ends: tuple[State, Checkpoint], to: str, statistics: bool) -> None:
    init = Trained(OTHER, ("layer1",), to, statistics)  # type: ignore[arg-type]
    found = follow(init, ends).state
    fresh = drawn(replace(OTHER, init=init), SHAPE, 10)
    got = sources(found, end=ends[1].state, own=ends[0], fresh=fresh)
    weights = {name for name in got[to] if ".conv" in name}
    assert weights == {"layer1.0.conv1.weight", "layer1.0.conv2.weight"}
    assert not any(name.startswith("layer1.") for name in got["end"] if "running" not in name and "num_" not in name)
    assert {name for name in found if "running_mean" in name} - got["end"] == (
        {"layer1.0.bn1.running_mean", "layer1.0.bn2.running_mean"} if statistics else set()
    )
    assert (int(found["layer1.0.bn1.num_batches_tracked"]) == 0) == statistics
    assert {"conv1.weight", "fc.weight", "layer3.0.bn1.weight"} <= got["end"]


def test_a_kept_optimizer_forgets_the_blocks_that_were_set_back(ends: tuple[State, Checkpoint]) -> None:
    found = follow(Trained(OTHER, ("layer1",), optimizer="kept"), ends)
    assert set(found.optimizer) == set(ends[1].optimizer)
    for key, value in found.optimizer.items():
        assert bool(value.any()) != ("/layer1." in key)
    *_, last = train(OTHER, data.load(OTHER.data, 0), found)
    assert not last.diverged


def test_an_optimizer_of_another_kind_cannot_be_kept(ends: tuple[State, Checkpoint]) -> None:
    init = Trained(OTHER, optimizer="kept")
    recipe = replace(OTHER, init=init, optimizer=Optimizer("adam"))
    with pytest.raises(RecipeError, match="'adam' here and 'sgd' in the training"):
        carried_over(recipe, init, SHAPE, 10, *ends)


def test_other_labels_need_another_head(ends: tuple[State, Checkpoint]) -> None:
    assert follow(Trained(OTHER, ("fc",)), ends, classes=7).state["fc.weight"].shape == (7, 16)
    with pytest.raises(RecipeError, match=r"'fc\.weight' is \(7, 16\).*has it as \(10, 16\).*Set back block 'fc'"):
        follow(Trained(OTHER), ends, classes=7)
    with pytest.raises(RecipeError, match="Set back block 'fc'"):
        follow(Trained(OTHER, ("fc",), "own"), ends, classes=7)


def test_another_network_cannot_be_carried_over(ends: tuple[State, Checkpoint]) -> None:
    init = Trained(OTHER)
    with pytest.raises(RecipeError, match=r"layers\.0\.weight.*lacks it"):
        carried_over(replace(OTHER, init=init, model=MLP()), init, SHAPE, 10, *ends)
    with pytest.raises(RecipeError, match=r"no block 'layer9' to set back. Did you mean"):
        follow(Trained(OTHER, ("layer9",)), ends)


def test_the_barrier_is_the_top_of_the_hump(ends: tuple[State, Checkpoint]) -> None:
    begin, end = ends[0], ends[1].state
    found = at_barrier(begin, end, np.array([0, 0.25, 0.5, 0.75, 1]), np.array([2.3, 2.0, 2.9, 1.0, 0.1]))
    for name, value in found.items():
        assert torch.equal(value, lerp(begin[name], end[name], 0.5))
