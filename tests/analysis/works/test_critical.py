"""Criticality over modules and networks, from losses under noise that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Answer, Outcome, Verdict, answers
from linescape.analysis.answers.answer import widened
from linescape.analysis.tables import Results
from linescape.interpolation.critical import Criticality
from linescape.report import columns_of_works, page, sentences, works
from linescape.report.study import _Gallery
from linescape.studies.study import Noise
from tests.support.works import results

STUDY = studies.find("chatterji2020", "demo")
EARLY = ("conv1", "layer2.0.conv1", "layer2.0.downsample.0", "layer3.0.conv1", "layer3.0.downsample.0")
GAPS = {"base": 2.0, "width-12": 3.0, "width-4": 1.0, "no-skips": 1.5}


def measured(distance: float, cost: float) -> Criticality:
    """Within the bound at alpha = 1 and sigma = 1 alone, so that mu is the distance squared."""
    error, loss = np.full((2, 2, 2), 50.0), np.full((2, 2, 2), 5.0)
    error[1, 1], loss[1] = 10.5, 1.0
    without = {("train", "error"): np.array([50.0, 10.0]), ("train", "cross_entropy"): np.array([1.0 + cost, 1.0])}
    means = {("train", "error"): error, ("train", "cross_entropy"): loss}
    return Criticality(np.array([0.0, 1.0]), np.array([0.5, 1.0]), means, without, distance)


def made(leave_out: str = "") -> Results:
    """Early modules are farther from their start, and cost more; larger gaps go with larger distances."""
    empty = results(STUDY, lambda *_: None, accuracy=lambda *_: 80.0)
    own = pl.col("arm").replace_strict(GAPS, return_dtype=pl.Float64)
    noise = {
        (arm.name, run.seed, module): measured(distance, distance)
        for arm in STUDY.arms
        for run in arm.runs
        for place, module in enumerate(run.measured[Noise])
        if module != leave_out
        for distance in [(5.0 if module in EARLY else 1.0) + 0.1 * place * (run.seed + 1) + GAPS[arm.name]]
    }
    return replace(empty, runs=empty.runs.with_columns(train_accuracy=80.0 + own), measured={Noise: noise})


def answered(leave_out: str = "") -> tuple[Answer, Answer]:
    _, modules, networks = answers(made(leave_out))
    return modules, networks


def test_modules_of_the_base_alone_and_their_ranks() -> None:
    modules, _ = answered()
    assert modules.numbers["module"].to_list() == list(STUDY.arms[0].runs[0].measured[Noise])
    first = modules.numbers.row(0, named=True)
    assert (first["mu"], first["mu_most"], first["runs"]) == (pytest.approx(49.0), pytest.approx(49.0), 2)
    assert first["by_loss"] == pytest.approx(49.0)
    assert first["lost"] == pytest.approx(7.0)
    apart = modules.facts["apart"]
    assert apart["difference"] == pytest.approx(5.0), "the five early modules are ranked above the five others"
    assert modules.outcomes["early"] is Outcome.NO_INTERVAL, "both runs have the same ranks"
    assert modules.facts["relation"]["correlation"] == pytest.approx(1.0)
    assert modules.facts["open"] == 0
    assert sentences.of(modules).headline.startswith("In 2 runs, layer3.0.downsample.0 is the most critical")


def test_networks_against_their_gap_over_networks() -> None:
    _, networks = answered()
    rows = {row["arm"]: row for row in networks.numbers.to_dicts()}
    assert {name: row["gap"] for name, row in rows.items()} == pytest.approx(GAPS)
    runs = networks.facts["runs"]
    expected = inference.rank_correlation(runs["mu"], runs["gap"], runs["arm"].to_list(), level=widened(0.95, 3))
    assert networks.facts["relation"]["correlation"] == pytest.approx(expected.value)
    (claim,) = networks.claims
    assert claim.value == pytest.approx(expected.value)
    assert rows["base"]["mu"] > 5 * 49.0, "a sum over modules"


def test_a_network_one_of_whose_modules_is_not_measured_has_no_sum() -> None:
    modules, networks = answered(leave_out="conv1")
    assert modules.numbers.height == 9
    assert networks.numbers.height == 0
    assert networks.claims[0].verdict is Verdict.NOT_MEASURED
    assert sentences.of(networks).headline == "No network is measured with noise yet."


def test_nothing_measured_is_said() -> None:
    _, modules, networks = answers(results(STUDY, lambda *_: None))
    assert sentences.of(modules).headline == "No module is measured with noise yet."
    assert networks.outcomes == {"gap": Outcome.NOT_MEASURED}


def test_a_module_whose_noise_is_always_too_much_is_said_to_be() -> None:
    found = made()
    key = ("base", 0, "fc")
    broken = replace(found.of(Noise)[key], means={k: v + 100 for k, v in found.of(Noise)[key].means.items()})
    measured = {**found.of(Noise), key: broken, ("base", 1, "fc"): broken}
    _, modules, networks = answers(replace(found, measured={Noise: measured}))
    assert modules.facts["beyond"] == ["fc"]
    assert "At α = 1 even the smallest σ is too much for fc." in sentences.of(modules).verdict
    assert "fc ∞;" in sentences.of(modules).verdict
    assert math.isinf(networks.numbers["mu"][0])
    figure = works.DRAWINGS["critical-modules"](modules, gallery := _Gallery())
    assert figure
    assert len(gallery.figures) == 1


def test_tables_and_figures_show_all_of_it() -> None:
    gallery = _Gallery()
    for answer in answered():
        assert page.table(answer.numbers, columns_of_works.COLUMNS[answer.name]).count("<tr") >= answer.numbers.height
        works.DRAWINGS[answer.name](answer, gallery)
    (modules,), (networks,) = (gallery.figures[name].axes for name in ("critical-modules", "critical-networks"))
    assert sum(np.asarray(line.get_xdata()).size for line in modules.lines) == 20
    assert sum(np.asarray(line.get_xdata()).size for line in networks.lines) == 5
