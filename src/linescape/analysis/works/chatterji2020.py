"""How far each module has to be from its start (Chatterji et al. 2020, arXiv 1912.00528)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from torch import nn

from linescape import data, models
from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, sortable, widened
from linescape.analysis.tables import Results, means
from linescape.analysis.works import critical
from linescape.analysis.works.curves import curves_of
from linescape.recipe import Recipe
from linescape.shape import start_above_end
from linescape.shape.statistics import segment
from linescape.studies.study import Noise, Run, Scan

WITHIN = 1.01
"""How many times the final loss a module's line may have, as in a third-party implementation of the source."""

FINDING = (
    "few modules are critical, early ones and those that reduce the resolution, with noise added "
    "(not checked against its text)"
)

CONTRASTS = ("lost", "alpha")
"""The first module and those that reduce the resolution, the source's critical ones, minus all others. Both are
corrected: the smallest alpha alone was meant, but is 1 for every module where the loss falls to the very end."""

_MODULE = {"seed": pl.Int64, "module": pl.String, "alpha": pl.Float64, "lost": pl.Float64, "distance": pl.Float64}


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """Three answers: what modules cost without noise, how critical they are with it, and how critical networks are.

    The first is of the loss that each module costs at its start, and of the smallest alpha that keeps the final loss,
    of the training loss, as in the source. Columns of `numbers`: module, early (whether it is first or reduces the
    resolution), runs, alpha, alpha_low, alpha_high, lost (nats of training loss at alpha = 0 above the final one),
    lost_low, lost_high, moved (alpha times the distance of the module: the root of criticality's numerator). Intervals
    are t intervals over runs, corrected for the modules.
    """
    on_lines = curves_of(
        results, "train", "cross_entropy", lambda _, scan: {"module": scan.block} if scan.block else None
    )
    runs = _of_runs(on_lines, results.distances)
    early = reducing(results.study.arms[0].runs[0].recipe) if runs.height or results.of(Noise) else ()
    wide = widened(level, 2 * runs["module"].n_unique())
    rows = [_row(str(module), of_module, early, wide) for (module,), of_module in _by(runs, "module")]
    apart = {name: _apart(runs, early, name, widened(level, len(CONTRASTS))) for name in CONTRASTS}
    facts = {
        "rows": rows,
        "early": [row for row in rows if row["early"]],
        "within": WITHIN,
        "apart": apart,
        "ordered": sorted(rows, key=lambda row: -sortable(row["lost"])),
        "sooner": [row for row in rows if row["alpha"] < 1],
        "lines": means(on_lines),
        "chance": results.runs["chance_loss"].drop_nulls().first() if results.runs.height else None,
    }
    outcomes = {name: Outcome.of(row if row["runs"] else None) for name, row in apart.items()}
    claim = Claim.of(
        "Early modules and those that reduce the resolution are the critical ones.",
        "",
        "training loss lost at the start minus that of the other modules, nats",
        apart["lost"] if apart["lost"]["runs"] else None,
        "difference",
        Outcome.ABOVE,
        ends=("low", "high"),
    )
    without = Answer("modules", outcomes, pl.DataFrame(rows), facts, finding=FINDING, claims=(claim,))
    return (without, critical.modules(results, early, level), critical.networks(results, level))


def _module(_: Run, scan: Scan) -> dict[str, str] | None:
    return {"module": scan.block} if scan.block else None


def smallest_alpha(alphas: ArrayLike, losses: ArrayLike) -> float:
    """The smallest measured alpha from which on the loss is at most `WITHIN` times that at alpha = 1.

    NaN where the final loss is; another loss that is NaN or infinite is beyond it.
    """
    alphas, losses = segment(alphas, losses)
    if not np.isfinite(losses[-1]):
        return float("nan")
    beyond = ~(losses <= WITHIN * losses[-1])
    beyond[-1] = False
    return float(alphas[np.flatnonzero(beyond)[-1] + 1]) if beyond.any() else float(alphas[0])


def reducing(recipe: Recipe) -> tuple[str, ...]:
    """The first convolution or linear layer of a training's network, and the convolutions with a stride."""
    network = models.outline(recipe.model, *data.form(recipe.data)).named_modules()
    found = {name: layer for name, layer in network if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)}
    return tuple(
        name
        for place, (name, layer) in enumerate(found.items())
        if not place or (isinstance(layer, nn.modules.conv._ConvNd) and max(layer.stride) > 1)
    )


def _of_runs(on_lines: pl.DataFrame, distances: pl.DataFrame) -> pl.DataFrame:
    moved = dict(zip(distances.select("seed", "block").iter_rows(), distances["distance"], strict=True))
    rows = []
    for (seed, module), line in _by(on_lines, "seed", "module"):
        alphas, losses = line["alpha"].to_numpy(), line["mean"].to_numpy()
        row = {"alpha": smallest_alpha(alphas, losses), "lost": start_above_end([0, 1], losses[[0, -1]])}
        rows.append({"seed": seed, "module": module, **row, "distance": moved.get((seed, module))})
    return pl.DataFrame(rows, schema=_MODULE)


def _row(module: str, runs: pl.DataFrame, early: Iterable[str], level: float) -> dict[str, Any]:
    return {
        "module": module,
        "early": module in early,
        "runs": runs.height,
        **columns(inference.bounded(inference.mean(runs["alpha"], level), 0.0, 1.0), "alpha", "alpha_"),
        "alpha_least": runs["alpha"].min(),
        "alpha_most": runs["alpha"].max(),
        **columns(inference.mean(runs["lost"], level), "lost", "lost_"),
        "moved": (runs["alpha"] * runs["distance"]).mean(),
    }


def _apart(runs: pl.DataFrame, early: Iterable[str], name: str, level: float) -> dict[str, Any]:
    """Of each run the difference of both groups of modules, then over runs."""
    is_early = pl.col("module").is_in(list(early))
    sides = runs.group_by("seed", maintain_order=True).agg(
        early=pl.col(name).filter(is_early).mean(), others=pl.col(name).filter(~is_early).mean()
    )
    difference = (sides["early"] - sides["others"]).drop_nulls()
    sides_of = {side: sides[side].mean() for side in ("early", "others")}
    return {"runs": difference.len(), **sides_of, **columns(inference.mean(difference, level), "difference")}


def _by(frame: pl.DataFrame, *names: str) -> Any:
    return frame.group_by(list(names), maintain_order=True)
