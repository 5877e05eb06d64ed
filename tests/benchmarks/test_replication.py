from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from benchmarks.replication import Claim, Run

from benchmarks import replicate, replication, runs
from linescape import studies
from linescape.shape import Estimate
from linescape.studies.run import work
from linescape.studies.store import Store
from tests.support.command_line import make_studies_quick


def test_runs_are_done_seed_by_seed() -> None:
    order = [(scale, run.arms[0].name, run.arms[0].runs[0].recipe.seed) for scale, run in replicate.runs()]
    assert order[:4] == [
        ("cifar10-narrow-30", name, 0) for name in ("base", "partial-4", "partial-1", "no-weight-decay")
    ]
    assert order[9] == ("cifar10-narrow-30", "base", 1)
    assert {seed for scale, _, seed in order if scale == "cifar10-narrow-30"} == {0, 1, 2, 3, 4}
    assert {seed for scale, _, seed in order if scale == "cifar10-narrow"} == {0, 1, 2}
    assert len(order) == len(set(order))


def test_what_is_kept_of_a_run_is_its_log_its_curves_and_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_studies_quick(monkeypatch)
    run = studies.find("vlaar2022", "mini").only("mlp-spiral", seeds=(0,))
    store = Store(tmp_path / "store")
    work(run, store, progress=False, workers=1)
    runs.export(tmp_path / "results", "mini", run, store)
    (kept,) = replication.read(tmp_path / "results" / "mini")
    assert (kept.arm, kept.seed) == ("mlp-spiral", 0)
    scan = run.arms[0].runs[0].lines["whole"]
    measured = store.curve(scan)["test", "cross_entropy"]
    alphas, losses = kept.curves["whole"]
    assert alphas == pytest.approx(measured.alphas, abs=1e-6)
    assert losses == pytest.approx(measured.mean, abs=2e-6)
    assert kept.row["test_accuracy"] == pytest.approx(100.0 - store.curve(scan)["test", "error"].mean[-1], abs=0.01)
    assert kept.row["test_loss"] == pytest.approx(measured.mean[-1], abs=1e-5)
    assert kept.statistic("whole", "hump") == pytest.approx(kept.row["test_hump"], abs=1e-5)
    assert math.isnan(kept.statistic("fc", "hump"))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.3, "holds"),
        (-0.3, -0.1, "does not hold"),
        (-0.1, 0.3, "inconclusive"),
        (math.nan, math.nan, "inconclusive (no interval)"),
    ],
)
def test_a_verdict_follows_from_the_interval(low: float, high: float, verdict: str) -> None:
    middle = 0.2 if math.isnan(low) else (low + high) / 2
    assert Claim("", "", Estimate(middle, low, high, 0.95), low=0.0).verdict() == verdict
    opposite = {"holds": "does not hold", "does not hold": "holds"}.get(verdict, verdict)
    assert Claim("", "", Estimate(middle, low, high, 0.95), high=0.0).verdict() == opposite


def test_findings_from_simulated_runs() -> None:
    def run(arm: str, seed: int, accuracy: float, top: float) -> Run:
        alphas = np.linspace(0, 1, 21)
        noise = np.random.default_rng([seed, len(arm)]).uniform(0, 0.01)
        losses = np.where(alphas < 0.95, 2.3, 0.3) + top * np.exp(-(((alphas - 0.5) / 0.1) ** 2)) + noise * alphas
        row = {"test_accuracy": accuracy + noise, "relative_distance": 1.0 + noise}
        return Run(arm, seed, row, {"whole": (alphas, losses), "layer2": (alphas, losses + noise)})

    runs = [run("base", seed, 90.0, 0.0) for seed in range(3)]
    runs += [run("partial-4", seed, 88.0, 0.0) for seed in range(3)]
    runs += [run("no-weight-decay", seed, 89.0, 0.5) for seed in range(3)]
    found = {claim.words: claim.verdict() for claim in replication.claims(runs)}
    assert found["T-All but RI-4 is less accurate than training from scratch."] == "holds"
    assert found["T-All but RI-1 is less accurate than training from scratch."] == "not measured yet"
    assert found["Without weight decay about half of the lines have a hump."] == "holds"
    assert found["The line of layer2 alone has a late bump, though the whole line has none."] == "does not hold"
    text = "\n".join(replication.findings(runs))
    assert "Inconclusive: too few arms or runs" in text
    (so_far,) = replication.summary(runs, "a-scale")
    verdicts = list(found.values())
    assert so_far.startswith("9 runs of 3 arms are complete at the scale `a-scale`. Of the 16 findings")
    assert f"{verdicts.count('holds')} hold, {verdicts.count('does not hold')} do not" in so_far
    assert text.count("| holds |") == verdicts.count("holds")


def test_nothing_is_not_above_nothing() -> None:
    """A statistic that is never negative and 0 in every run is no evidence that it is above 0."""
    nothing = Estimate(0.0, 0.0, 0.0, 0.95)
    assert Claim("", "", nothing, low=0.0).verdict() == Claim("", "", nothing, high=0.0).verdict() == "does not hold"


def test_a_small_number_is_not_shown_as_none() -> None:
    assert replication.words(Estimate(0.0012, 0.0004, 0.002, 0.95)) == "0.0012 (0.0004 to 0.0020)"
    assert replication.words(Estimate(0.0123, 0.004, 0.02, 0.95)) == "0.01 (0.00 to 0.02)"
