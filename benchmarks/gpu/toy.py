"""A study at toy size: the same arms, starts and lines, with trainings of seconds on the embedded images."""

from __future__ import annotations

from dataclasses import replace

from msgspec import structs

from linescape.recipe import Midway, Random, Recipe, ResNet, Weights
from linescape.studies.study import Moment, Run, Scan, Study

EXAMPLES = 8
"""Of each half that lines are measured on."""


def shrunk(study: Study) -> Study:
    """The study with each recipe and each line made small, also those that another one starts from."""
    return replace(study, arms=tuple(replace(arm, runs=tuple(map(_run, arm.runs))) for arm in study.arms))


def _run(run: Run) -> Run:
    # Lines of single convolutions are like those of blocks, and there are many: two of them are enough.
    single = [label for label in run.lines if "." in label]
    return Run(
        _recipe(run.recipe), {label: _scan(scan) for label, scan in run.lines.items() if label not in single[2:]}
    )


def _recipe(recipe: Recipe) -> Recipe:
    init = recipe.init
    assert not isinstance(init, Midway), "no arm of the study is a curve"
    assert isinstance(recipe.model, ResNet), "only arms of the base network are made small"
    return structs.replace(
        recipe,
        data=structs.replace(recipe.data, name="fashion-mini", size=14, fraction=0.01),
        # Not 224: torch 2.13 crashes on some CPUs in the gradient of a 1 x 1 convolution with stride 2 of 4 x 56 x 56.
        model=structs.replace(recipe.model, width=4, resolution=32 if recipe.model.resolution else 0),
        optimizer=structs.replace(recipe.optimizer, batch_size=25),
        schedule=structs.replace(recipe.schedule, epochs=2, drops=(1,)),
        init=init if isinstance(init, Random | Weights) else structs.replace(init, recipe=_recipe(init.recipe)),
    )


def _scan(scan: Scan) -> Scan:
    return structs.replace(
        scan,
        start=Moment(_recipe(scan.start.recipe), scan.start.at),
        end=Moment(_recipe(scan.end.recipe), scan.end.at),
        alphas=3,
        train_examples=EXAMPLES,
        test_examples=EXAMPLES,
    )
