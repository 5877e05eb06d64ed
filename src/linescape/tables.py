"""A study's results as data frames: what was measured, a row for each run, line, position or arm.

Null means not measured (yet), NaN measured but not a number. Nothing is left out silently: a run without results
has a row with its status, a line that is not walked is named in its run's `missing`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import polars as pl

from linescape import inference
from linescape.curve import Curve
from linescape.data.sets import known
from linescape.errors import MeasureError, RecipeError
from linescape.recipe import Data, Recipe, Trained
from linescape.shape import NUMBERS, Estimate, summary
from linescape.space import State, distances
from linescape.study import Arm, Moment, Run, Scan, Study, Train

SHAPES = (*NUMBERS, "plateau_loss", "plateau_error")
"""The shape numbers of a run's line, as in `linescape.shape`; columns `test_...` and `train_...` of `Results.runs`."""

TOLERANCE = 0.05
"""Largest rise, in nats, of a line that still counts as monotone: 2 % of ln 10, and above the rises (up to 0.04) of
the plateaus that Vlaar & Frankle (2022) call free of barriers. Lucas et al. (2021) use 0.001 and 0 on training loss."""

_MEASURED = (
    "test_accuracy",
    "test_loss",
    "train_accuracy",
    "train_loss",
    "distance",
    "relative_distance",
    "distance_per_parameter",
    *(f"{data}_{number}" for data in ("test", "train") for number in SHAPES),
)
_HEAD: dict[str, type[pl.DataType]] = {"arm": pl.String, "group": pl.String, "title": pl.String}
_ACCURACY: dict[str, type[pl.DataType]] = {
    **_HEAD,
    "n": pl.Int64,
    "diverged": pl.Int64,
    **dict.fromkeys(("mean", "deviation", "low", "high"), pl.Float64),
    "baseline": pl.String,
    **dict.fromkeys(("difference", "difference_low", "difference_high"), pl.Float64),
}
_RUN: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("arm", "group", "title", "baseline"), pl.String),
    "seed": pl.Int64,
    **dict.fromkeys(("key", "test_set", "status"), pl.String),
    "missing": pl.List(pl.String),
    "reason": pl.String,
    "epochs": pl.Int64,
    **dict.fromkeys(("seconds", "chance_loss", "chance_error"), pl.Float64),
    **dict.fromkeys(_MEASURED, pl.Float64),
}
_LINE: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("arm", "group", "title"), pl.String),
    "seed": pl.Int64,
    **dict.fromkeys(("label", "kind", "data", "measure", "batchnorm"), pl.String),
    **dict.fromkeys(("alpha", "mean", "standard_error"), pl.Float64),
    "not_finite": pl.Int64,
}
_DISTANCE: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("arm", "group", "title"), pl.String),
    "seed": pl.Int64,
    "block": pl.String,
    **dict.fromkeys(("distance", "relative_distance", "distance_per_parameter"), pl.Float64),
    "parameters": pl.Int64,
}
_WALK: dict[str, type[pl.DataType]] = {
    "arm": pl.String,
    "seed": pl.Int64,
    "label": pl.String,
    "key": pl.String,
    "batchnorm": pl.String,
    "positions": pl.Int64,
    **dict.fromkeys(("test_examples", "train_examples", "not_finite"), pl.Int64),
    "seconds": pl.Float64,
    **dict.fromkeys(("device", "dtype", "linescape", "torch", "python", "notes"), pl.String),
}


class Source(Protocol):
    """Where results are: what `linescape.store.Store` offers to those who only read."""

    def has(self, task: Train | Scan) -> bool:
        """Whether a task is settled: done, or declined."""

    def declined(self, task: Train | Scan) -> str | None:
        """Why a settled task was not done and never will be; None if it was."""

    def diverged(self, recipe: Recipe) -> bool:
        """Whether a finished training ended in NaN or infinity."""

    def about(self, task: Train | Scan) -> dict[str, Any]:
        """What is noted of a settled task, such as ``seconds``."""

    def curve(self, scan: Scan) -> Curve:
        """The curve of a scan that is done."""

    def state(self, moment: Moment) -> State:
        """The state at a moment of a training that is done."""

    def log(self, recipe: Recipe) -> pl.DataFrame:
        """A row for each epoch of a training that is done."""


@dataclass(frozen=True, eq=False)
class Results:
    """What a store holds of a study.

    Attributes:
        study: the study.
        runs: a row for each run: arm, group, title, baseline, seed, key, test_set (runs with the same are comparable
            in accuracy), status (``done``, ``missing``, ``diverged``, ``declined``: see `Source.declined`), missing
            (labels not walked yet, ``training``), reason (why declined), epochs and seconds (of training), chance_loss
            (nats), chance_error (%), test_ and train_accuracy (%) and _loss (nats) at the end, distance,
            relative_distance and distance_per_parameter (see `space.Distance`), and `SHAPES` of the whole line's cross
            entropy under the first BatchNorm treatment, as test_... and train_....
        lines: a row for each position of each line: arm, group, title, seed, label, kind (``whole``, ``block``,
            ``other``), data, measure, batchnorm, alpha, mean (over examples), standard_error, not_finite (examples).
        distances: a row for each run and block, and for ``all`` parameters.
        walks: a row for each line that was walked: how, with what, how long.
    """

    study: Study
    runs: pl.DataFrame
    lines: pl.DataFrame
    distances: pl.DataFrame
    walks: pl.DataFrame


def read(study: Study, store: Source) -> Results:
    """Everything that a store holds of a study; each curve and state is read once.

    Raises:
        StoreError: a result is damaged.
    """
    rows: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    walks: list[dict[str, Any]] = []
    lines: list[pl.DataFrame] = []
    for arm in study.arms:
        for run in arm.runs:
            curves = {label: store.curve(scan) for label, scan in run.lines.items() if _has(store, scan)}
            own = _moved(run, store, curves)
            about = {"arm": arm.name, "group": arm.group, "title": arm.title, "seed": run.recipe.seed}
            rows.append(about | _row(arm, run, store, curves, own))
            moved += [about | row for row in own]
            for label, curve in curves.items():
                lines.append(_positions(about, run.lines[label], label, curve))
                walks.append(about | _walk(run.lines[label], label, curve, int(lines[-1]["not_finite"].sum())))
    return Results(
        study,
        runs=pl.DataFrame(rows, schema=_RUN),
        lines=pl.concat([pl.DataFrame(schema=_LINE), *lines]),
        distances=pl.DataFrame(moved, schema=_DISTANCE),
        walks=pl.DataFrame(walks, schema=_WALK),
    )


def means(lines: pl.DataFrame) -> pl.DataFrame:
    """Mean over the runs of an arm at each position: `Results.lines` without seeds, and `runs`, their number.

    Where one run is NaN or infinite, so is the mean. It hides humps that stand at different alphas: show single runs.
    """
    keys = ["arm", "group", "title", "label", "kind", "data", "measure", "batchnorm", "alpha"]
    return lines.group_by(keys, maintain_order=True).agg(
        pl.col("mean").mean(), pl.len().alias("runs"), pl.col("not_finite").sum()
    )


def comparable(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs measured on the test set that most of them share: accuracies on other sets mean something else."""
    if runs.is_empty():
        return runs
    counts = runs.group_by("test_set", maintain_order=True).len()
    return runs.filter(pl.col("test_set") == counts.sort("len", descending=True, maintain_order=True)["test_set"][0])


def accuracy(runs: pl.DataFrame, level: float = 0.95) -> pl.DataFrame:
    """A row for each arm: test accuracy in %, and by how much it differs from the baseline arm.

    Columns: arm, group, title, n (runs measured that did not diverge: the others follow from these), diverged (runs),
    mean, deviation (between runs, n - 1), low, high (t interval, cut at 0 and 100), baseline, difference,
    difference_low, difference_high (Welch's interval; null where the baseline has another test set or is the arm
    itself). Intervals as in `linescape.inference`, each for itself: of 20 arms that change nothing, one is expected
    to exclude zero.
    """
    rows = []
    for arm in _arms(runs):
        own = arm.filter(_sound)["test_accuracy"].drop_nulls()
        mean = inference.mean(own, level)
        row = _head(arm) | {"n": len(own), "diverged": arm["status"].to_list().count("diverged")}
        row |= {"mean": mean.value, "deviation": _deviation(own)} | _ends(mean)
        row |= {"low": max(row["low"], 0.0), "high": min(row["high"], 100.0)}  # NaN stays: it compares as false
        base = _baseline(runs, arm)
        row["baseline"] = None if base is None else arm["baseline"][0]
        if base is not None:
            apart = inference.difference(own, base.filter(_sound)["test_accuracy"].drop_nulls(), level)
            row |= {"difference": apart.value} | _ends(apart, "difference_")
        rows.append(row)
    return pl.DataFrame(rows, schema=_ACCURACY)


def shapes(runs: pl.DataFrame, tolerance: float = TOLERANCE) -> pl.DataFrame:
    """A row for each arm: how its whole lines look on test cross entropy.

    Columns: arm, group, title, n (lines measured of runs that did not diverge), not_monotone (how many of them have
    min_delta above `tolerance` nats), and the mean of each of `SHAPES`, NaN if it is NaN for one run.
    """
    measured = runs.filter(_sound & pl.col("test_min_delta").is_not_null())
    return measured.group_by(list(_HEAD), maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n"),
        not_monotone(tolerance).sum().cast(pl.Int64).alias("not_monotone"),
        *(pl.col(f"test_{number}").mean().alias(number) for number in SHAPES),
    )


def not_monotone(tolerance: float = TOLERANCE, number: str = "min_delta") -> pl.Expr:
    """True for runs whose test `number` is above `tolerance` nats; false for NaN, null where not measured."""
    column = pl.col(f"test_{number}")
    return column.is_not_nan() & (column > tolerance)


def partial(results: Results, level: float = 0.95) -> pl.DataFrame:
    """Trained networks with some blocks set back to random and trained again, beside training from scratch.

    As `accuracy`, for the arms of group ``partial`` and their baselines, and `reset`, the blocks set back.
    """
    reset = {
        arm.name: ", ".join(run.recipe.init.reset)
        for arm in results.study.arms
        for run in arm.runs
        if arm.group == "partial" and isinstance(run.recipe.init, Trained)
    }
    bases = {arm.baseline for arm in results.study.arms if arm.name in reset}
    table = accuracy(results.runs, level).filter(pl.col("arm").is_in([*reset, *bases]))
    return table.with_columns(pl.col("arm").replace_strict(reset, default="").alias("reset"))


def classes(data: Data) -> int | None:
    """Number of classes of a data set after the recipe's choice; None for a set unknown here."""
    try:
        return len(data.classes) or known(data.name).classes
    except RecipeError:
        return None


def test_set(data: Data) -> str:
    """What a network is measured on, in words; whatever is done to the training half alone does not count."""
    size = f", {data.size} x {data.size} pixels" if data.size else ""
    return f"{data.name}{size}" + (f", classes {' '.join(map(str, data.classes))}" if data.classes else "")


def kind(scan: Scan) -> Literal["whole", "block", "other"]:
    """``block`` for a layer-wise line, ``whole`` from a training's own start to its end, else ``other``."""
    if scan.block:
        return "block"
    return "whole" if scan.start == Moment(scan.end.recipe, "start") and scan.end.at == "end" else "other"


_sound = pl.col("status") != "diverged"

# -- rows --------------------------------------------------------------------------------------------------------


def _row(arm: Arm, run: Run, store: Source, curves: Mapping[str, Curve], moved: list[dict[str, Any]]) -> dict[str, Any]:
    recipe = run.recipe
    number = classes(recipe.data)
    tasks: dict[str, Train | Scan] = {"training": Train(recipe), **run.lines}
    missing = [label for label, task in tasks.items() if not store.has(task)]
    reasons = [reason for task in tasks.values() if store.has(task) and (reason := store.declined(task))]
    row: dict[str, Any] = {
        "baseline": arm.baseline,
        "key": recipe.key,
        "test_set": test_set(recipe.data),
        "missing": missing,
        "reason": reasons[0] if reasons else None,
        "chance_loss": math.log(number) if number else None,
        "chance_error": 100 * (1 - 1 / number) if number else None,
        **dict.fromkeys(_MEASURED),
    }
    if moved:
        row |= {name: moved[0][name] for name in ("distance", "relative_distance", "distance_per_parameter")}
    trained = _has(store, Train(recipe))
    if trained:
        row |= _last(store.log(recipe)) | {"seconds": store.about(Train(recipe)).get("seconds")}
    whole = [label for label, scan in run.lines.items() if kind(scan) == "whole" and label in curves]
    if whole:
        row |= _shape(curves[whole[0]], run.lines[whole[0]].batchnorm[0], number)
    diverged = trained and store.diverged(recipe)
    row["status"] = "diverged" if diverged else "declined" if reasons else "missing" if missing else "done"
    return row


def _has(store: Source, task: Train | Scan) -> bool:
    """Whether a task is done and left a result."""
    return store.has(task) and store.declined(task) is None


def _last(log: pl.DataFrame) -> dict[str, Any]:
    """Epochs done, and the last test loss and accuracy: measured again by the whole line, where that is walked.

    The log's training columns are means over an epoch of changing weights, so they are not the end's.
    """
    if not log.height or log["test_loss"][-1] is None:
        return {"epochs": log.height}
    return {"epochs": log.height, "test_loss": log["test_loss"][-1], "test_accuracy": 100 - log["test_error"][-1]}


def _shape(curve: Curve, batchnorm: str, number: int | None) -> dict[str, float]:
    """Shape numbers of the whole line, and losses and accuracies at its end, which is the trained network."""
    found: dict[str, float] = {}
    for data in ("test", "train"):
        try:
            loss, error = (curve[data, measure, batchnorm] for measure in ("cross_entropy", "error"))
        except MeasureError:
            continue
        numbers = summary(loss.alphas, loss.mean, error.mean, number)
        found |= {f"{data}_{name}": value for name, value in numbers.items()}
        end = curve.alphas.tolist().index(1.0)
        found |= {f"{data}_loss": float(loss.mean[end]), f"{data}_accuracy": 100 - float(error.mean[end])}
    return found


def _moved(run: Run, store: Source, curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    """How far all parameters moved, then those of each block whose line was walked."""
    if not _has(store, Train(run.recipe)):
        return []
    start, end = store.state(Moment(run.recipe, "start")), store.state(Moment(run.recipe))
    blocks = {}
    for label, curve in curves.items():
        if run.lines[label].block:
            at_rest = set(curve.provenance.get("at_rest", ()))
            blocks[run.lines[label].block] = tuple(name for name in start.parameters if name not in at_rest)
    return [
        {
            "block": block,
            "distance": found.total,
            "relative_distance": found.relative,
            "distance_per_parameter": found.per_parameter,
            "parameters": found.count,
        }
        for block, found in distances(start, end, blocks).items()
    ]


def _walk(scan: Scan, label: str, curve: Curve, not_finite: int) -> dict[str, Any]:
    held = curve.provenance
    examples = held.get("examples", {})
    return {
        "label": label,
        "key": scan.key,
        "batchnorm": ", ".join(scan.batchnorm),
        "positions": len(curve.alphas),
        "test_examples": examples.get("test"),
        "train_examples": examples.get("train"),
        "not_finite": not_finite,
        "seconds": held.get("seconds"),
        "notes": " ".join(held.get("notes", ())),
        **{name: held.get(name) for name in ("device", "dtype", "linescape", "torch", "python")},
    }


def _positions(about: dict[str, Any], scan: Scan, label: str, curve: Curve) -> pl.DataFrame:
    named = {name: pl.lit(value) for name, value in (about | {"label": label, "kind": kind(scan)}).items()}
    frame = curve.frame().with_columns(**named)
    return frame.select(pl.col(name).cast(dtype) for name, dtype in _LINE.items())


def _arms(runs: pl.DataFrame) -> Iterator[pl.DataFrame]:
    yield from runs.partition_by("arm", maintain_order=True)


def _baseline(runs: pl.DataFrame, arm: pl.DataFrame) -> pl.DataFrame | None:
    """The runs of an arm's baseline, if that is another arm measured on the same test set."""
    base = runs.filter(
        (pl.col("arm") == arm["baseline"][0])
        & (pl.col("arm") != arm["arm"][0])
        & (pl.col("test_set") == arm["test_set"][0])
    )
    return None if base.is_empty() else base


def _head(arm: pl.DataFrame) -> dict[str, Any]:
    return {name: arm[name][0] for name in _HEAD}


def _ends(estimate: Estimate, prefix: str = "") -> dict[str, float]:
    return {f"{prefix}low": estimate.low, f"{prefix}high": estimate.high}


def _deviation(values: pl.Series) -> float:
    found = values.std()
    return float(found) if isinstance(found, float) else math.nan
