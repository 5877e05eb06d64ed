"""Features between two networks and their barrier, from distances that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Answer, Outcome, Verdict, answers
from linescape.analysis.answers.answer import widened
from linescape.analysis.tables import Results
from linescape.interpolation.features import FeatureConnectivity
from linescape.report import columns_of_works, page, sentences, works
from linescape.report.study import _Gallery
from linescape.studies.study import Features, Run, Scan
from tests.support.works import results

STUDY = studies.find("zhou2023", "mini")
BARRIERS = {arm.name: 40.0 / 3**place for place, arm in enumerate(STUDY.arms)}
SIZES = dict(zip(BARRIERS, [13.0, 40.0, 1.5, 4.4, *list(BARRIERS.values())[4:]], strict=True))
"""A hundred times the distances: in the order of the barriers, but for the first four."""


def features(barrier: float, sign: float) -> FeatureConnectivity:
    """Distances at the middle of a hundredth of the barrier, twice that in the second layer; one example has none."""
    distances = np.zeros((3, 2, 4))
    distances[1] = 0.01 * barrier
    distances[1, 1] *= 2
    distances[1, 1, 3] = np.nan
    ends = np.full((2, 4), 0.3 + 0.01 * sign)
    return FeatureConnectivity(np.array([0.0, 0.5, 1.0]), ("layer1.0", "fc"), distances, 0.5 + 0 * distances, ends)


def made() -> Results:
    def value(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float]:
        height = BARRIERS[arm] * (1 + 0.01 * (run.seed % 3)) if scan == run.lines["between"] else 0.0
        return (10.0 + height * (alpha == 0.5), 0.5)

    measured = {
        (arm.name, run.seed, "between"): features(SIZES[arm.name] * (1 + 0.01 * (run.seed % 3)), run.seed % 2)
        for arm in STUDY.arms
        for run in arm.runs
    }
    return replace(results(STUDY, value), measured={Features: measured})


def answered() -> Answer:
    (answer,) = answers(made())
    return answer


def test_distances_are_means_over_examples_layers_and_pairs() -> None:
    answer = answered()
    assert answer.numbers["layer"].to_list()[:3] == ["all", "layer1.0", "fc"]
    rows = {(row["arm"], row["layer"]): row for row in answer.numbers.to_dicts()}
    mean = np.mean([1 + 0.01 * (run.seed % 3) for run in STUDY.arms[0].runs])
    assert rows["independent", "layer1.0"]["distance"] == pytest.approx(0.13 * mean)
    assert rows["independent", "fc"]["distance"] == pytest.approx(0.26 * mean), "without the example that has none"
    assert rows["independent", "fc"]["undefined"] == 1
    whole = rows["independent", "all"]
    assert (whole["distance"], whole["coefficient"]) == (pytest.approx(0.195 * mean), pytest.approx(0.5))
    assert whole["barrier"] == pytest.approx(40.0 * mean)
    assert rows["independent", "fc"]["barrier"] is None


def test_contrasts_are_corrected_for_each_other_and_words_follow() -> None:
    answer = answered()
    runs = answer.facts["of_runs"]
    wide = widened(0.95, 2)
    expected = inference.rank_correlation(runs["barrier"], runs["distance"], runs["arm"].to_list(), level=wide)
    together, closer = answer.claims
    assert (together.value, together.low) == pytest.approx((expected.value, expected.low))
    last = runs.filter(arm="step-565")
    apart = inference.mean(last["ends"] - last["distance"], wide)
    assert (closer.value, closer.low) == pytest.approx((apart.value, apart.low))
    assert answer.outcomes == {"together": Outcome.ABOVE, "closer": Outcome.ABOVE}
    assert closer.verdict is Verdict.HOLDS
    words = sentences.of(answer)
    assert words.headline.startswith("The higher the barrier between two networks, the farther")
    assert "Between copies after step 565 they are closer" in words.headline


def test_nothing_measured_is_said() -> None:
    (answer,) = answers(results(STUDY, lambda *_: None))
    assert sentences.of(answer).headline == "No pair of networks is measured yet."
    assert set(answer.outcomes.values()) == {Outcome.NOT_MEASURED}
    assert {claim.verdict for claim in answer.claims} == {Verdict.NOT_MEASURED}


def test_table_and_figure_show_all_of_it() -> None:
    answer, gallery = answered(), _Gallery()
    assert page.table(answer.numbers, columns_of_works.COLUMNS[answer.name]).count("<tr") >= answer.numbers.height
    works.DRAWINGS[answer.name](answer, gallery)
    (axes,) = gallery.figures["feature-connectivity"].axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert sum(np.asarray(line.get_xdata()).size for line in dots) == 2 * sum(len(arm.runs) for arm in STUDY.arms)
