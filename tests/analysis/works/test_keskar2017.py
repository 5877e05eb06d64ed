"""Small and large batches, from curves and curvatures that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from linescape import studies
from linescape.analysis.answers import Answer, Outcome, Verdict, answers
from linescape.analysis.tables import Results
from linescape.interpolation.flat import Flatness
from linescape.interpolation.hessian import Curvature
from linescape.report import columns_of_works, page, sentences, works
from linescape.report.study import _Gallery
from linescape.studies.study import Flat, Run, Scan
from linescape.studies.works.keskar2017 import BETWEEN
from tests.support.works import results

STUDY = studies.find("keskar2017", "mini")
SHARPER = {"mlp": 2.0, "batchnorm": 3.0, "decay": -1.0, "conv": 0.0}
"""By how much the largest eigenvalue is higher with large batches."""


def flatness(small: float, large: float) -> Flatness:
    ends = np.array([small, 7.0, large])
    column, zero = ends[:, None], np.zeros(3)
    curved = Curvature(np.array([0, 0.5, 1.0]), zero, zero, column, 0 * column, 3 * ends, zero, {})
    return Flatness(curved, ends, ends)


def made(sharper: dict[str, float] = SHARPER) -> Results:
    """The error is 10 %, with large batches 11 % but for `decay`; the loss beyond the ends rises by 1 and by 4."""

    def value(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float]:
        higher = 0.0 if arm.startswith("decay") else 1.0 + 0.01 * run.seed
        loss = {-0.5: 1.2, 0.0: 0.2, 1.0: 0.1, 1.5: 4.1}.get(alpha, 0.5)
        return 10.0 + higher * (alpha == 1.0), loss

    measured = {}
    for arm in STUDY.arms:
        for run in arm.runs:
            if BETWEEN in run.lines and (name := arm.name.removesuffix("-large")) in sharper:
                high = 5.0 + sharper[name] * (1 + 0.01 * run.seed)
                measured[arm.name, run.seed, BETWEEN] = flatness(5.0, high)
    return replace(results(STUDY, value), measured={Flat: measured})


def answered(of: Results) -> Answer:
    (answer,) = answers(of)
    return answer


def test_differences_are_those_of_pairs_and_words_follow() -> None:
    answer = answered(made())
    rows = {(row["network"], row["quantity"]): row for row in answer.numbers.to_dicts()}
    assert rows["mlp", "eigenvalue"]["difference"] == pytest.approx(2.0 * 1.04)
    assert rows["mlp", "trace"]["difference"] == pytest.approx(6.0 * 1.04)
    assert rows["batchnorm", "error"]["difference"] == pytest.approx(1.04)
    assert (rows["conv", "beyond"]["small"], rows["conv", "beyond"]["large"]) == (pytest.approx(1.0), pytest.approx(4))
    assert rows["conv", "loss"]["difference"] == pytest.approx(-0.1)
    assert np.isnan(rows["mlp", "trace"]["low_all"]), "no primary contrast"
    assert answer.outcomes["mlp eigenvalue"] == answer.outcomes["batchnorm error"] == Outcome.ABOVE
    assert answer.outcomes["decay eigenvalue"] == Outcome.BELOW
    assert answer.seeds == 9
    assert [claim.verdict for claim in answer.claims] == [Verdict.HOLDS, Verdict.HOLDS]
    words = sentences.of(answer)
    assert words.headline == (
        "With large batches the largest eigenvalue of the Hessian is higher in 2 of 4 networks, lower in 1, "
        "without an interval in 1; test error is higher in 3 of 4 networks, without an interval in 1."
    )
    assert "corrected for 8 contrasts" in words.verdict


def test_too_few_pairs_are_no_finding() -> None:
    first = [replace(arm, runs=arm.runs[:2]) for arm in STUDY.arms]
    answer = answered(replace(made(), study=replace(STUDY, arms=tuple(first))))
    assert sentences.of(answer).headline == (
        "With large batches the largest eigenvalue of the Hessian has no interval (too few pairs, or no spread); test "
        "error has no interval (too few pairs, or no spread)."
    )


def test_pairs_without_curvature_are_left_out() -> None:
    answer = answered(made({"mlp": 2.0}))
    assert {row["network"] for row in answer.facts["rows"]} == {"mlp"}
    assert [claim.verdict for claim in answer.claims] == [Verdict.NOT_MEASURED] * 2


def test_nothing_measured() -> None:
    answer = answered(results(STUDY, lambda *_: None))
    assert sentences.of(answer).headline == "No pair of trainings is measured yet."


def test_table_and_figure_show_all_of_it() -> None:
    answer, gallery = answered(made()), _Gallery()
    assert page.table(answer.numbers, columns_of_works.COLUMNS[answer.name]).count("<tr") >= answer.numbers.height
    works.DRAWINGS[answer.name](answer, gallery)
    figure = gallery.figures["large-batches"]
    assert len([axes for axes in figure.axes if axes.lines]) == len(SHARPER)
