from __future__ import annotations

import pytest

from linescape import studies
from linescape.errors import RecipeError
from linescape.figures.panel import GROUPS
from linescape.recipe import Barrier, EfficientNetLite, Recipe, ResNet, Trained
from linescape.study import Moment, Scan, Study, Train

SCALES = studies.scales("vlaar2022")


@pytest.fixture(params=SCALES)
def study(request: pytest.FixtureRequest) -> Study:
    return studies.find("vlaar2022", request.param)


def first(study: Study, arm: str) -> Recipe:
    return next(found for found in study.arms if found.name == arm).runs[0].recipe


def test_scales_run_from_minutes_to_the_sources_setting() -> None:
    assert SCALES == ("mini", "cifar10-small", "cifar10")
    base = first(studies.find("vlaar2022", "cifar10"), "base")
    assert isinstance(base.model, ResNet)
    assert (base.model.depth, base.model.width, base.schedule.epochs, base.schedule.drops) == (18, 64, 100, (33, 66))
    with pytest.raises(RecipeError, match="no scale"):
        studies.find("vlaar2022", "cifar")


def test_arms_have_names_groups_and_baselines(study: Study) -> None:
    names = [arm.name for arm in study.arms]
    assert len(set(names)) == len(names)
    assert {arm.baseline for arm in study.arms} <= set(names)
    assert {arm.group for arm in study.arms} == set(GROUPS)
    for arm in study.arms:
        recipes = [run.recipe for run in arm.runs]
        assert len(set(recipes)) == len(recipes), arm.name


def test_every_experiment_of_the_source_is_there(study: Study) -> None:
    decays = {run.recipe.optimizer.weight_decay for arm in study.arms for run in arm.runs}
    assert {0.0, 5e-5, 1e-4, 5e-4, 1e-3} <= decays
    adversarial, restart = first(study, "adversarial"), first(study, "barrier-restart")
    assert isinstance(adversarial.init, Trained)
    assert adversarial.init.recipe.data.poison is not None
    assert adversarial.optimizer.weight_decay == 0.0
    assert restart.init == Barrier(first(study, "no-weight-decay"))
    stages = [line for line in study.arms[0].runs[0].lines if line.startswith("layer") and "." not in line]
    for k, stage in enumerate(stages, 1):
        again = first(study, f"partial-{k}")
        assert again.init == Trained(first(study, "base"), (stage,))
    lines = study.arms[0].runs[0].lines
    assert {"whole", "fc", "treatments", "to another start", "layer1.0.conv1"} <= set(lines)
    foreign = lines["to another start"]
    assert (foreign.start.at, foreign.end.at) == ("end", "start")
    assert foreign.end.recipe != foreign.start.recipe


def test_a_shared_training_or_line_is_a_task_once(study: Study) -> None:
    tasks = study.tasks()
    assert len(set(tasks)) == len(tasks) == len({(type(task), task.key) for task in tasks})
    trainings = sum(len(arm.runs) for arm in study.arms)
    starts = {task.recipe for task in tasks if isinstance(task, Train)} - {r.recipe for a in study.arms for r in a.runs}
    assert len([task for task in tasks if isinstance(task, Train)]) == trainings + len(starts)
    for task in tasks:
        assert all(need in tasks[: tasks.index(task)] for need in task.needs())


def test_the_main_line_is_the_first_and_treatments_stand_beside_it(study: Study) -> None:
    for arm in study.arms:
        for run in arm.runs:
            assert next(iter(run.lines)) == "whole"
            whole = run.lines["whole"]
            assert whole.batchnorm == ("interpolate",)
            assert (whole.start, whole.end) == (Moment(run.recipe, "start"), Moment(run.recipe))
            beside = run.lines.get("treatments")
            model = run.recipe.model
            normalised = isinstance(model, EfficientNetLite) or getattr(model, "norm", "none") == "batch"
            assert isinstance(beside, Scan) == normalised, arm.name
