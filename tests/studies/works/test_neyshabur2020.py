"""Pairs of networks that were fine-tuned or trained from scratch."""

from __future__ import annotations

from msgspec.structs import replace

from linescape import studies
from linescape.recipe import Moment, Recipe, Trained
from linescape.studies.study import Arm, Noise, Train
from linescape.studies.vlaar2022.arms import ODD
from linescape.studies.works.neyshabur2020 import BETWEEN, BEYOND, KINDS, OUTSIDE, SAME_RATE, SCRATCH, TUNED
from linescape.studies.works.zhang2019 import layers

STUDY = studies.find("neyshabur2020", "mini")
ARMS = {arm.name: arm for arm in STUDY.arms}


def pairs(arm: Arm) -> list[tuple[Recipe, Recipe]]:
    lines = [run.lines[BETWEEN] for run in arm.runs]
    assert all((line.start.at, line.end.at, line.alphas, line.block) == ("end", "end", 50, "") for line in lines)
    return [(line.start.recipe, line.end.recipe) for line in lines]


def started(recipe: Recipe) -> Trained:
    assert isinstance(recipe.init, Trained)
    return recipe.init


def test_pairs_of_an_arm_share_no_network() -> None:
    for arm in STUDY.arms:
        if BETWEEN in arm.runs[0].lines:
            networks = [recipe for pair in pairs(arm) for recipe in pair]
            assert len(set(networks)) == 2 * len(arm.runs) == 8


def test_both_of_a_fine_tuned_pair_come_from_one_network_of_the_other_classes() -> None:
    kinds = [name for name in ARMS if name.startswith("finetuned")]
    assert len(kinds) == 6
    for name in kinds:
        starts = []
        for first, second in pairs(ARMS[name]):
            assert first.seed != second.seed
            assert replace(second, seed=first.seed) == first
            assert started(first).moment == started(second).moment
            assert started(first).recipe.data.classes == ODD
            assert started(first).reset == ("fc",)
            starts.append(started(first).moment)
        assert len(set(starts)) == 4, "each pair has a pre-trained network of its own"


def test_checkpoints_of_pre_training_are_of_the_pre_training_that_is_used_whole() -> None:
    ends = [started(first).recipe for first, _ in pairs(ARMS["finetuned-finetuned"])]
    for epoch in (0, 1, 2, 4):
        moments = [started(first).moment for first, _ in pairs(ARMS[f"finetuned-epoch-{epoch}"])]
        assert moments == [Moment(end, "epoch", epoch) for end in ends]


def test_rates_and_shared_trainings() -> None:
    """Pre-training, training from scratch, and fine-tuning at the same rate are those of the study that is repeated."""
    (scratch, _), (tuned, _), (fast, _) = (
        pairs(ARMS[name])[0] for name in ("random-random", "finetuned-finetuned", "finetuned-same-rate")
    )
    assert tuned.optimizer.lr == scratch.optimizer.lr / 5
    assert fast.optimizer == scratch.optimizer == started(tuned).recipe.optimizer == started(fast).recipe.optimizer
    theirs = {task for task in studies.find("vlaar2022", "mini").tasks() if isinstance(task, Train)}
    assert {Train(fast), Train(started(fast).recipe), Train(pairs(ARMS["random-random"])[0][1])} <= theirs


def test_pre_training_sees_whole_images() -> None:
    for side in (1, 2, 7):
        tuned, alone = ARMS[f"shuffled-{side}-finetuned"], ARMS[f"shuffled-{side}-random"]
        assert tuned.baseline == alone.baseline == alone.name
        for one, other in zip(tuned.runs, alone.runs, strict=True):
            assert one.recipe.data == other.recipe.data
            assert one.recipe.data.shuffled_blocks == side
            assert not started(one.recipe).recipe.data.shuffled_blocks


def test_lines_between_networks_go_on_beyond_both() -> None:
    for arm in STUDY.arms:
        for run in arm.runs:
            assert (BEYOND in run.lines) == (arm.name in KINDS)
            if BEYOND in run.lines:
                line, between = run.lines[BEYOND], run.lines[BETWEEN]
                assert (line.start, line.end, line.batchnorm) == (between.start, between.end, ("recalibrate",))
                assert (line.grid[0], line.grid[-1]) == (-OUTSIDE, 1 + OUTSIDE)
                assert {0.0, 0.5, 1.0} <= set(line.grid)


def test_modules_get_noise_from_scratch_and_fine_tuned_in_pairs_of_one_seed() -> None:
    with_noise = {arm.name: arm.runs for arm in STUDY.arms if arm.runs[0].measured}
    assert set(with_noise) == {SCRATCH, TUNED, SAME_RATE}
    for runs in with_noise.values():
        assert [run.seed for run in runs] == [0, 1, 2, 3]
        for run in runs:
            assert tuple(run.measured[Noise]) == layers(run.recipe)
            for task in run.measured[Noise].values():
                assert (task.start, task.end) == (Moment(run.recipe, "start"), Moment(run.recipe))
    assert isinstance(with_noise[TUNED][0].recipe.init, Trained)
    assert not isinstance(with_noise[SCRATCH][0].recipe.init, Trained)


def test_the_keys_of_lines_that_were_there_before_are_what_they_were() -> None:
    run = ARMS["finetuned-finetuned"].runs[0]
    assert run.lines[BETWEEN].key == "5fef9e272563d97f"
    assert Train(run.recipe).key == "d8b9c3789b59edd7"
