"""Do stages differ in how much of the loss depends on their initialisation, and does weight decay change that?

What a stage costs is the test loss with it alone set back to its initialisation, minus that at the end. The two stages
that are compared follow from the source's curves (Vlaar & Frankle 2022), in which they differ most: the second, which
costs 7.40 nats there, and the last, which costs 1.69.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import columns, for_all, widened

WITHOUT_DECAY = "no-weight-decay"
"""The arm of another setting of the optimizer whose stages are compared with the base's."""
_CONTRASTS = 2


def second_and_last(blocks: list[str]) -> tuple[str, str] | None:
    """The stages that are compared; None where there are fewer than three."""
    stages = sorted({block for block in blocks if block.startswith("layer")})
    return (stages[1], stages[-1]) if len(stages) > 2 else None


def differences(layers: pl.DataFrame, arm: str, level: float = 0.95) -> dict[str, dict[str, Any] | None]:
    """What the second stage costs more than the last, and how much more without weight decay; t intervals over seeds.

    Args:
        layers: `tables.Results.layers`.
        arm: with the usual settings.
        level: of the intervals, which are corrected for the two.

    Returns:
        ``initialisation`` and ``weight decay``: second and last (names of the stages), runs, difference (nats), low,
        high, low_all, high_all; None where it is not measured. The second is of pairs of runs of one seed.
    """
    own, other = (_of_runs(layers, name) for name in (arm, WITHOUT_DECAY))
    pairs = other.join(own, on=["seed", "second", "last"], suffix="_own", maintain_order="left")
    changes = pairs.with_columns(apart=pl.col("apart") - pl.col("apart_own"))
    return {"initialisation": _row(own, level), "weight decay": _row(changes, level)}


def _of_runs(layers: pl.DataFrame, arm: str) -> pl.DataFrame:
    """Of each run of an arm that has both lines: seed, second, last, and by how much the second costs more."""
    costs = layers.filter(
        (pl.col("arm") == arm) & (pl.col("measure") == "cross_entropy") & (pl.col("number") == "start_above_end")
    ).select("seed", "block", "value")
    stages = second_and_last(costs["block"].to_list())
    second, last = (costs.filter(block=stage).drop("block") for stage in stages or ("", ""))
    both = second.join(last, on="seed", suffix="_last", maintain_order="left").drop_nulls()
    names = dict(zip(("second", "last"), map(pl.lit, stages or ("", "")), strict=True))
    return both.select("seed", **names, apart=pl.col("value") - pl.col("value_last"))


def _row(runs: pl.DataFrame, level: float) -> dict[str, Any] | None:
    if not runs.height:
        return None
    row = {"second": runs["second"][0], "last": runs["last"][0], "runs": runs.height}
    row |= columns(inference.mean(runs["apart"], level), "difference")
    return row | for_all(inference.mean(runs["apart"], widened(level, _CONTRASTS)))
