"""What it costs to set a layer back, and whether distances explain it (Zhang et al. 2019, arXiv 1902.01996)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of
from linescape.shape import Estimate
from linescape.studies.study import Run, Scan

ROBUST = 5.0
"""Points of test error up to which a layer counts as robust to re-initialisation. Ours: the source gives no number."""

START, DRAWN = "start", "another draw"
"""What a layer is set back to, besides epochs of its own training."""

LAYERS_FINDING = (
    "re-initialising later layers often costs little accuracy, re-randomising any layer destroys it (fully connected "
    "networks, VGG and ResNets)"
)
DISTANCE_FINDING = (
    "neither the l2 nor the l-infinity distance that a layer moved explains which layers are robust (not checked "
    "against its text)"
)

_LOST = {
    "arm": pl.String,
    "seed": pl.Int64,
    "layer": pl.String,
    "to": pl.String,
    "lost": pl.Float64,
    "loss": pl.Float64,
}


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """Two answers: what each layer costs, and whether the distance it moved explains this.

    Columns of `numbers` of the first: arm, title, layer, to (`START`, an epoch, `DRAWN`), runs, lost (points of test
    error), low, high, low_all, high_all (corrected for the layers of all arms), loss (nats), distance (root mean square
    change of a parameter). Of the second: arm, title, layers, runs, rank correlation, low, high, low_all, high_all.
    """
    lost, distances = _lost(results), _distances(results)
    titles = {arm.name: arm.title for arm in results.study.arms}
    rows = [row for arm in titles for row in _rows(arm, lost, distances, level)]
    numbers = pl.DataFrame([{"arm": row["arm"], "title": titles[row["arm"]], **row} for row in rows])
    arms = [_summary(arm, title, rows, lost, level) for arm, title in titles.items()]
    arms = [arm for arm in arms if arm["layers"]]
    outcomes = {arm["arm"]: Outcome.of(arm, "apart_low", "apart_high") for arm in arms}
    facts = {"threshold": ROBUST, "arms": arms}
    claim = Claim.of(
        "Another draw of a layer costs more than setting it back to its start.",
        "",
        "difference, points of test error, mean over layers",
        next((arm for arm in arms if arm["arm"] == "base" and arm["drawn_runs"]), None),
        "apart",
        Outcome.ABOVE,
        ends=("apart_low", "apart_high"),
    )
    return (
        Answer("layers-set-back", outcomes, numbers, facts, finding=LAYERS_FINDING, claims=(claim,)),
        _explained(titles, lost, distances, level),
    )


def _lost(results: Results) -> pl.DataFrame:
    """A row for each layer of each run and what it was set back to: the test error and loss that it cost."""
    measured = curves_of(results, "test", named=_set_back)
    if measured.is_empty():
        return pl.DataFrame(schema=_LOST)
    cost = pl.col("mean").sort_by("alpha").first() - pl.col("mean").sort_by("alpha").last()
    by = ["arm", "seed", "layer", "to"]
    error, loss = (
        measured.filter(pl.col("measure") == measure).group_by(by, maintain_order=True).agg(cost.alias(name))
        for measure, name in (("error", "lost"), ("cross_entropy", "loss"))
    )
    return error.join(loss, on=by, how="left", maintain_order="left")


def _set_back(run: Run, scan: Scan) -> Mapping[str, Any] | None:
    if not scan.block:
        return None
    own = scan.start.recipe == run.recipe
    return {"layer": scan.block, "to": (START if scan.start.at == "start" else str(scan.start)) if own else DRAWN}


def _distances(results: Results) -> pl.DataFrame:
    return results.distances.select("arm", "seed", layer="block", distance="distance_per_parameter")


def _rows(arm: str, lost: pl.DataFrame, distances: pl.DataFrame, level: float) -> list[dict[str, Any]]:
    of_arm = lost.filter(pl.col("arm") == arm)
    wide = widened(level, lost.select("arm", "layer").n_unique())
    rows = []
    for (layer, to), runs in of_arm.group_by(["layer", "to"], maintain_order=True):
        moved = distances.filter((pl.col("arm") == arm) & (pl.col("layer") == layer))["distance"]
        rows.append(
            {
                "arm": arm,
                "layer": layer,
                "to": to,
                "runs": runs.height,
                **columns(_points(runs["lost"], level), "lost"),
                **for_all(_points(runs["lost"], wide)),
                "loss": runs["loss"].mean(),
                "distance": moved.mean(),
            }
        )
    return rows


def _points(values: pl.Series, level: float) -> Estimate:
    """A mean of differences of errors."""
    return inference.bounded(inference.mean(values, level), -100.0, 100.0)


def _summary(arm: str, title: str, rows: list[dict[str, Any]], lost: pl.DataFrame, level: float) -> dict[str, Any]:
    """What an arm's intervals say: layers by outcome, and by how much another draw costs more than the own start."""
    back = [row for row in rows if row["arm"] == arm and row["to"] == START]
    drawn = [row for row in rows if row["arm"] == arm and row["to"] == DRAWN]
    sides = lost.filter(pl.col("arm") == arm).pivot("to", index=["seed", "layer"], values="lost")
    apart = sides.group_by("seed", maintain_order=True).agg(
        (pl.col(DRAWN) - pl.col(START)).mean() if {DRAWN, START} <= set(sides.columns) else pl.lit(None, pl.Float64)
    )
    differences = apart[:, -1].drop_nulls()
    difference = _points(differences, widened(level, lost["arm"].n_unique()))
    outcomes = {row["layer"]: Outcome.of(row, "low_all", "high_all", ROBUST) for row in back}
    sorted_by = {
        name: [row for row in back if outcomes[row["layer"]] is outcome]
        for name, outcome in (("robust", Outcome.BELOW), ("critical", Outcome.ABOVE))
    }
    return {
        "arm": arm,
        "title": title,
        "layers": len(back),
        "runs": max((row["runs"] for row in back), default=0),
        **sorted_by,
        "undecided": [row for row in back if row not in sorted_by["robust"] and row not in sorted_by["critical"]],
        "drawn_runs": differences.len(),
        "apart": difference.value,
        "apart_low": difference.low,
        "apart_high": difference.high,
        "least_drawn": min(drawn, key=lambda row: row["lost"], default=None),
    }


def _explained(titles: Mapping[str, str], lost: pl.DataFrame, distances: pl.DataFrame, level: float) -> Answer:
    """Rank correlation of the distance that a layer moved with what its re-initialisation costs, layers as units."""
    both = lost.filter(pl.col("to") == START).join(distances, on=["arm", "seed", "layer"], maintain_order="left")
    wide = widened(level, len(titles))
    rows = []
    for arm, title in titles.items():
        runs = both.filter(pl.col("arm") == arm)
        if not runs.height:
            continue
        x, y, units = runs["distance"], runs["lost"], runs["layer"].to_list()
        rows.append(
            {
                "arm": arm,
                "title": title,
                "layers": runs["layer"].n_unique(),
                "runs": runs["seed"].n_unique(),
                **columns(inference.rank_correlation(x, y, units, level=level), "correlation"),
                **for_all(inference.rank_correlation(x, y, units, level=wide)),
            }
        )
    outcomes = {str(row["arm"]): Outcome.of(row, "low_all", "high_all") for row in rows}
    facts = {"rows": rows, "fewest": inference.FEWEST_ARMS}
    return Answer("distance-and-robustness", outcomes, pl.DataFrame(rows), facts, finding=DISTANCE_FINDING)
