"""What every page keeps to, its explorer, and how it works in a browser."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import math
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import polars as pl
import pytest
from matplotlib.figure import Figure

from linescape.errors import StoreError
from linescape.report import page
from linescape.report.figures.panel import COLOURS, STYLE
from linescape.report.page import Column


class Elements(HTMLParser):
    """Every start tag of a page, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


@pytest.fixture(scope="module", params=["written", "probed", "several"])
def any_page(request: pytest.FixtureRequest) -> Path:
    page: Path = request.getfixturevalue(request.param)
    return page


def test_a_page_asks_the_network_for_nothing(any_page: Path) -> None:
    text = any_page.read_text()
    for tag, attributes in Elements(text).found:
        for name in ("src", "href", "xlink:href", "action", "poster"):
            target = attributes.get(name, "")
            assert not re.match(r"(https?:)?//", target), (tag, target)
            if target and not target.startswith(("#", "data:")):
                assert (any_page.parent / target).exists(), target
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import)\(", text)


def test_ids_of_a_page_are_unique_and_every_reference_has_its_target(any_page: Path) -> None:
    text = any_page.read_text()
    ids = [attributes["id"] for _, attributes in Elements(text).found if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert wanted - {"explorer-clip"} <= set(ids)  # that one is made by the script


def test_pages_are_small(written: Path) -> None:
    """So that one of 300 runs stays below 6 MB: 14 runs at 21 positions are 0.66 MB.

    A page of 304 runs at 50 positions is 4.18 MB; it was 8.17 MB before its curves were compressed.
    """
    assert written.stat().st_size < 800_000


def test_no_heading_of_a_table_is_empty(any_page: Path) -> None:
    """A screen reader announces headings; the corner above the names of rows is none."""
    assert not re.search(r"<th[^>]*></th>", any_page.read_text())


def test_words_of_a_study_cannot_become_markup(written: Path, probed: Path) -> None:
    text = written.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;/script&gt;" in text
    assert len(re.findall(r"<script[ >]", text)) == len(re.findall("</script>", text)) == 3
    assert "&lt;b&gt;checkpoints&lt;/b&gt;" in probed.read_text()


def explorer_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="text/plain" id="explorer-data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return data


def test_the_explorer_holds_the_numbers_of_the_lines(written: Path) -> None:
    data = explorer_of(written)
    lines = pl.read_csv(written.parent / "tables" / "lines.csv")
    arm, label, which, measure, treatment, seed, grid, mean, error = next(
        curve
        for curve in data["curves"]
        if curve[:6] == ["adversarial", "layer2", "test", "cross_entropy", "interpolate", 1]
    )
    row = lines.filter(
        (pl.col("arm") == arm)
        & (pl.col("label") == label)
        & (pl.col("data") == which)
        & (pl.col("measure") == measure)
        & (pl.col("seed") == seed)
    )
    assert mean == pytest.approx(row["mean"].to_list(), rel=1e-3)
    assert error == pytest.approx(row["standard_error"].to_list(), rel=0.05)
    assert data["grids"][grid] == pytest.approx(row["alpha"].to_list(), abs=1e-6)
    assert treatment == "interpolate"
    assert data["chance"]["base"]["cross_entropy"] == pytest.approx(math.log(10))
    flat = [value for curve in data["curves"] for value in curve[7]]
    assert None in flat
    assert "inf" in flat


def test_figures_on_the_page_follow_its_colours(written: Path) -> None:
    inlined = re.findall(r"<svg .*?</svg>", written.read_text(), re.DOTALL)
    assert len(inlined) > 8
    assert all("#0072b2" not in svg and "DejaVu" not in svg for svg in inlined)
    assert any("var(--c0)" in svg for svg in inlined)


def test_words_in_a_figure_stay_as_they_are() -> None:
    figure = Figure()
    word = f'{COLOURS[0]} url(#a) id="m1" d="0.12345" font-family: \'DejaVu Sans\' $x_1$ _y'
    figure.text(0.1, 0.5, word, parse_math=False)
    drawn = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(drawn, format="svg")
    assert html.unescape(word) in html.unescape(str(page.inline(drawn.getvalue(), "one", "label")))


def test_a_table_says_what_is_not_measured_and_what_is_undefined() -> None:
    frame = pl.DataFrame({"a": ["x", "x", "y"], "low": [1.0, None, math.nan], "high": [2.0, None, math.nan]})
    html = page.table(frame, [Column("a", "A", "once"), Column("low", "interval", "interval", to="high")])
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html)
    assert cells == ["x", "1.00 to 2.00", "", "–", "y", "undefined"]


# -- in a browser --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed")
    quiet = ("quic", "background-networking", "component-update", "sync", "gpu")
    arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=arguments)
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_opens_from_disk_without_errors_or_requests(
    browser: Any, any_page: Path, width: int, scheme: str
) -> None:
    view = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    said: list[str] = []
    asked: list[str] = []
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("request", lambda request: asked.append(request.url))
    view.goto(any_page.as_uri())
    view.emulate_media(media="print")
    view.emulate_media(media="screen")
    view.wait_for_timeout(50)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [any_page.as_uri()]
    assert view.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


def test_the_explorer_reads_values_by_pointer_and_by_keyboard(browser: Any, written: Path) -> None:
    view = browser.new_page(viewport={"width": 1280, "height": 900})
    view.goto(written.as_uri())
    box = view.locator("#explorer")
    box.scroll_into_view_if_needed()
    box.locator("select[name=arm]").select_option("lr-1")
    plot = box.locator("svg")
    area = plot.bounding_box()
    view.mouse.move(area["x"] + 44, area["y"] + area["height"] / 2)
    assert box.locator("caption").inner_text() == "α = 0"
    plot.focus()
    view.keyboard.press("End")
    assert box.locator("caption").inner_text() == "α = 1"
    assert "NaN" in box.locator(".readout").inner_text()
    view.keyboard.press("ArrowLeft")
    assert box.locator("caption").inner_text() == "α = 0.95"
    treatments = box.locator("select[name=batchnorm]")
    assert not treatments.is_visible()  # the whole line has one treatment
    box.locator("select[name=label]").select_option("treatments")
    treatments.select_option("recalibrate")
    assert "seed 0" in box.locator(".readout").inner_text()
    box.locator("select[name=label]").select_option("every line")
    assert "layer2" in box.locator(".readout").inner_text()
    assert "treatment" not in box.locator(".readout").inner_text()


def test_a_folder_is_written_again_only_if_its_page_is_linescapes(tmp_path: Path, written: Path) -> None:
    page.Folder(tmp_path / "new" / "deep")
    assert (tmp_path / "new" / "deep" / "index.html").read_bytes() == page.UNFINISHED
    (tmp_path / "new" / "deep" / "tables").mkdir()  # as left by a report that was interrupted
    page.check_free(tmp_path / "new" / "deep")
    page.check_free(written.parent)
    (tmp_path / "notes.txt").write_text("mine")
    page.check_free(tmp_path)  # which has nothing of a report's names
    (tmp_path / "probe.json").write_text("{}")
    with pytest.raises(StoreError, match=r"contains probe\.json, which linescape did not write"):
        page.Folder(tmp_path)
    assert not (tmp_path / "index.html").exists()
