"""What a task needs of a machine: against what processes took."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from linescape.recipe import MLP, Data, Recipe, ResNet, Schedule
from linescape.studies.resources import Resources, needed, parts
from linescape.studies.study import Moment, Scan, Train

SMALL = Recipe(Data("fashion-mini", size=14), ResNet(8, 8), schedule=Schedule(1))
WIDE = Recipe(Data("cifar10"), ResNet(18, 64), schedule=Schedule(1))


def test_larger_networks_and_data_need_more() -> None:
    small, wide = (needed(Train(recipe), "cpu") for recipe in (SMALL, WIDE))
    assert (small.cores, small.gpu) == (1, 0.0)
    assert small.bytes < wide.bytes
    assert small.bytes % 500_000_000 == 0  # so that jobs of an array are alike
    assert needed(Train(SMALL), "cuda").gpu == 0.25
    assert needed(Train(replace(SMALL, model=MLP((30_000, 8000)))), "cuda").gpu == 1.0
    unknown = replace(SMALL, data=Data("fashion-mni"))
    assert needed(Train(unknown), "cpu") == Resources(1, 0.0, 2_000_000_000)


def test_only_long_walks_are_cut() -> None:
    short, long = (Scan(Moment(recipe, "start"), Moment(recipe), train_examples=0) for recipe in (SMALL, WIDE))
    assert parts(short, "cpu") == 1
    assert 1 < parts(long, "cpu") <= long.alphas
    assert parts(long, "cuda:1") == parts(long, "cuda")
    assert parts(replace(long, alphas=3), "cpu") <= 3
    unknown = replace(SMALL, data=Data("fashion-mni"))
    assert parts(Scan(Moment(unknown, "start"), Moment(unknown)), "cpu") == 1


MEASURED = """
import resource, sys
from linescape.studies.doing import do
from linescape.studies.store import Store
from linescape.studies.study import Moment, Scan, Train
from tests.studies.test_resources import SMALL
store = Store(sys.argv[1])
do(Train(SMALL), store)
do(Scan(Moment(SMALL, "start"), Moment(SMALL), alphas=5), store)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count in other units")
def test_a_process_takes_less_than_it_asks_for(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < needed(Train(SMALL), "cpu").bytes
