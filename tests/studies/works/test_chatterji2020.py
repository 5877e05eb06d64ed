"""Lines of single modules, the others at their end."""

from __future__ import annotations

from linescape import studies
from linescape.recipe import Moment
from linescape.studies.study import Train
from linescape.studies.works.zhang2019 import layers


def test_each_module_moves_from_its_start_to_its_end_while_the_others_rest_at_theirs() -> None:
    study = studies.find("chatterji2020", "mini")
    for run in study.arms[0].runs:
        scans = {label: scan for label, scan in run.lines.items() if label != "whole"}
        assert tuple(scans) == layers(run.recipe)
        for module, scan in scans.items():
            assert (scan.block, scan.rest, scan.alphas) == (module, "end", 21)
            assert (scan.start, scan.end) == (Moment(run.recipe, "start"), Moment(run.recipe))


def test_it_trains_nothing_that_the_study_of_layers_does_not() -> None:
    ours, theirs = (
        {task for task in studies.find(name, "mini").tasks() if isinstance(task, Train)}
        for name in ("chatterji2020", "zhang2019")
    )
    assert ours < theirs
