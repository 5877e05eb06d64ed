"""Which blocks matter most, and do layer-wise lines reveal what the whole line hides?"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis import tables
from linescape.analysis.answers import sensitivity
from linescape.analysis.answers.answer import Answer, Outcome, sortable, widened
from linescape.analysis.tables import Results
from linescape.shape import TOLERANCE
from linescape.shape.definitions import LAYERWISE
from linescape.studies.vlaar2022 import published

PRIMARY = "hump"
"""The one statistic whose interval is not corrected, of one block: see `primary_block`. Declared before looking, since
the source's clearest late bump is on the line of layer3 of its base network (1.64 to 2.38 nats), while its whole line
has none."""


def primary_block(blocks: list[str]) -> str | None:
    """The last stage but one (layer3 of layer1 to layer4): the block of the primary contrast; None without two."""
    stages = sorted(block for block in blocks if block.startswith("layer"))
    return stages[-2] if len(stages) > 1 else None


def layers_and_line(results: Results, arm: str, level: float = 0.95) -> Answer:
    """Statistics of an arm's layer-wise lines: hump, increase of the loss at the start, minimum below the end.

    And whether stages differ in what they cost when they are set back (`sensitivity`).

    Columns of `numbers`: as `tables.blocks` of all arms, and low_all, high_all (corrected for the statistics of an
    arm's blocks, except the primary one), label (of the statistic).
    """
    plain = tables.blocks(results.layers, level)
    names = plain.filter((pl.col("arm") == arm) & (pl.col("block") != "whole"))["block"].unique(maintain_order=True)
    blocks, primary = names.to_list(), primary_block(names.to_list())
    count = len(tables.LAYERWISE) * len(blocks)
    wide = tables.blocks(results.layers, widened(level, count))
    keys = ["arm", "block", "measure", "number"]
    numbers = plain.join(
        wide.select(*keys, low_all="low", high_all="high"), on=keys, how="left", maintain_order="left"
    ).with_columns(
        pl.when((pl.col("block") == primary) & (pl.col("number") == PRIMARY))
        .then(pl.col(end))
        .otherwise(pl.col(f"{end}_all"))
        .alias(f"{end}_all")
        for end in ("low", "high")
    )
    labels = {name: definition.label for name, definition in LAYERWISE.items()}
    numbers = numbers.with_columns(label=pl.col("number").replace_strict(labels, return_dtype=pl.String))
    loss = numbers.filter((pl.col("arm") == arm) & (pl.col("measure") == "cross_entropy")).to_dicts()
    rows = {(row["block"], row["number"]): row for row in loss}
    facts = {
        "arm": arm,
        "primary_block": primary,
        "tolerance": TOLERANCE,
        "comparisons": count,
        **_facts(rows, blocks, primary),
        "sensitivity": sensitivity.differences(results.layers, arm, level),
        "published": _published() if published.of_source(results.study) else {},
    }
    row = rows.get((primary or "", PRIMARY))
    outcomes = {f"{PRIMARY} of {primary}": Outcome.of(row, "low_all", "high_all", TOLERANCE)} if primary else {}
    return Answer("layers-and-line", outcomes, numbers, facts)


def _facts(rows: dict[tuple[str, str], dict[str, Any]], blocks: list[str], primary: str | None) -> dict[str, Any]:
    """Rows of the blocks' statistics, sorted by what their intervals say."""
    humps = [rows[block, "hump"] for block in sorted(blocks, key=lambda block: block != primary)]
    above = [row for row in humps if row["low_all"] > TOLERANCE]
    below = [row for row in humps if row["high_all"] <= TOLERANCE]
    none = [row for row in humps if math.isnan(row["low_all"]) and row["highest"] == 0]
    losses = [rows[block, "start_above_end"] for block in blocks]
    depths = [rows[block, "tail_rise"] for block in blocks]
    return {
        "blocks": len(blocks),
        "runs": humps[0]["runs"] if humps else 0,
        "primary": rows.get((primary or "", PRIMARY)),
        "whole": rows.get(("whole", "hump")),
        "hump": above,
        "small_hump": below,
        "no_hump": none,
        "unclear_hump": [row for row in humps if row not in (*above, *below, *none)],
        "losses": sorted(losses, key=lambda row: -sortable(row["mean"])),
        # Never negative and lifted by noise, so it is compared with the tolerance, as humps are.
        "deep": [row for row in depths if row["low_all"] > TOLERANCE],
        "deepest": max(depths, key=lambda row: sortable(row["mean"]), default=None),
    }


def _published() -> dict[str, dict[str, float]]:
    """The same statistics of the source's mean curves over 10 runs, by block."""
    return {
        line.label: {name: float(statistic(line.alphas, line.losses)) for name, statistic in tables.LAYERWISE.items()}
        for line in published.LINES
        if line.arm == "base" and line.label != "whole"
    }
