"""The log of a training: its loss after each epoch, and what it says of the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

ROW: dict[str, type[pl.DataType]] = {
    "arm": pl.String,
    "seed": pl.Int64,
    "epoch": pl.Int64,
    "train_loss": pl.Float64,
}


def of_run(named: Mapping[str, Any], log: pl.DataFrame) -> pl.DataFrame:
    """A row for each epoch of a log: arm and seed as named, epoch, train_loss (nats, as the log has it).

    Epochs are counted from 1, so that the last has the number of epochs done; a log counts from 0.
    """
    known = {name: pl.lit(named[name]) for name in ("arm", "seed")} | {"epoch": pl.col("epoch") + 1}
    return log.select(known.get(name, pl.col(name)).cast(dtype).alias(name) for name, dtype in ROW.items())


def last(log: pl.DataFrame) -> dict[str, Any]:
    """Epochs done, and the last test loss and accuracy: measured again by the whole line, where that is walked.

    The log's training columns are means over an epoch of changing weights, so they are not the end's.
    """
    if not log.height or log["test_loss"][-1] is None:
        return {"epochs": log.height}
    return {"epochs": log.height, "test_loss": log["test_loss"][-1], "test_accuracy": 100 - log["test_error"][-1]}
