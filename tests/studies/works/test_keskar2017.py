"""Pairs of trainings with small and with large batches."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from linescape import data, studies
from linescape.recipe import Moment
from linescape.studies.study import Flat
from linescape.studies.works import keskar2017
from linescape.studies.works.keskar2017 import BETWEEN


@pytest.mark.parametrize("scale", keskar2017.SCALES)
def test_a_pair_differs_by_its_batches_alone_and_has_the_line_between(scale: str) -> None:
    arms = {arm.name: arm for arm in studies.find("keskar2017", scale).arms}
    for name in keskar2017.trainings(scale):
        small, large = arms[f"{name}-small"], arms[f"{name}-large"]
        assert large.baseline == small.name
        for first, second in zip(small.runs, large.runs, strict=True):
            size = first.recipe.optimizer.batch_size
            assert size < second.recipe.optimizer.batch_size
            assert replace(second.recipe, optimizer=replace(second.recipe.optimizer, batch_size=size)) == first.recipe
            line, flat = second.lines[BETWEEN], second.measured[Flat][BETWEEN]
            assert (line.start, line.end) == (flat.start, flat.end) == (Moment(first.recipe), Moment(second.recipe))
            assert {-1.0, -0.5, 0.0, 1.0, 1.5, 2.0} <= set(line.grid)
            assert line.batchnorm == (flat.batchnorm,)
            assert (flat.batchnorm == "recalibrate") == (name == "batchnorm")


def test_large_batches_are_a_tenth_of_the_images() -> None:
    for scale in ("demo", "mini", "cifar10"):
        for arm in studies.find("keskar2017", scale).arms:
            if arm.name.endswith("-large"):
                recipe = arm.runs[0].recipe
                assert recipe.optimizer.batch_size == data.examples(recipe.data)[0] // 10
