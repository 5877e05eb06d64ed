"""The answer about instability, from lines whose barriers are known."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Outcome, answers
from linescape.analysis.tables import Results
from linescape.report import columns_of_works, page, sentences
from linescape.report import works as drawings
from linescape.report.study import _Gallery
from linescape.studies import works
from linescape.studies.study import Run, Scan, Study
from tests.support import works as support

STUDY = studies.find("frankle2020lmc", "mini")
STEPS = [0, 9, 28, 94, 283, 565]


def results(heights: dict[int, list[float]], study: Study = STUDY) -> Results:
    """Error curves between two copies with ends 20 and 10 % and a middle that is so much above their mean."""
    rows = []
    for arm, step in zip(study.arms[: len(STEPS)], STEPS, strict=True):
        for seed, height in enumerate(heights.get(step, [])):
            for pair, more in (("copies 1 and 2", 0.5), ("copies 1 and 3", -0.5)):
                for measure, ends, unit in (("error", (20.0, 10.0), 1.0), ("cross_entropy", (0.6, 0.4), 0.01)):
                    middle = sum(ends) / 2 + unit * (height + more)
                    for alpha, mean in zip((0.0, 0.5, 1.0), (ends[0], max(middle, ends[1]), ends[1]), strict=True):
                        rows.append(
                            {"arm": arm.name, "seed": seed, "label": pair, "data": "test", "measure": measure}
                            | {"alpha": alpha, "mean": mean, "batchnorm": "interpolate"}
                        )
    strings = dict.fromkeys(("arm", "label", "data", "measure", "batchnorm"), pl.String)
    lines = pl.DataFrame(rows, schema={**strings, "seed": pl.Int64, "alpha": pl.Float64, "mean": pl.Float64})
    done = [{"arm": arm.name, "status": "done", "seed": seed} for arm in study.arms for seed in range(3)]
    runs = pl.DataFrame(done)
    empty = pl.DataFrame()
    return Results(study, runs, lines, empty, empty, empty, empty)


def test_instability_is_the_mean_over_pairs_and_runs() -> None:
    answer, _ = answers(results({0: [40.0, 44.0, 42.0], 565: [6.0, 5.9, 5.8]}))
    first, last = answer.numbers.to_dicts()
    expected = inference.mean([40.0, 44.0, 42.0])
    assert (first["instability"], first["low"], first["high"]) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert (first["pairs"], first["runs"]) == (6, 3)
    assert first["loss"] == pytest.approx(0.42)
    assert last["instability"] == pytest.approx(5.9), "above the mean of both ends; the higher end itself is 5 above it"


def test_the_order_of_tests_is_fixed_and_stops_at_the_first_that_fails() -> None:
    flat, wild = [0.0, 0.1, -0.1], [0.0, 30.0, 60.0]
    heights = {0: [60.0, 61.0, 60.5], 9: [50.0, 51.0, 50.5], 28: wild, 94: [40.0, 41.0, 40.5], 283: flat, 565: flat}
    made = results(heights)
    # Ends of 15 and 15 instead of 20 and 10, so that a flat line has no barrier.
    lines = made.lines.with_columns(
        pl.when((pl.col("measure") == "error") & (pl.col("alpha") != 0.5)).then(15.0).otherwise("mean").alias("mean")
    )
    answer, _ = answers(replace(made, lines=lines))
    assert list(answer.outcomes.values()) == [
        *[Outcome.ABOVE] * 2,
        Outcome.INCONCLUSIVE,
        Outcome.ABOVE,
        *[Outcome.BELOW] * 2,
    ]
    assert [row["step"] for row in answer.facts["unstable"]] == [0, 9]
    assert [row["step"] for row in answer.facts["stable"]] == [283, 565]
    assert [row["step"] for row in answer.facts["undecided"]] == [28, 94]
    words = sentences.of(answer)
    assert words.headline.startswith("Between step 9 and step 283")
    assert "stable from step 283 on, unstable up to step 9" in words.published
    assert all(row["low"] >= 0 and row["high"] <= 100 for row in answer.numbers.to_dicts())


def test_one_run_has_no_interval_and_none_no_words() -> None:
    answer, _ = answers(results({0: [40.0]}))
    assert math.isnan(answer.numbers["low"][0])
    assert sentences.of(answer).headline.startswith("Inconclusive")
    nothing, sparse = answers(results({}))
    assert sentences.of(sparse).headline == "No pair of copies of pruned networks is measured yet."
    assert nothing.numbers.is_empty()
    assert sentences.of(nothing).headline == "No pair of copies is measured yet."


def test_a_study_of_ones_own_of_this_name_is_asked_the_general_question() -> None:
    own = replace(STUDY, source="")
    assert own.name == "frankle2020lmc"
    assert works.is_of_a_work(STUDY)
    assert not works.is_of_a_work(own)


def test_pruned_networks_are_compared_with_the_full_one_of_their_step_and_seed() -> None:
    """A run of three is more unstable and loses more; the full network has an error of 15 %."""
    instability = {arm.name: 2.0 * place for place, arm in enumerate(STUDY.arms) if arm.group != "base"}
    instability |= {"pruned-28": 12.5, "exchanged-0": 14.5, "pruned-283": 21.0, "exchanged-28": 18.5}

    def value(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
        if scan == run.lines["whole"]:
            return None
        place = next((place for place, of in enumerate(STUDY.arms) if of.name == arm), 0)
        ends = 15.0 + (0.5 * place + run.seed if arm in instability else 0.0)
        return (ends + (instability.get(arm, 1.0) + run.seed) * (0 < alpha < 1), 0.5)

    _, sparse = answers(support.results(STUDY, value))
    rows = {row["arm"]: row for row in sparse.numbers.to_dicts()}
    assert list(rows) == [arm.name for arm in STUDY.arms[6:]]
    expected = inference.mean([3.0, 4.0, 5.0])
    row = rows["pruned-0"]
    assert (row["excess"], row["excess_low"]) == pytest.approx((expected.value, expected.low))
    assert row["instability"] == pytest.approx(13.0)
    assert (row["density"], row["step"], row["runs"]) == (0.125, 0, 3)
    runs = sparse.facts["of_runs"]
    together = inference.rank_correlation(runs["instability"], runs["excess"], runs["arm"].to_list())
    (claim,) = sparse.claims
    assert (claim.value, claim.low) == pytest.approx((together.value, together.low))
    assert sparse.outcomes["together"] is Outcome.ABOVE
    assert sparse.outcomes["pruned-0"] is Outcome.ABOVE
    words = sentences.of(sparse)
    assert words.headline.startswith("The less stable copies of a pruned network are, the more accuracy")
    assert "Pruned, 12.5 % of the weights left. step 0: instability 13.0" in words.verdict
    assert page.table(sparse.numbers, columns_of_works.COLUMNS[sparse.name]).count("<tr") >= 8
    drawings.DRAWINGS[sparse.name](sparse, gallery := _Gallery())
    assert set(gallery.figures) == {"pruned-instability"}


def test_steps_that_are_not_measured_end_the_order_of_tests() -> None:
    """Nothing is said of steps after, or before, one of which nothing is known."""
    made = results({94: [0.0, 0.1, -0.1], 565: [0.0, 0.1, -0.1]})
    level = pl.when((pl.col("measure") == "error") & (pl.col("alpha") != 0.5)).then(15.0).otherwise("mean")
    answer, _ = answers(replace(made, lines=made.lines.with_columns(level.alias("mean"))))
    assert [row["step"] for row in answer.facts["stable"]] == [565]
    assert sentences.of(answer).headline == "From step 565 on at the latest."
    high, _ = answers(results({9: [40.0, 44.0, 42.0]}))
    assert high.facts["unstable"] == []
    assert high.outcomes == {"step-9": Outcome.ABOVE}


def test_copies_of_a_run_that_diverged_are_left_out() -> None:
    made = results({0: [40.0, 44.0, 90.0]})
    lost = pl.when((pl.col("arm") == "step-0") & (pl.col("seed") == 2)).then(pl.lit("diverged")).otherwise("status")
    answer, _ = answers(replace(made, runs=made.runs.with_columns(status=lost)))
    assert (answer.numbers["runs"][0], answer.numbers["instability"][0]) == (2, pytest.approx(42.0))
