"""Pairs of networks, and the curves between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from linescape import studies
from linescape.analysis import tables
from linescape.analysis.answers import answers
from linescape.recipe import Midway, Moment, OnCurve
from linescape.studies import vlaar2022
from linescape.studies.paths import Bent, Curved
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.works.garipov2018 import BEZIER, CHAIN, LINE, RATE

STUDY = studies.find("garipov2018", "mini")


def test_pairs_share_no_network() -> None:
    networks = [moment for run in STUDY.arms[0].runs for moment in (run.lines[LINE].start, run.lines[LINE].end)]
    assert len(set(networks)) == len(networks) == 10
    assert all(run.recipe == run.lines[LINE].start.recipe for run in STUDY.arms[0].runs)


@pytest.mark.parametrize(("label", "kind", "along"), [(BEZIER, "bezier", Curved), (CHAIN, "chain", Bent)])
def test_a_curve_goes_through_the_bend_that_is_trained_between_its_ends(label: str, kind: str, along: type) -> None:
    base = vlaar2022.SCALES["mini"].base
    for run in STUDY.arms[0].runs:
        curve, line = run.lines[label], run.lines[LINE]
        assert (curve.start, curve.end, curve.batchnorm) == (line.start, line.end, ("recalibrate",))
        assert isinstance(curve.along, along)
        assert isinstance(curve.along, Curved | Bent)
        recipe = curve.along.through.recipe
        assert recipe.init == Midway(line.start, line.end)
        assert recipe.trains == OnCurve(kind)  # type: ignore[arg-type]
        assert recipe.optimizer.lr == pytest.approx(RATE * base.optimizer.lr)
        assert curve.along.through == Moment(recipe)


@pytest.mark.slow
def test_a_bezier_curve_has_a_lower_barrier_than_the_line_in_all_pairs(tmp_path: Path) -> None:
    assert not work(STUDY, Store(tmp_path), progress=False).failed
    (answer,) = answers(tables.read(STUDY, Store(tmp_path)))
    rows = {row["kind"]: row for row in answer.numbers.to_dicts()}
    assert (rows[BEZIER]["lower"], rows[BEZIER]["pairs"]) == (5, 5)
