from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linescape import report
from linescape.analysis import inference
from linescape.errors import StoreError
from linescape.geometry.state import distances
from linescape.interpolation.curve import Curve
from linescape.interpolation.probing import Probe
from linescape.report import page
from linescape.report.page import Column
from linescape.report.text import number
from linescape.studies.study import Moment, Run, Scan, Study
from tests.support.fake_study import BLOCKS, FakeStore, study

ARMS = ("base", "no-weight-decay", "adversarial", "lr-1", "depth-20", "ri-layer2", "mlp-spiral")


def small(seeds: int = 2) -> Study:
    return study(seeds, 21, treatments=True).only(*ARMS)


def sample_probe() -> Probe:
    made = study(1, 11)
    store = FakeStore(made, examples=60)
    run = next(arm for arm in made.arms if arm.name == "no-weight-decay").runs[0]
    curves = {label: store.curve(scan) for label, scan in run.lines.items()}
    ends = store.state(Moment(run.recipe, "start")), store.state(Moment(run.recipe))
    return Probe(curves, distances(*ends, {block: (f"{block}.weight",) for block in BLOCKS}), ("A note of the probe.",))


NAMES = ("step-0", "step-100", "<b>step-2000</b>", "step-30000")


def sample_lines(chosen: str = "all") -> Probe:
    """The lines between four networks, one of them with NaN."""
    made = study(2, 11)
    store = FakeStore(made, examples=60)
    runs = [run for arm in made.arms if arm.name in ("no-weight-decay", "base", "lr-1") for run in arm.runs]
    pairs = list(combinations(NAMES, 2)) if chosen == "all" else [(name, NAMES[-1]) for name in NAMES[:-1]]
    curves = {f"{a} to {b}": store.curve(run.lines["whole"]) for (a, b), run in zip(pairs, runs, strict=False)}
    moved = sample_probe().distances["all"]
    return Probe(curves, dict.fromkeys(curves, moved), (), dict(zip(curves, pairs, strict=True)))


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write_probe(sample_lines(), tmp_path_factory.mktemp("several"), "Checkpoints of a training")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = small()
    hostile = replace(made.arms[1], title="<script>alert(1)</script> & </script>")
    made = replace(made, arms=(made.arms[0], hostile, *made.arms[2:]))
    return report.write(made, FakeStore.with_trouble(made), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write_probe(
        sample_probe(), tmp_path_factory.mktemp("probe"), "a.pt to b.pt", ("<b>checkpoints</b>",), classes=10
    )


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
    assert written.stat().st_size < 1_500_000


def test_answers_stand_first_with_numbers(written: Path) -> None:
    text = written.read_text()
    sections = re.findall(r'<section id="([^"]+)"><h2>', text)
    assert sections[:2] == ["summary", "answers"]
    assert {
        "accuracy",
        "batchnorm",
        "lines",
        "layers",
        "partial",
        "distances",
        "others",
        "definitions",
        "provenance",
    } <= set(sections)
    assert text.count('class="verdict"') == 7
    assert len(re.findall(r'<a href="#answer-[a-z-]+">Does', text)) == 2  # the two main questions, in short
    assert len(re.findall(r'<a href="#answer-[a-z-]+">Which', text)) == 1
    assert "too little data to say" in text or "Inconclusive" in text
    assert text.count("Primary contrast, declared before looking") == 6


def test_what_is_missing_or_diverged_is_on_the_page(written: Path) -> None:
    text = written.read_text()
    assert "runs are not finished" in text
    assert "the training ended in NaN or infinity" in text
    assert "not done yet: training, whole" in text
    assert "NaN or infinite" in text


def test_words_of_a_study_cannot_become_markup(written: Path, probed: Path) -> None:
    text = written.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;/script&gt;" in text
    assert len(re.findall(r"<script[ >]", text)) == len(re.findall("</script>", text)) == 2
    assert "&lt;b&gt;checkpoints&lt;/b&gt;" in probed.read_text()


def explorer_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="explorer-data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
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


def test_tables_and_figures_are_written_with_the_page(written: Path) -> None:
    names = {path.name for path in (written.parent / "tables").iterdir()}
    assert {"runs.csv", "accuracy.csv", "lines.csv", "distances.csv", "partial.csv", "shapes.csv", "walks.csv"} <= names
    assert {"answer-shape-and-accuracy.csv", "answer-distance-and-monotonicity.csv"} <= names
    assert {"answer-shape-and-accuracy-groups.csv", "answer-barrier-and-batchnorm.csv", "heights.csv"} <= names
    runs = pl.read_csv(written.parent / "tables" / "runs.csv", infer_schema_length=None)
    assert runs.height == 14
    assert set(runs["status"]) == {"done", "diverged", "missing"}
    assert runs.filter(pl.col("arm") == "depth-20")["missing"].str.contains("training; whole").any()
    suffixes = {path.suffix for path in (written.parent / "figures").iterdir()}
    assert suffixes == {".svg", ".pdf", ".png"}


def test_answers_are_a_file_of_outcomes_and_sentences_too(written: Path) -> None:
    answers = json.loads((written.parent / "answers.json").read_text())
    assert len(answers) == 7
    assert answers[0]["name"] == "shape-and-accuracy"
    assert answers[0]["outcomes"]["hump"] in {"above", "below", "inconclusive", "no interval"}
    page = unescape(written.read_text()).replace("\u00a0", " ")
    for answer in answers:
        assert all(paragraph in page for paragraph in answer["verdict"].split("\n"))


def test_single_convolutions_have_a_figure_of_their_own(tmp_path: Path) -> None:
    made = study(2, 11).only("base")
    names = [f"layer2.{block}.conv{conv}" for block in range(3) for conv in (1, 2)]
    fine = [
        replace(run, lines={**run.lines, **{name: Scan(*_ends(run), block=name, alphas=11) for name in names}})
        for run in made.arms[0].runs
    ]
    made = replace(made, arms=(replace(made.arms[0], runs=tuple(fine)),))
    report.write(made, FakeStore(made), tmp_path)
    assert all(name in (tmp_path / "figures" / "convolutions-base.svg").read_text() for name in names)
    others = [path for path in (tmp_path / "figures").glob("*.svg") if path.stem != "convolutions-base"]
    assert others
    assert not any(names[0] in path.read_text() for path in others)


def _ends(run: Run) -> tuple[Moment, Moment]:
    return Moment(run.recipe, "start"), Moment(run.recipe)


def test_figures_on_the_page_follow_its_colours(written: Path) -> None:
    inlined = re.findall(r"<svg .*?</svg>", written.read_text(), re.DOTALL)
    assert len(inlined) > 8
    assert all("#0072b2" not in svg and "DejaVu" not in svg for svg in inlined)
    assert any("var(--c0)" in svg for svg in inlined)


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    made = study(1, 5).only("base")
    pages = [report.write(made, FakeStore(made, examples=20), tmp_path / name) for name in "ab"]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_study_without_any_result_has_a_page_too(tmp_path: Path) -> None:
    made = study(1, 5).only("base", "ri-layer1")
    path = report.write(made, FakeStore(made, missing=set(made.tasks())), tmp_path)
    assert "2 of 2 runs are not finished" in path.read_text()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = study(1, 5).only("base")
    with pytest.raises(StoreError):
        report.write(made, FakeStore(made, examples=20), tmp_path / "file")


def test_a_probe_says_what_it_found(probed: Path) -> None:
    text = probed.read_text()
    assert "On test data the loss rises by up to" in text
    assert "A note of the probe." in text
    content = json.loads((probed.parent / "probe.json").read_text())
    assert set(content["lines"]) == {"whole", *BLOCKS}
    assert {"line", "data", "measure", "batchnorm", "number", "value", "low", "high"} == set(content["numbers"][0])
    assert (probed.parent / "tables" / "numbers.csv").exists()


def test_a_probe_of_one_line_without_known_classes(tmp_path: Path) -> None:
    probe = sample_probe()
    alone = Probe({"whole": probe.curves["whole"]}, {"all": probe.distances["all"]})
    text = report.write_probe(alone, tmp_path, "a to b").read_text()
    assert "Layer-wise" not in text


def test_lines_between_several_networks_are_a_row_each(several: Path) -> None:
    text = several.read_text()
    pairs = pl.read_csv(several.parent / "tables" / "pairs.csv")
    assert pairs.select("start", "end").rows() == list(combinations(NAMES, 2))
    found = sample_lines()
    for row, (key, statistics) in zip(
        pairs.iter_rows(named=True),
        (
            (key, value)
            for key, value in found.statistics.items()
            if key[1:] == ("test", "cross_entropy", "interpolate")
        ),
        strict=True,
    ):
        assert key[0] == f"{row['start']} to {row['end']}"
        for name in ("barrier_above_chord", "min_delta"):
            expected = statistics[name]
            got = [row[f"{name}_{part}"] for part in ("value", "low", "high")]
            assert got == pytest.approx([expected.value, expected.low, expected.high], nan_ok=True)
    assert "&lt;b&gt;step-2000&lt;/b&gt;" in text
    assert "<b>step-2000" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert {path.stem for path in (several.parent / "figures").iterdir()} == {"lines", "barriers"}


def test_the_highest_barrier_is_said_with_its_pair(several: Path) -> None:
    rows = pl.read_csv(several.parent / "tables" / "pairs.csv").filter(pl.col("p_value").is_not_nan())
    top = rows.sort("barrier_above_chord_value").row(-1, named=True)
    assert f"The highest barrier above the chord is {number(top['barrier_above_chord_value'])} nats" in (
        several.read_text()
    )
    rising = int((inference.holm(rows["p_value"]) <= 0.05).sum())
    assert f"the loss rises significantly on {rising} of {rows.height} lines" in several.read_text()


def test_many_lines_are_tested_with_enough_resamples_for_holm(tmp_path: Path) -> None:
    rising = Curve(np.linspace(0, 1, 3), {("test", "cross_entropy", "interpolate"): _climb()}, {"seconds": 0.1})
    names = [f"step-{number}" for number in range(12)]
    pairs = {f"{a} to {b}": (a, b) for a, b in combinations(names, 2)}
    moved = sample_probe().distances["all"]
    found = Probe(dict.fromkeys(pairs, rising), dict.fromkeys(pairs, moved), (), pairs)
    text = report.write_probe(found, tmp_path, "many").read_text()
    assert "rises significantly on 66 of 66 lines" in text
    assert "<details><summary>Table of all lines" in text


def test_lines_without_a_cross_entropy_have_distances_only(tmp_path: Path) -> None:
    curve = Curve(np.linspace(0, 1, 3), {("test", "squared_error", "interpolate"): _climb()}, {"seconds": 0.1})
    found = Probe({"a to b": curve}, {"a to b": sample_probe().distances["all"]}, (), {"a to b": ("a", "b")})
    text = report.write_probe(found, tmp_path, "two").read_text()
    assert "<h2>Summary</h2>" not in text
    assert "relative distance" in text
    assert "barrier above chord, nats" not in text


def _climb() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([[1.0], [1.5], [2.0]]) + rng.normal(0, 0.1, (3, 40))


def test_lines_to_the_last_have_no_heat_map(tmp_path: Path) -> None:
    report.write_probe(sample_lines("last"), tmp_path, "to the last")
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"lines"}


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
