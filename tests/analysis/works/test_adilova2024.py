"""Barriers of averaged layers, from losses that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Answer, Outcome, answers
from linescape.analysis.answers.answer import widened
from linescape.interpolation.greedy import GreedyOrder
from linescape.report import sentences
from linescape.studies.paths import RandomDirection
from linescape.studies.study import Greedy, Run, Scan
from linescape.studies.works.adilova2024 import GREEDY, random_order
from linescape.studies.works.zhang2019 import layers
from tests.support import works

STUDY = studies.find("adilova2024", "mini")
NAMES = layers(STUDY.arms[0].runs[0].recipe)
MIDDLE = set(NAMES[3:7])


def spread(run: Run) -> float:
    """A little more or less for each pair, 0 on average."""
    return 0.001 * (run.seed // 2 - 1.5)


def measured(_: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
    """Losses of 0.4 and 0.6 at the ends; a barrier of 1 nat from all four layers in the middle on, else none."""
    if scan.start.recipe == scan.end.recipe:
        return None
    first = run.lines["all layers"].start
    ends = {True: 0.4, False: 0.6}
    if isinstance(scan.along, RandomDirection):
        return (10.0, 0.4 if alpha == 0 else 0.5 + 0.2 * spread(run))
    if alpha != 0.5:
        return (10.0, ends[(scan.end if alpha else scan.start) == first] if not scan.block else 99.0)
    high = not scan.block or set(scan.moving) >= MIDDLE
    return (30.0 if high else 10.0, 0.5 + (1.0 if high else 0.0) + spread(run))


def answered() -> Answer:
    (answer,) = answers(works.results(STUDY, measured))
    return answer


def test_barriers_are_above_the_mean_of_the_full_networks() -> None:
    rows = [row for row in answered().numbers.to_dicts() if row["arm"] == "two-seeds"]
    (everything,) = (row for row in rows if row["what"] == "all layers")
    values = [1.0 + 0.001 * (pair - 1.5) for pair in range(4)]
    mean, wide = inference.mean(values), inference.mean(values, widened(0.95, 6))
    assert (everything["barrier"], everything["low"]) == pytest.approx((mean.value, mean.low))
    assert (everything["low_all"], everything["high_all"]) == pytest.approx((wide.low, wide.high))
    assert (everything["layers"], everything["error"]) == (len(NAMES), pytest.approx(20.0))
    singles = [row for row in rows if row["what"] == "one layer"]
    assert [row["layer"] for row in singles] == list(NAMES)
    assert all(row["barrier"] == pytest.approx(0.0, abs=1e-9) and row["runs"] == 4 for row in singles)
    alone = inference.mean([0.001 * (pair - 1.5) for pair in range(4)], widened(0.95, 3 * len(NAMES)))
    assert singles[0]["low_all"] == pytest.approx(alone.low)


def test_no_single_layer_makes_a_barrier_and_the_middle_ones_together_do() -> None:
    answer = answered()
    assert answer.outcomes == {
        "two-seeds, one layer": Outcome.BELOW,
        "two-seeds, all layers": Outcome.ABOVE,
        "same-start, one layer": Outcome.BELOW,
        "same-start, all layers": Outcome.ABOVE,
        "no-norm, one layer": Outcome.BELOW,
        "no-norm, all layers": Outcome.ABOVE,
    }
    arm = answer.facts["arms"][0]
    assert (arm["shallow"]["free"]["layers"], arm["shallow"]["barred"]["layers"]) == (6, 7)
    assert (arm["deep"]["free"]["layers"], arm["deep"]["barred"]["layers"]) == (6, 7)
    words = sentences.of(answer)
    assert "Two seeds: no single layer makes a barrier; all layers together make one of 1.00 nats." in words.headline
    assert "From the input, 7 layers and more make a barrier, 6 and fewer none." in words.verdict


def test_a_single_layer_with_a_barrier_is_named() -> None:
    def one(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
        values = measured(arm, run, scan, alpha)
        if values and alpha == 0.5 and scan.moving == ("fc",) and not isinstance(scan.along, RandomDirection):
            return (values[0], values[1] + 0.5)
        return values

    (answer,) = answers(works.results(STUDY, one))
    assert answer.outcomes["two-seeds, one layer"] is Outcome.ABOVE
    assert "Single layers with a barrier: fc 0.50" in sentences.of(answer).verdict


def test_what_random_directions_cost_is_unknown_where_one_has_a_nan() -> None:
    def last(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
        lost = isinstance(scan.along, RandomDirection) and scan.block == NAMES[-1] and alpha == 0.5
        return (90.0, math.nan) if lost else measured(arm, run, scan, alpha)

    (answer,) = answers(works.results(STUDY, last))
    assert all(math.isnan(arm["random"]) for arm in answer.facts["arms"])
    assert "costs at most undefined nats" in sentences.of(answer).verdict


def test_barriers_in_a_random_and_in_the_greedy_order() -> None:
    """In a random order from where it has all four layers of the middle; in the greedy one by losses given here."""
    results = works.results(STUDY, measured)
    count = len(NAMES)
    greedy = {
        (arm.name, run.seed, GREEDY): GreedyOrder(
            NAMES, np.zeros(count), np.where(np.arange(count) < 7, 0.5, 1.5) + spread(run), np.full(count, 15.0)
        )
        for arm in STUDY.arms
        for run in arm.runs
    }
    (answer,) = answers(replace(results, measured={Greedy: greedy}))
    rows = [row for row in answer.numbers.to_dicts() if row["arm"] == "two-seeds"]
    orders = [
        random_order(run.lines["all layers"].start.recipe, run.lines["all layers"].end.recipe)
        for run in STUDY.arms[0].runs
    ]
    drawn = {row["layers"]: row for row in rows if row["what"] == "random order"}
    assert list(drawn) == list(range(2, count))
    for number, row in drawn.items():
        high = np.mean([set(order[:number]) >= MIDDLE for order in orders])
        assert (row["barrier"], row["runs"]) == (pytest.approx(high, abs=1e-9), 4)
    of_greedy = [row for row in rows if row["what"] == GREEDY]
    assert [row["barrier"] for row in of_greedy] == pytest.approx([0.0] * 7 + [1.0] * (count - 8), abs=1e-9)
    assert {row["error"] for row in of_greedy} == {5.0}
    arm = answer.facts["arms"][0]
    assert (arm["greedy"]["free"]["layers"], arm["greedy"]["barred"]["layers"]) == (7, 8)
    assert "In the greedy order, 8 layers and more make a barrier, 7 and fewer none." in sentences.of(answer).verdict


def test_nothing_measured_gives_no_words() -> None:
    (answer,) = answers(works.results(STUDY, lambda *_: None))
    assert answer.outcomes == {}
    assert sentences.of(answer).headline == "No pair of networks is measured yet."


def test_numbers_of_layers_beyond_one_that_is_not_measured_are_not_decided() -> None:
    """Not from two layers on, nor from all layers back."""
    untried = {2, len(NAMES) - 1}

    def part(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
        return None if scan.blocks and len(scan.moving) in untried else measured(arm, run, scan, alpha)

    (answer,) = answers(works.results(STUDY, part))
    for several in (answer.facts["arms"][0][name] for name in ("shallow", "deep")):
        assert several["free"] is None
        assert several["barred"]["layers"] == len(NAMES)
