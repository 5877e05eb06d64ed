"""Which curves a work's questions are about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from linescape import studies
from linescape.analysis.works.curves import curves_of, of_runs, share
from tests.support.lines_of_studies import lines_of

MADE = lines_of(studies.find("tao2024", "demo"), lambda arm, seed, label, at: 2 - at + seed, [0.0, 0.5, 1.0])


def test_a_run_that_diverged_has_no_curves() -> None:
    diverged = pl.when(pl.col("seed") == 1).then(pl.lit("diverged")).otherwise("status")
    made = replace(MADE, runs=MADE.runs.with_columns(status=diverged))
    assert set(curves_of(MADE, "train", "error")["seed"]) == {0, 1}
    assert set(curves_of(made, "train", "error")["seed"]) == {0}


def test_a_line_counts_under_its_first_treatment() -> None:
    again = MADE.lines.with_columns(batchnorm=pl.lit("end"), mean=pl.lit(99.0))
    shown = curves_of(replace(MADE, lines=pl.concat([MADE.lines, again])), "test", "cross_entropy")
    assert shown["mean"].max() == 3
    values = of_runs(shown, lambda alphas, losses: losses[alphas == 0.5][0])
    assert values.height == sum(len(run.lines) for arm in MADE.study.arms for run in arm.runs)
    assert values.filter(pl.col("seed") == 1)["value"].unique().to_list() == [2.5]


def test_intervals_of_what_is_bounded() -> None:
    interval = share(7, 7, 0.95)
    assert interval["share_low"] == pytest.approx(100 * 0.025 ** (1 / 7))
    assert interval["share_high"] == 100
    assert share(0, 3, 0.95)["share_high"] == pytest.approx(100 * (1 - np.cbrt(0.025)))


def test_lines_are_known_by_what_they_are_and_by_their_own_treatments() -> None:
    """The second treatment of a line is that of this line, whatever those of the lines before it."""
    first = pl.col("label") == "whole"
    renamed = MADE.lines.with_columns(batchnorm=pl.when(first).then(pl.lit("end")).otherwise("batchnorm"))
    second = MADE.lines.filter(~first).with_columns(batchnorm=pl.lit("recalibrate"), mean=pl.lit(99.0))
    made = replace(MADE, lines=pl.concat([renamed, second]))
    known = curves_of(made, "test", "error", lambda run, scan: {"steps": scan.alphas}, treatment=1)
    assert known["mean"].unique().to_list() == [99]
    assert set(known["label"]) == set(MADE.lines["label"]) - {"whole"}
    assert set(known["steps"]) == {run.lines["whole"].alphas for arm in MADE.study.arms for run in arm.runs}
    assert curves_of(made, "test", named=lambda run, scan: None).is_empty()


def test_a_line_to_another_training_that_diverged_is_left_out() -> None:
    key = (MADE.study.arms[0].name, 1, "whole")
    shown = curves_of(replace(MADE, of_diverged=frozenset({key})), "test", "cross_entropy")
    left = set(curves_of(MADE, "test", "cross_entropy").select("arm", "seed", "label").iter_rows())
    assert set(shown.select("arm", "seed", "label").iter_rows()) == left - {key}
