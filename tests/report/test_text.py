from __future__ import annotations

import math

import pytest
from jinja2 import UndefinedError

from linescape.errors import StoreError, plural
from linescape.report import text
from linescape.report.text import number


def test_what_cannot_be_printed_is_shown_by_its_code() -> None:
    content = {"a\x1b": ["b\n", ("c\udcff", 1.5, None)], "ü日": {"\u202e": True}}
    shown = {r"a\x1b": [r"b\n", (r"c\udcff", 1.5, None)], "ü日": {r"\u202e": True}}
    assert text.plain(content) == shown
    assert text.plain(shown) == shown
    with pytest.raises(StoreError, match="Two names differ only in characters that cannot be printed"):
        text.plain({"a\x1b": 1, r"a\x1b": 2})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (math.nan, "undefined"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (-0.001, "0.00"),
        (-1234.5, "−1,234.50"),
    ],
)
def test_numbers_in_words(value: float | None, words: str) -> None:
    assert number(value) == words


@pytest.mark.parametrize(
    ("value", "digits", "words"),
    [
        (0.0042, 2, "0.004"),
        (-0.0042, 2, "−0.004"),
        (0.0051, 2, "0.01"),
        (0.0, 2, "0.00"),
        (1e-12, 2, "0.00"),
        (0.31, 0, "0.3"),
        (-3e-7, 4, "−0.0000003"),
        (math.nan, 2, "undefined"),
        (None, 2, "–"),
    ],
)
def test_what_is_not_zero_is_not_shown_as_zero(value: float | None, digits: int, words: str) -> None:
    assert text.legible(value, digits) == words


def test_a_difference_that_is_told_from_zero_is_not_written_as_zero() -> None:
    row = {"title": "a", "label": "hump", "difference": 0.004, "low_all": 0.001, "high_all": 0.0072, "unit": "nats"}
    arm = {"title": "a", "baseline": "b", "changed": [row], "rows": [row], "all": [row]}
    written = text.sections(
        "answers/arms-and-line",
        {"arms": [arm], "with_interval": [arm], "changed": [arm]}
        | {
            "accuracy_changed": [],
            "comparisons": 4,
            "outcomes": {},
        },
    )
    assert written["verdict"] == "A, compared with b: hump +0.004 nats (0.001 to 0.01)."


def test_an_interval_in_words() -> None:
    assert text.interval({"low": 0.0004, "high": 0.5}) == "0.0004 to 0.50"
    assert text.interval({"low": -0.5, "high": 1.0}) == "−0.50 to 1.00"
    assert text.interval({"a": math.nan, "b": math.nan}, "a", "b") == "no interval"


def test_long_lists_are_cut_and_counted() -> None:
    assert text.listed(["a", "b"]) == "a; b"
    assert text.listed(list("abcde")) == "a; b; c; and 2 more"


def test_counts_have_their_plural() -> None:
    assert [plural(count, "run") for count in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_white_space_of_a_template_means_nothing() -> None:
    assert text.caption("lines") == "Whole lines. Names are ordered by the loss at α = 0.75."
    assert text.caption("undefined_lines", lost=2, lines=5).startswith("On 2 of 5 lines the loss is NaN")
    assert "  " not in text.caption("rises", examples="200", tolerance=0.05)


def test_a_value_that_a_sentence_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        text.caption("undefined_lines")


def test_a_sentence_keeps_markup_as_it_is() -> None:
    """Pages escape sentences; a terminal or a file shows them as they are."""
    assert "<b>x</b>" in text.caption("published_lines", setting="<b>x</b>", how="digitised")


@pytest.mark.parametrize(("low", "doubt"), [(0.1, False), (0.0, True), (math.nan, True)])
def test_the_highest_barrier_is_inconclusive_if_its_interval_reaches_zero(low: float, doubt: bool) -> None:
    ends = {"hump_value": 0.5, "hump_low": low, "hump_high": 0.9}
    said = text.caption("highest_barrier", top=ends | {"start": "a", "end": "b"}, unit="nats")
    assert ("inconclusive" in said) == doubt


@pytest.mark.parametrize(
    ("name", "words"),
    [("MLP", "an MLP"), ("LSTM", "an LSTM"), ("VGG-11", "a VGG-11"), ("ResNet-8", "a ResNet-8"), ("own", "an own")],
)
def test_a_name_has_the_article_of_its_sound(name: str, words: str) -> None:
    assert text.with_article(name) == words
