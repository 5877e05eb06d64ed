"""What a study's runs show of themselves, said only where every run shows it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import polars as pl

from linescape.analysis.at_a_glance import SMALLEST, Finding, findings
from linescape.analysis.tables import Results
from linescape.report import text
from tests.support.fake_study import results


def of(found: Results) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings(found)}


def said(finding: Finding) -> str:
    return text.sentence("findings", finding.name, **finding.facts)


def with_runs(**changed: Any) -> Results:
    return replace(results(), runs=results().runs.with_columns(**changed))


def test_every_number_of_a_finding_is_one_of_the_tables() -> None:
    found, runs = of(results()), results().runs
    assert set(found) == {"plateau", "hump", "blocks"}
    for name, column in (("plateau", "test_plateau_loss"), ("hump", "test_hump")):
        for side in ("base", "other"):
            one = found[name].facts[side]
            of_arm = runs.filter((pl.col("title") == one["title"]) & (pl.col("status") == "done"))
            assert one["values"] == of_arm.sort("seed")[column].to_list()
            ends = (min(one["values"]), max(one["values"]))
            words = [f"{100 * value:.0f}" if name == "plateau" else f"{value:.2f}" for value in ends]
            assert " to ".join(words) in said(found[name])


def test_a_hump_is_found_only_where_the_interval_of_every_run_says_so() -> None:
    statistics = results().statistics
    title = of(results())["hump"].facts["other"]["title"]
    of_one = (pl.col("title") == title) & (pl.col("number") == "hump") & (pl.col("seed") == 0)
    doubtful = statistics.with_columns(low=pl.when(of_one).then(SMALLEST / 2).otherwise("low"))
    other = of(replace(results(), statistics=doubtful))
    assert "hump" not in other or other["hump"].facts["other"]["title"] != title
    none = statistics.with_columns(low=pl.lit(0.0))
    assert "hump" not in of(replace(results(), statistics=none))


def test_plateaus_that_overlap_are_no_finding() -> None:
    same = with_runs(test_plateau_loss=pl.col("seed") / 10)
    assert "plateau" not in of(same)


def test_blocks_that_cannot_be_told_apart_are_no_finding() -> None:
    wide = results().layers.with_columns(low=pl.col("value") - 100, high=pl.col("value") + 100)
    assert "blocks" not in of(replace(results(), layers=wide))


def test_a_study_without_a_finished_run_has_no_finding() -> None:
    assert findings(with_runs(status=pl.lit("missing"))) == ()


def test_many_values_are_said_as_a_range() -> None:
    values = [0.5, 0.25, 0.75, 0.3]
    side = {"title": "a", "values": values}
    assert "along 25 to 75 % of the line" in text.sentence("findings", "plateau", base=side, other=side, chance=2.3)


def test_a_plateau_that_is_nan_is_no_finding() -> None:
    unknown = pl.when(pl.col("arm") == "base").then(math.nan).otherwise("test_plateau_loss")
    assert "plateau" not in of(with_runs(test_plateau_loss=unknown))


def test_a_block_whose_cost_is_infinite_costs_most() -> None:
    first = (pl.col("block") == "stem") & (pl.col("number") == "start_above_end")
    infinite = results().layers.with_columns(
        pl.when(first).then(math.inf).otherwise(name).alias(name) for name in ("value", "low", "high")
    )
    found = of(replace(results(), layers=infinite))["blocks"]
    assert {row["block"] for row in found.facts["most"]} == {"stem"}
    unknown = results().layers.with_columns(value=pl.when(first).then(math.nan).otherwise("value"))
    assert "blocks" not in of(replace(results(), layers=unknown))


def test_blocks_of_runs_that_are_not_finished_are_no_finding() -> None:
    """Of which lines may be missing, such as that of the block that costs most."""
    unfinished = pl.when((pl.col("arm") == "base") & (pl.col("seed") > 0)).then(pl.lit("missing")).otherwise("status")
    assert len(of(with_runs(status=unfinished))["blocks"].facts["most"]) == 1
