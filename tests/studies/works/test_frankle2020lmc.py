"""Copies of a training from its steps on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from linescape import studies
from linescape.recipe import MLP, Data, Moment, Optimizer, Recipe, Remaining, Schedule, Trained
from linescape.shape import barrier_above_mean
from linescape.studies import vlaar2022
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Keep, Scan, Train
from linescape.studies.works.frankle2020lmc import SCALES, SHARES, Scale, copy, pruned, rewound, step_at


def test_copies_differ_in_the_order_of_the_data_alone() -> None:
    study = studies.find("frankle2020lmc", "mini")
    arms = [arm for arm in study.arms if arm.group == "base"]
    for share, arm in zip(SHARES, arms, strict=True):
        step = step_at(vlaar2022.SCALES["mini"].base, share)
        assert arm.name == f"step-{step}"
        assert len(arm.runs) == 3
        for run in arm.runs:
            assert list(run.lines) == ["whole", "copies 1 and 2", "copies 1 and 3", "copies 2 and 3"]
            ends = {line.end.recipe for line in run.lines.values()} | {line.start.recipe for line in run.lines.values()}
            assert len(ends) == 3
            assert len({recipe.order_seed for recipe in ends}) == 3
            assert len({(recipe.init, recipe.seed, recipe.data, recipe.optimizer) for recipe in ends}) == 1
            assert all(line.alphas == 30 for line in run.lines.values())
            if step:
                assert isinstance(run.recipe.init, Trained)
                assert (run.recipe.init.number, run.recipe.init.schedule) == (step, "continued")


def test_a_training_passes_all_steps_at_which_copies_are_made() -> None:
    """The states within it are kept by one run; the rest of it is of no use and not asked for."""
    study = studies.find("frankle2020lmc", "mini")
    tasks = study.only(*(arm.name for arm in study.arms if arm.group == "base")).tasks()
    kept = [task for task in tasks if isinstance(task, Keep)]
    assert len(kept) == 3 * (len(SHARES) - 1)
    assert len({task.recipe for task in kept}) == 3
    assert not {task.recipe for task in kept} & {task.recipe for task in tasks if isinstance(task, Train)}


@pytest.mark.parametrize(("share", "step"), [(0.0, 0), (3.0, 28), (100.0, 942)])
def test_steps_are_shares_of_the_training(share: float, step: int) -> None:
    assert step_at(vlaar2022.SCALES["mini"].base, share) == step


def test_the_copy_with_the_same_order_is_the_training_itself() -> None:
    base = vlaar2022.SCALES["mini"].base
    assert copy(base, 0, 0) == base


@pytest.mark.parametrize("step", [0, 3])
def test_instability_is_exactly_0_with_equal_orders(step: int, tmp_path: Path) -> None:
    """Between a training and its copy from one of its steps that has the same order; with another it is not."""
    whole = Recipe(Data("digits"), MLP((8,)), Optimizer(batch_size=256), Schedule(1))

    def height(order_seed: int) -> tuple[float, bool]:
        other = copy(whole, step, order_seed)
        if isinstance(other.init, Trained):
            other = replace(other, init=replace(other.init, order="shared"))
        line = Scan(Moment(whole), Moment(other), alphas=5, train_examples=50)
        work([line], store, progress=False, workers=1)
        errors = store.curve(line)["test", "error", "interpolate"].values.mean(axis=1)
        ends = (store.state(Moment(recipe)).parameters for recipe in (whole, other))
        same = all(torch.equal(a, b) for a, b in zip(*(parameters.values() for parameters in ends), strict=True))
        return float(barrier_above_mean(line.grid, errors)), same

    store = Store(tmp_path)
    assert height(0) == (0.0, True)
    assert not height(1)[1]


def test_pruning_goes_on_from_round_to_round_and_rewinds_to_one_step() -> None:
    base = vlaar2022.SCALES["mini"].base
    mask = pruned(base, 28, SCALES["mini"])
    densities, by = [mask.density], mask.by
    while isinstance(by.recipe.trains, Remaining):
        assert by.recipe.init == copy(base, 28, 0).init
        densities.append(by.recipe.trains.density)
        by = by.recipe.trains.by
    assert densities == [0.125, 0.25, 0.5]
    assert by == Moment(base), "the first round is decided by the training itself"


def test_pruning_is_by_hand_what_the_study_does_when_rewound_to_the_start(tmp_path: Path) -> None:
    """The largest half, then the largest quarter after training that half, all of them from one start, 0 to the end."""
    base = Recipe(Data("digits"), MLP((8,)), Optimizer(batch_size=256), Schedule(1))
    mask = pruned(base, 0, Scale(rounds=2, kept=0.5))
    last = Moment(replace(rewound(base, 0, 1), trains=mask))
    store = Store(tmp_path)
    work([Train(last.recipe)], store, progress=False, workers=1)
    start = store.state(Moment(base, "start"))
    weights = tuple(name for name in start.parameters if start[name].ndim == 2)
    left = {name: torch.ones_like(start[name], dtype=torch.bool) for name in weights}
    for by, density in ((Moment(base), 0.5), (mask.by, 0.25)):
        began = store.state(Moment(by.recipe, "start"))
        assert all(torch.equal(began[name], start[name] * left[name]) for name in weights), "rewound to one start"
        end = store.state(by)
        magnitudes = torch.cat([end[name].abs().flatten() for name in weights])
        least = magnitudes.sort(descending=True).values[round(density * len(magnitudes)) - 1]
        left = {name: end[name].abs() >= least for name in weights}
    for at in ("start", "end"):
        found = store.state(Moment(last.recipe, at))
        assert all(torch.equal(found[name] != 0, left[name]) for name in weights), "pruned ones are exactly 0"
    began = store.state(Moment(last.recipe, "start"))
    assert all(torch.equal(began[name][left[name]], start[name][left[name]]) for name in weights)


def test_copies_of_pruned_networks_have_one_mask_and_another_networks_in_the_control() -> None:
    arms = {arm.name: arm for arm in studies.find("frankle2020lmc", "mini").arms}
    for step in (0, 28, 94, 283):
        own, exchanged = arms[f"pruned-{step}"].runs, arms[f"exchanged-{step}"].runs
        for seed in range(3):
            line = own[seed].lines["copies 1 and 2"]
            assert line.start.recipe == replace(line.end.recipe, order_seed=line.start.recipe.order_seed)
            assert own[seed].recipe.init == exchanged[seed].recipe.init
            assert exchanged[seed].recipe.trains == own[(seed + 1) % 3].recipe.trains
            assert exchanged[seed].recipe.trains != own[seed].recipe.trains
        assert arms[f"pruned-{step}"].baseline == f"step-{step}"
