"""A study's results as data frames, read once: a row for each run, line, position or statistic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from linescape import models, presentation
from linescape.analysis.tables import epochs, layerwise, trajectory
from linescape.analysis.tables.source import Source
from linescape.data import examples, form, stored
from linescape.errors import CheckpointError, DataError, MeasureError, RecipeError
from linescape.geometry.moved import Move, moves, together
from linescape.interpolation.curve import Curve
from linescape.recipe import Data, Recipe, Trained, Weights
from linescape.shape import LOSS_STATISTICS, STATISTICS, estimates, rise_p_value, summary
from linescape.studies.paths import Straight
from linescape.studies.study import Arm, Keep, Measurement, Moment, Run, Scan, Study, Task, Train
from linescape.training.initialisation import from_file
from linescape.training.loop import decay_sum

if TYPE_CHECKING:
    from linescape.interpolation.curve import Plot

DEFINITIONS = (*STATISTICS, "plateau_loss", "plateau_error")
"""Statistics of a run's line, as in `linescape.shape`; columns `test_...` and `train_...` of `Results.runs`."""

LEARNT = 20.0
"""Training error, in % of the wrong labels, up to which a network trained on them has learnt them. Where only a share
of the labels is wrong, a network that learnt none of them has that share as its error."""

_LAYERWISE = ("whole", "block")
"""Kinds of lines that are compared block by block."""

_MEASURED = (
    "test_accuracy",
    "test_loss",
    "train_accuracy",
    "train_loss",
    "distance",
    "relative_distance",
    "distance_per_parameter",
    *(f"{data}_{number}" for data in ("test", "train") for number in DEFINITIONS),
)
_RUN: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("arm", "group", "title", "baseline"), pl.String),
    "seed": pl.Int64,
    **dict.fromkeys(("key", "test_set", "status"), pl.String),
    "missing": pl.List(pl.String),
    "reason": pl.String,
    "epochs": pl.Int64,
    **dict.fromkeys(("seconds", "chance_loss", "chance_error", "start_error", "decay_sum"), pl.Float64),
    **dict.fromkeys(_MEASURED, pl.Float64),
    "test_examples": pl.Int64,
    "rise_p_value": pl.Float64,
    "start_learnt": pl.Boolean,
    "precision": pl.String,
}
_LINE: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("arm", "group", "title"), pl.String),
    "seed": pl.Int64,
    **dict.fromkeys(("label", "kind", "data", "measure", "batchnorm"), pl.String),
    **dict.fromkeys(("alpha", "mean", "standard_error"), pl.Float64),
    "not_finite": pl.Int64,
}
_STATISTIC: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("arm", "group", "title"), pl.String),
    "seed": pl.Int64,
    **dict.fromkeys(("label", "data", "batchnorm", "number"), pl.String),
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
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
    **dict.fromkeys(("seconds", "apart"), pl.Float64),
    **dict.fromkeys(("device", "dtype", "linescape", "torch", "python", "notes"), pl.String),
}


@dataclass(frozen=True, eq=False)
class Results:
    """The results of a study.

    Attributes:
        study: the study.
        runs: a row for each run: arm, group, title, baseline, seed, key, test_set (runs with the same are comparable in
            accuracy), status (``done``, ``missing``, ``diverged``, ``declined``: see `Source.declined`), missing
            (labels of lines not evaluated yet, ``training``), reason (why declined, or what is damaged), epochs and
            seconds (of training), chance_loss (nats), chance_error (%), start_error (of an initialisation trained on
            wrong labels: training error on these in % in its last epoch; else null), start_learnt (whether that is at
            most `LEARNT` of the wrong labels; else null), decay_sum (`training.loop.decay_sum`; NaN for Adam, null
            where it is not known), test_ and train_accuracy (%) and _loss (nats) at the end (of the whole test half),
            distance, relative_distance and distance_per_parameter (see `geometry.state.Distance`), `DEFINITIONS` of the
            whole line's cross entropy under the first BatchNorm treatment, as test_... and train_..., test_examples
            (that the whole line measured) and rise_p_value (of "the whole line nowhere rises" on test cross entropy,
            see `shape`).
        lines: a row for each position of each line: arm, group, title, seed, label, kind (see `kind`), data, measure,
            batchnorm, alpha, mean (over examples), standard_error, not_finite (examples).
        statistics: a row for each of `shape.LOSS_STATISTICS` of test cross entropy of each run's whole line, and of its
            line with several treatments of BatchNorm: arm, group, title, seed, label, data, batchnorm, number, value,
            low, high (95 % paired bootstrap over the examples measured, for the whole line's first treatment; else
            null).
        layers: a row for each statistic of each block's line, as `layerwise.of_run`, and of the whole line, with arm,
            group, title and seed.
        distances: a row for each run and block, and for ``all`` parameters.
        walks: a row for each line that was evaluated: settings, versions, time, and of one in merged weights `apart`
            (`geometry.merged.Merged`).
        trajectories: a row for each state that a run keeps (`Run.kept`), see `trajectory.of_run`.
        measured: kind -> (arm, seed, label) -> what else was measured (`Run.measured`), of `Measurement.form`.
        losses: a row for each epoch of each run's training, see `epochs.of_run`.
        of_diverged: (arm, seed, label) of the lines that lead to or through the end of a training that diverged, be it
            the run's own or another's; `lines` has them too.
    """

    study: Study
    runs: pl.DataFrame
    lines: pl.DataFrame
    statistics: pl.DataFrame
    layers: pl.DataFrame
    distances: pl.DataFrame
    walks: pl.DataFrame
    trajectories: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=trajectory.ROW))
    measured: Mapping[type[Measurement], Mapping[tuple[str, int, str], Any]] = field(default_factory=dict)
    losses: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=epochs.ROW))
    of_diverged: frozenset[tuple[str, int, str]] = frozenset()

    def of(self, kind: type[Measurement]) -> Mapping[tuple[str, int, str], Any]:
        """What of a kind was measured, by arm, seed and label; empty if nothing was."""
        return self.measured.get(kind, {})

    def __repr__(self) -> str:
        done = int((self.runs["status"] == "done").sum())
        return f"Results({self.study.title}: {done} of {len(self.runs)} runs done, {len(self.walks)} lines)"

    def _repr_html_(self) -> str:
        html: str = presentation.report("notebook").of_results(self)
        return html

    def figure(self, name: str, style: Mapping[str, Any] | None = None) -> Plot:
        """One of the figures of the report, by the name of its file there, such as ``overview`` or ``accuracy``.

        Args:
            name: of the figure; the error about an unknown one lists them.
            style: of the figure, in matplotlib's rcParams, as for `Curve.plot`.

        Returns:
            The figure and its axes, of several panels a list.

        Raises:
            RecipeError: there is no such figure, or a setting is unknown.
        """
        plot: Plot = presentation.report("study").figure(self, name, style)
        return plot


def read(study: Study, store: Source) -> Results:
    """All results of a study in a store; each curve is read once, and no checkpoint. Damaged ones are left out.

    Raises:
        StoreError: the store cannot be read.
    """
    rows: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    statistics: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    walks: list[dict[str, Any]] = []
    lines: list[pl.DataFrame] = []
    ways: list[dict[str, Any]] = []
    logs: list[pl.DataFrame] = []
    measured: dict[type[Measurement], dict[tuple[str, int, str], Any]] = {}
    of_diverged: set[tuple[str, int, str]] = set()
    for arm, run in ((of_arm, one) for of_arm in study.arms for one in of_arm.runs):
        with store.each_record_once():
            curves = {label: store.curve(scan) for label, scan in run.lines.items() if _has(store, scan)}
            distances_moved = _moved(run, store, curves)
            named = {"arm": arm.name, "group": arm.group, "title": arm.title, "seed": run.seed}
            log = store.log(run.recipe) if run.pair is None and _has(store, Train(run.recipe)) else None
            rows.append(named | _row(arm, run, store, curves, distances_moved, log))
            moved += [named | row for row in distances_moved]
            kept = [moment for moment in run.kept if _has(store, Keep(moment))]
            if log is not None:
                logs.append(epochs.of_run(named, log))
            if kept and _has(store, Train(run.recipe)):
                ways += [named | row for row in trajectory.of_run(run.recipe, kept, store.state)]
            for form, tasks in run.measured.items():
                done = {(arm.name, run.seed, label): task for label, task in tasks.items() if _has(store, task)}
                measured.setdefault(form, {}).update({key: store.measured(task) for key, task in done.items()})
            statistics += [named | row for row in _statistics(run, curves)]
            own = {label: curve for label, curve in curves.items() if kind(label, run.lines[label]) in _LAYERWISE}
            if any(run.lines[label].block for label in own):
                layers += [named | row for row in layerwise.of_run(run, own)]
            of_diverged |= {(arm.name, run.seed, label) for label in curves if _diverged(run.lines[label], store)}
            for label, curve in curves.items():
                lines.append(_positions(named, run.lines[label], label, curve))
                walks.append(named | _walk(run.lines[label], label, curve, int(lines[-1]["not_finite"].sum())))
    return Results(
        study,
        runs=pl.DataFrame(rows, schema=_RUN),
        lines=pl.concat([pl.DataFrame(schema=_LINE), *lines]),
        statistics=pl.DataFrame(statistics, schema=_STATISTIC),
        layers=pl.DataFrame(layers, schema=layerwise.ROW),
        distances=pl.DataFrame(moved, schema=_DISTANCE),
        walks=pl.DataFrame(walks, schema=_WALK),
        trajectories=pl.DataFrame(ways, schema=trajectory.ROW),
        measured=measured,
        losses=pl.concat([pl.DataFrame(schema=epochs.ROW), *logs]),
        of_diverged=frozenset(of_diverged),
    )


def classes(data: Data) -> int | None:
    """Number of classes of a data set after the recipe's choice; None for a set unknown here."""
    try:
        return len(data.classes) or stored(data).classes
    except (DataError, RecipeError):
        return None


def test_set(data: Data) -> str:
    """The name of the test data, with what distinguishes them; changes to the training half alone do not count."""
    size = f", {data.size} x {data.size} pixels" if data.size else ""
    block = data.shuffled_blocks
    size += f", blocks of {block} x {block} pixels shuffled" if block else ""
    return f"{data.label}{size}" + (f", classes {' '.join(map(str, data.classes))}" if data.classes else "")


def kind(label: str, scan: Scan) -> Literal["whole", "treatments", "block", "layer", "other"]:
    """The kind of a straight line from a training's own start to its end; of all others ``other``.

    ``block`` for a layer-wise line, ``layer`` for that of a single convolution, which has a dot in its name; of the
    whole network ``whole`` or ``treatments``, as labelled.
    """
    files = isinstance(scan.start.recipe.init, Weights) and isinstance(scan.end.recipe.init, Weights)
    start_to_end = scan.start == Moment(scan.end.recipe, "start") and scan.end.at == "end"
    start_to_end |= files and scan.start.at == scan.end.at == "start"  # trained elsewhere
    if not start_to_end or scan.along != Straight() or scan.blocks:
        return "other"
    if scan.block:
        return "layer" if "." in scan.block else "block"
    return label if label in ("whole", "treatments") else "other"  # type: ignore[return-value]


# -- rows --------------------------------------------------------------------------------------------------------


def _row(
    arm: Arm,
    run: Run,
    store: Source,
    curves: Mapping[str, Curve],
    moved: list[dict[str, Any]],
    log: pl.DataFrame | None,
) -> dict[str, Any]:
    recipe = run.recipe
    number = classes(recipe.data)
    trains = run.pair is None
    training: dict[str, Task] = {"training": Train(recipe)} if trains else {}
    tasks = training | {f"state after {moment}": Keep(moment) for moment in run.kept} | dict(run.lines)
    tasks |= {
        f"{task.result} of {label}": task for labelled in run.measured.values() for label, task in labelled.items()
    }
    missing = [label for label, task in tasks.items() if not store.has(task)]
    reasons = [reason for task in tasks.values() if store.has(task) and (reason := store.declined(task))]
    damages = [store.damaged[task] for task in tasks.values() if task in store.damaged]
    row: dict[str, Any] = {
        "baseline": arm.baseline,
        "key": recipe.key,
        "test_set": test_set(recipe.data),
        "precision": recipe.optimizer.precision if trains else None,
        "missing": missing,
        "reason": reasons[0] if reasons else " ".join(damages) or None,
        "chance_loss": math.log(number) if number else None,
        "chance_error": 100 * (1 - 1 / number) if number else None,
        "decay_sum": _decay_sum(recipe) if trains else None,
        **dict.fromkeys(_MEASURED),
    }
    if moved:
        row |= {name: moved[0][name] for name in ("distance", "relative_distance", "distance_per_parameter")}
    if log is not None:
        row |= epochs.last(log) | {"seconds": store.record(Train(recipe)).get("seconds")}
        row |= _start_learnt(recipe, store)
    if "whole" in curves:
        row |= _shape(curves["whole"], run.lines["whole"], number)
    diverged = log is not None and store.diverged(recipe)
    row["status"] = "diverged" if diverged else "declined" if reasons else "missing" if missing else "done"
    return row


def _has(store: Source, task: Task) -> bool:
    """Whether a task is done and left a result."""
    return store.has(task) and store.declined(task) is None


def _diverged(scan: Scan, store: Source) -> bool:
    """Whether the end of a training that diverged is among the networks of a line."""
    ends = (moment.recipe for moment in scan.moments if moment.at == "end")
    return any(_has(store, Train(recipe)) and store.diverged(recipe) for recipe in ends)


def _start_learnt(recipe: Recipe, store: Source) -> dict[str, float | bool]:
    """How well the training on wrong labels from which this one starts learnt them."""
    init = recipe.init
    if not isinstance(init, Trained) or init.at != "end" or not init.recipe.data.wrong_labels:
        return {}
    if not _has(store, Train(init.recipe)):
        return {}
    log = store.log(init.recipe)
    if not log.height:
        return {}
    error = float(log["train_error"][-1])
    return {"start_error": error, "start_learnt": error <= LEARNT * init.recipe.data.wrong_labels}


def _decay_sum(recipe: Recipe) -> float | None:
    """`train.decay_sum` where the number of examples is known and allows a step."""
    try:
        return decay_sum(recipe, examples(recipe.data)[0])
    except (DataError, RecipeError):
        return None


def _shape(curve: Curve, scan: Scan, number: int | None) -> dict[str, float]:
    """Shape statistics of the whole line, and losses and accuracies at its end, which is the trained network.

    Where the line measured a part of the test half, the log's loss and accuracy of all of it stand.
    """
    row: dict[str, float] = {}
    for data in ("test", "train"):
        try:
            loss, error = (curve[data, measure, scan.batchnorm[0]] for measure in ("cross_entropy", "error"))
        except MeasureError:
            continue
        statistics = summary(loss.alphas, loss.mean, error.mean, number)
        row |= {f"{data}_{name}": value for name, value in statistics.items()}
        if data == "test":
            row |= {"test_examples": loss.values.shape[1], "rise_p_value": rise_p_value(loss.alphas, loss.values)}
        if data == "train" or not scan.test_examples:
            end = curve.alphas.tolist().index(1.0)
            row |= {f"{data}_loss": float(loss.mean[end]), f"{data}_accuracy": 100 - float(error.mean[end])}
    return row


def _statistics(run: Run, curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    """`shape.LOSS_STATISTICS` of lines from a run's start to its end, with intervals for the first treatment."""
    rows = []
    for label, curve in curves.items():
        if kind(label, run.lines[label]) not in ("whole", "treatments"):
            continue
        for index, batchnorm in enumerate(run.lines[label].batchnorm):
            try:
                loss = curve["test", "cross_entropy", batchnorm]
            except MeasureError:
                continue
            series = {"label": label, "data": "test", "batchnorm": batchnorm}
            if label == "whole" and index == 0:
                rows += [
                    series | {"number": name, "value": estimate.value, "low": estimate.low, "high": estimate.high}
                    for name, estimate in estimates(loss.alphas, loss.values, LOSS_STATISTICS).items()
                ]
            else:
                rows += [
                    series | {"number": name, "value": float(statistic(loss.alphas, loss.mean))}
                    for name, statistic in LOSS_STATISTICS.items()
                ]
    return rows


def _moved(run: Run, store: Source, curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    """The distance moved by all parameters, then by those of each block with a line."""
    if run.pair is not None:
        return _between_files(run, curves) if "whole" in curves else []
    if not _has(store, Train(run.recipe)):
        return []
    return _distances(run, curves, store.moves(run.recipe))


def _between_files(run: Run, curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    """The same of a pair of files; nothing where these are not there any more."""
    network = models.outline(run.recipe.model, *form(run.recipe.data))
    states = []
    for moment in (run.lines["whole"].start, run.lines["whole"].end):
        assert isinstance(moment.recipe.init, Weights)
        try:
            states.append(from_file(moment.recipe.init, network))
        except CheckpointError:
            return []
    return _distances(run, curves, moves(*states))


def _distances(run: Run, curves: Mapping[str, Curve], moved: Mapping[str, Move]) -> list[dict[str, Any]]:
    blocks = {"all": list(moved)}
    for label, curve in curves.items():
        if kind(label, run.lines[label]) in ("block", "layer"):
            fixed = set(curve.provenance.get("at_rest", ()))
            blocks[run.lines[label].block] = [name for name in moved if name not in fixed]
    return [
        {
            "block": block,
            "distance": distance.total,
            "relative_distance": distance.relative,
            "distance_per_parameter": distance.per_parameter,
            "parameters": distance.count,
        }
        for block, distance in ((block, together(moved, names)) for block, names in blocks.items())
    ]


def _walk(scan: Scan, label: str, curve: Curve, not_finite: int) -> dict[str, Any]:
    provenance = curve.provenance
    examples = provenance.get("examples", {})
    return {
        "label": label,
        "key": scan.key,
        "batchnorm": ", ".join(scan.batchnorm),
        "positions": len(curve.alphas),
        "test_examples": examples.get("test"),
        "train_examples": examples.get("train"),
        "not_finite": not_finite,
        "seconds": provenance.get("seconds"),
        "apart": provenance.get("apart"),
        "notes": " ".join(provenance.get("notes", ())),
        **{name: provenance.get(name) for name in ("device", "dtype", "linescape", "torch", "python")},
    }


def _positions(columns: dict[str, Any], scan: Scan, label: str, curve: Curve) -> pl.DataFrame:
    named, frame = columns | {"label": label, "kind": kind(label, scan)}, curve.frame()
    return frame.select(
        (pl.lit(named[name]) if name in named else pl.col(name)).cast(dtype).alias(name)
        for name, dtype in _LINE.items()
    )
