"""Results of a study of another work whose curves are given by a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import polars as pl

from linescape.analysis.tables import Results
from linescape.studies.study import Run, Scan, Study

Value = Callable[[str, Run, Scan, float], tuple[float, float] | None]
"""The error and the loss of an arm's run on one of its lines at an alpha; None where the line is not measured."""


def results(
    study: Study,
    value: Value,
    distances: Iterable[dict[str, Any]] = (),
    accuracy: Callable[[str, Run], float | None] = lambda *_: None,
) -> Results:
    """Results with these curves on both halves of the data.

    Args:
        study: whose lines they are.
        value: gives the curves.
        distances: rows of `Results.distances`: arm, seed, block, distance, distance_per_parameter.
        accuracy: gives the test accuracy of an arm's run in %.
    """
    rows, runs = [], []
    for arm in study.arms:
        for run in arm.runs:
            named = {"arm": arm.name, "group": arm.group, "title": arm.title, "seed": run.seed}
            done = {
                "status": "done",
                "chance_loss": 2.3,
                "chance_error": 90.0,
                "test_set": "images",
                "test_accuracy": accuracy(arm.name, run),
                "train_accuracy": None,
            }
            runs.append({**named, **done})
            for label, scan in run.lines.items():
                for alpha in scan.grid:
                    if (measured := value(arm.name, run, scan, alpha)) is None:
                        continue
                    line = {"label": label, "kind": "other", "batchnorm": "interpolate", "alpha": alpha}
                    for measure, mean in zip(("error", "cross_entropy"), measured, strict=True):
                        point = {**named, **line, "measure": measure, "mean": mean, "not_finite": 0}
                        rows += [{**point, "data": half} for half in ("train", "test")]
    words = dict.fromkeys(("arm", "group", "title", "label", "kind", "data", "measure", "batchnorm"), pl.String)
    numbers = {"seed": pl.Int64, "alpha": pl.Float64, "mean": pl.Float64, "not_finite": pl.Int64}
    moved = pl.DataFrame(
        list(distances),
        {
            **{"arm": pl.String, "seed": pl.Int64, "block": pl.String},
            **{"distance": pl.Float64, "distance_per_parameter": pl.Float64},
        },
    )
    empty = pl.DataFrame()
    return Results(
        study,
        pl.DataFrame(runs, schema_overrides=dict.fromkeys(("test_accuracy", "train_accuracy"), pl.Float64)),
        pl.DataFrame(rows, {**words, **numbers}),
        empty,
        empty,
        moved,
        empty,
    )
