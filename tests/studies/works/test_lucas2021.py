"""A grid of trainings."""

from __future__ import annotations

from linescape import studies
from linescape.recipe import MLP
from linescape.studies.works.lucas2021 import ARMS, ELSEWHERE, SCALES


def test_arms_have_the_same_grid() -> None:
    scale = SCALES["mini"]
    study = studies.find("lucas2021", "mini")
    grids = []
    for arm, (title, optimizer, norm) in zip(study.arms, ARMS.values(), strict=True):
        points = []
        for run in arm.runs:
            assert isinstance(run.recipe.model, MLP)
            assert (run.recipe.optimizer.name, run.recipe.model.norm) == (optimizer, norm)
            points.append((run.seed, run.recipe.optimizer.lr, run.recipe.model.hidden, run.recipe.model.activation))
        assert arm.title == title
        assert len(set(points)) == len(scale.rates) * len(scale.depths) * 2
        grids.append(points)
    assert all(grid == grids[0] for grid in grids)


def test_statistics_of_batchnorm_are_recomputed_where_there_are_any() -> None:
    for arm in studies.find("lucas2021", "demo").arms:
        treatments = {line.batchnorm for run in arm.runs for line in run.lines.values()}
        assert treatments == {("recalibrate",) if "BatchNorm" in arm.title else ("interpolate",)}
        for run in arm.runs:
            starts = {label: line.start for label, line in run.lines.items()}
            assert starts.keys() == {"whole", ELSEWHERE}
            assert starts["whole"] != starts[ELSEWHERE]
