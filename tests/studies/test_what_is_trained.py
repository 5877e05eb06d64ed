"""Trainings of something else than all weights, in a store: the bend of a curve, coordinates of a subspace."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from linescape.data import load
from linescape.errors import RecipeError
from linescape.geometry.bezier import Bezier
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.recipe import (
    MLP,
    Data,
    Everything,
    Midway,
    OnCurve,
    Optimizer,
    Recipe,
    Remaining,
    Schedule,
    Subspace,
    Trained,
)
from linescape.studies.paths import Bent, Curved
from linescape.studies.run import work
from linescape.studies.states import theta_0, what_is_trained
from linescape.studies.store import Store
from linescape.studies.study import Keep, Moment, Scan, Study, Train, in_order
from linescape.training.initialisation import draw
from linescape.training.loop import Checkpoint, train
from linescape.training.what_is_trained import COORDINATES, OfSubspace

FIRST = Recipe(Data("spiral", fraction=0.05), MLP((8, 6)), Optimizer(batch_size=10, weight_decay=1e-3), Schedule(2))
SECOND = replace(FIRST, seed=1)
BEND = replace(FIRST, init=Midway(Moment(FIRST), Moment(SECOND)), trains=OnCurve())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    assert not work([Train(BEND)], store, progress=False).failed
    return store


def test_both_networks_are_trained_first() -> None:
    assert in_order([Train(BEND)]) == (Train(FIRST), Train(SECOND), Train(BEND))
    assert BEND.needs() == (FIRST, SECOND)
    curve = Scan(Moment(FIRST), Moment(SECOND), along=Curved(Moment(BEND)))
    assert in_order([curve]) == (Train(FIRST), Train(SECOND), Train(BEND), curve)


def test_the_default_changes_no_key() -> None:
    assert replace(FIRST, trains=Everything()).key == FIRST.key
    assert len({FIRST.key, BEND.key, replace(BEND, trains=OnCurve("chain")).key}) == 3


def test_it_starts_midway_and_the_curve_is_walked_through_its_end(store: Store) -> None:
    ends = store.state(Moment(FIRST)), store.state(Moment(SECOND))
    start, bend = store.state(Moment(BEND, "start")), store.state(Moment(BEND))
    middle = Line(*ends).at(0.5)
    assert all(torch.equal(start[name], middle[name]) for name in middle)
    assert not any(torch.equal(value, middle[name]) for name, value in bend.parameters.items())
    scan = Scan(Moment(FIRST), Moment(SECOND), along=Curved(Moment(BEND)), alphas=3, train_examples=20)
    line = replace(scan, along=Bent(Moment(BEND, "start")))
    assert not work([scan, line], store, progress=False).failed
    dataset = load(FIRST.data, FIRST.seed)
    at = Bezier(ends[0], bend, ends[1]).at(0.5)
    network = draw(FIRST, dataset.shape, dataset.classes).double()
    network.load_state_dict({name: value.double() for name, value in at.items()})
    outputs = network(dataset.normalise(dataset.test.inputs).double())
    expected = float(torch.nn.functional.cross_entropy(outputs, dataset.test.targets).detach())
    assert store.curve(scan)["test", "cross_entropy"].mean[1] == pytest.approx(expected, rel=1e-5)


REWOUND = replace(FIRST, init=Trained(FIRST, at="step", number=2, optimizer="kept", schedule="continued"))
ONCE = replace(REWOUND, trains=Remaining(Moment(FIRST), 0.8))
TWICE = replace(REWOUND, trains=Remaining(Moment(ONCE), 0.64))
IN_SUBSPACE = replace(FIRST, trains=Subspace(9))


@pytest.mark.parametrize(
    ("recipe", "name"), [(BEND, "sgd"), (BEND, "adam"), (IN_SUBSPACE, "sgd"), (IN_SUBSPACE, "adam"), (ONCE, "sgd")]
)
def test_it_resumes_to_the_bit_from_a_snapshot(store: Store, recipe: Recipe, name: Any, tmp_path: Path) -> None:
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, name=name, lr=0.05))
    dataset = load(recipe.data, recipe.seed)
    assert not work([*Train(recipe).needs()], store, progress=False).failed
    start = theta_0(recipe, draw(recipe, dataset.shape, dataset.classes), store)
    half_done = Store(tmp_path).half_done(Train(recipe), {})

    def end_from(begun: Checkpoint, steps: int | None = None) -> Checkpoint:
        trained = what_is_trained(recipe, draw(recipe, dataset.shape, dataset.classes), start.state, store)
        run = train(recipe, dataset, begun, trained=trained)
        *_, last = islice(run, steps)
        return last.checkpoint()

    whole = end_from(start)
    half_done.save_training(end_from(start, 4), [])
    snapshot = half_done.training(start.state)
    assert snapshot is not None, half_done.remarks
    assert snapshot.checkpoint.step == start.step + 3
    resumed = end_from(snapshot.checkpoint)
    assert all(torch.equal(whole.state[name], resumed.state[name]) for name in whole.state)
    assert whole.optimizer.keys() == resumed.optimizer.keys()
    assert all(torch.equal(value, resumed.optimizer[name]) for name, value in whole.optimizer.items())


def test_a_training_in_a_subspace_stays_in_it(store: Store) -> None:
    """Its way from the start is the projection of its coordinates, with the same projection for another order."""
    ordered = replace(IN_SUBSPACE, order_seed=1)
    assert not work([Train(IN_SUBSPACE), Train(ordered)], store, progress=False).failed
    start, ways = store.state(Moment(IN_SUBSPACE, "start")), []
    assert all(torch.equal(value, store.state(Moment(ordered, "start"))[name]) for name, value in start.items())
    dataset = load(FIRST.data, FIRST.seed)
    network = draw(IN_SUBSPACE, dataset.shape, dataset.classes)
    of = what_is_trained(IN_SUBSPACE, network, start, store)
    assert isinstance(of, OfSubspace)
    of.bind(network, 0.0)
    for recipe in (IN_SUBSPACE, ordered):
        end = store.checkpoint(Moment(recipe))
        way = torch.cat([(end.state[name] - start[name]).flatten() for name in start.parameters])
        ways.append(of.projection(end.optimizer[f"value/{COORDINATES}"]))
        assert torch.allclose(way, ways[-1], rtol=0, atol=1e-6)
        assert float(way.norm()) > 0.1
    assert not torch.allclose(ways[0], ways[1])


def test_rounds_of_pruning_with_rewinding(store: Store) -> None:
    """Each round starts from the state after step 2, without what the round before shows to be small."""
    kept = Keep(Moment(FIRST, "step", 2))
    assert in_order([Train(TWICE)]) == (kept, Train(FIRST), Train(ONCE), Train(TWICE))
    assert not work([Train(TWICE)], store, progress=False).failed
    rewound, before = store.state(Moment(FIRST, "step", 2)), store.state(Moment(FIRST))
    names = [name for name in rewound.parameters if name.endswith("weight")]
    zeros = {name: torch.zeros_like(rewound[name], dtype=torch.bool) for name in names}
    for recipe, density in ((ONCE, 0.8), (TWICE, 0.64)):
        start, end = store.state(Moment(recipe, "start")), store.state(Moment(recipe))
        left = {name: start[name] != 0 for name in names}
        count = sum(mask.numel() for mask in left.values())
        assert sum(int(mask.sum()) for mask in left.values()) == round(density * count)
        smallest = min(float(before[name].abs()[mask].min()) for name, mask in left.items() if mask.any())
        largest = max(float(before[name].abs()[~mask].max()) for name, mask in left.items() if not mask.all())
        assert smallest >= largest, "magnitudes at the end of the training before decide"
        for name, mask in left.items():
            assert torch.equal(start[name], rewound[name] * mask)
            assert not bool((end[name][~mask] != 0).any())
            assert not bool((zeros[name] & mask).any()), "what was pruned stays pruned"
            zeros[name] = ~mask
        assert all(torch.equal(start[name], rewound[name]) for name in rewound if name not in names)
        before = end


def test_an_arm_says_what_is_trained() -> None:
    study = Study.of("mine", FIRST, {"few": {"trains": Subspace(9)}}, seeds=1)
    assert study.arms[1].runs[0].recipe == IN_SUBSPACE


def test_the_optimizer_of_a_subspace_is_not_kept() -> None:
    with pytest.raises(RecipeError, match="of its coordinates"):
        replace(FIRST, init=Trained(IN_SUBSPACE, optimizer="kept"))
    assert replace(FIRST, init=Trained(IN_SUBSPACE)).trains == Everything()


def test_what_is_impossible_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Start midway of two states"):
        replace(FIRST, trains=OnCurve())
    with pytest.raises(RecipeError, match="AdamW shrinks each weight"):
        replace(BEND, optimizer=replace(BEND.optimizer, name="adamw"))
    dataset = load(FIRST.data, FIRST.seed)
    start = State.from_module(draw(FIRST, dataset.shape, dataset.classes))
    with pytest.raises(RecipeError, match="Give it as `trained`"):
        next(train(BEND, dataset, start))
    other = Midway(Moment(FIRST), Moment(replace(FIRST, model=MLP((8,)))))
    failed = work([Train(replace(BEND, init=other))], Store(tmp_path), progress=False).failed
    assert "differ" in str(next(iter(failed.values())))
