"""Pairs of networks that were fine-tuned or trained from scratch."""

from __future__ import annotations

from msgspec.structs import replace

from linescape import studies
from linescape.recipe import Moment, Recipe, Trained
from linescape.studies.study import Arm, Train
from linescape.studies.vlaar2022.arms import ODD
from linescape.studies.works.neyshabur2020 import BETWEEN

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
