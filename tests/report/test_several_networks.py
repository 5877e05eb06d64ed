"""The page of the lines between several networks."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linescape import report
from linescape.analysis import inference
from linescape.interpolation.curve import Curve
from linescape.interpolation.probing import Probe
from linescape.report.text import number
from tests.support.probes import NAMES, sample_lines, sample_probe


def test_lines_between_several_networks_are_a_row_each(several: Path) -> None:
    text = several.read_text()
    pairs = pl.read_csv(several.parent / "tables" / "pairs.csv")
    assert pairs.select("start", "end").rows() == list(combinations(NAMES, 2))
    found = sample_lines()
    for row, (key, statistics) in zip(
        pairs.iter_rows(named=True),
        (
            (key, value)
            for key, value in found.statistics.items()
            if key[1:] == ("test", "cross_entropy", "interpolate")
        ),
        strict=True,
    ):
        assert key[0] == f"{row['start']} to {row['end']}"
        for name in ("hump", "barrier_above_chord", "min_delta"):
            expected = statistics[name]
            got = [row[f"{name}_{part}"] for part in ("value", "low", "high")]
            assert got == pytest.approx([expected.value, expected.low, expected.high], nan_ok=True)
    assert "&lt;b&gt;step-2000&lt;/b&gt;" in text
    assert "<b>step-2000" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert {path.stem for path in (several.parent / "figures").iterdir()} == {"lines", "barriers"}


def test_the_highest_barrier_is_said_with_its_pair(several: Path) -> None:
    rows = pl.read_csv(several.parent / "tables" / "pairs.csv").filter(pl.col("p_value").is_not_nan())
    top = rows.sort("hump_value").row(-1, named=True)
    assert f"The highest barrier is {number(top['hump_value'])} nats" in several.read_text()
    kinds = [line.loss.verdict.kind for line in sample_lines().summary().lines]
    assert pl.read_csv(several.parent / "tables" / "pairs.csv")["verdict"].to_list() == kinds
    rising = int((inference.holm(rows["p_value"]) <= 0.05).sum())
    assert f"the loss rises significantly on {rising} of {rows.height} lines" in several.read_text()


def test_many_lines_are_tested_with_enough_resamples_for_holm(tmp_path: Path) -> None:
    rising = Curve(np.linspace(0, 1, 3), {("test", "cross_entropy", "interpolate"): _climb()}, {"seconds": 0.1})
    names = [f"step-{number}" for number in range(12)]
    pairs = {f"{a} to {b}": (a, b) for a, b in combinations(names, 2)}
    moved = sample_probe().distances["all"]
    found = Probe(dict.fromkeys(pairs, rising), dict.fromkeys(pairs, moved), (), pairs)
    text = report.write_probe(found, tmp_path, "many").read_text()
    assert "rises significantly on 66 of 66 lines" in text
    assert "<details><summary>Table of all lines" in text


def test_a_rise_that_was_looked_for_several_times_is_tested_more_strictly(tmp_path: Path) -> None:
    values = {("test", "cross_entropy", "interpolate"): _climb(0.2)}
    pairs, moved = {"a to b": ("a", "b")}, {"a to b": sample_probe().distances["all"]}
    for folder in ("fixed", "drawn"):
        until = {"until": {"intervals": dict[str, object]()}} if folder == "drawn" else dict[str, object]()
        curve = Curve(np.linspace(0, 1, 3), values, {"seconds": 0.1, **until})
        report.write_probe(Probe({"a to b": curve}, moved, (), pairs), tmp_path / folder, folder)
    fixed, drawn = (
        pl.read_csv(tmp_path / folder / "tables" / "pairs.csv")["p_value"][0] for folder in ("fixed", "drawn")
    )
    assert 0.001 < fixed < 0.05  # by one look the line rises
    assert drawn == pytest.approx(10 * fixed)


def test_lines_without_a_cross_entropy_have_statistics_of_the_first_measure(tmp_path: Path) -> None:
    curve = Curve(np.linspace(0, 1, 3), {("test", "squared_error", "interpolate"): _climb()}, {"seconds": 0.1})
    found = Probe({"a to b": curve}, {"a to b": sample_probe().distances["all"]}, (), {"a to b": ("a", "b")})
    text = report.write_probe(found, tmp_path, "two").read_text()
    assert "Squared error; " in text
    assert "barrier above chord" in text
    assert "barrier above chord, nats" not in text


def _climb(height: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 1 + height * np.array([[0.0], [0.5], [1.0]]) + rng.normal(0, 0.1 if height == 1.0 else 0.4, (3, 40))


def test_lines_to_the_last_have_no_heat_map(tmp_path: Path) -> None:
    report.write_probe(sample_lines("last"), tmp_path, "to the last")
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"lines"}
