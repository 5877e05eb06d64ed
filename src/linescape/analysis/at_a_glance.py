"""What a study's runs show of themselves: a few plain findings with the numbers of every run.

A finding is about the networks that were trained, and holds in each of their runs beyond the interval over test
examples where there is one. It is chosen for being the clearest of many, so it says nothing about other seeds: the
answers (`linescape.analysis.answers`), whose contrasts were chosen before looking, are about these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from linescape.analysis.answers.answer import pool
from linescape.analysis.tables import Results

SMALLEST = 0.05
"""The smallest difference that is called one: nats, or share of the line."""

START = 0.2
"""A start whose loss is so near to chance, in nats, has learnt nothing."""


@dataclass(frozen=True)
class Finding:
    """One finding as data.

    Attributes:
        name: ``plateau`` (how long the loss stays at chance), ``hump`` (the clearest rise on the way) or ``blocks``
            (what it costs to set one block back).
        facts: what its sentence needs; values are lists with an entry for each run, in the order of seeds.
    """

    name: str
    facts: Mapping[str, Any]


def findings(results: Results) -> tuple[Finding, ...]:
    """The findings that the runs allow, at most one of each kind."""
    runs = pool(results.runs).filter(pl.col("status") == "done").sort("seed", maintain_order=True)
    if not runs.height:
        return ()
    base = str(runs["baseline"].drop_nulls().mode(maintain_order=True)[0])
    of_base = runs.filter(pl.col("arm") == base)
    layers = results.layers.join(of_base.select("arm", "seed"), on=["arm", "seed"], how="semi", maintain_order="left")
    made = (
        _plateau(runs.join(_from_chance(results), on=["arm", "seed"], how="semi"), of_base),
        _hump(results.statistics, runs, of_base),
        _blocks(layers),
    )
    return tuple(finding for finding in made if finding)


def _from_chance(results: Results) -> pl.DataFrame:
    """arm and seed of the runs whose network gives chance's loss at the start; others cannot stay at it."""
    starts = results.lines.filter(
        (pl.col("label") == "whole")
        & (pl.col("data") == "test")
        & (pl.col("measure") == "cross_entropy")
        & (pl.col("alpha") == 0)
    ).join(results.runs.select("arm", "seed", "chance_loss"), on=["arm", "seed"])
    return starts.filter((pl.col("mean") - pl.col("chance_loss")).abs() <= START).select("arm", "seed")


def _plateau(runs: pl.DataFrame, base: pl.DataFrame) -> Finding | None:
    """The arm whose plateaus are farthest from all of the baseline's."""
    if not base.height:
        return None
    gaps = {
        name: gap for (name,), of_arm in _arms(runs) if (gap := _gap(of_arm, base, "test_plateau_loss")) >= SMALLEST
    }
    if not gaps:
        return None
    name = max(gaps, key=lambda name: gaps[name])
    other = runs.filter(pl.col("arm") == name)
    facts = {side: _values(of_arm, "test_plateau_loss") for side, of_arm in (("base", base), ("other", other))}
    return Finding("plateau", facts | {"chance": base["chance_loss"][0]})


def _hump(statistics: pl.DataFrame, runs: pl.DataFrame, base: pl.DataFrame) -> Finding | None:
    """The arm whose lowest hump is highest, if the interval of every run is above `SMALLEST`."""
    first = statistics.filter(
        (pl.col("label") == "whole") & (pl.col("number") == "hump") & pl.col("low").is_not_null()
    ).join(runs.select("arm", "seed"), on=["arm", "seed"], how="semi", maintain_order="left")
    lowest = {
        str(name): _range(of_arm["value"])[0] for (name,), of_arm in _arms(first) if _range(of_arm["low"])[0] > SMALLEST
    }
    if not lowest:
        return None
    name = max(lowest, key=lambda name: lowest[name])
    other = runs.filter(pl.col("arm") == name)
    sides = {"other": other} | ({"base": base} if base.height and base["arm"][0] != name else {})
    facts: dict[str, Any] = {side: _values(of_arm, "test_hump") for side, of_arm in sides.items()}
    facts |= {f"{side}_accuracy": of_arm["test_accuracy"].to_list() for side, of_arm in sides.items()}
    return Finding("hump", {"base": None, "base_accuracy": None} | facts)


def _blocks(layers: pl.DataFrame) -> Finding | None:
    """How much the loss rises if one block of a trained network of the baseline is set back to its start."""
    costs = layers.filter(
        (pl.col("measure") == "cross_entropy") & (pl.col("number") == "start_above_end") & (pl.col("block") != "whole")
    )
    if costs["value"].is_nan().any():  # which may be the least or the most
        return None
    least, most = [], []
    for _, of_run in costs.sort("seed", maintain_order=True).group_by("seed", maintain_order=True):
        ordered = of_run.sort("value", maintain_order=True)
        least.append(ordered.row(0, named=True))
        most.append(ordered.row(-1, named=True))
    if not least or costs["block"].n_unique() < 2:
        return None
    apart = all(low["high"] < high["low"] for low, high in zip(least, most, strict=True))
    return Finding("blocks", {"title": least[0]["title"], "least": least, "most": most}) if apart else None


def _arms(frame: pl.DataFrame) -> Any:
    return frame.group_by(["arm"], maintain_order=True)


def _values(of_arm: pl.DataFrame, column: str) -> dict[str, Any]:
    return {"title": of_arm["title"][0], "values": of_arm[column].to_list()}


def _gap(of_arm: pl.DataFrame, base: pl.DataFrame, column: str) -> float:
    """The distance between the ranges of two arms' values; negative where they overlap."""
    (low, high), (base_low, base_high) = _range(of_arm[column]), _range(base[column])
    return max(low - base_high, base_low - high)


def _range(values: pl.Series) -> tuple[float, float]:
    array = values.to_numpy()
    return float(array.min()), float(array.max())
