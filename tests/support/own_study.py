"""A network, data and a study that are not linescape's, as a user writes them: one file of about twenty lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import linescape.studies.trainings

FILE = """
import torch
from torch import nn
from linescape.recipe import Data, Optimizer, OwnModel, Recipe, Schedule
from linescape.studies.study import Study

class Net(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(2, width, 3), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(width, 3)

    def forward(self, series):
        return self.head(self.body(series).mean(2))

def waves(noise=0.5):
    def draw(n):
        labels = torch.arange(n) % 3
        phases = torch.linspace(0, 6, 12) * (1 + labels[:, None]) + torch.rand(n, 1)
        series = torch.stack([phases.sin(), phases.cos()], 1)
        return series + noise * torch.randn(series.shape), labels
    return {"train": draw(90), "test": draw(60)}

base = Recipe(Data.of(waves), OwnModel.of(Net), Optimizer(lr=0.05, batch_size=30), Schedule(3))
arms = {"no-momentum": {"momentum": 0}, "wide": {"width": 12}}
study = Study.of("waves", base, arms, seeds=2, lines=("blocks",), title="Does momentum matter?", alphas=5)
"""


@contextmanager
def as_file(folder: Path, text: str = FILE, name: str = "my_study.py") -> Iterator[Path]:
    """The text as a file; what reading it leaves in Python's list of folders is taken out again."""
    before, file = list(sys.path), folder / name
    file.write_text(text)
    try:
        yield file
    finally:
        sys.path[:] = before


def main(root: Path, faster: int) -> None:
    """Do a part of the study whole, and again in lives that each end before the n-th file that is written."""
    from linescape import studies
    from linescape.studies.run import work
    from linescape.studies.store import Store
    from tests.support.killing import lives

    torch.set_num_threads(1)  # a process with more cannot be forked safely
    linescape.studies.trainings.SNAPSHOT_SECONDS = 0.0
    study = studies.find(str(root / "my_study.py")).only("base", "wide", runs=1)

    def do(name: str) -> None:
        assert not work(study, Store(root / name), progress=False, workers=1).failed

    assert lives(lambda: do("whole"))
    deaths = 0
    while not lives(lambda: do("killed"), limit=4 + faster * deaths):
        deaths += 1
        assert deaths < 60
    print(deaths)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
