"""Accuracy, sharpness and the line between networks of small and of large batches (Keskar et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of
from linescape.interpolation.flat import Flatness
from linescape.studies.study import Flat
from linescape.studies.works.keskar2017 import BETWEEN, LARGE

QUANTITIES: Mapping[str, str] = {
    "error": "test error, %",
    "eigenvalue": "largest eigenvalue of the Hessian",
    "trace": "trace of the Hessian",
    "rise": "rise by SAM's step, nats",
    "adaptive_rise": "rise by ASAM's step, nats",
    "beyond": "rise half the distance beyond the end, nats",
    "loss": "training loss, nats",
}
PRIMARY = ("error", "eigenvalue")
"""Quantities of the primary contrasts, declared before looking: the source's title names them."""
FINDING = "large batches end in sharper minima, and with lower test accuracy"
HALF = 0.5
"""How far beyond both ends the loss is looked at, in lengths of the line."""
NORMED = "batchnorm"
"""The network that is most like the source's."""

_PAIR: dict[str, Any] = {
    **dict.fromkeys(("network", "title"), pl.String),
    "seed": pl.Int64,
    "quantity": pl.String,
    **dict.fromkeys(("small", "large"), pl.Float64),
}


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """One answer: how networks of large batches differ from those of small ones that had the same start.

    Differences are large minus small, with the permutation interval of pairs (`inference.paired_difference`), the seeds
    being the units. Of each network the quantities of `PRIMARY` are the primary contrasts, corrected for all of them
    together. Curvature is that of the training loss on a part of the training images, see `Flatness`; the rise beyond
    an end is that of training loss on the line through both ends, `HALF` its length beyond.

    Columns of `numbers`: network, title, quantity and words (of `QUANTITIES`), pairs, small and large (means),
    difference, low, high, low_all and high_all (of the primary contrasts).
    """
    pairs = pairs_of(results)
    wide = widened(level, len(PRIMARY) * max(1, pairs["network"].n_unique()))
    groups = pairs.group_by(["network", "title", "quantity"], maintain_order=True)
    rows = [
        _row({"network": network, "title": title, "quantity": quantity}, of, level, wide)
        for (network, title, quantity), of in groups
    ]
    primary = [row for row in rows if row["quantity"] in PRIMARY]
    outcomes = {f"{row['network']} {row['quantity']}": Outcome.of(row, "low_all", "high_all") for row in primary}
    claims = tuple(
        Claim.of(
            words,
            "",
            f"{QUANTITIES[quantity]}, large minus small batches, fully connected network with BatchNorm",
            next((row for row in primary if (row["network"], row["quantity"]) == (NORMED, quantity)), None),
            "difference",
            Outcome.ABOVE,
        )
        for quantity, words in (
            ("error", "Training with large batches ends with higher test error."),
            ("eigenvalue", "Training with large batches ends in sharper minima."),
        )
    )
    facts = {
        "rows": rows,
        "networks": list(dict.fromkeys(row["title"] for row in rows)),
        "primary": primary,
        "quantities": QUANTITIES,
        "lines": curves_of(results, "train", "cross_entropy").filter(label=BETWEEN),
        "runs": results.runs,
    }
    found = max((row["pairs"] for row in rows), default=0)
    return (Answer("large-batches", outcomes, pl.DataFrame(rows), facts, finding=FINDING, seeds=found, claims=claims),)


def pairs_of(results: Results) -> pl.DataFrame:
    """A row for each pair of trainings and quantity, of pairs whose line and flatness are measured."""
    lines = {
        (data, measure): _by_run(curves_of(results, data, measure).filter(label=BETWEEN))
        for data, measure in (("train", "cross_entropy"), ("test", "error"))
    }
    losses, errors = lines["train", "cross_entropy"], lines["test", "error"]
    rows = []
    for arm in results.study.arms:
        for run in arm.runs:
            key = arm.name, run.seed
            found = results.of(Flat).get((*key, BETWEEN))
            if found is None or key not in losses or key not in errors:
                continue
            title = arm.title.rpartition(", batches")[0]
            named = {"network": arm.name.removesuffix(f"-{LARGE}"), "title": title, "seed": run.seed}
            for quantity, (small, large) in _values(found, losses[key], errors[key]).items():
                rows.append(named | {"quantity": quantity, "small": small, "large": large})
    return pl.DataFrame(rows, schema=_PAIR)


def _by_run(lines: pl.DataFrame) -> dict[tuple[str, int], dict[float, float]]:
    """(arm, seed) -> alpha -> the mean there."""
    return {
        (str(arm), int(seed)): dict(line.select("alpha", "mean").iter_rows())
        for (arm, seed), line in lines.group_by(["arm", "seed"], maintain_order=True)
    }


def _values(found: Flatness, loss: Mapping[float, float], error: Mapping[float, float]) -> dict[str, tuple[Any, Any]]:
    """Each quantity at the small-batch end and at the large-batch one."""
    beyond = loss[-HALF] - loss[0.0], loss[1 + HALF] - loss[1.0]
    of_ends = {
        "eigenvalue": found.curvature.eigenvalues[:, 0],
        "trace": found.curvature.trace,
        "rise": found.rise,
        "adaptive_rise": found.adaptive_rise,
    }
    curved = {name: (float(values[0]), float(values[-1])) for name, values in of_ends.items()}
    measured = curved | {"error": (error[0.0], error[1.0]), "beyond": beyond, "loss": (loss[0.0], loss[1.0])}
    return {name: measured[name] for name in QUANTITIES}


def _row(named: dict[str, Any], pairs: pl.DataFrame, level: float, wide: float) -> dict[str, Any]:
    row = named | {"words": QUANTITIES[named["quantity"]], "pairs": pairs.height}
    row |= {"small": pairs["small"].mean(), "large": pairs["large"].mean()}
    row |= columns(inference.paired_difference(pairs["large"], pairs["small"], level), "difference")
    corrected = inference.paired_difference(pairs["large"], pairs["small"], wide)
    return row | (for_all(corrected) if named["quantity"] in PRIMARY else {"low_all": np.nan, "high_all": np.nan})
