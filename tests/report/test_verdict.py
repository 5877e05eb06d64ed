"""The words of verdicts follow from the numbers."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from linescape.interpolation.probing import WHOLE
from linescape.report.verdict import digits, in_words, named, small, unit
from tests.support.curves import Array
from tests.support.lines import ALPHAS, HUMP, errors, line, probe, values


def said(curve: Array, error: Array | None = None, examples: int = 500, effect: float | None = None) -> str:
    error = None if error is None else errors(error, examples)
    return probe(line(values(curve, examples), error)).summary(effect).text


def test_a_barrier_between_two_networks() -> None:
    text = said(0.4 + 0.02 * ALPHAS + 1.45 * HUMP, 15 + 27 * HUMP)
    pattern = (
        r"There is a barrier: near alpha = 0\.50 test loss is 1\.8\d, against 0\.4\d and 0\.4\d at the ends "
        r"\(1\.4\d nats above the line joining them; 95 % interval 1\.4\d to 1\.4\d\), "
        r"and error is [34]\d\.\d % there, "
        r"against 1\d\.\d % and 1\d\.\d %\."
    )
    assert re.fullmatch(pattern, text.splitlines()[0])
    assert "By error too there is a barrier: " in text
    assert "above both networks: do not average them as they are" in text


COURSES: dict[str, Array] = {
    "No barrier: test loss falls from 2.5* to 1.8*.": 2.52 - 0.66 * ALPHAS,
    "No barrier: test loss falls from 2.5* to 1.8* and on the last stretch rises by at most 0.0*.": (
        2.52 - 0.7 * ALPHAS + 1.2 * (ALPHAS - 0.95).clip(0)
    ),
    "No barrier: test loss falls from 2.5* to 1.0* near alpha = 0.75, and rises from there to 1.5*.": (
        2.5 - 2.0 * ALPHAS + 4.0 * (ALPHAS - 0.75).clip(0)
    ),
    "No barrier: test loss rises from 0.4* to 1.4*.": 0.4 + ALPHAS,
    "No barrier: test loss *0.4*.": 0.4 + 0 * ALPHAS,
    "No barrier that matters: test loss stays between *; near alpha = 0.* it rises by 0.0* nats before it falls (95 % "
    "interval *), which is statistically significant, but below the smallest effect of interest, 0.05 nats.": 0.4
    + 0.03 * HUMP,
    "There is a barrier: test loss is 0.* near alpha = 0.4*, rises to 1.* near alpha = 0.65 and falls to 0.* * (a rise "
    "of 1.* nats that is followed by a fall; 95 % interval *).": (
        2.3 - 2.0 * ALPHAS.clip(0, 0.4) / 0.4 + 1.2 * np.exp(-(((ALPHAS - 0.65) / 0.1) ** 2))
    ),
    "There is a barrier: near alpha = 0.10 test loss is 3.1*, against 2.3* and 0.3* at the ends (0.7* nats above the "
    "higher one; 95 % interval *).": 2.3 - 2.0 * ALPHAS + np.exp(-(((ALPHAS - 0.1) / 0.05) ** 2)),
}


@pytest.mark.parametrize("words", COURSES)
def test_every_course_of_a_line_has_its_sentence(words: str) -> None:
    headline = said(COURSES[words]).splitlines()[0]
    assert re.fullmatch(re.escape(words).replace(r"\*", ".*"), headline), headline


def test_a_late_fall_is_called_that() -> None:
    text = said(2.3 - 2 * ALPHAS**6)
    assert text.startswith("No barrier")
    assert "above the line joining the ends, without a rise of that height: it falls late." in text


def test_too_few_examples_say_so() -> None:
    assert "60 examples are too few to exclude a rise of 0.05 nats" in said(2.3 - 2 * ALPHAS, examples=60)
    assert said(0.4 + HUMP, examples=1).startswith("Inconclusive: a single example has no interval.")
    rough = values(0.4 + 0.06 * HUMP, 60) + np.random.default_rng(0).normal(0, 0.5, (21, 60))
    text = probe(line(rough)).summary().text
    assert re.search(r"60 examples do not tell whether it rises by 0\.05 nats or more before it falls: by 0\.", text)
    assert re.search(r"Roughly [\d,]+ more examples would decide\.", text)


def test_loss_and_error_that_disagree() -> None:
    text = said(0.4 + HUMP, 0 * HUMP)
    assert (
        "Loss and error disagree: by error there is no barrier: a rise that is followed by a fall is at most 0.8"
        in text
    )
    text = said(0.4 + 0 * HUMP, 10 + 50 * HUMP)
    assert text.startswith("No barrier")
    assert "Loss and error disagree: by error there is a barrier: " in text


def test_the_height_above_the_higher_end_is_told_once() -> None:
    same, other = (said(0.4 + slope * ALPHAS + 1.4 * HUMP) for slope in (0.0, 0.2))
    assert "above the line joining them" in same
    assert "above the higher end" not in same
    assert re.search(r"It is 1\.3\d nats \(95 % interval .*\) above the higher end", other)


def test_other_paths_have_a_verdict_each() -> None:
    arc, aligned = (0.4 + height * HUMP for height in (1.0, 0.0))
    of = probe(*(line(values(curve)) for curve in (0.4 + 1.4 * HUMP, arc, aligned)))
    whole, *others = of.curves.values()
    found = replace(of, curves={WHOLE: whole}, beside=dict(zip(("slerp", "aligned by weights"), others, strict=True)))
    said_of = next(row for row in found.summary().text.splitlines() if row.startswith("Other paths: "))
    pattern = r"slerp: barrier \((1\.0\d|0\.9\d) nats, .*\); aligned by weights: no barrier \(0\.0\d* nats, .*\)\."
    assert re.fullmatch("Other paths: " + pattern, said_of)
    assert [each.label for each in found.summary().beside] == ["slerp", "aligned by weights"]
    assert {*found.frame()["line"]} == {WHOLE, "slerp", "aligned by weights"}


def test_halfway_between_networks_that_are_alike() -> None:
    text = said(0.6 + 0.01 * ALPHAS, 20 + 0 * ALPHAS)
    assert "halfway test loss is 0.6" in text
    assert "about that of both networks." in text
    assert "about that of both networks." in said(0.6 + 0 * ALPHAS)
    assert "about that of the worse network." in said(0.6 + 0.2 * (ALPHAS * 4).clip(0, 1) + 0.01 * HUMP)
    assert "below both networks." in said(0.6 - 0.03 * HUMP)


def test_a_single_example_has_no_verdict_by_error() -> None:
    text = said(0.4 + HUMP, 20 + 0 * ALPHAS, examples=1)
    assert "undefined" not in text
    assert "By error" not in text


def test_a_block_that_is_not_told_to_matter() -> None:
    rng = np.random.default_rng(1)
    whole, noise = line(values(0.4 + 0 * ALPHAS)), rng.normal(0, 0.1, (len(ALPHAS), 500))
    found = probe(whole, line(0.4 + noise), line(0.4 + noise[::-1])).summary().text
    assert re.search(
        r"Of 2 blocks, none costs a significant amount when it alone is set to its values at the start; "
        r"“block[12]” costs most: −?0\.0\d* nats \(95 % interval −0\.\d+ to 0\.\d+\)\.",
        found,
    )
    told = probe(whole, line(values(3.4 - 3 * ALPHAS)), line(values(0.4 + 0 * ALPHAS))).summary().text
    assert re.search(
        r"Of 2 blocks, “block1” costs most .* start: 3\.\d+ nats \(95 % interval .*; “block2” least: ", told
    )


def test_a_block_that_surely_matters_is_named_beside_one_that_may_matter_more() -> None:
    rng = np.random.default_rng(1)
    whole = line(values(0.4 + 0 * ALPHAS))
    unsure = 0.4 + (1 - ALPHAS)[:, None] * (0.5 + 12 * rng.standard_normal(500))
    unsure += 0.5 - (unsure[0] - unsure[-1]).mean() * (1 - ALPHAS)[:, None]  # costs 0.5 on average
    unsure[0] += 0.5 - (unsure[0] - unsure[-1]).mean()
    sure = line(values(0.7 - 0.3 * ALPHAS))
    said_of = probe(whole, line(unsure), sure).summary().text
    pattern = (
        r"Of 2 blocks, only “block2” has a significant cost when it alone is set to its values at the start: "
        r"0\.30 nats \(95 % interval 0\.[23]\d to 0\.3\d\).*; that of “block1” is 0\.50 nats "
        r"\(95 % interval −\d\.\d+ to \d\.\d+\), not significant\."
    )
    assert re.search(pattern, said_of), said_of
    assert (
        "“block2” costs most of the 2 with a significant cost" in probe(whole, line(unsure), sure, sure).summary().text
    )


def test_what_a_block_costs_without_an_interval_or_undefined() -> None:
    whole, steep = line(values(0.4 + 0 * ALPHAS)), line(values(1.4 - ALPHAS))
    broken = line(np.where(ALPHAS[:, None] < 0.1, math.nan, steep["test", "cross_entropy", "interpolate"]))
    endless = line(np.where(ALPHAS[:, None] < 0.1, math.inf, steep["test", "cross_entropy", "interpolate"]))
    text = probe(whole, broken, steep, endless).summary().text
    assert "“block3” costs most when it alone is set to its values at the start: ∞ nats (no interval)" in text
    assert "What it costs to set back “block1” is undefined, as losses are NaN or infinite." in text
    one = probe(line(values(1.4 - ALPHAS, 1)), line(values(1.4 - ALPHAS, 1)), line(values(1 - 0.1 * ALPHAS, 1)))
    assert "“block1” costs most when it alone is set to its values at the start: 1.00 nats (no interval)." in (
        one.summary().text
    )
    assert "none costs a significant amount" not in one.summary().text


def test_what_few_examples_can_miss_is_said() -> None:
    assert "60 examples can miss up to 6.0 % of all others, and these may be unlike them." in said(
        0.4 + HUMP, examples=60
    )
    assert "can miss" not in said(0.4 + HUMP)
    assert "so few examples can all rise by chance" in said(0.4 + 2 * HUMP, examples=5)
    for examples, fall, share in ((100, 5.0, "3.7 %"), (400, 15.0, "1.0 %")):
        rises = np.concatenate([np.full(examples - 2, 0.3), np.full(2, -fall)])
        text = probe(line(fall + 1 + HUMP[:, None] * rises)).summary().text
        assert text.startswith("Inconclusive: test loss stays between ")
        assert f", but up to {share} of all other examples may be unlike those measured, one of which falls by " in text


def test_so_few_examples_that_all_may_fall_by_chance_tell_no_gain() -> None:
    dip = 6 - HUMP[:, None] * np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    assert "not significantly below those of the ends" in probe(line(dip[:, :5])).summary().text
    assert "best weight" not in probe(line(dip[:, :5])).summary().text
    assert "best weight" in probe(line(dip)).summary().text


def test_a_late_fall_that_also_rises_is_not_said_to_be_without_a_rise() -> None:
    bump = 0.035 * np.exp(-(((ALPHAS - 0.3) / 0.1) ** 2))
    text = said(2.3 - 1.9 * (ALPHAS > 0.9) + bump)
    assert text.startswith("No barrier that matters: ")
    assert "without a rise of that height: it falls late." in text


def test_interpolated_statistics_of_batchnorm_are_named_where_they_may_make_the_barrier() -> None:
    hint = "measure with the treatment “recalibrate” as well"
    bump = line(values(0.4 + HUMP))
    assert hint in probe(bump, batchnorm=["interpolate"]).summary().text
    assert hint not in probe(bump, batchnorm=[]).summary().text
    assert hint not in probe(line(values(1 - ALPHAS)), batchnorm=["interpolate"]).summary().text


def test_lines_are_counted() -> None:
    bump, flat = line(values(0.4 + HUMP)), line(values(0.4 + 0 * ALPHAS))
    pairs = {"a to c": ("a", "c"), "b to c": ("b", "c")}
    assert probe(bump, bump, pairs=pairs).summary().headline.startswith("A barrier on 2 of 2 lines. ")
    assert probe(bump, flat, pairs=pairs).summary().headline.startswith("A barrier on 1, none on 1, of 2 lines. ")


def test_few_positions_hide_narrow_barriers() -> None:
    three = [0, 10, 20]
    found = probe(line(values(2.3 - 2 * ALPHAS)))
    curve = found.curves["whole"]
    few = type(curve)(curve.alphas[three], {key: of[three] for key, of in curve.values.items()}, curve.provenance)
    text = type(found)({"whole": few}, found.distances).summary().text
    assert (
        "3 positions were measured: a barrier between two of them, narrower than 0.50 in alpha, cannot be excluded."
        in text
    )
    assert "cannot be excluded" not in found.summary().text


def test_a_middle_that_was_not_measured_is_not_told_as_if_it_was() -> None:
    found = probe(line(values(0.4 + HUMP), errors(10 + 40 * HUMP)))
    curve = found.curves["whole"]

    def of(*places: int) -> str:
        some = {key: of[list(places)] for key, of in curve.values.items()}
        few = type(curve)(curve.alphas[list(places)], some, curve.provenance)
        return type(found)({"whole": few}, found.distances).summary().text

    # The curve is 1.4 at the middle, and the straight line from alpha = 0.2 to 1 about 0.5.
    text = of(0, 4, 20)
    assert "halfway was not measured. On a straight line from alpha = 0.20 to 1.00 test loss would be 0.4" in text
    assert "(error 1" in text.partition("Averaging: ")[2]
    assert "measure alpha = 0.5 to know" in text
    assert "networks" not in text.partition("Averaging: ")[2].partition("\n")[0]
    for near in ((0, 9, 11, 20), (0, 10, 20)):  # between two positions at most 0.1 apart
        assert "Averaging: halfway test loss is 1.4" in of(*near) or "Averaging: halfway test loss is 1.3" in of(*near)


def test_the_lowest_point_and_averaging() -> None:
    text = said(0.5 - 0.2 * HUMP, 20 - 10 * HUMP)
    assert re.search(
        r"The lowest test loss of the line is 0\.3\d near alpha = 0\.\d\d \(error .* %\), 0\.2\d nats \(95 % interval",
        text,
    )
    assert "below both networks. The best weight for the second network is near 0." in text
    assert "The lowest test loss of the line is that of the end, 0.3" in said(2.3 - 2 * ALPHAS)
    assert "between those of the two networks" in said(2.3 - 2 * ALPHAS)


def test_what_is_not_finite_is_counted() -> None:
    loss = values(0.4 + HUMP)
    loss[8:11, :3] = math.inf
    text = probe(line(loss, errors(50 * HUMP))).summary().text
    assert text.startswith(
        "No verdict: test loss is NaN or infinite between alpha = 0.40 and 0.50, in 3 of 500 examples."
    )
    assert "\nBy error there is a barrier: " in text


def test_a_measure_of_ones_own_is_taken_as_a_loss() -> None:
    found = probe({("test", "regret", ""): values(5 - 2 * ALPHAS, scale=0.01)}).summary()
    assert found.headline == "No barrier, if less regret is better: test regret falls from 5.00 to 3.00."
    assert "If more regret is better, measure its negative" in found.text
    dip, bump = (probe({("test", "skill", ""): values(70 + height * HUMP)}).summary().text for height in (-20, 20))
    assert dip.startswith("No barrier, if less skill is better: ")
    assert bump.startswith("There is a barrier, if less skill is better: ")
    assert not [advice for advice in ("do not average", "The best weight") if advice in dip + bump]


@pytest.mark.parametrize(("effect", "expected"), [(0.05, 2), (1.0, 1), (0.02, 3), (75.0, 0), (0.0001, 5), (0.0, 2)])
def test_numbers_have_the_digits_that_the_smallest_effect_needs(effect: float, expected: int) -> None:
    assert digits(effect) == expected


@pytest.mark.parametrize(
    ("value", "text"), [(0.0201, "0.03"), (0.02, "0.02"), (0.00002, "0.00002"), (0.00098, "0.001"), (0.0, "0.00")]
)
def test_a_limit_is_rounded_up(value: float, text: str) -> None:
    assert small(value, 0.05, is_limit=True) == text


def test_small_heights_are_not_shown_as_none() -> None:
    assert [small(value, 0.05) for value in (0.0, 0.0019, 0.004, 0.04, -0.002, math.nan)] == [
        "0.00", "0.002", "0.004", "0.04", "−0.002", "undefined",
    ]  # fmt: skip


def test_names() -> None:
    assert [named(*of) for of in (("train", "error"), ("test", "cross_entropy"), ("set 2", "squared_error"))] == [
        "training error", "test loss", "squared error on “set 2”",
    ]  # fmt: skip
    assert in_words("binary_error") == "error"
    assert (unit("error", ","), unit("regret", ",")) == (", points", "")
