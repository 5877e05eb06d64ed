"""A probe in the logs of others, by stand-ins that take what the packages take."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from linescape import report
from linescape.errors import RecipeError
from linescape.interpolation.curve import Curve
from linescape.interpolation.probing import Probe
from tests.support.probes import sample_lines, sample_probe

SERIES = ("test", "cross_entropy", "interpolate")


class Writer:
    """TensorBoard's."""

    def __init__(self) -> None:
        self.scalars: dict[tuple[str, int], float] = {}
        self.figures: dict[str, Figure] = {}

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        assert (tag, global_step) not in self.scalars
        self.scalars[tag, global_step] = scalar_value

    def add_figure(self, tag: str, figure: Figure) -> None:
        self.figures[tag] = figure


class Tracking:
    """MLflow, whose names are paths of files and hold few characters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scalars: dict[tuple[str, int], float] = {}
        self.figures: dict[str, Figure] = {}

    def log_metric(self, key: str, value: float, step: int) -> None:
        assert re.fullmatch(r"[/\w.\- :]*", key)
        (self.folder / key).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / key).touch()
        self.scalars[key, step] = value

    def log_figure(self, figure: Figure, artifact_file: str) -> None:
        self.figures[artifact_file] = figure


class Run:
    """Weights & Biases'."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.axes: dict[str, str] = {}
        self.summary: dict[str, float] = {}

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axes[name] = step_metric

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


@pytest.mark.parametrize("probe", [sample_probe(), sample_lines()], ids=["blocks", "pairs"])
def test_curves_and_numbers_reach_every_log(probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Image=lambda figure: ("image", figure)))
    writer, tracking, run = Writer(), Tracking(tmp_path), Run()
    for each in (writer, tracking, run):
        report.log(probe, each, "line")
    assert len(writer.scalars) == len(tracking.scalars)
    assert run.axes == {"line/*": "line/alpha"}
    assert list(writer.figures) == ["line/figure"]
    assert list(tracking.figures) == ["line.png"]
    assert run.rows[-1]["line/figure"][0] == "image"
    label, curve = next((label, curve) for label, curve in probe.curves.items() if "<" not in label)
    several = "/interpolate" if len(probe.treatments) > 1 else ""
    tag = f"line/{label}/test/cross_entropy{several}"
    for alpha, mean in zip(curve.alphas, curve[SERIES].mean, strict=True):
        assert writer.scalars[tag, round(1000 * alpha)] == tracking.scalars[tag, round(1000 * alpha)] == mean
        assert next(row[tag] for row in run.rows if row.get("line/alpha") == round(1000 * alpha) / 1000) == mean
    barrier = probe.statistics[label, *SERIES]["barrier_above_chord"].value
    for found in (writer.scalars[f"{tag}.barrier_above_chord", 0], run.summary[f"{tag}.barrier_above_chord"]):
        np.testing.assert_equal(found, barrier)


def test_names_that_a_log_does_not_take_are_changed(tmp_path: Path) -> None:
    curve = Curve(np.array([0.0, 0.5, 1.0]), {("a,(b)", "error", "interpolate"): np.ones((3, 3))})
    report.log(Probe({"<whole>": curve}, {}, pairs={"<whole>": ("a", "b")}), tracking := Tracking(tmp_path))
    assert ("linescape/_whole_/a__b_/error", 1000) in tracking.scalars


def test_what_is_no_log_is_refused() -> None:
    with pytest.raises(RecipeError, match="A list is no log"):
        report.log(sample_probe(), [])
