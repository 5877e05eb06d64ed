"""Layer-wise statistics on curves whose humps, losses at the start and depths are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from linescape import shape
from linescape.analysis import answers, tables
from linescape.analysis.answers.layers import layers_and_line, primary_block
from linescape.analysis.tables import layerwise
from linescape.report import figures, sentences
from linescape.shape import TOLERANCE
from linescape.studies.vlaar2022 import published
from tests.support.fake_study import BLOCKS, results


def rows(values: dict[tuple[str, str], list[float]], wide: float = 0.0) -> pl.DataFrame:
    """`Results.layers` of one arm: (block, number) -> a value for each run."""
    made = []
    for (block, name), runs in values.items():
        for seed, value in enumerate(runs):
            about = {"arm": "base", "group": "base", "title": "from scratch", "seed": seed, "block": block}
            row = about | {"measure": "cross_entropy", "number": name, "value": value}
            made.append(row | {"low": value - wide, "high": value + wide, "alpha": 0.5})
    return pl.DataFrame(made, layerwise.ROW)


def flat(block: str, runs: int = 3) -> dict[tuple[str, str], list[float]]:
    return {(block, name): [0.0] * runs for name in tables.LAYERWISE}


def verdict(changes: dict[tuple[str, str], list[float]], blocks: tuple[str, ...] = ("layer1", "layer2", "fc")) -> str:
    values: dict[tuple[str, str], list[float]] = {}
    for block in ("whole", *blocks):
        values |= flat(block)
    return sentences.of(layers_and_line(replace(results(), layers=rows(values | changes)), "base")).verdict


def test_every_block_of_every_run_has_its_statistics() -> None:
    found = results()
    own = found.layers.filter((pl.col("arm") == "base") & (pl.col("seed") == 0))
    assert own["block"].unique(maintain_order=True).to_list() == ["whole", *BLOCKS]
    assert set(own["number"]) == set(tables.LAYERWISE)
    line = found.lines.filter(
        (pl.col("arm") == "base")
        & (pl.col("seed") == 0)
        & (pl.col("label") == "layer2")
        & (pl.col("data") == "test")
        & (pl.col("measure") == "cross_entropy")
    )
    alphas, losses = line["alpha"].to_numpy(), line["mean"].to_numpy()
    for name, statistic in tables.LAYERWISE.items():
        row = own.filter(
            (pl.col("block") == "layer2") & (pl.col("measure") == "cross_entropy") & (pl.col("number") == name)
        ).row(0, named=True)
        assert row["value"] == pytest.approx(float(statistic(alphas, losses)), abs=1e-6)
        assert row["low"] <= row["value"] <= row["high"]
    assert "mlp-digits" not in found.layers["arm"]  # it has no layer-wise lines


def test_places_are_where_the_numbers_are_found() -> None:
    alphas = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    found = layerwise._positions(alphas, np.array([2.0, 1.0, 1.8, 0.2, 0.5]))
    assert found == {"start_above_end": 0.0, "hump": 0.5, "tail_rise": 0.75}


def test_the_mean_over_runs_has_the_t_interval() -> None:
    table = tables.blocks(rows({("fc", "hump"): [0.1, 0.2, 0.4]}, wide=0.15))
    (row,) = table.to_dicts()
    assert row["mean"] == pytest.approx(0.7 / 3)
    assert row["low"] == pytest.approx(0.7 / 3 - 4.302653 * np.std([0.1, 0.2, 0.4], ddof=1) / math.sqrt(3))
    assert (row["lowest"], row["highest"], row["clear"], row["runs"]) == (0.1, 0.4, 2, 3)
    (alone,) = tables.blocks(rows({("fc", "hump"): [0.1]})).to_dicts()
    assert math.isnan(alone["low"])


def test_a_hump_of_one_block_is_said_with_its_interval() -> None:
    said = verdict({("layer1", "hump"): [0.70, 0.75, 0.72]})
    assert said.startswith("Blocks whose line has a hump: layer1, 0.72 nats (")  # the primary block, not widened
    assert "No rise in any of 3 runs: layer2, fc." in said


def test_a_hump_that_may_be_none_is_inconclusive() -> None:
    said = verdict({("layer1", "hump"): [0.0, 0.0, 0.9]})
    assert "has a hump" not in said
    assert "Inconclusive whether the hump is above 0.05 nats: layer1" in said


def test_other_blocks_are_widened() -> None:
    values = [0.20, 0.24, 0.28]
    assert "Blocks whose line has a hump: layer1" in verdict({("layer1", "hump"): values})
    said = verdict({("layer2", "hump"): values})
    assert "has a hump" not in said
    assert "layer2" in said


def test_blocks_are_ordered_by_what_is_lost_and_depths_are_said() -> None:
    said = verdict(
        {
            ("layer2", "start_above_end"): [7.0, 7.2, 7.1],
            ("fc", "start_above_end"): [1.7, 1.8, 1.9],
            ("fc", "tail_rise"): [0.070, 0.071, 0.072],
        }
    )
    assert "largest first: layer2, 7.10 nats" in said
    assert said.index("layer2, 7.10") < said.index("fc, 1.80")
    assert "minimum lies more than 0.05 nats below the final loss: fc, by 0.07 nats" in said
    none = "No block's line is shown to fall more than 0.05 nats below the final loss"
    assert none in verdict({("fc", "tail_rise"): [0.0, 0.0, 0.3]})
    assert none in verdict({("fc", "tail_rise"): [0.001, 0.0011, 0.0009]})  # consistent, but noise is too


def test_the_primary_block_is_the_last_stage_but_one() -> None:
    assert primary_block(["stem", "layer1", "layer2", "layer3", "layer4", "fc"]) == "layer3"
    assert primary_block(["stem", "layer1", "layer2", "layer3", "fc"]) == "layer2"
    assert primary_block(["fc"]) is None


def test_the_sources_own_findings_are_numbers() -> None:
    """Late bumps of layer2 and layer3, fc below its end, early layers worst, the whole line without a hump."""
    found = {
        line.label: {name: float(f(line.alphas, line.losses)) for name, f in tables.LAYERWISE.items()}
        for line in published.LINES
        if line.arm == "base"
    }
    assert {b for b, row in found.items() if row["hump"] > TOLERANCE} == {"layer2", "layer3"}
    assert found["layer3"]["hump"] == pytest.approx(0.74)
    assert found["layer2"]["hump"] == pytest.approx(0.42)
    assert found["fc"]["tail_rise"] == pytest.approx(0.078)
    assert found["whole"]["hump"] == pytest.approx(0.02)
    worst = sorted((b for b in found if b != "whole"), key=lambda b: -found[b]["start_above_end"])
    assert worst[:2] == ["layer2", "layer1"]
    answer = next(a for a in answers.answers(results()) if a.name == "layers-and-line")
    assert "layer2 (0.42 nats) and layer3 (0.74 nats)" in sentences.of(answer).published


def test_what_is_lost_at_the_start_is_a_difference() -> None:
    assert shape.start_above_end([0, 0.5, 1], [2.0, 9.0, 0.5]) == 1.5
    assert shape.start_above_end([0, 1], [[2.0, 0.5], [0.5, 2.0]]).tolist() == [1.5, -1.5]
    assert math.isnan(shape.start_above_end([0, 1], [math.inf, math.inf]))


def test_a_block_whose_loss_is_infinite_is_said_and_drawn() -> None:
    values = {("layer1", "start_above_end"): [math.inf] * 3, ("layer1", "hump"): [math.nan] * 3}
    said = verdict(values)
    assert "largest first: layer1, ∞ nats (no interval)" in said
    every: dict[tuple[str, str], list[float]] = {}
    for block in ("whole", "layer1", "layer2", "fc"):
        every |= flat(block)
    figure = figures.layerwise(tables.blocks(rows(every | values)), TOLERANCE)
    figure.canvas.draw()
    assert "NaN or infinite" in [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_run_without_an_interval_is_not_clear() -> None:
    layers = rows({("fc", "hump"): [0.5, 0.6, 0.7]}, wide=0.1)
    unknown = layers.with_columns(low=pl.when(pl.col("seed") == 0).then(math.nan).otherwise("low"))
    assert tables.blocks(unknown)["clear"].to_list() == [2]
