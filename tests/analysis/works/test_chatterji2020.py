"""The smallest alpha of each module, from lines on which it is known."""

from __future__ import annotations

import math

import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Outcome, answers
from linescape.analysis.answers.answer import widened
from linescape.analysis.works.chatterji2020 import reducing, smallest_alpha
from linescape.recipe import MLP, Data, Recipe
from linescape.report import sentences
from linescape.studies.study import Run, Scan
from tests.support import works

STUDY = studies.find("chatterji2020", "mini")
EARLY = ("conv1", "layer2.0.conv1", "layer2.0.downsample.0", "layer3.0.conv1", "layer3.0.downsample.0")


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0, 1.0, 1.0, 1.0, 1.0], 0.0),
        ([3.0, 2.0, 1.5, 1.009, 1.0], 0.75),
        ([0.5, 0.5, 2.0, 0.5, 1.0], 0.75),  # it leaves the bound again on the way
        ([3.0, 2.0, 1.5, 1.02, 1.0], 1.0),
        ([math.inf, math.nan, 1.0, 1.0, 1.0], 0.5),
        ([0.0, 0.0, 0.0, 1e-9, 0.0], 1.0),
    ],
)
def test_the_smallest_alpha_from_which_on_the_loss_stays_within_the_bound(losses: list[float], expected: float) -> None:
    assert smallest_alpha([0, 0.25, 0.5, 0.75, 1], losses) == expected


def test_it_is_undefined_where_the_final_loss_is() -> None:
    assert math.isnan(smallest_alpha([0, 1], [1.0, math.nan]))


def test_a_quadratic_has_its_closed_form() -> None:
    """L = (1 - alpha)^2 + 1 is within 1.01 from alpha = 0.9 on."""
    alphas = [place / 100 for place in range(101)]
    assert smallest_alpha(alphas, [(1 - alpha) ** 2 + 1 for alpha in alphas]) == pytest.approx(0.9)


def test_which_modules_reduce_the_resolution() -> None:
    assert reducing(STUDY.arms[0].runs[0].recipe) == EARLY
    assert reducing(Recipe(Data("spiral"), MLP((8, 6)))) == ("layers.0",)


def measured(_: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
    """A loss of 1 from some alpha on: 0.8 for early modules and 0.2 for others, a step more or less by seed."""
    if not scan.block:
        return None
    until = (0.8 if scan.block in EARLY else 0.2) + 0.05 * ((run.seed % 3) - 1)
    return (10.0, 1.0 if alpha > until - 1e-9 else 3.0)


def test_early_modules_against_the_others() -> None:
    answer, *_ = answers(works.results(STUDY, measured))
    assert answer.facts["apart"]["alpha"]["difference"] == pytest.approx(0.6)
    assert answer.outcomes["alpha"] is Outcome.NO_INTERVAL, "of each run the same difference but for rounding"


def test_a_difference_that_varies_has_an_interval() -> None:
    def varying(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
        return measured(arm, run if scan.block in EARLY else STUDY.arms[0].runs[1], scan, alpha)

    answer, *_ = answers(works.results(STUDY, varying))
    apart = answer.facts["apart"]["alpha"]
    by_seed = [0.6 + 0.05 * ((seed % 3) - 1) for seed in range(5)]
    expected = inference.mean(by_seed, widened(0.95, 2))
    assert (apart["difference"], apart["low"]) == pytest.approx((expected.value, expected.low))
    assert answer.outcomes == {"alpha": Outcome.ABOVE, "lost": Outcome.NO_INTERVAL}
    first = answer.numbers.to_dicts()[0]
    alphas = [0.8 + 0.05 * ((seed % 3) - 1) for seed in range(5)]
    wide = inference.mean(alphas, widened(0.95, 20))
    assert (first["module"], first["alpha"], first["lost"]) == ("conv1", pytest.approx(wide.value), pytest.approx(2.0))
    assert (first["alpha_low"], first["alpha_high"]) == pytest.approx((wide.low, min(wide.high, 1.0)))
    words = sentences.of(answer)
    assert words.headline.startswith("10 of 10 modules")
    assert "0.59 more of their line" in words.verdict


def test_it_says_so_where_no_module_keeps_the_loss_before_its_end() -> None:
    def falling(_: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
        cost = 2.0 + (scan.block in EARLY) + 0.1 * run.seed * (scan.block == "conv1")
        return (10.0, 1.0 + cost * (1 - alpha)) if scan.block else None

    answer, *_ = answers(works.results(STUDY, falling))
    assert not answer.facts["sooner"]
    assert answer.outcomes == {"lost": Outcome.ABOVE, "alpha": Outcome.NO_INTERVAL}
    words = sentences.of(answer)
    assert words.headline.startswith("No module keeps the final loss before its end.")
    assert "conv1 costs most" in words.headline


def test_nothing_measured_gives_no_words() -> None:
    answer, *_ = answers(works.results(STUDY, lambda *_: None))
    assert sentences.of(answer).headline == "No module is measured yet."


def test_a_module_whose_cost_is_nan_is_neither_first_nor_before_others() -> None:
    def unknown(_: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
        cost = {"conv1": math.nan, "fc": 3.0}.get(scan.block, 2.0) + 0.1 * run.seed
        return (10.0, 1.0 + cost * (1 - alpha) if alpha < 1 else 1.0) if scan.block else None

    ordered = answers(works.results(STUDY, unknown))[0].facts["ordered"]
    assert (ordered[0]["module"], ordered[-1]["module"]) == ("fc", "conv1")
