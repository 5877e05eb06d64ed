"""What would decide what few runs leave open: the same arms with more runs, and about how long these take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from linescape import studies
from linescape.analysis.tables import Results
from linescape.engine.threads import cores
from linescape.errors import RecipeError
from linescape.report.text import caption
from linescape.studies.study import Run, Study


def more_runs(results: Results) -> dict[str, str] | None:
    """``words`` and the ``command``; None where no scale of the study has more runs of these arms."""
    study, done = results.study, results.runs.filter(pl.col("status") == "done")
    if not done.height or not study.larger:
        return None
    try:
        larger = studies.find(study.name, study.larger).only(*(arm.name for arm in study.arms))
    except RecipeError:  # a study of the user's own may have the name of one of ours
        return None
    minutes = max(1, round(_seconds(results, done, larger) / 60 / cores("cpu")))
    arms = " ".join(arm.name for arm in study.arms)
    return {
        "words": caption("more_runs", runs=_counts(study), more=_counts(larger), minutes=minutes),
        "command": f"linescape study run {study.name} --scale {study.larger} --arms {arms}",
    }


def _counts(study: Study) -> list[int]:
    return sorted({len(arm.runs) for arm in study.arms})


def _seconds(results: Results, done: pl.DataFrame, larger: Study) -> float:
    """What a larger study takes on one core, by what trainings and measurements took here."""
    of_arm: dict[str, float] = dict(done.group_by("arm").agg(pl.col("seconds").mean()).iter_rows())
    usual = float(done["seconds"].mean() or 0.0)  # type: ignore[arg-type]
    training = sum(len(arm.runs) * of_arm.get(arm.name, usual) for arm in larger.arms)
    walked = float(results.walks["seconds"].sum())
    all_test: Any = results.walks["test_examples"].max() or 1
    here = _measurements((run for arm in results.study.arms for run in arm.runs), all_test)
    there = _measurements((run for arm in larger.arms for run in arm.runs), all_test)
    return training + walked * there / here


def _measurements(runs: Iterable[Run], all_test: int) -> int:
    """Examples times positions of all lines, each line once."""
    scans = {scan for run in runs for scan in run.lines.values()}
    return sum(
        scan.alphas * len(scan.batchnorm) * (scan.train_examples + (scan.test_examples or all_test)) for scan in scans
    )
