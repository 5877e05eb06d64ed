"""REPAIR's table: the middle between two VGG-11 with BatchNorm as it is, aligned, and with statistics measured anew."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from msgspec.structs import replace

from linescape.analysis import tables
from linescape.recipe import VGG, Data, Optimizer, Recipe, Schedule
from linescape.studies.paths import Aligned, Along, Straight
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Arm, Study
from linescape.studies.works.ainsworth2022 import STRAIGHT, Scale, between
from linescape.studies.works.jordan2022 import ALIGNED

FIRST = Recipe(
    Data("mnist", size=14),
    VGG(11, 32, norm="batch"),
    Optimizer(lr=0.05, weight_decay=5e-4, batch_size=64),
    Schedule(3, kind="cosine"),
)


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_alignment_and_new_statistics_each_gain_20_points(tmp_path: Path) -> None:
    """The source, on CIFAR-10: 10.00, 58.38 and 90.74 % test accuracy."""
    ways: dict[str, Along] = {STRAIGHT: Straight(), ALIGNED: Aligned("activations")}
    scale = Scale(pairs=1, alphas=3, train_examples=2000, test_examples=5000)
    run = between(FIRST, replace(FIRST, seed=1), ways, scale, ("interpolate", "recalibrate"))
    study = Study("vgg-mnist", "", "VGG", "", (Arm("vgg", "base", "VGG-11", (run,), "vgg"),))
    assert not work(study, Store(tmp_path), progress=False).failed
    lines = tables.read(study, Store(tmp_path)).lines
    at = lines.filter(pl.col("alpha") == 0.5, measure="error", data="test").select("label", "batchnorm", "mean")
    accuracy = {(label, batchnorm): 100 - error for label, batchnorm, error in at.iter_rows()}
    naive, aligned = accuracy[STRAIGHT, "interpolate"], accuracy[ALIGNED, "interpolate"]
    reset = accuracy[ALIGNED, "recalibrate"]
    assert aligned - naive >= 20
    assert reset - aligned >= 20
