"""Results of a study whose curves are given by a function, as if it had been run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from linescape.analysis.tables import Results
from linescape.studies.study import Study

Shape = Callable[[str, int, str, np.ndarray], np.ndarray | None]
"""Arm, seed, label and alphas to losses; None where a line is not measured. Errors are a tenth of them."""

ALPHAS = np.linspace(0, 1, 11)


def lines_of(study: Study, shape: Shape, alphas: Sequence[float] | np.ndarray = ALPHAS) -> Results:
    """Results with a row for each run, done, and the lines that `shape` gives; other tables are empty."""
    at = np.asarray(alphas)
    rows: list[dict[str, Any]] = []
    runs = []
    for arm in study.arms:
        for run in arm.runs:
            named = {"arm": arm.name, "group": arm.group, "title": arm.title, "seed": run.seed}
            runs.append(
                named
                | {
                    "baseline": arm.baseline,
                    "status": "done",
                    "test_set": "x",
                    "chance_loss": 2.3,
                    "chance_error": 90.0,
                }
                | {"test_plateau_error": 0.1, "distance": 1.0, "relative_distance": 1.0}
            )
            for label in run.lines:
                losses = shape(arm.name, run.seed, label, at)
                if losses is None:
                    continue
                for data in ("train", "test"):
                    for measure, factor in (("cross_entropy", 1.0), ("error", 0.1)):
                        common = named | {"label": label, "kind": "other", "data": data, "measure": measure}
                        rows += [
                            common
                            | {"batchnorm": "interpolate", "alpha": float(alpha), "mean": factor * float(loss)}
                            | {"standard_error": 0.0, "not_finite": 0}
                            for alpha, loss in zip(at, losses, strict=True)
                        ]
    strings = dict.fromkeys(("arm", "group", "title", "label", "kind", "data", "measure", "batchnorm"), pl.String)
    schema = {**strings, "seed": pl.Int64, "not_finite": pl.Int64}
    schema |= dict.fromkeys(("alpha", "mean", "standard_error"), pl.Float64)
    empty = pl.DataFrame()
    return Results(study, pl.DataFrame(runs), pl.DataFrame(rows, schema=schema), empty, empty, empty, empty)
