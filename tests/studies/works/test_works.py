"""What every study of another work keeps to."""

from __future__ import annotations

import pytest

from linescape import studies
from linescape.studies import works
from linescape.studies.study import Study, Train

SCALES = [(name, scale) for name in works.NAMES for scale in studies.scales(name)]


@pytest.fixture(scope="module", params=SCALES, ids=lambda pair: "-".join(pair))
def study(request: pytest.FixtureRequest) -> Study:
    return studies.find(*request.param)


def test_a_study_names_its_source_and_has_distinct_arms(study: Study) -> None:
    assert study.source
    assert study.title
    assert study.name in works.NAMES
    names = [arm.name for arm in study.arms]
    assert len(set(names)) == len(names)
    assert {arm.baseline for arm in study.arms} <= set(names)
    assert len({run.recipe for arm in study.arms for run in arm.runs}) == sum(len(arm.runs) for arm in study.arms)


@pytest.mark.parametrize("name", works.NAMES)
def test_the_docstring_says_source_command_and_findings(name: str) -> None:
    words = studies._module(name).__doc__ or ""
    assert "arXiv" in words
    assert f"linescape study run {name}" in words
    assert f"linescape study report {name}" in words


@pytest.mark.parametrize("name", works.NAMES)
def test_trainings_are_shared_with_the_study_that_is_repeated(name: str) -> None:
    """Where a work needs the base training as it is, it is the same task."""
    shared = {task for task in studies.find("vlaar2022", "mini").tasks() if isinstance(task, Train)}
    ours = {task for task in studies.find(name, "mini").tasks() if isinstance(task, Train)}
    assert shared & ours or name in OTHERS


OTHERS = ("ainsworth2022", "frankle2020lmc", "keskar2017", "liu2020", "lucas2021", "wang2023")
"""Works whose trainings are none of them: copies have another order of the data, and go on from a step; random labels
are fitted on fewer images; plateaus, grids and aligned networks are of fully connected networks of other depths; with
batches of other sizes trainings are longer."""
