"""Which blocks matter, and do the lines of single blocks show what the whole line hides?"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis import tables
from linescape.analysis.answers.answer import Answer, comparisons, listed, number, span, widened
from linescape.analysis.tables import Results
from linescape.shape import TOLERANCE
from linescape.shape.definitions import LAYERWISE
from linescape.studies.vlaar2022 import published

PRIMARY = "hump"
"""The one statistic whose interval is not widened, of one block: see `primary_block`. Chosen before looking, since the
source's clearest late bump is on the line of layer3 of its base network (1.64 to 2.38 nats), while its whole line has
none."""


def primary_block(blocks: list[str]) -> str | None:
    """The last stage but one (layer3 of layer1 to layer4): the block of the primary contrast; None without two."""
    stages = sorted(block for block in blocks if block.startswith("layer"))
    return stages[-2] if len(stages) > 1 else None


def layers_and_line(results: Results, arm: str, level: float = 0.95) -> Answer:
    """The layer-wise lines of an arm in numbers: humps, what is lost at the start, how far they go below the end.

    Columns of `numbers`: as `tables.blocks` of all arms, and low_all, high_all (widened for the statistics of an arm's
    blocks, save the primary one), label (of the statistic).
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
    method = (
        f"Test loss of the lines of the arm “{arm}”, one block moving, the others held fixed at their trained end. "
        f"Hump: a rise that is given back; above {TOLERANCE:g} nats it counts as one. Lost: loss at α = 0 minus that "
        "at α = 1, with this block alone set back to its start. Below its end: loss at α = 1 minus the lowest on the "
        f"line. Means over runs, t intervals. Chosen before looking: the hump of {primary}, not widened; the others "
        f"are widened for {comparisons(count)}. The table has every arm, the error in points, and how many runs have "
        "an interval over test examples that lies above 0 (“clear”)."
    )
    return Answer(
        "layers-and-line",
        "Which blocks matter, and do their lines show what the whole line hides?",
        _verdict(rows, blocks, primary),
        method,
        numbers,
        primary=(
            f"the hump of the line of {primary} in the arm “{arm}”, since the source's clearest late bump is on that "
            "of layer3 of its base network (1.64 to 2.38 nats), while its whole line has none."
            if primary
            else ""
        ),
        here=_here(rows, primary),
        published=_published() if published.of_source(results.study) else "",
    )


# -- words -------------------------------------------------------------------------------------------------------

_Rows = dict[tuple[str, str], dict[str, Any]]


def _verdict(rows: _Rows, blocks: list[str], primary: str | None) -> str:
    if not blocks:
        return "No layer-wise line is measured yet."
    return "\n".join(
        filter(None, [_humps(rows, blocks, primary), _lost(rows, blocks), _below(rows, blocks), _few(rows, blocks)])
    )


def _nats(row: dict[str, Any]) -> str:
    interval = "no interval" if math.isnan(row["low_all"]) else span(row)
    return f"{number(row['mean'])} nats ({interval})"


def _humps(rows: _Rows, blocks: list[str], primary: str | None) -> str:
    ordered = sorted(blocks, key=lambda block: block != primary)
    having = [b for b in ordered if rows[b, "hump"]["low_all"] > TOLERANCE]
    without = [b for b in ordered if rows[b, "hump"]["high_all"] <= TOLERANCE]
    flat = [b for b in ordered if math.isnan(rows[b, "hump"]["low_all"]) and rows[b, "hump"]["highest"] == 0]
    unclear = [b for b in ordered if b not in (*having, *without, *flat)]
    said = []
    if having:
        words = [f"{b}, {_nats(rows[b, 'hump'])}" for b in having]
        said.append(f"With a hump: {listed(words, 6)}.")
    if without:
        said.append(f"Without a hump above {TOLERANCE:g} nats: {listed(without, 6)}.")
    if flat:
        runs = rows[flat[0], "hump"]["runs"]
        said.append(f"No rise at all in any of {runs} run{'s' * (runs != 1)}: {listed(flat, 6)}.")
    if unclear:
        words = [f"{b}, {_nats(rows[b, 'hump'])}" for b in unclear]
        said.append(f"Inconclusive whether the hump is above {TOLERANCE:g} nats: {listed(words, 6)}.")
    whole = rows.get(("whole", "hump"))
    if whole is not None:
        said.append(f"The whole line's hump is {_nats(whole)}.")
    return " ".join(said)


def _lost(rows: _Rows, blocks: list[str]) -> str:
    ordered = sorted(blocks, key=lambda block: -_order(rows[block, "start_above_end"]["mean"]))
    words = [f"{b}, {_nats(rows[b, 'start_above_end'])}" for b in ordered]
    return f"Lost when a block alone is set back to its start, most first: {listed(words, 8)}."


def _below(rows: _Rows, blocks: list[str]) -> str:
    # Never negative and lifted by noise, so that it is compared with the tolerance, as humps are.
    deep = [b for b in blocks if rows[b, "tail_rise"]["low_all"] > TOLERANCE]
    if not deep:
        most = max(blocks, key=lambda block: _order(rows[block, "tail_rise"]["mean"]))
        row = rows[most, "tail_rise"]
        return (
            f"No block's line is shown to go below the final loss by more than {TOLERANCE:g} nats; the deepest, "
            f"{most}, by {_nats(row)}."
        )
    words = [f"{b}, by {_nats(rows[b, 'tail_rise'])} at α = {number(rows[b, 'tail_rise']['alpha'])}" for b in deep]
    return f"Below the final loss by more than {TOLERANCE:g} nats goes the line of {listed(words, 6)}."


def _here(rows: _Rows, primary: str | None) -> str:
    row = rows.get((primary or "", PRIMARY))
    if row is None:
        return "not measured"
    words = f"hump of {primary} {_nats(row)}"
    if row["low_all"] > TOLERANCE:
        return f"yes, {words}"
    return f"no, {words}" if row["high_all"] <= TOLERANCE else f"inconclusive, {words}"


def _few(rows: _Rows, blocks: list[str]) -> str:
    runs = rows[blocks[0], "hump"]["runs"]
    return "One run has no interval: these are its values." if runs == 1 else ""


def _order(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _published() -> str:
    """The source's own numbers, from its mean curves over 10 runs by the same formulas."""
    found: dict[str, dict[str, float]] = {}
    for line in published.LINES:
        if line.arm == "base" and line.label != "whole":
            found[line.label] = {
                name: float(statistic(line.alphas, line.losses)) for name, statistic in tables.LAYERWISE.items()
            }
    having = [f"{b} ({number(row['hump'])} nats)" for b, row in found.items() if row["hump"] > TOLERANCE]
    order = sorted(found, key=lambda block: -found[block]["start_above_end"])
    lost = [f"{b} {number(found[b]['start_above_end'])}" for b in order]
    deep = [f"{b} by {number(row['tail_rise'])} nats" for b, row in found.items() if row["tail_rise"] > TOLERANCE]
    return (
        f"humps on the lines of {' and '.join(having)}, though the whole line has none; lost when set back: "
        f"{', '.join(lost)} nats; below its end goes "
        f"{', '.join(deep)} (mean curves of 10 runs at 13 positions)"
    )
