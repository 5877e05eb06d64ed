"""The lines of the released scripts."""

from __future__ import annotations

import numpy as np

from linescape import studies
from linescape.recipe import Moment, Random
from linescape.studies import vlaar2022
from linescape.studies.works.goodfellow2015 import BEST, BEYOND, NOISE, OTHER


def test_lines_are_those_of_the_scripts() -> None:
    for arm in studies.find("goodfellow2015", "mini").arms:
        for run, other in zip(arm.runs, arm.runs[1:] + arm.runs[:1], strict=True):
            whole, beyond, noise, between = (run.lines[label] for label in ("whole", BEYOND, NOISE, OTHER))
            assert np.allclose(whole.grid, np.arange(200) / 199, rtol=0, atol=1e-15)
            assert np.allclose(beyond.grid, np.arange(20) / 9, rtol=0, atol=1e-15)
            assert (beyond.grid[9], beyond.grid[19]) == (1.0, 19 / 9)
            assert noise.start.recipe.init == Random("normal")
            assert (between.start, between.end) == (Moment(run.recipe), Moment(other.recipe))
            assert {scan.end for scan in (whole, beyond, noise)} == {Moment(run.recipe)}
            assert run.kept
            best = run.lines.get(BEST)
            assert (best is not None) == bool(run.recipe.data.held_out)
            assert best is None or (best.grid, best.end) == (whole.grid, Moment(run.recipe, "best"))


def test_of_two_runs_the_line_between_solutions_is_one() -> None:
    for arm in studies.find("goodfellow2015", "demo").arms:
        assert [OTHER in run.lines for run in arm.runs] == [True, False]


def test_the_relu_network_is_that_of_the_warm_up() -> None:
    (relu,) = (arm for arm in studies.find("goodfellow2015", "mini").arms if arm.name == "relu")
    assert relu.runs[0].recipe == vlaar2022.SCALES["mini"].warm_up["mlp-images"]
