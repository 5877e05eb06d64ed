"""Summaries of probes: which series is told, smallest effects, blocks in their order, JSON."""

from __future__ import annotations

import json
import math

import pytest
from scipy import stats

from linescape.errors import MeasureError, RecipeError
from linescape.interpolation.summary import Summary
from linescape.report.page import as_json
from tests.support.lines import ALPHAS, HUMP, errors, line, probe, values


def test_loss_and_error_of_test_data_are_told_with_the_places_of_the_loss() -> None:
    loss, error = 0.4 + 1.5 * HUMP, 10 + 50 * HUMP
    training = {
        ("train", "error", "interpolate"): errors(0 * HUMP),
        ("train", "cross_entropy", "interpolate"): values(0.1 + 0 * HUMP),
    }
    found = probe(training | line(values(loss), errors(error))).summary()
    of = found.lines[0]
    assert (of.loss.data, of.loss.measure, of.loss.verdict.kind) == ("test", "cross_entropy", "barrier")
    assert of.error is not None
    assert (of.error.data, of.error.measure, of.error.verdict.kind) == ("test", "error", "barrier")
    assert of.error_at["top"] == pytest.approx(60, abs=6)
    assert [(each.data, each.measure) for each in of.series[2:]] == [("train", "cross_entropy"), ("train", "error")]
    assert of.series[2].verdict.kind == "no barrier"
    assert found.headline.startswith("There is a barrier: near alpha = 0.50 test loss is 1.9")
    assert "training loss: no barrier" in found.text.lower()


def test_a_probe_without_error_or_test_data_tells_the_first() -> None:
    found = probe({("held out", "squared_error", ""): values(4 - ALPHAS, scale=0.01)}).summary()
    assert found.lines[0].error is None
    assert "squared error on “held out”" in found.headline
    effect = found.lines[0].loss.verdict.smallest_effect
    assert effect == pytest.approx(0.05 * 3, rel=0.01)
    assert "5 % of the value at the lower end, 0.15" in found.text


def test_smallest_effects_are_given_by_number_or_by_measure() -> None:
    small = probe(line(values(0.4 + 0.1 * HUMP), errors(30 + 0 * HUMP)))
    assert small.summary().lines[0].loss.verdict.kind == "barrier"
    assert small.summary(0.3).lines[0].loss.verdict.kind == "small rise"
    of = small.summary({"error": 20}).lines[0]
    assert of.loss.verdict.smallest_effect == 0.05
    assert of.error is not None
    assert of.error.verdict.smallest_effect == 20


@pytest.mark.parametrize("effect", [0, -1.0, math.nan, math.inf, "large", {"error": 0}])
def test_effects_that_are_none_are_refused(effect: object) -> None:
    with pytest.raises(RecipeError, match="Give a positive number"):
        probe(line(values(HUMP), errors(HUMP))).summary(effect)  # type: ignore[arg-type]


def test_an_effect_of_what_was_not_measured_is_refused() -> None:
    with pytest.raises(MeasureError, match="accuracy"):
        probe(line(values(HUMP))).summary({"accuracy": 1.0})


def test_blocks_are_sorted_by_what_is_lost_without_them() -> None:
    whole = line(values(2.3 - 1.9 * ALPHAS), errors(90 - 70 * ALPHAS))
    little = line(values(0.6 - 0.2 * ALPHAS), errors(25 - 5 * ALPHAS))
    much = line(values(2.4 - 2.0 * ALPHAS + HUMP), errors(90 - 70 * ALPHAS))
    found = probe(whole, little, much).summary()
    assert [block.block for block in found.shown_blocks] == ["block2", "block1"]
    first, last = found.shown_blocks
    assert (first.lost.value, last.lost.value) == pytest.approx((2.0, 0.2), abs=0.02)
    assert first.lost.low < first.lost.value < first.lost.high
    assert last.share is not None
    assert last.share.value == pytest.approx(0.2 / 1.9, abs=0.02)
    assert (first.verdict.kind, last.verdict.kind) == ("barrier", "no barrier")
    error = found.error_of("block1")
    assert error is not None
    assert error.lost.value == pytest.approx(5, abs=4)
    assert "Of 2 blocks, “block2” costs most" in found.text


def test_blocks_with_other_examples_have_no_share() -> None:
    found = probe(line(values(2 - ALPHAS)), line(values(2 - ALPHAS, 400))).summary()
    assert found.shown_blocks[0].share is None


def test_treatments_that_disagree_are_said() -> None:
    both = line(values(0.4 + HUMP)) | line(values(0.4 + 0 * HUMP), treatment="recalibrate")
    found = probe(both, batchnorm=["interpolate", "recalibrate"]).summary()
    assert found.lines[0].loss.batchnorm == "interpolate"
    assert (
        "This is with BatchNorm treatment “interpolate”. Test loss with BatchNorm treatment “recalibrate”: no barrier"
        in found.text
    )


def test_several_networks_have_a_line_each() -> None:
    lines = (line(values(0.4 + HUMP)), line(values(2 - ALPHAS)), line(values(0.4 + 0 * HUMP)))
    pairs = {"a to b": ("a", "b"), "a to c": ("a", "c"), "b to c": ("b", "c")}
    found = probe(*lines, pairs=pairs).summary()
    said = found.headline.splitlines()
    assert said[0] == "A barrier on 1, none on 2, of 3 lines. Each is judged by its own 95 % interval."
    assert [words.split(": ")[:2] for words in said[1:]] == [
        ["a to b", "There is a barrier"],
        ["a to c", "No barrier"],
        ["b to c", "No barrier"],
    ]
    assert not found.blocks


def test_intervals_stay_valid_where_examples_were_drawn_until_some_were_narrow() -> None:
    curve = line(values(0.9 - 0.5 * ALPHAS + 0.4 * HUMP, seed=4), errors(50 - 30 * ALPHAS))
    block = line(values(0.9 - 0.5 * ALPHAS, seed=5), errors(30 - 10 * ALPHAS))
    looked = {"intervals": {"test/cross_entropy/interpolate": {"barrier_above_chord": [0.1, 0.09, 0.11]}}}
    fixed, drawn = probe(curve, block), probe(curve, block, until=looked)
    for key, statistics in fixed.statistics.items():
        for name, ours in statistics.items():
            wider = drawn.statistics[key][name]
            assert wider.level == ours.level == 0.95
            if (key[2], name) == ("cross_entropy", "barrier_above_chord"):
                assert (wider.low, wider.high) == (0.09, 0.11)  # as the looks have it
            elif ours.low < ours.high:
                assert wider.high - wider.low > ours.high - ours.low, (key, name)
    summaries = fixed.summary(), drawn.summary()
    heights = [each.lines[0].loss.verdict.heights for each in summaries]
    assert heights[1]["hump"].low < heights[0]["hump"].low < heights[0]["hump"].high < heights[1]["hump"].high
    assert heights[1]["barrier_above_chord"].low == 0.09  # what the page's table says too
    for one, other in zip(*(each.blocks for each in summaries), strict=True):
        assert other.lost.level == one.lost.level == 0.95
        half = 0.5 * (one.lost.high - one.lost.low) * stats.t.ppf(0.9975, 499) / stats.t.ppf(0.975, 499)
        assert (other.lost.low, other.lost.high) == pytest.approx((one.lost.value - half, one.lost.value + half))
        assert one.share is not None
        assert other.share is not None
        assert other.share.low < one.share.low < one.share.high < other.share.high


@pytest.mark.parametrize("examples", [1, 2, 500])
@pytest.mark.parametrize("odd", [None, math.nan, math.inf])
def test_a_summary_is_data_for_json_and_text(examples: int, odd: float | None) -> None:
    loss, error = values(0.4 + HUMP, examples), errors(50 * HUMP, examples)
    if odd is not None:
        loss[3, 0] = odd
    found = probe(line(loss, error), line(loss, error)).summary()
    content = json.loads(as_json(found.to_dict()))
    assert content["text"].splitlines()[0] == content["headline"]
    assert content["lines"][0]["series"][0]["verdict"]["kind"] == found.lines[0].loss.verdict.kind
    assert str(found) == repr(found) == content["text"]
    assert isinstance(found, Summary)
    assert "nan" not in found.text.lower().replace("is nan or infinite", "")
