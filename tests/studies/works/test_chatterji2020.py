"""Lines of single modules, the others at their end."""

from __future__ import annotations

from linescape import studies
from linescape.recipe import Moment
from linescape.studies.study import Noise, Task, Train
from linescape.studies.works.zhang2019 import layers


def test_each_module_moves_from_its_start_to_its_end_while_the_others_rest_at_theirs() -> None:
    study = studies.find("chatterji2020", "mini")
    for run in study.arms[0].runs:
        scans = {label: scan for label, scan in run.lines.items() if label != "whole"}
        assert tuple(scans) == layers(run.recipe)
        for module, scan in scans.items():
            assert (scan.block, scan.rest, scan.alphas) == (module, "end", 21)
            assert (scan.start, scan.end) == (Moment(run.recipe, "start"), Moment(run.recipe))


def test_its_trainings_are_those_of_other_studies() -> None:
    def trained(name: str, *arms: str) -> set[Task]:
        return {task for task in studies.find(name, "mini").only(*arms).tasks() if isinstance(task, Train)}

    assert trained("chatterji2020", "base") < trained("zhang2019")
    assert trained("chatterji2020") < trained("vlaar2022"), "other networks are those of the study that is repeated"


def test_every_module_of_every_network_gets_noise() -> None:
    study = studies.find("chatterji2020", "mini")
    assert [arm.name for arm in study.arms][1:] == ["depth-14", "width-12", "width-4", "no-norm", "no-skips", "vgg"]
    for arm in study.arms:
        for run in arm.runs:
            assert tuple(run.measured[Noise]) == layers(run.recipe)
            for module, task in run.measured[Noise].items():
                assert (task.block, task.start, task.end) == (module, Moment(run.recipe, "start"), Moment(run.recipe))
