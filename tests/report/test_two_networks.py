"""The page of a probe of two networks."""

from __future__ import annotations

import json
from dataclasses import replace
from html import unescape
from pathlib import Path

import polars as pl
import pytest
from scipy.integrate import trapezoid

from linescape import report
from linescape.interpolation.probing import Probe
from tests.support.fake_study import BLOCKS
from tests.support.probes import sample_probe


def test_a_probe_says_what_it_found(probed: Path) -> None:
    text = probed.read_text()
    said = sample_probe().summary()
    assert said.headline.replace(" %", "\u00a0%") in unescape(text)
    assert text.index("There is a barrier") < text.index("<svg")
    assert "A note of the probe." in text
    content = json.loads((probed.parent / "probe.json").read_text())
    assert content["summary"]["headline"] == said.headline
    verdicts = pl.read_csv(probed.parent / "tables" / "verdicts.csv")
    assert verdicts.row(0, named=True)["verdict"] == content["summary"]["lines"][0]["series"][0]["verdict"]["kind"]
    assert set(content["lines"]) == {"whole", *BLOCKS}
    assert {"line", "data", "measure", "batchnorm", "number", "value", "low", "high"} == set(content["numbers"][0])
    assert (probed.parent / "tables" / "numbers.csv").exists()


def test_a_probe_of_one_line_without_known_classes(tmp_path: Path) -> None:
    probe = sample_probe()
    alone = Probe({"whole": probe.curves["whole"]}, {"all": probe.distances["all"]})
    text = report.write_probe(alone, tmp_path, "a to b").read_text()
    assert "Layer-wise" not in text


def test_each_treatment_has_a_table_that_fits_on_paper(tmp_path: Path) -> None:
    curve = sample_probe().curves["whole"]
    values = {
        (data, measure, treatment): of + shift
        for shift, treatment in enumerate(("interpolate", "recalibrate"))
        for (data, measure, _), of in curve.values.items()
    }
    both = Probe({"whole": replace(curve, values=values)}, {"all": sample_probe().distances["all"]})
    section = report.write_probe(both, tmp_path, "a to b").read_text().split('id="line"')[1].split("</section>")[0]
    tables = section.split("<table")[1:]
    assert len(tables) == 2
    assert "BatchNorm interpolate." in tables[0]
    assert "BatchNorm recalibrate." in tables[1]
    assert [table.split("</tr>")[0].count("<th ") for table in tables] == [8, 8]  # beside the empty corner
    for table, shift in zip(tables, (0, 1), strict=True):
        mean = values["test", "cross_entropy", "interpolate"].mean(axis=1) + shift
        assert f"{trapezoid(mean, curve.alphas):.3f}" in table  # the mean loss


def test_blocks_are_a_row_each_with_what_is_lost_without_them(probed: Path) -> None:
    blocks = pl.read_csv(probed.parent / "tables" / "blocks.csv")
    probe = sample_probe()
    told = blocks.filter((pl.col("data") == "test") & (pl.col("measure") == "cross_entropy"))
    assert sorted(told["block"]) == sorted(BLOCKS)
    assert told["lost"].to_list() == sorted(told["lost"], reverse=True)
    for row in blocks.iter_rows(named=True):
        series = probe.curves[row["block"]][row["data"], row["measure"], row["batchnorm"]]
        assert row["lost"] == pytest.approx(series.mean[0] - series.mean[-1])
        assert row["lost_low"] <= row["lost"] <= row["lost_high"]
    assert (probed.parent / "figures" / "set-back.png").exists()


def test_what_matters_is_as_small_as_one_says(tmp_path: Path) -> None:
    report.write_probe(sample_probe(), tmp_path, "a to b", smallest_effect=3.0)
    content = json.loads((tmp_path / "probe.json").read_text())
    assert content["summary"]["lines"][0]["series"][0]["verdict"]["smallest_effect"] == 3.0
    assert not content["summary"]["headline"].startswith("There is a barrier")
