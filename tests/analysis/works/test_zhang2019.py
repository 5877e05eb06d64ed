"""The answers about layers that are set back, from costs that are known."""

from __future__ import annotations

import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Outcome, Verdict, answers
from linescape.analysis.answers.answer import widened
from linescape.report import sentences
from linescape.studies.study import Run, Scan
from linescape.studies.works.zhang2019 import layers
from tests.support import works

STUDY = studies.find("zhang2019", "mini")
COSTS = {"conv1": 60.0, "layer3.0.conv2": 0.5, "fc": 5.0, "layers.2": 0.5}
NAMES = layers(STUDY.arms[0].runs[0].recipe)


def measured(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
    """A trained error of 10 %, a cost for each layer that varies a little between seeds, 70 points for another draw."""
    if not scan.block or (arm == "connected" and run.seed):
        return None
    own = scan.start.recipe == run.recipe
    noise = 0.1 * (run.seed - 2)
    cost = (COSTS.get(scan.block, 20.0) / (1 + (scan.start.number or 0)) if own else 70.0) + noise
    return (10.0 + cost * (1 - alpha), 0.5 + (1 - alpha))


def moved() -> list[dict[str, object]]:
    """Distances that grow from the first to the last layer."""
    return [
        {"arm": arm.name, "seed": run.seed, "block": name, "distance": 1.0, "distance_per_parameter": float(place)}
        for arm in STUDY.arms
        for run in arm.runs
        for place, name in enumerate(layers(run.recipe))
    ]


def test_layers_are_sorted_by_what_their_intervals_say() -> None:
    back, _ = answers(works.results(STUDY, measured, moved()))
    base, connected = back.facts["arms"]
    assert {row["layer"] for row in base["robust"]} == {"layer3.0.conv2"}
    assert {row["layer"] for row in base["undecided"]} == {"fc"}, "its mean is the threshold itself"
    assert len(base["critical"]) == len(NAMES) - 2
    first = next(row for row in back.numbers.to_dicts() if row["layer"] == "conv1" and row["to"] == "start")
    values = [60.0 + 0.1 * (seed - 2) for seed in range(5)]
    expected = inference.mean(values, widened(0.95, len(NAMES) + 3))
    assert (first["low_all"], first["high_all"]) == pytest.approx((expected.low, expected.high))
    assert first["loss"] == pytest.approx(1.0)
    later = next(row for row in back.numbers.to_dicts() if row["layer"] == "conv1" and row["to"] == "epoch 1")
    assert later["lost"] == pytest.approx(30.0)
    assert connected["runs"] == 1
    assert not connected["robust"] + connected["critical"], "a single run has no interval"
    assert len(connected["undecided"]) == 3


def test_another_draw_against_the_own_start() -> None:
    back, _ = answers(works.results(STUDY, measured, moved()))
    # Of each run the same, but for rounding: no spread that an interval could be made of.
    assert back.outcomes["base"] is Outcome.NO_INTERVAL
    assert back.facts["arms"][0]["apart"] == pytest.approx(70 - (60 + 0.5 + 5 + 7 * 20) / 10)
    words = sentences.of(back)
    assert "robust (layer3.0.conv2)" in words.headline
    assert words.published.startswith("Source: re-initialising later layers")


def test_distances_against_costs_have_layers_as_units() -> None:
    _, explained = answers(works.results(STUDY, measured, moved()))
    base, connected = explained.numbers.to_dicts()
    x, y, units = [], [], []
    for run in STUDY.arms[0].runs:
        for place, name in enumerate(NAMES):
            x.append(float(place))
            y.append(COSTS.get(name, 20.0) + 0.1 * (run.seed - 2))
            units.append(name)
    expected = inference.rank_correlation(x, y, units)
    assert (base["correlation"], base["low"]) == pytest.approx((expected.value, expected.low))
    assert base["low_all"] < base["low"]
    assert explained.outcomes["connected"] is Outcome.NO_INTERVAL
    assert "Undefined with 3 layers" in sentences.of(explained).headline
    assert connected["layers"] == 3


def test_nothing_measured_gives_no_words() -> None:
    back, explained = answers(works.results(STUDY, lambda *_: None))
    assert sentences.of(back).headline == "No layer is measured yet."
    assert sentences.of(explained).headline == "No layer is measured yet."


def test_without_another_draw_its_claim_is_not_measured() -> None:
    def own(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
        return measured(arm, run, scan, alpha) if scan.start.recipe == run.recipe else None

    first, _ = answers(works.results(STUDY, own, moved()))
    assert [claim.verdict for claim in first.claims] == [Verdict.NOT_MEASURED]
