"""Lines from starts that no training had."""

from __future__ import annotations

import torch

from linescape import studies
from linescape.recipe import MLP, Data, Recipe, Schedule
from linescape.studies.states import state
from linescape.studies.store import Store
from linescape.studies.study import Train
from linescape.studies.works import frankle2020revisit
from linescape.studies.works.tao2024 import STARTS, start


def test_starts_differ_and_need_no_training() -> None:
    study = studies.find("tao2024", "mini")
    for arm in study.arms:
        for run in arm.runs:
            assert list(run.lines) == ["whole", *(f"from {name}" for name in STARTS)]
            assert len({line.start for line in run.lines.values()}) == len(STARTS) + 1
            assert all(line.needs() == (Train(run.recipe),) for line in run.lines.values())


def test_its_trainings_are_those_of_another_work() -> None:
    ours, others = (
        {task for task in studies.find(name, "mini").tasks() if isinstance(task, Train)}
        for name in ("tao2024", "frankle2020revisit")
    )
    assert others < ours
    assert frankle2020revisit.networks("mini").keys() == {arm.name for arm in studies.find("tao2024", "mini").arms}


def test_zeros_are_zero_and_other_draws_are_others(tmp_path: object) -> None:
    recipe = Recipe(Data("digits"), MLP((8,)), schedule=Schedule(0))
    store = Store(str(tmp_path))
    drawn = {name: state(start(recipe, name), store).parameters for name in STARTS}
    assert all(not tensor.any() for tensor in drawn["zeros"].values())
    weight = torch.stack([parameters["layers.0.weight"] for parameters in drawn.values()])
    assert len(torch.unique(weight[:, 0, 0])) == len(STARTS)
    assert 0.9 < float(drawn["N(0, 1)"]["layers.0.weight"].std()) < 1.1
    assert 0.09 < float(drawn["N(0, 0.1²)"]["layers.0.weight"].std()) < 0.11
