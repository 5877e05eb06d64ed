"""What a notebook shows of a result."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import numpy as np
import torch

from linescape.analysis import tables
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.interpolation.probing import Probe
from linescape.interpolation.surface import Surface
from tests.report.conftest import small
from tests.support.fake_study import FakeStore
from tests.support.probes import sample_lines, sample_probe

EVIL = "<script>alert(1)</script>\x1b[31m"


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(html: str) -> None:
    assert "script" not in Tags(html).seen
    assert "\x1b" not in html


def test_a_probe_shows_its_figure_and_a_table() -> None:
    html = sample_probe()._repr_html_()
    check(html)
    picture = re.search(r"data:image/png;base64,([^\"]+)", html)
    assert picture
    assert base64.b64decode(picture[1])[:4] == b"\x89PNG"
    series = sample_probe().curves["whole"]["test", "cross_entropy", "interpolate"]
    assert f"{series.mean[0]:.3f}" in html
    assert f"{series.mean.max():.3f}" in html
    check(sample_lines()._repr_html_())
    assert all(f"<p>{escape(words)}</p>" in html for words in sample_probe().summary().text.splitlines())


def test_notes_are_shown_below() -> None:
    curve = Curve(np.linspace(0, 1, 3), {("test", "error", "recalibrate"): np.ones((3, 2))}, {"notes": [EVIL]})
    check(curve._repr_html_())
    assert "<p>Note: &lt;script&gt;" in curve._repr_html_()
    assert repr(curve).endswith("; 1 note in its provenance)")
    check(replace(sample_probe(), notes=(EVIL,))._repr_html_())
    assert "<p>Note: &lt;script&gt;" in replace(sample_probe(), notes=(EVIL,))._repr_html_()


def test_a_plane_shows_its_figure_and_its_networks() -> None:
    values = np.arange(9.0).reshape(3, 3, 1) + 0.125
    axis = np.array([0.0, 0.5, 1.0])
    marks = {"a": (0.0, 0.0), "b": (1.0, 0.0), EVIL: (0.5, 1.0)}
    html = Surface(axis, axis, {(EVIL, "cross_entropy", "interpolate"): values}, marks)._repr_html_()
    check(html)
    assert "data:image/png;base64," in html
    assert [text for text in ("0.125", "2.125", "7.125", "lowest on the grid") if text not in html] == []


def test_names_are_escaped() -> None:
    values = {(EVIL, EVIL, EVIL): np.ones((3, 4))}
    curve = Curve(np.array([0.0, 0.5, 1.0]), values)
    probe = Probe({"whole": curve, EVIL: curve}, sample_probe().distances)
    check(curve._repr_html_())
    check(probe._repr_html_())
    check(State({EVIL: torch.ones(2)})._repr_html_())
    assert "&lt;script&gt;" in curve._repr_html_()


def test_the_barrier_of_a_table_is_that_of_the_verdict() -> None:
    plateau = np.repeat(np.array([[2.125], [2.125], [2.0], [0.5]]), 3, axis=1)
    html = Curve(np.array([0.0, 0.25, 0.75, 1.0]), {("test", "cross_entropy", "interpolate"): plateau})._repr_html_()
    row = html[html.index("cross_entropy") :].split("</tr>")[0]
    assert row.count(">0.000<") == 1  # a plateau is none, though it lies above the line that joins the ends


def test_nan_and_infinity_are_shown_and_long_tables_are_cut() -> None:
    values = np.array([[1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0]])
    curve = Curve(np.array([0.0, 0.5, 1.0]), {("test", "cross_entropy", "interpolate"): values})
    assert "undefined" in curve._repr_html_()
    assert "∞" in curve._repr_html_()
    check(Curve(curve.alphas, {("test", "error", "interpolate"): np.full((3, 2), np.nan)})._repr_html_())
    state = State({f"w{index}": torch.ones(2) for index in range(50)})
    assert "The first 30 of 50 rows." in state._repr_html_()
    assert state._repr_html_().count("<tr") == 31


def test_the_verdict_stands_first() -> None:
    probe = sample_probe()
    html = probe._repr_html_()
    check(html)
    assert html.index(escape(probe.summary().text.splitlines()[0])) < html.index("<img")


def test_results_of_a_study_show_their_arms() -> None:
    made = small()
    results = tables.read(made, FakeStore.with_trouble(made))
    results = replace(results, runs=results.runs.with_columns(title=results.runs["title"] + EVIL))
    html = results._repr_html_()
    check(html)
    assert html.count("<tr") == 1 + len(made.arms)
    runs = results.runs.filter(results.runs["arm"] == "lr-1")
    assert set(runs["status"]) == {"done", "diverged"}  # whose accuracy is not part of a mean
    row = html[html.index("learning rate 1") :].split("</tr>")[0]
    assert f">{runs.filter(runs['status'] == 'done')['test_accuracy'][0]:.1f}<" in row
    assert repr(results).startswith("Results(")
    assert len(repr(results)) < 200
