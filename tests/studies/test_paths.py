"""Walks along other paths than the straight line, and at other positions, against states put together by hand."""

from __future__ import annotations

from dataclasses import replace as replace_arm
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from linescape import models
from linescape.analysis import tables
from linescape.data import load
from linescape.errors import RecipeError
from linescape.geometry.groups import by_block
from linescape.geometry.homogeneous import powers
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.alignment.aligning import align
from linescape.interpolation.repair import Repaired
from linescape.recipe import MLP, Data, LoRA, Optimizer, Random, Recipe, Schedule, Trained, derive_seed
from linescape.studies.job import measuring
from linescape.studies.paths import (
    Aligned,
    Averaged,
    Bent,
    Disturbed,
    Homogeneous,
    InMergedWeights,
    RandomDirection,
    Shuffled,
    Straight,
    direction,
)
from linescape.studies.run import work
from linescape.studies.states import state
from linescape.studies.store import Store
from linescape.studies.study import Keep, Moment, Scan, Study, Train, in_order

RECIPE = Recipe(Data("spiral", fraction=0.05), MLP((8, 6)), Optimizer(batch_size=50), Schedule(3))
START, END, MIDDLE = Moment(RECIPE, "start"), Moment(RECIPE), Moment(RECIPE, "epoch", 1)
SMALL: dict[str, Any] = {"alphas": 3, "train_examples": 20}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    assert not work([Train(RECIPE), Keep(MIDDLE)], store, progress=False).failed
    return store


def loss(state: State) -> float:
    """Test loss in float64, by hand."""
    dataset = load(RECIPE.data, RECIPE.seed)
    network = models.draw(RECIPE.model, dataset.shape, dataset.classes, Random(), 0).double()
    network.load_state_dict({name: value.double() for name, value in state.items()})
    inputs = dataset.normalise(dataset.test.inputs).double()
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(network(inputs), dataset.test.targets))


def curve(scan: Scan, store: Store) -> tuple[list[float], np.ndarray]:
    assert not work([scan], store, progress=False).failed
    series = store.curve(scan)["test", "cross_entropy"]
    return series.alphas.tolist(), series.mean


def between(first: State, second: State, alpha: float) -> State:
    return first.replace({name: torch.lerp(first[name], second[name], alpha) for name in first})


def test_a_bend_goes_through_its_third_state(store: Store) -> None:
    alphas, means = curve(Scan(START, END, along=Bent(MIDDLE), **{**SMALL, "alphas": 5}), store)
    start, middle, end = (store.state(moment) for moment in (START, MIDDLE, END))
    states = [start, between(start, middle, 0.5), middle, between(middle, end, 0.5), end]
    assert alphas == [0, 0.25, 0.5, 0.75, 1]
    assert means == pytest.approx([loss(state) for state in states], rel=1e-5)


def test_biases_at_their_powers(store: Store) -> None:
    _, means = curve(Scan(START, END, along=Homogeneous(), **SMALL), store)
    start, end = store.state(START), store.state(END)
    of = powers(models.outline(RECIPE.model, (2,), 2))
    middle = {name: torch.lerp(start[name], end[name], 0.5 ** of.get(name, 1)) for name in start}
    assert means[1] == pytest.approx(loss(start.replace(middle)), rel=1e-5)


def test_a_line_in_merged_weights_is_that_between_plain_networks(store: Store) -> None:
    """Between the ends of two trainings of updates, each product added to its weight by hand."""
    tuned = replace(RECIPE, model=LoRA(RECIPE.model, 2, 3.0), init=Trained(RECIPE))  # type: ignore[arg-type]
    first, second = Moment(tuned), Moment(replace(tuned, seed=1))
    _, means = curve(Scan(first, second, along=InMergedWeights(), **SMALL), store)

    def merged(state: State) -> State:
        tensors = {name.replace(".base_layer.", "."): value for name, value in state.items() if "lora_" not in name}
        for layer in ("layers.0", "layers.1"):
            product = state[f"{layer}.lora_B.weight"].double() @ state[f"{layer}.lora_A.weight"].double()
            tensors[f"{layer}.weight"] = tensors[f"{layer}.weight"].double() + 3.0 / 2 * product
        return State({name: value.double() for name, value in tensors.items()})

    start, end = (merged(store.state(moment)) for moment in (first, second))
    assert means == pytest.approx([loss(between(start, end, alpha)) for alpha in (0, 0.5, 1)], rel=1e-5)
    _, in_factors = curve(Scan(first, second, **SMALL), store)
    assert (in_factors[0], in_factors[2]) == (means[0], means[2])
    assert in_factors[1] != pytest.approx(means[1], rel=1e-4)


def test_a_random_direction_is_as_long_as_the_line(store: Store) -> None:
    start, end = store.state(START), store.state(END)
    drawn = [direction(start, end, seed) for seed in (0, 1)]
    assert drawn[0].keys() == {name for name in start if not torch.equal(start[name], end[name])}
    for name, value in drawn[0].items():
        assert float(value.norm()) == pytest.approx(float((end[name] - start[name]).norm()), rel=1e-5)
        assert not torch.equal(value, drawn[1][name])
        assert torch.equal(value, direction(start, end, 0)[name])
    (_, first), (_, second) = (curve(Scan(END, START, along=RandomDirection(seed), **SMALL), store) for seed in (0, 1))
    assert first[0] == second[0] == pytest.approx(loss(end), rel=1e-5)
    assert first[1] != second[1]


@pytest.mark.parametrize("rest", ["start", "end"])
def test_other_blocks_are_at_the_end_also_where_the_path_does_not_lead_there(rest: str, store: Store) -> None:
    """A random direction of one block: at alpha = 0 that block is the start's, and the others are the end's."""
    first, *_ = by_block(models.outline(RECIPE.model, (2,), 2)).items()
    block, names = first
    scan = Scan(START, END, block, rest=rest, along=RandomDirection(), **SMALL)  # type: ignore[arg-type]
    _, means = curve(scan, store)
    others = store.state(START if rest == "start" else END)
    moved = others.replace({name: store.state(START)[name] for name in names})
    assert means[0] == pytest.approx(loss(moved), rel=1e-5)


def test_a_random_direction_of_complex_weights_has_both_parts() -> None:
    start, end = (State({"w": torch.full((200,), value)}) for value in (0j, 1 + 1j))
    drawn = direction(start, end, 0)["w"]
    assert float(drawn.norm()) == pytest.approx(20.0)
    assert float(drawn.imag.norm()) > 10


def test_positions_may_lie_beyond_the_ends(store: Store) -> None:
    """The 20 points of Goodfellow's line, to alpha = 19/9."""
    positions = tuple(index / 9 for index in range(20))
    alphas, means = curve(Scan(START, END, positions=positions, train_examples=20), store)
    start, end = store.state(START), store.state(END)
    assert alphas == list(positions)
    beyond = start.replace({name: start[name] + (end[name] - start[name]) * (19 / 9) for name in start})
    assert means[-1] == pytest.approx(loss(beyond), rel=1e-4)
    assert means[9] == pytest.approx(loss(end), rel=1e-5)


def test_all_blocks_together_are_the_whole_line_and_none_alone(store: Store) -> None:
    first, *others = by_block(models.outline(RECIPE.model, (2,), 2))
    _, whole = curve(Scan(START, END, **SMALL), store)
    _, together = curve(Scan(START, END, block=first, blocks=tuple(others), **SMALL), store)
    _, two = curve(Scan(START, END, block=first, blocks=tuple(others[:1]), **SMALL), store)
    _, one = curve(Scan(START, END, block=first, **SMALL), store)
    assert np.array_equal(whole, together)
    assert len({whole[0], two[0], one[0]}) == 3
    assert whole[-1] == two[-1] == one[-1]


def test_one_line_has_one_key() -> None:
    assert Scan(START, END, alphas=3, positions=(0.0, 0.5, 1.0)) == Scan(START, END, alphas=3)
    assert Scan(START, END, positions=(0.0, 0.4, 1.0)).alphas == 3
    assert Scan(START, END, positions=(0.0, 0.4, 1.0)).key != Scan(START, END, alphas=3).key
    assert Scan(START, END, along=Straight()).key == Scan(START, END).key


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"positions": (0.5, 1.0)}, "without an end of the path"), ({"blocks": ("fc",)}, "without a block to move with")],
)
def test_impossible_walks_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Scan(START, END, **wrong)


def test_what_a_bend_goes_through_is_done_first() -> None:
    assert in_order([Scan(START, END, along=Bent(MIDDLE))]) == (
        Train(RECIPE),
        Keep(MIDDLE),
        Scan(START, END, along=Bent(MIDDLE)),
    )


def test_a_layer_wise_line_is_straight_and_of_one_training(store: Store, tmp_path: Path) -> None:
    """Tables of layers hold no line from another state, along another path, or of several blocks."""
    study = Study.of("paths", RECIPE, {"other": {"lr": 0.2}}, seeds=1, **SMALL).only("base")
    run = study.arms[0].runs[0]
    block, *others = by_block(models.outline(RECIPE.model, (2,), 2))
    lines = {
        **run.lines,
        block: Scan(START, END, block, **SMALL),
        "late": Scan(MIDDLE, END, block, **SMALL),
        "bent": Scan(START, END, block, along=Bent(MIDDLE), **SMALL),
        "several": Scan(START, END, block, blocks=tuple(others), **SMALL),
    }
    assert run.recipe == replace(RECIPE, seed=run.recipe.seed)
    study = replace_arm(study, arms=(replace_arm(study.arms[0], runs=(replace_arm(run, lines=lines),)),))
    assert not work(study, store, progress=False).failed
    results = tables.read(study, store)
    assert set(results.layers["block"]) == {"whole", block}
    kinds = dict(results.lines.select("label", "kind").unique().iter_rows())
    assert kinds == {"whole": "whole", block: "block", "late": "other", "bent": "other", "several": "other"}


@pytest.mark.parametrize("repaired", [False, True])
def test_a_line_goes_to_the_aligned_end(repaired: bool, store: Store) -> None:
    """Its two ends compute what those of the straight line do; between them lies what `align` and `Repaired` give."""
    other = replace(RECIPE, seed=1)
    assert not work([Train(other)], store, progress=False).failed
    straight = Scan(END, Moment(other), **SMALL)
    aligned = replace(straight, along=Aligned("weights", repaired))
    assert aligned.key != straight.key
    (_, before), (_, after) = curve(straight, store), curve(aligned, store)
    np.testing.assert_allclose(after[[0, -1]], before[[0, -1]], rtol=1e-5)
    dataset = load(RECIPE.data, RECIPE.seed)
    network = models.draw(RECIPE.model, dataset.shape, dataset.classes, Random(), 0)
    evaluator = measuring(network, load(other.data, 1), "cpu", 20)
    line = Line(state(END, store), align(state(END, store), state(Moment(other), store), evaluator).state)
    path = Repaired(line, evaluator) if repaired else line
    assert after[1] == pytest.approx(loss(path.at(0.5)), rel=1e-5)


def test_no_block_goes_to_an_aligned_end_by_itself() -> None:
    with pytest.raises(RecipeError, match="whole network"):
        Scan(END, END, "fc", along=Aligned())


def test_noise_at_the_end_is_as_large_as_it_says(store: Store) -> None:
    start, end = state(START, store), state(END, store)
    drawn = {}
    for size in (0.5, 1.0):
        _, values = curve(Scan(START, END, along=Disturbed(size), **SMALL), store)
        noise = direction(start, end, derive_seed(Disturbed(size), *sorted(start.parameters)))
        noisy = end.replace({name: end[name] + size * noise[name] for name in noise})
        assert values == pytest.approx([loss(start), loss(between(start, noisy, 0.5)), loss(noisy)], rel=1e-5)
        drawn[size] = noise
        for name, value in noise.items():
            assert float(value.norm()) == pytest.approx(float((end[name] - start[name]).norm()), rel=1e-5)
    assert all(not torch.equal(drawn[0.5][name], drawn[1.0][name]) for name in noise), "sizes share no draw"


def test_noise_at_the_start_leaves_the_end_as_it_is(store: Store) -> None:
    start, end = state(START, store), state(END, store)
    along = Disturbed(0.5, where="start")
    assert along.key != Disturbed(0.5).key
    _, values = curve(Scan(START, END, along=along, **SMALL), store)
    noise = direction(start, end, derive_seed(along, *sorted(start.parameters)))
    noisy = start.replace({name: start[name] + 0.5 * noise[name] for name in noise})
    assert values == pytest.approx([loss(noisy), loss(between(noisy, end, 0.5)), loss(end)], rel=1e-5)


def test_an_end_with_its_units_in_another_order_computes_the_same_and_is_elsewhere(store: Store) -> None:
    _, own = curve(Scan(START, END, **SMALL), store)
    _, first = curve(Scan(START, END, along=Shuffled(), **SMALL), store)
    _, second = curve(Scan(START, END, along=Shuffled(1), **SMALL), store)
    assert first[[0, 2]] == pytest.approx(own[[0, 2]], rel=1e-5)
    assert len({float(round(values[1], 6)) for values in (own, first, second)}) == 3
    with pytest.raises(RecipeError, match="another order"):
        Scan(START, END, "fc", along=Shuffled())


def test_the_mean_of_ends_weighs_each_alike(store: Store) -> None:
    scan = Scan(START, END, along=Averaged((MIDDLE, START)), **SMALL)
    assert scan.needs() == (Train(RECIPE), Keep(MIDDLE))
    _, values = curve(scan, store)
    states = [state(moment, store) for moment in (START, MIDDLE, END)]
    mean = states[0].replace({name: torch.stack([s[name] for s in states]).mean(0) for name in states[0].parameters})
    assert values == pytest.approx([loss(states[0]), loss(between(states[0], mean, 0.5)), loss(mean)], rel=1e-5)
    for wrong in (lambda: Averaged(()), lambda: Disturbed(0.0), lambda: Disturbed(where="both")):  # type: ignore[arg-type]
        with pytest.raises(RecipeError):
            wrong()
