"""Basins: how far lines lie off their chord, and rises beyond both ends, where both are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from linescape import Evaluator, Line, ScanOptions, scan, squared_error, studies
from linescape.analysis import inference
from linescape.analysis.answers import Answer, Outcome, Verdict
from linescape.analysis.answers.answer import widened
from linescape.analysis.works.basins import DELTA, EPSILON, deviation_from_chord, one_basin, rises_outside, verdict
from linescape.report import sentences
from linescape.studies.study import Run, Scan, Study
from linescape.studies.works.neyshabur2020 import BETWEEN, BEYOND, KINDS, SCALES
from tests.support import works

STUDY = studies.find("neyshabur2020", "mini").only(*KINDS)
ALPHAS = np.array(SCALES["mini"].beyond)


def linear(seed: int) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(4, 3).double()


def test_a_linear_model_with_squared_error_has_a_parabola_on_its_line() -> None:
    """L = a + b alpha + c alpha^2 with c = mean |D x|^2, D the difference of both models: c / 4 below the chord in the
    middle, and L(1 + d) - L(1) = b d + c (2 d + d^2), L(-d) - L(0) = -b d + c d^2."""
    random = torch.Generator().manual_seed(5)
    inputs, targets = (torch.randn(40, width, generator=random, dtype=torch.float64) for width in (4, 3))
    first, second = linear(1), linear(2)
    evaluator = Evaluator(linear(0), {"test": (inputs, targets)}, [squared_error])
    curve = scan(Line(first, second), evaluator, ScanOptions(alphas=tuple(ALPHAS), progress=False))
    alphas, losses = curve.alphas, curve["test", "squared_error"].mean
    with torch.no_grad():
        residual, step = first(inputs) - targets, second(inputs) - first(inputs)
    slope, bend = 2 * (residual * step).sum(1).mean().item(), (step**2).sum(1).mean().item()
    assert deviation_from_chord(alphas, losses) == pytest.approx(bend / 4, rel=1e-9)
    expected = (-0.5 * slope + 0.25 * bend, 0.5 * slope + 1.25 * bend)
    assert rises_outside(alphas, losses) == pytest.approx(expected, rel=1e-9)


def test_above_and_below_the_chord_count_and_what_is_no_number_stays_none() -> None:
    assert deviation_from_chord([-1, 0, 0.5, 1, 2], [9, 1, 3, 2, 9]) == 1.5
    assert deviation_from_chord([0, 0.5, 1], [1, 0, 2]) == 1.5
    assert math.isnan(deviation_from_chord([0, 0.5, 1], [1, math.nan, 2]))
    assert rises_outside([-1, 0, 1, 2], [4, 1, 2, math.inf]) == (3, math.inf)
    assert math.isnan(rises_outside([-1, 0, 1, 2], [math.nan, 1, 2, 3])[0])


def measured(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
    """Losses of a parabola, by `BENDS` of the arm: off its chord by a quarter, up by 3 / 4 at both ends."""
    if scan not in (run.lines.get(BEYOND), run.lines.get(BETWEEN)):
        return None
    bend = BENDS.get(arm, 1.0) * (1 + 0.01 * (run.seed % 4))
    return (10.0, 1.0 + bend * alpha * (alpha - 1))


BENDS = {"finetuned-finetuned": 0.16, "finetuned-same-rate": 0.02, "random-random": -4.0}


def answered(study: Study = STUDY) -> Answer:
    return one_basin(works.results(study, measured), 0.95)


def test_a_kind_lies_in_one_basin_if_it_is_flat_inside_and_rises_outside() -> None:
    answer = answered()
    rows = {row["arm"]: row for row in answer.numbers.to_dicts()}
    assert tuple(rows) == KINDS
    bends = [0.16 * (1 + 0.01 * pair) for pair in range(4)]
    off, up = (
        inference.mean([share * bend for bend in bends], level)
        for share, level in ((0.25, widened(0.95, 2)), (0.75, widened(0.95, 2)))
    )
    tuned = rows["finetuned-finetuned"]
    assert (tuned["epsilon"], tuned["low_all"], tuned["high_all"]) == pytest.approx((off.value, off.low, off.high))
    assert (tuned["rise"], tuned["rise_low_all"]) == pytest.approx((up.value, up.low))
    assert tuned["interpolated"] == pytest.approx(off.value, rel=1e-3), "its grid has no middle"
    assert tuned["train_rise"] == pytest.approx(up.value)
    assert answer.outcomes == {"finetuned-finetuned": Outcome.BELOW}
    assert answer.facts["verdict_of"] == {
        "random-random": Outcome.ABOVE,  # far above its chord, and lower outside
        "random-finetuned": Outcome.ABOVE,  # far below it
        "finetuned-finetuned": Outcome.BELOW,
        "finetuned-same-rate": Outcome.ABOVE,  # flat, and flat outside
    }
    assert rows["random-random"]["rise"] == pytest.approx(-3.0 * 1.015)
    wide = inference.mean([0.25 * (1 + 0.01 * pair) for pair in range(4)], widened(0.95, 8))
    assert rows["random-finetuned"]["high_all"] == pytest.approx(wide.high)
    assert [claim.verdict for claim in answer.claims] == [Verdict.HOLDS, Verdict.HOLDS]
    words = sentences.of(answer)
    assert "both fine-tuned: one basin;" in words.headline
    assert "both fine-tuned one basin: off the chord by 0.04 nats" in words.verdict


def test_both_bounds_decide() -> None:
    def row(low: float, high: float, rise_low: float, rise_high: float) -> dict[str, float]:
        return {"low_all": low, "high_all": high, "rise_low_all": rise_low, "rise_high_all": rise_high}

    flat, steep = EPSILON / 2, 2 * DELTA
    assert verdict(row(0, flat, steep, steep)) is Outcome.BELOW
    assert verdict(row(0, flat, 0, steep)) is Outcome.INCONCLUSIVE
    assert verdict(row(0, steep, steep, steep)) is Outcome.INCONCLUSIVE
    assert verdict(row(0, flat, 0, flat)) is Outcome.ABOVE
    assert verdict(row(steep, steep, math.nan, math.nan)) is Outcome.ABOVE, "whatever is outside"
    assert verdict(row(0, flat, math.nan, math.nan)) is Outcome.NO_INTERVAL


def test_pairs_that_are_missing_are_said_to_be() -> None:
    answer = one_basin(works.results(STUDY, lambda *_: None), 0.95)
    assert answer.outcomes == {"finetuned-finetuned": Outcome.NOT_MEASURED}
    assert [claim.verdict for claim in answer.claims] == [Verdict.NOT_MEASURED, Verdict.NOT_MEASURED]
    assert sentences.of(answer).headline == "No line beyond two networks is measured yet."
    assert answered(STUDY.only(runs=1)).outcomes == {"finetuned-finetuned": Outcome.NO_INTERVAL}
