"""A grid of trainings."""

from __future__ import annotations

from collections import Counter
from itertools import product

from linescape import studies
from linescape.recipe import MLP, ResNet
from linescape.studies.study import Turning
from linescape.studies.tasks import Train, in_order
from linescape.studies.works.lucas2021 import ARMS, ELSEWHERE, OPTIMIZERS, RESIDUAL, SCALES


def test_arms_have_the_same_grid() -> None:
    scale = SCALES["mini"]
    study = studies.find("lucas2021", "mini")
    grids = []
    for arm, (title, optimizer, norm) in zip(study.arms, ARMS.values(), strict=False):  # then the residual networks
        points = []
        for run in arm.runs:
            assert isinstance(run.recipe.model, MLP)
            assert (run.recipe.optimizer.name, run.recipe.model.norm) == (optimizer, norm)
            points.append((run.seed, run.recipe.optimizer.lr, run.recipe.model.hidden, run.recipe.model.activation))
        assert arm.title == title
        assert len(set(points)) == len(scale.rates) * len(scale.hidden) * 2
        grids.append(points)
    assert all(grid == grids[0] for grid in grids)


def test_residual_networks_have_the_same_grid() -> None:
    scale, study = SCALES["mini"], studies.find("lucas2021", "mini")
    arms = study.arms[len(ARMS) : -1]
    assert len(arms) == len(RESIDUAL) * len(OPTIMIZERS)
    kinds = set()
    for arm in arms:
        found = [(run.recipe.optimizer.lr, run.recipe.model) for run in arm.runs]
        assert [rate for rate, _ in found] == list(scale.residual_rates)
        (model,) = {model for _, model in found}
        assert isinstance(model, ResNet)
        kinds.add((model.norm, model.identity, arm.runs[0].recipe.optimizer.name))
    assert len(kinds) == len(arms)


def test_the_source_has_seven_rates_at_each_of_four_depths() -> None:
    for arm in studies.find("lucas2021", "cifar10").arms[len(ARMS) : -1]:
        networks = [run.recipe.model for run in arm.runs]
        assert Counter(model.depth for model in networks if isinstance(model, ResNet)) == dict.fromkeys(
            (20, 32, 44, 56), 7
        )


def test_at_the_scale_of_the_source_the_grid_is_the_source_s() -> None:
    """Without its second entry of four layers, and with one of its two data sets."""
    widths = {(1024,) * depth for depth in (2, 3, 4, 5)} | {
        (1024, 2**power) for power in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11)
    }
    for arm in studies.find("lucas2021", "cifar10").arms[: len(ARMS)]:
        points = {
            (run.recipe.optimizer.lr, run.recipe.model.hidden, run.recipe.model.activation)  # type: ignore[union-attr]
            for run in arm.runs
        }
        rates = (3, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
        assert points == set(product(rates, widths, ("relu", "sigmoid", "tanh")))
        assert len(arm.runs) == len(points)
        assert {(run.recipe.optimizer.batch_size, run.recipe.schedule.epochs) for run in arm.runs} == {(512, 200)}


def test_statistics_of_batchnorm_are_recomputed_where_there_are_any() -> None:
    for arm in studies.find("lucas2021", "demo").arms:
        for run in arm.runs:
            norm = run.recipe.model.norm  # type: ignore[union-attr]
            treatments = {line.batchnorm for line in run.lines.values()}
            assert treatments == {("recalibrate",) if norm == "batch" else ("interpolate",)}


def test_fully_connected_networks_have_a_line_from_another_draw() -> None:
    for arm in studies.find("lucas2021", "demo").arms[: len(ARMS)]:
        for run in arm.runs:
            starts = {label: line.start for label, line in run.lines.items()}
            assert starts.keys() == {"whole", ELSEWHERE}
            assert starts["whole"] != starts[ELSEWHERE]


def test_logits_are_followed_where_no_statistics_are_recomputed() -> None:
    for arm in studies.find("lucas2021", "demo").arms[: len(ARMS)]:
        for run in arm.runs:
            followed = run.measured[Turning]
            assert set(followed) == (set(run.lines) if run.recipe.model.norm == "none" else set())  # type: ignore[union-attr]
            assert all((task.start, task.end) == (run.lines[n].start, run.lines[n].end) for n, task in followed.items())


def test_no_two_replicates_with_other_ends_share_a_training() -> None:
    arm = studies.find("lucas2021", "mini").arms[-1]
    trained = [{task for task in in_order(run.tasks()) if isinstance(task, Train)} for run in arm.runs]
    assert [len(tasks) for tasks in trained] == [3] * SCALES["mini"].replicates
    assert len(set.union(*trained)) == 3 * len(trained)
