"""Networks that differ in one thing, with a straight and a homogeneous line each."""

from __future__ import annotations

from linescape import studies
from linescape.studies.paths import Homogeneous, Straight
from linescape.studies.study import Classes
from linescape.studies.works.wang2023 import ARMS, HOMOGENEOUS


def test_arms_differ_from_the_base_in_one_thing() -> None:
    study = studies.find("wang2023", "mini")
    base = study.arms[0].runs[0].recipe
    for arm in study.arms[1:]:
        recipe = arm.runs[0].recipe
        changed = [name for name in recipe.__struct_fields__ if getattr(recipe, name) != getattr(base, name)]
        assert changed == (["init"] if arm.name == "small-start" else ["model"])
    assert [arm.name for arm in study.arms] == list(ARMS)


def test_each_training_has_a_straight_and_a_homogeneous_line() -> None:
    for arm in studies.find("wang2023", "demo").arms:
        for run in arm.runs:
            assert {label: line.along for label, line in run.lines.items()} == {
                "whole": Straight(),
                HOMOGENEOUS: Homogeneous(),
            }


def test_last_biases_are_looked_at_where_there_are_any() -> None:
    for arm in studies.find("wang2023", "demo").arms:
        for run in arm.runs:
            expected = {} if arm.name in ("no-last-bias", "no-bias") else {"whole": Classes.of(run.lines["whole"])}
            assert run.measured.get(Classes, {}) == expected
