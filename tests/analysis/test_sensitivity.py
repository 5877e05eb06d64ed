"""How much more one stage costs than another, from numbers that are known."""

from __future__ import annotations

import polars as pl
import pytest

from linescape.analysis.answers import Verdict, claims, partial, sensitivity
from linescape.studies import find, scales
from linescape.studies.vlaar2022 import published

Costs = dict[str, dict[str, tuple[float, ...]]]
COSTS: Costs = {
    "base": {
        "layer1": (5.0, 5.0, 5.0),
        "layer2": (7.0, 7.2, 7.4),
        "layer3": (9.0, 9.0, 9.0),
        "layer4": (2.0, 2.1, 2.2),
    },
    "no-weight-decay": {"layer2": (6.0, 6.3, 6.2), "layer4": (2.0, 2.1, 2.2)},
}


def layers(costs: Costs) -> pl.DataFrame:
    """Rows of `Results.layers`, and such of other statistics and of error, which do not count."""
    rows = [
        {"arm": arm, "seed": seed, "block": block, "measure": measure, "number": number, "value": value * factor}
        for arm, of_arm in costs.items()
        for block, values in of_arm.items()
        for seed, value in enumerate(values)
        for measure, number, factor in (
            ("cross_entropy", "start_above_end", 1.0),
            ("cross_entropy", "hump", 50.0),
            ("error", "start_above_end", 70.0),
        )
    ]
    return pl.DataFrame(rows, schema_overrides={"seed": pl.Int64})


def test_the_second_stage_is_compared_with_the_last_of_the_same_run() -> None:
    own = sensitivity.differences(layers(COSTS), "base")["initialisation"]
    assert own is not None
    assert (own["second"], own["last"], own["runs"]) == ("layer2", "layer4", 3)
    assert own["difference"] == pytest.approx(5.1)  # 5.0, 5.1, 5.2: deviation 0.1
    assert own["high"] - own["low"] == pytest.approx(2 * 4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert own["high_all"] - own["low_all"] == pytest.approx(2 * 6.2053 * 0.1 / 3**0.5, rel=1e-4), "of two contrasts"


def test_without_weight_decay_it_is_a_change_of_pairs() -> None:
    """4.0, 4.2, 4.0 with one stage of three only; that of seed 1 is not measured."""
    costs = {"base": COSTS["base"], "no-weight-decay": COSTS["no-weight-decay"] | {"layer1": (1.0, 1.0, 1.0)}}
    change = sensitivity.differences(layers(costs).filter(~((pl.col("arm") != "base") & (pl.col("seed") == 1))), "base")
    row = change["weight decay"]
    assert row is not None
    assert (row["runs"], row["difference"]) == (2, pytest.approx(((4.0 - 5.0) + (4.0 - 5.2)) / 2))


@pytest.mark.parametrize("costs", [{}, {"base": {"layer1": (1.0,), "layer2": (2.0,)}}, {"base": {"fc": (1.0,)}}])
def test_fewer_than_three_stages_are_not_compared(costs: Costs) -> None:
    empty = layers({"base": {"layer1": (1.0,)}}).clear()
    found = sensitivity.differences(layers(costs) if costs else empty, "base")
    assert found == {"initialisation": None, "weight decay": None}


def test_the_stages_are_those_that_differ_most_in_the_source() -> None:
    lines = {line.label: line.losses for line in published.LINES if line.arm == "base" and line.label != "whole"}
    costs = {label: losses[0] - losses[-1] for label, losses in lines.items() if label.startswith("layer")}
    assert sensitivity.second_and_last(list(costs)) == (
        max(costs, key=costs.__getitem__),
        min(costs, key=costs.__getitem__),
    )
    assert (f"{costs['layer2']:.2f}", f"{costs['layer4']:.2f}") == ("7.40", "1.69")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1, 2, Verdict.HOLDS), (-2, -1, Verdict.HOLDS), (-1, 1, Verdict.INCONCLUSIVE)],
)
def test_layers_differ_whichever_costs_more(low: float, high: float, verdict: Verdict) -> None:
    row = {"difference": (low + high) / 2, "low_all": low, "high_all": high}
    first, second = claims._of_layers({"initialisation": row})
    assert (first.verdict, second.verdict) == (verdict, Verdict.NOT_MEASURED)


CLAIMED = (
    "The shape of the line is no reliable indicator",
    "Pre-training removes barriers",
    "Starts trained on wrong labels raise barriers",
    "The distance moved is no reliable indicator",
    "Layers differ in their sensitivity to initialisation",
    "Layers differ in their sensitivity to the optimizer's settings",
    "Partial pre-training can lower test accuracy",
)
"""The source's claims."""


@pytest.mark.parametrize("scale", ["demo", "mini", "cifar10-small", "cifar10"])
def test_all_claims_of_the_source_stand_on_the_page(scale: str) -> None:
    assert scale in scales("vlaar2022")
    made = [claim.claim for claim in claims.of_source(find("vlaar2022", scale), ())]
    assert [claim for claim in CLAIMED if not any(each.startswith(claim) for each in made)] == []


@pytest.mark.parametrize(("scale", "arm"), [("mini", "partial-3"), ("cifar10", "partial-4")])
def test_the_last_block_is_set_back(scale: str, arm: str) -> None:
    assert partial.last_block(find("vlaar2022", scale)) == arm
    claim = claims._of_partial(arm, {"difference": -2.0, "low_all": -3.0, "high_all": -1.0})
    assert (claim.verdict, claim.value, claim.low, claim.high) == (Verdict.HOLDS, -2.0, -3.0, -1.0)
    assert f"block {arm[-1]} set back" in claim.measured
    assert claims._of_partial(arm, None).verdict is Verdict.NOT_MEASURED
