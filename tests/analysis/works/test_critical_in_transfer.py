"""Criticality from scratch and fine-tuned, from losses under noise that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Answer, Outcome, Verdict
from linescape.analysis.answers.answer import widened
from linescape.analysis.tables import Results
from linescape.analysis.works.critical_in_transfer import modules_in_transfer
from linescape.interpolation.critical import Criticality
from linescape.report import columns_of_works, page, sentences, works
from linescape.report.study import _Gallery
from linescape.studies.study import Noise
from linescape.studies.works.neyshabur2020 import SAME_RATE, SCRATCH, TUNED
from tests.analysis.works.test_critical import measured
from tests.support.works import results

DISTANCES = {SCRATCH: 4.0, TUNED: 1.0, SAME_RATE: 2.0}
STUDY = studies.find("neyshabur2020", "mini").only(*DISTANCES)


def at_rest(distance: float) -> Criticality:
    """A module that may be set back to its start."""
    found = measured(distance, 0.0)
    means = {key: values.copy() for key, values in found.means.items()}
    means["train", "error"][0, 0] = 10.0
    return replace(found, means=means)


def made(leave_out: tuple[str, int, str] | None = None) -> Results:
    """Each module as critical as the square of its network's distance, 2^seed times as much from scratch; of the
    fine-tuned, conv1 may be set back, and the head is as critical as from scratch."""
    noise = {}
    for arm, distance in DISTANCES.items():
        for run in next(one for one in STUDY.arms if one.name == arm).runs:
            for module in run.measured[Noise]:
                own = 4.0 if module == "fc" else distance
                own *= math.sqrt(2.0**run.seed) if arm == SCRATCH else 1.0
                made_of = at_rest(own) if (arm, module) == (TUNED, "conv1") else measured(own, 1.0)
                if (arm, run.seed, module) != leave_out:
                    noise[arm, run.seed, module] = made_of
    return replace(results(STUDY, lambda *_: None), measured={Noise: noise})


def answered(leave_out: tuple[str, int, str] | None = None) -> Answer:
    return modules_in_transfer(made(leave_out), 0.95)


def test_modules_side_by_side_and_their_sums_paired_by_seed() -> None:
    answer = answered()
    rows = {row["module"]: row for row in answer.numbers.to_dicts()}
    assert len(rows) == 11
    assert (rows["conv1"]["scratch"], rows["conv1"]["tuned"], rows["conv1"]["same_rate"]) == pytest.approx((32, 0, 4))
    assert (rows["conv1"]["scratch_least"], rows["conv1"]["scratch_most"]) == pytest.approx((16, 128))
    assert (rows["conv1"]["lower"], rows["fc"]["lower"], rows["fc"]["runs"]) == (4, 3, 4), "equal for the first seed"
    tuned, scratch = 8 * 1 + 16, [10 * 16 * 2**seed for seed in range(4)]
    assert rows["sum"]["tuned"] == pytest.approx(tuned)
    expected = inference.mean([math.log(tuned / one) for one in scratch])
    ratio = answer.facts["contrasts"]["tuned"]
    found = (ratio["ratio"], ratio["low"], ratio["high"])
    assert found == pytest.approx(tuple(map(math.exp, (expected.value, expected.low, expected.high))))
    without = inference.mean([math.log(8 / (one * 0.9)) for one in scratch], widened(0.95, 4))
    head = answer.facts["contrasts"]["without_head"]
    assert (head["ratio"], head["low_all"]) == pytest.approx((math.exp(without.value), math.exp(without.low)))
    assert answer.facts["contrasts"]["rate"]["ratio"] == pytest.approx(24 / (9 * 4 + 16))
    assert answer.outcomes == {"tuned": Outcome.BELOW}
    assert answer.claims[0].verdict is Verdict.HOLDS
    words = sentences.of(answer)
    assert words.headline.endswith("it is lower.")
    assert "within the bound: conv1." in words.verdict


def test_a_sum_that_is_not_finite_or_not_whole_has_no_ratio() -> None:
    found = made()
    noise = dict(found.of(Noise))
    far = noise[SCRATCH, 1, "fc"]
    noise[SCRATCH, 1, "fc"] = replace(far, means={key: values + 100 for key, values in far.means.items()})
    answer = modules_in_transfer(replace(found, measured={Noise: noise}), 0.95)
    assert answer.outcomes == {"tuned": Outcome.NO_INTERVAL}
    assert math.isinf(answer.facts["sum"]["scratch_most"])
    assert math.isnan(answer.claims[0].value)
    assert "is lower than that of networks from scratch in 4 of 4 pairs" in sentences.of(answer).headline
    partly = answered(leave_out=(TUNED, 2, "conv1"))
    assert partly.facts["contrasts"]["tuned"]["runs"] == 3, "the sum of that network is unknown"


def test_nothing_measured_is_said() -> None:
    answer = modules_in_transfer(results(STUDY, lambda *_: None), 0.95)
    assert answer.outcomes == {"tuned": Outcome.NOT_MEASURED}
    assert answer.claims[0].verdict is Verdict.NOT_MEASURED
    assert sentences.of(answer).headline == (
        "Networks from scratch and fine-tuned ones are not both measured with noise yet."
    )


def test_its_table_and_figure_show_all_of_it() -> None:
    answer, gallery = answered(), _Gallery()
    assert page.table(answer.numbers, columns_of_works.COLUMNS[answer.name]).count("<tr") >= 11
    works.DRAWINGS[answer.name](answer, gallery)
    (axes,) = gallery.figures[answer.name].axes
    assert sum(np.asarray(line.get_xdata()).size for line in axes.lines) == 3 * 4 * 10
