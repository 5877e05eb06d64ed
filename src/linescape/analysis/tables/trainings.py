"""Whether arms are what they are called: the effect of weight decay, and whether wrong labels were learnt."""

from __future__ import annotations

import polars as pl

from linescape.analysis.tables.results import Results
from linescape.recipe import Trained

_DECAY = {"arm": pl.String, "title": pl.String, "weight_decay": pl.Float64, "decay_sum": pl.Float64}
_LEARNT = {
    "arm": pl.String,
    "title": pl.String,
    "seed": pl.Int64,
    "start_error": pl.Float64,
    "wanted": pl.Float64,
    "learnt": pl.Boolean,
}


def decays(results: Results) -> pl.DataFrame:
    """A row for each arm that trains by SGD: arm, title, weight_decay, decay_sum (`train.decay_sum`), largest first."""
    sums = results.runs.group_by("arm", maintain_order=True).agg(pl.col("decay_sum").first())
    rows = [
        {"arm": arm.name, "title": arm.title, "weight_decay": arm.runs[0].recipe.optimizer.weight_decay}
        for arm in results.study.arms
        if arm.runs
    ]
    frame = pl.DataFrame(rows, {name: kind for name, kind in _DECAY.items() if name != "decay_sum"})
    known = frame.join(sums, on="arm", how="left", maintain_order="left").filter(pl.col("decay_sum").is_not_nan())
    return known.sort("decay_sum", descending=True, maintain_order=True)


def learnt(results: Results) -> pl.DataFrame:
    """A row for each run whose start was trained on wrong labels.

    Columns: arm, title, seed, start_error (training error on these labels at its end, in %; null is not measured yet),
    wanted (the recipe's own limit, `recipe.Schedule.until_error`, in %), learnt (`Results.runs`' start_learnt).
    """
    known = {(row["arm"], row["seed"]): row for row in results.runs.iter_rows(named=True)}
    rows = [
        {
            "arm": arm.name,
            "title": arm.title,
            "seed": run.seed,
            "start_error": (row := known[arm.name, run.seed])["start_error"],
            "wanted": init.recipe.schedule.until_error,
            "learnt": row["start_learnt"],
        }
        for arm in results.study.arms
        for run in arm.runs
        if isinstance(init := run.recipe.init, Trained) and init.at == "end" and init.recipe.data.wrong_labels
    ]
    return pl.DataFrame(rows, _LEARNT)


def not_learnt(results: Results) -> pl.DataFrame:
    """A row for each arm with runs that did not learn their wrong labels, and so do not have the start it is named for.

    Columns: title, failed (runs that did not learn them), known (runs measured), lowest and highest (training error of
    the failed runs on the wrong labels, in %).
    """
    failed = pl.col("start_error").filter(~pl.col("learnt"))
    of_arm = learnt(results).group_by("title", maintain_order=True)
    counted = of_arm.agg(failed=failed.len(), known=pl.col("learnt").count(), lowest=failed.min(), highest=failed.max())
    return counted.filter(pl.col("failed") > 0)
