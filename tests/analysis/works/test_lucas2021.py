"""Tables of a grid, from curves that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from linescape import studies
from linescape.analysis.answers import Outcome, answers
from linescape.analysis.answers.answer import Verdict
from linescape.analysis.tables import Results, epochs
from linescape.analysis.works.aborted import is_aborted
from linescape.analysis.works.lucas2021 import points
from linescape.analysis.works.other_ends import PRIMARY
from linescape.interpolation.turning import GaussLength
from linescape.report import sentences
from linescape.studies.study import Turning
from linescape.studies.works.lucas2021 import ELSEWHERE, Abort
from tests.support.lines_of_studies import lines_of

STUDY = studies.find("lucas2021", "mini")


def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
    """A fall to 0.2, for seed 11 to 0.9; a rise with BatchNorm that grows with the seed; one in the last step else."""
    end = 0.9 if seed == 11 else 0.2
    losses = 2 + (end - 2) * at
    if label == "whole" and "batchnorm" in arm:
        losses[5] = losses[4] + 0.01 * (1 + seed)
    if label != "whole" and arm == "adam":
        losses[-2] = end - 0.1
    return losses


def made() -> Results:
    results = lines_of(STUDY, shape)
    far = pl.when(pl.col("arm").str.contains("batchnorm")).then(2.0).otherwise(1.0) + 0.1 * pl.col("seed")
    return replace(results, runs=results.runs.with_columns(relative_distance=far))


def test_the_table_keeps_what_has_learnt_and_averages_what_rises() -> None:
    grid, distance, *_ = answers(made())
    rows = {row["arm"]: row for row in grid.facts["rows"]}
    assert all((row["runs"], row["kept"]) == (12, 11) for row in rows.values())
    assert [row["not_monotone"] for row in rows.values()] == [0, 11, 0, 11]
    assert rows["sgd-batchnorm"]["rise"] == pytest.approx(0.01 * np.mean(np.arange(1, 12)))
    assert rows["sgd"]["rise"] is None
    assert rows["adam"]["elsewhere"] == 11
    assert grid.outcomes == {"BatchNorm": Outcome.ABOVE, "Adam": Outcome.NO_INTERVAL}, "all pairs are equal"
    words = sentences.of(grid)
    assert words.headline == (
        "22 of 44 lines are monotone up to 0.001 nats; the largest rise is higher with BatchNorm; too few pairs of "
        "runs differ to tell what Adam changes."
    )
    assert distance.outcomes == {"all": Outcome.ABOVE}
    assert sentences.of(distance).headline.startswith("Yes, among these trainings")
    assert "Here, with 1 seed:" in sentences.of(grid).published, "of each point"


@pytest.mark.parametrize(
    ("losses", "aborted"),
    [
        ([9.0, 2.0, 1.0, 0.5], False),
        ([0.5, 0.5, 1.01, 0.5], True),
        ([0.5, 0.5, 0.5, 1.5], True),
        ([9.0, math.nan], True),
        ([0.5, 0.5, 0.5, math.inf], True),
        ([2.0, 2.0], False),
    ],
)
def test_the_rule_stops_what_is_above_its_bound_after_its_epoch(losses: list[float], aborted: bool) -> None:
    """Of epoch 3 and 1 nat; a training that was lost before counts too."""
    assert is_aborted(np.arange(1, 1 + len(losses)), np.array(losses), Abort(3, 1.0)) is aborted


def test_trainings_that_the_source_would_have_stopped_are_not_counted() -> None:
    """Of 10 epochs the tenth counts; residual networks of 5 epochs here are judged by the fifth, at 1.5 nats."""
    rows = [
        {"arm": arm.name, "seed": run.seed, "epoch": epoch, "train_loss": loss}
        for arm in STUDY.arms
        for run in arm.runs
        for epoch in range(1, 1 + run.recipe.schedule.epochs)
        for last in [epoch == run.recipe.schedule.epochs]
        for loss in [1.2 if last and run.seed in (0, 11) else 2.0 if not last else 0.1]
    ]
    grid, _, residual, *_ = answers(replace(made(), losses=pl.DataFrame(rows, schema=epochs.ROW)))
    assert [(row["aborted"], row["kept"], row["not_monotone"]) for row in grid.facts["rows"]] == [
        (2, 10, 0),
        (2, 10, 10),
        (2, 10, 0),
        (2, 10, 10),
    ]
    assert grid.facts["rule"] == {"trained": 48, "aborted": 8, "alone": 4, "epochs": 10, "epoch": 10, "loss": 1.0}
    words = "above 1 nats after epoch 10 (here the last) or not a number: 8 of 48 trainings, 4 of which end at 0.5 nats"
    assert words in sentences.of(grid).verdict
    assert residual.facts["rule"]["aborted"] == 0
    assert residual.facts["rule"]["loss"] == 1.5
    assert residual.facts["rule"]["epoch"] == residual.facts["rule"]["epochs"]


def test_lines_are_counted_on_test_loss_too() -> None:
    """Of runs that are kept by their training loss."""
    results = made()
    last = (pl.col("data") == "test") & (pl.col("arm") == "sgd") & (pl.col("seed") < 4) & (pl.col("alpha") == 1)
    lines = results.lines.with_columns(mean=pl.when(last).then(pl.col("mean") + 5).otherwise("mean"))
    grid = answers(replace(results, lines=lines))[0]
    assert [row["held_out"] for row in grid.facts["rows"]] == [4, 11, 0, 11]
    assert [row["not_monotone"] for row in grid.facts["rows"]] == [0, 11, 0, 11]
    assert "On test loss, not monotone from the own start: SGD 4 of 11" in sentences.of(grid).verdict


def residual(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
    """A fall to 0.5, with the lowest rate and Fixup to 1.5; Adam rises by 0.2, BatchNorm by 0.1, more with the seed."""
    end = 1.5 if seed == 3 and arm.startswith("fixup") else 0.5
    losses = 3 + (end - 3) * at
    rise = 0.2 * arm.endswith("adam") + 0.1 * arm.startswith("bn")
    losses[5] = losses[4] + (1 + 0.1 * seed) * rise - 0.01 * (rise == 0)
    return losses


def test_tables_of_residual_networks_by_norm_optimizer_and_rate() -> None:
    answer = answers(lines_of(STUDY, residual))[2]
    assert answer.name == "grid-of-residual-lines"
    rows = {(row["by"], row["title"], row["optimizer"]): row for row in answer.facts["rows"]}
    assert len(rows) == 4 * 2 + 4 * 2
    fixup = rows["network", "no norm, Fixup (NBN-F)", "SGD"]
    assert (fixup["runs"], fixup["kept"], fixup["not_monotone"], fixup["rise"]) == (4, 3, 0, None)
    both = rows["network", "BatchNorm, identity start (BN-I)", "Adam"]
    assert (both["kept"], both["not_monotone"], both["rise"]) == (4, 4, pytest.approx(0.3 * 1.15))
    lowest = rows["rate", "learning rate 0.01", "SGD"]
    assert (lowest["runs"], lowest["kept"], lowest["not_monotone"]) == (4, 3, 2)
    changes = {change["change"]: change for change in answer.facts["changes"]}
    assert {name: change["pairs"] for name, change in changes.items()} == {
        "BatchNorm": 4 * 2,
        "Adam": 4 * 4 - 1,
        "the identity start": 4 * 2,
    }
    assert changes["BatchNorm"]["difference"] == pytest.approx(0.1 * 1.15)
    assert changes["Adam"]["difference"] == pytest.approx(0.2 * np.mean([1, 1.1, 1.2, 1.3] * 3 + [1, 1.1, 1.2]))
    assert changes["the identity start"]["difference"] == pytest.approx(0)
    assert answer.outcomes == {
        "BatchNorm": Outcome.ABOVE,
        "Adam": Outcome.ABOVE,
        "the identity start": Outcome.NO_INTERVAL,
    }
    headline = sentences.of(answer).headline
    assert headline == (
        "7 of 30 lines are monotone up to 0.001 nats; the largest rise is higher with BatchNorm and Adam; too few "
        "pairs of runs differ to tell what the identity start changes."
    )
    assert [claim.claim for claim in answer.claims] == [
        f"{name} encourages lines of residual networks that are not monotone." for name in ("BatchNorm", "Adam")
    ]
    assert {claim.verdict for claim in answer.claims} == {Verdict.HOLDS}


def test_networks_of_one_depth_are_compared_at_equal_widths() -> None:
    """Of the source's grid, in which many have two hidden layers of 1024 and fewer units."""
    part = studies.find("lucas2021", "cifar10").only("sgd", "sgd-batchnorm", runs=14 * 3)

    def rising(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        return np.where(at == 0.5, 1.2 + ("batchnorm" in arm) * (0.9 + 0.01 * seed), 2 * (1 - at))

    grid = answers(lines_of(part, rising, [0.0, 0.5, 1.0]))[0]
    (norm, _) = grid.facts["changes"]
    assert norm["pairs"] == 14 * 3
    assert norm["difference"] == pytest.approx(0.1 + 0.01 * 20.5)
    settings = grid.facts["points"].filter(arm="sgd")["setting"].to_list()
    assert settings[:2] == ["2, relu", "2, sigmoid"]
    assert settings[-1] == "1024-2, tanh"
    assert len(set(settings)) == 14 * 3


def test_the_headline_tells_an_inconclusive_change_from_one_that_nothing_is_known_of() -> None:
    grid, wide = answers(lines_of(STUDY, residual))[2], {"low_all": -1.0, "high_all": 1.0}
    changes = [change | (wide if change["change"] == "Adam" else {}) for change in grid.facts["changes"]]
    unknown = [change | {"low_all": math.nan, "high_all": math.nan} for change in changes if change["change"] != "Adam"]
    changes = [change for change in changes if change["change"] == "Adam"] + unknown
    outcomes = {change["change"]: Outcome.of(change, "low_all", "high_all") for change in changes}
    told = sentences.of(replace(grid, facts={**grid.facts, "changes": changes}, outcomes=outcomes))
    assert told.headline == (
        "7 of 30 lines are monotone up to 0.001 nats; what Adam changes is inconclusive; too few pairs of runs differ "
        "to tell what BatchNorm and the identity start change."
    )


def test_bumps_are_those_of_the_released_code() -> None:
    """Which forgets a rise in the last interval; min Delta does not."""

    def rising_last(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        return np.array([4.0, 3.0, 2.0, 0.1, 0.4])

    rows = points(lines_of(STUDY, rising_last, np.linspace(0, 1, 5)))
    assert set(rows["start"]) == {"", "drawn", "identity", "fixup"}
    assert set(rows["bumps"]) == {0.0}
    assert rows["rise"].to_numpy() == pytest.approx(0.3)


def test_nothing_measured_or_nothing_learnt() -> None:
    for given in (lines_of(STUDY, lambda *_: None), lines_of(STUDY, lambda *line: 5.0 - line[3])):
        grid, distance, residual, gauss, ends = answers(given)
        assert sentences.of(grid).headline.startswith("No ")
        assert sentences.of(distance).headline == "No line is counted yet."
        assert sentences.of(residual).headline.startswith("No ")
        assert sentences.of(gauss).headline == "No Gauss length is measured yet."
        assert sentences.of(ends).headline


def followed(length: float) -> GaussLength:
    """Two positions at which the logits of one example turn by so much, and go so far."""
    ones = np.ones((2, 1))
    return GaussLength(np.array([0.0, 1.0]), length * ones, ones < 0, 2 * length * ones, 3 * length * ones[1:])


def test_gauss_length_tells_lines_that_rise_from_others() -> None:
    """By hand: lines from another draw rise with Adam alone, on which the logits turn more."""
    results = made()
    lengths = {
        (arm, seed, label): followed(1 + 0.01 * seed + (label != "whole" and arm == "adam"))
        for arm in ("sgd", "adam")
        for seed in range(12)
        for label in ("whole", ELSEWHERE)
    }
    answer = answers(replace(results, measured={Turning: lengths}))[3]
    whole, elsewhere = answer.facts["primary"]
    assert (whole["count"], whole["not_monotone"], elsewhere["count"], elsewhere["not_monotone"]) == (22, 0, 22, 11)
    assert answer.outcomes == {"whole": Outcome.NO_INTERVAL, ELSEWHERE: Outcome.ABOVE}
    assert elsewhere["auc"] == 1.0
    assert elsewhere["low_all"] < elsewhere["low"] < 1.0
    assert elsewhere["other_mean"] == pytest.approx(2.05)
    assert elsewhere["monotone_mean"] == pytest.approx(1.05)
    by_quantity = {row["quantity"]: row for row in answer.facts["rows"] if row["lines"] == ELSEWHERE}
    assert by_quantity["path_length"]["other_mean"] == pytest.approx(2 * 2.05)
    assert by_quantity["angles"]["other_mean"] == pytest.approx(3 * 2.05)
    assert "lines from another draw: yes, 1.00" in sentences.of(answer).headline


def test_lines_without_a_gauss_length_are_counted_apart() -> None:
    lengths = {("sgd", seed, "whole"): followed(math.nan if seed == 3 else 1 + 0.01 * seed) for seed in range(12)}
    answer = answers(replace(made(), measured={Turning: lengths}))[3]
    (whole,) = answer.facts["primary"]
    assert (whole["count"], answer.facts["not_finite"]) == (10, 1)
    assert whole["monotone_mean"] == pytest.approx(1 + 0.01 * np.mean([0, 1, 2, 4, 5, 6, 7, 8, 9, 10]))
    assert "On 1 line logits are not finite somewhere" in sentences.of(answer).verdict
    alone = answers(replace(made(), measured={Turning: {("sgd", 3, "whole"): followed(math.inf)}}))[3]
    assert sentences.of(alone).headline == "No line that is measured has finite logits, so there is no Gauss length."


def test_the_height_of_bumps_is_unknown_where_one_has_a_nan() -> None:
    def broken(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        losses = shape(arm, seed, label, at)
        losses[2], losses[7] = losses[1] + 0.5, np.nan
        return losses

    assert points(lines_of(STUDY.only("sgd"), broken))["height"].is_nan().all()


def test_lines_to_other_ends_beside_the_own() -> None:
    def rising(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        losses = 2 - 1.5 * at
        if label == PRIMARY:
            losses[5] = losses[4] + 0.1 * (seed - 99)
        return losses

    answer = answers(lines_of(STUDY, rising))[4]
    rows = {row["line"]: row for row in answer.facts["rows"]}
    assert answer.outcomes == {PRIMARY: Outcome.ABOVE}
    assert (rows[PRIMARY]["monotone"], rows["whole"]["monotone"], rows["units permuted"]["monotone"]) == (0, 5, 5)
    t = 2.776 * np.std([0.1, 0.2, 0.3, 0.4, 0.5], ddof=1) / np.sqrt(5)
    assert (rows[PRIMARY]["low"], rows[PRIMARY]["high"]) == pytest.approx((0.3 - t, 0.3 + t), abs=1e-3)
    assert rows[PRIMARY]["share_high"] == pytest.approx(100 * (1 - 0.025**0.2))
    assert "0 of 5 to another training's end" in sentences.of(answer).headline
