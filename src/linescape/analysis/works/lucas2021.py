"""Which trainings have a monotone line, and does the distance tell (Lucas et al. 2021, arXiv 2104.11044)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works import aborted, other_ends, turning
from linescape.analysis.works.curves import curves_of, of_runs, undefined
from linescape.recipe import MLP, Model, ResNet
from linescape.shape import bumps, min_delta
from linescape.studies.works.lucas2021 import ELSEWHERE, ENDS, OPTIMIZERS, RESIDUAL, RESIDUAL_LIMIT, SCALES

RISE = 1e-3
"""The largest rise, in nats, of a line that the source's tables of fully connected networks count as monotone."""

FINDINGS = {
    "grid-of-lines": "most lines are monotone; BatchNorm and adaptive optimizers encourage lines that are not",
    "distance-and-rise": "large distances in weight space encourage lines that are not monotone",
    "grid-of-residual-lines": "BatchNorm and adaptive optimizers encourage lines that are not monotone",
}
PRIMARY = ("BatchNorm", "Adam")
"""The changes whose effect on the rise is declared as primary contrast before looking."""


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """How many lines of each kind of training are monotone, and whether the distance moved tells which.

    The number of seeds is 1: in this study they count the points of a grid.
    """
    runs = points(results)
    connected, residual = runs.filter(pl.col("start") == ""), runs.filter(pl.col("start") != "")
    labels = {"whole": "rise", ELSEWHERE: "elsewhere"}
    return (
        _grid(results, connected, level),
        _distance(connected, level),
        _residual(results, residual, level),
        turning.answer(results, connected.filter("kept"), labels, RISE, level),
        other_ends.answer(results, ENDS, RISE, level),
    )


def points(results: Results) -> pl.DataFrame:
    """A row for each run, with its point of the grid and what its lines show.

    Columns: arm, title, seed, optimizer, norm, start (of a residual network ``drawn``, ``identity`` or ``fixup``, else
    empty), rate, depth, widths (of hidden layers), activation, setting (what else of the network differs within an arm,
    in words), relative_distance, rise (min Delta of training loss, nats), elsewhere (the same from another draw),
    held_out (of test loss), loss (training loss at the end), bumps, width (mean) and height (highest), of the bumps as
    in the source's code, which forgets a rise in the last interval (`shape.bumps`), aborted (whether the source's rule
    would have stopped the training, see `aborted.is_aborted`), below (whether the loss is at most the limit) and kept
    (whether it is, and the training is not aborted).
    """
    lines = curves_of(results, "train", "cross_entropy")
    of_line = {
        name: {
            (row["arm"], row["seed"]): row["value"]
            for row in of_runs(lines.filter(pl.col("label") == label), statistic).iter_rows(named=True)
        }
        for name, label, statistic in (
            ("rise", "whole", min_delta),
            ("elsewhere", ELSEWHERE, min_delta),
            ("loss", "whole", lambda _, losses: losses[-1]),
            ("bumps", "whole", lambda *curve: len(bumps(*curve, published=True))),
            ("width", "whole", lambda *curve: _mean([bump.width for bump in bumps(*curve, published=True)])),
            (
                "height",
                "whole",
                lambda *curve: np.max([bump.height for bump in bumps(*curve, published=True)], initial=0.0),
            ),
        )
    }
    held_out = of_runs(curves_of(results, "test", "cross_entropy").filter(pl.col("label") == "whole"), min_delta)
    of_line["held_out"] = {(row["arm"], row["seed"]): row["value"] for row in held_out.iter_rows(named=True)}
    distances = {
        (arm, seed): moved for arm, seed, moved in results.runs.select("arm", "seed", "relative_distance").rows()
    }
    stopped = aborted.of_runs(results)
    rows = []
    for arm in (arm for arm in results.study.arms if arm.group != ENDS):
        for run in arm.runs:
            recipe, key = run.recipe, (arm.name, run.seed)
            measured = {name: values.get(key) for name, values in of_line.items()}
            limit = SCALES[results.study.scale].limit if isinstance(recipe.model, MLP) else RESIDUAL_LIMIT
            rows.append(
                {"arm": arm.name, "title": arm.title, "seed": run.seed, "optimizer": recipe.optimizer.name}
                | {"rate": recipe.optimizer.lr, "relative_distance": distances.get(key)}
                | _network(recipe.model)
                | measured
                | {"aborted": stopped.get(key), "below": measured["loss"] is not None and measured["loss"] <= limit}
            )
    return pl.DataFrame(rows, schema=_POINT).with_columns(
        kept=pl.col("below") & ~pl.col("aborted").fill_null(value=False)
    )


def _network(model: Model) -> dict[str, Any]:
    """The columns of `points` that say which network."""
    if isinstance(model, MLP):
        depth, kind, widths = len(model.hidden), model.activation, "-".join(map(str, model.hidden))
        setting = f"{depth if len(set(model.hidden)) == 1 else widths}, {kind}"
        return {
            "norm": model.norm,
            "start": "",
            "depth": depth,
            "widths": widths,
            "activation": kind,
            "setting": setting,
        }
    assert isinstance(model, ResNet)
    start = "identity" if model.identity else "drawn" if model.norm == "batch" else "fixup"
    name = next(title for title, *made in RESIDUAL.values() if made == [model.norm, model.identity])
    setting = f"{name}, {model.depth} layers"
    named = {"norm": model.norm, "start": start, "depth": model.depth, "widths": "", "activation": "relu"}
    return named | {"setting": setting}


_POINT = {
    **dict.fromkeys(("arm", "title"), pl.String),
    "seed": pl.Int64,
    **dict.fromkeys(("optimizer", "norm", "start"), pl.String),
    "rate": pl.Float64,
    "depth": pl.Int64,
    **dict.fromkeys(("widths", "activation", "setting"), pl.String),
    **dict.fromkeys(("relative_distance", "rise", "elsewhere", "held_out", "loss"), pl.Float64),
    **dict.fromkeys(("bumps", "width", "height"), pl.Float64),
    **dict.fromkeys(("aborted", "below"), pl.Boolean),
}


def _grid(results: Results, runs: pl.DataFrame, level: float) -> Answer:
    """The source's table, and what BatchNorm and Adam change at equal settings otherwise.

    The points of a grid are chosen, not drawn, so shares have no interval. A change of the rise has the permutation
    interval of pairs of points that differ in it alone, both of them kept: under no effect the signs of differences are
    as if tossed. The changes in `PRIMARY` are corrected for their number.

    Columns of `numbers`: title (of an arm), runs, aborted (trainings that the source's rule takes out, whether or not
    their line is measured), kept (not aborted, and below the limit of training loss), not_monotone (of these, a
    rise above `RISE`), rise (mean min Delta of these alone, nats), bumps (mean number of the kept), width, height
    (means over the kept with bumps), elsewhere (not monotone from another draw, of the kept), held_out (not monotone on
    test loss, of the kept).
    """
    kept = runs.filter("kept")
    rows: list[dict[str, Any]] = []
    for (arm, title), of_arm in runs.group_by(["arm", "title"], maintain_order=True):
        own = kept.filter(pl.col("arm") == arm)
        rising, bumpy = own.filter(pl.col("rise") > RISE), own.filter(pl.col("bumps") > 0)
        row = {"arm": arm, "title": title, "runs": of_arm["rise"].count(), "aborted": of_arm.filter("aborted").height}
        row |= {"kept": own.height}
        row |= {"not_monotone": rising.height}
        row |= {"rise": rising["rise"].mean(), "bumps": own["bumps"].mean()}
        row |= {"width": bumpy["width"].mean(), "height": bumpy["height"].mean()}
        row |= {name: own.filter(pl.col(name) > RISE).height for name in ("elsewhere", "held_out")}
        rows.append(row)
    wide = widened(level, len(PRIMARY))
    changes = [
        _change(kept, "BatchNorm", "norm", ("none", "batch"), wide),
        _change(kept, "Adam", "optimizer", ("sgd", "adam"), wide),
    ]
    outcomes = {change["change"]: Outcome.of(change, "low_all", "high_all") for change in changes if change["pairs"]}
    facts = {
        "rows": rows,
        "changes": changes,
        "kept": kept.height,
        "measured": int(runs["rise"].count()),
        "not_monotone": sum(row["not_monotone"] for row in rows),
        "undefined": undefined(kept["rise"]) + undefined(kept["elsewhere"]),
        "limit": SCALES[results.study.scale].limit,
        "rule": aborted.counted(results, runs),
        "least": RISE,
        "points": runs,
    }
    name = "grid-of-lines"
    claims = tuple(map(_claim, changes))
    return Answer(name, outcomes, pl.DataFrame(rows), facts, finding=FINDINGS[name], seeds=1, claims=claims)


def _claim(change: dict[str, Any], of: str = "") -> Claim:
    return Claim.of(
        f"{change['change']} encourages lines{of} that are not monotone.",
        "",
        "change of the largest rise of training loss, nats",
        change if change["pairs"] else None,
        "difference",
        Outcome.ABOVE,
    )


def _change(kept: pl.DataFrame, name: str, column: str, values: tuple[str, str], level: float) -> dict[str, Any]:
    """The rise with the second value minus that with the first, over points that differ in it alone."""
    settings = ("optimizer", "norm", "start", "rate", "depth", "widths", "activation")
    same = [name for name in settings if name != column]
    before, after = (kept.filter(pl.col(column) == value) for value in values)
    pairs = after.join(before, on=same, suffix="_before")
    apart = inference.paired_difference(pairs["rise"], pairs["rise_before"], level)
    with np.errstate(invalid="ignore"):  # infinity - infinity: NaN is meant, and neither more nor less
        after_minus_before = pairs["rise"].to_numpy() - pairs["rise_before"].to_numpy()
    counts = {"more": int((after_minus_before > RISE).sum()), "less": int((after_minus_before < -RISE).sum())}
    return {"change": name, "pairs": pairs.height, "difference": apart.value} | for_all(apart) | counts


def _residual(results: Results, runs: pl.DataFrame, level: float) -> Answer:
    """The source's tables of residual networks by norm and start, and by learning rate, for each optimizer.

    Changes are as in `_grid`, over pairs of runs that differ in one thing: BatchNorm, between the two identity starts;
    Adam; and the identity start, with BatchNorm. The three are declared before looking and corrected for their number.

    Columns of `numbers`: by (``network`` or ``rate``), title, optimizer, runs, aborted (trainings that the source's
    rule takes out), kept (not aborted, and below `RESIDUAL_LIMIT`), not_monotone (of these, a rise above `RISE`), rise
    (mean min Delta of these alone, nats).
    """
    named = runs.with_columns(
        network=pl.col("title").str.replace(r", [^,]*$", ""), step="learning rate " + pl.col("rate").cast(pl.String)
    )
    rows: list[dict[str, Any]] = []
    for by, column in (("network", "network"), ("rate", "step")):
        for (title, optimizer), own in named.group_by([column, "optimizer"], maintain_order=True):
            kept = own.filter("kept")
            rising = kept.filter(pl.col("rise") > RISE)
            row = {"by": by, "title": title, "optimizer": OPTIMIZERS[optimizer], "runs": own["rise"].count()}
            row |= {"aborted": own.filter("aborted").height}
            rows.append(row | {"kept": kept.height, "not_monotone": rising.height, "rise": rising["rise"].mean()})
    kept, wide = runs.filter("kept"), widened(level, 3)
    changes = [
        _change(kept, "BatchNorm", "norm", ("none", "batch"), wide),
        _change(kept, "Adam", "optimizer", ("sgd", "adam"), wide),
        _change(kept, "the identity start", "start", ("drawn", "identity"), wide),
    ]
    outcomes = {change["change"]: Outcome.of(change, "low_all", "high_all") for change in changes if change["pairs"]}
    rising = kept.filter(pl.col("rise") > RISE)
    facts = {
        "rows": rows,
        "changes": changes,
        "kept": kept.height,
        "measured": int(runs["rise"].count()),
        "not_monotone": rising.height,
        "undefined": undefined(kept["rise"]),
        "limit": RESIDUAL_LIMIT,
        "rule": aborted.counted(results, runs),
        "least": RISE,
        "points": runs.with_columns(arm="optimizer", title=pl.col("optimizer").replace_strict(dict(OPTIMIZERS))),
    }
    claims = tuple(_claim(change, " of residual networks") for change in changes[:2])
    name = "grid-of-residual-lines"
    return Answer(name, outcomes, pl.DataFrame(rows), facts, finding=FINDINGS[name], seeds=1, claims=claims)


def _distance(runs: pl.DataFrame, level: float) -> Answer:
    """The rank correlation of the relative distance moved with the rise, over the kept runs.

    Points of the grid are the unit of the jackknife interval; a line with a NaN has no rise and is left out. Columns of
    `numbers`: among (all kept runs, or within the arms), runs, spearman, low, high.
    """
    moved = runs.filter(pl.col("kept") & pl.col("relative_distance").is_not_null())
    kept = moved.filter(pl.col("rise").is_not_nan())
    units = [f"{arm} {seed}" for arm, seed in kept.select("arm", "seed").iter_rows()]
    x, y = kept["relative_distance"], kept["rise"]
    whole = inference.rank_correlation(x, y, units, level=level)
    within = inference.within_groups(x, y, units, kept["arm"].to_list(), level=level)
    rows = [
        {"among": among, "runs": kept.height} | columns(estimate, "spearman")
        for among, estimate in (("all kept runs", whole), ("within arms", within))
    ]
    outcomes = {"all": Outcome.of(rows[0])} if kept.height else {}
    facts = {"rows": rows if kept.height else [], "undefined": undefined(moved["rise"]), "points": kept}
    claim = Claim.of(
        "Large distances moved go with lines that are not monotone.",
        "",
        "rank correlation of distance and largest rise",
        rows[0] if kept.height else None,
        "spearman",
        Outcome.ABOVE,
        ends=("low", "high"),
    )
    name = "distance-and-rise"
    return Answer(name, outcomes, pl.DataFrame(rows), facts, finding=FINDINGS[name], seeds=1, claims=(claim,))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
