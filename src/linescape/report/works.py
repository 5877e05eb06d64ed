"""Figures of the answers of `linescape.analysis.works`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from linescape.analysis import tables
from linescape.analysis.answers import Answer
from linescape.report import figures
from linescape.report.figures import critical, heatmaps
from linescape.report.figures.averaged_layers import layers_averaged
from linescape.report.figures.grids import rise_against, rises_by_setting
from linescape.report.figures.layer_map import layer_cells
from linescape.report.figures.over_training import against_steps
from linescape.report.figures.panel import CEILING
from linescape.report.figures.plateaus import plateau_against_gap
from linescape.report.figures.starts import from_starts
from linescape.report.figures.surfaces import bezier, contours
from linescape.report.figures.trajectories import ways
from linescape.report.page import Drawing, Folder
from linescape.report.text import caption
from linescape.studies.works.hu2021 import FACTORS
from linescape.studies.works.neyshabur2020 import BEYOND


def _instability(answer: Answer, output: Folder) -> list[Drawing]:
    threshold = answer.facts["threshold"]
    words = "instability: highest test error between two copies − mean of both, points"
    figure = against_steps(
        answer.numbers, answer.facts["of_runs"], "instability", words, (threshold, f"stable below {threshold:g}")
    )
    return [output.draw("instability", figure, caption("instability"))]


def _pruned(answer: Answer, output: Folder) -> list[Drawing]:
    """Two dots for each run: how unstable it is, and what it loses."""
    runs = answer.facts["of_runs"]
    kinds = {"instability": "instability", "excess": "test error above the full network's"}
    of_runs = pl.concat([runs.select("title", start=pl.lit(words), value=name) for name, words in kinds.items()])
    return [output.draw(answer.name, from_starts(of_runs, "points of test error"), caption("pruned_instability"))]


def _set_back(answer: Answer, output: Folder) -> list[Drawing]:
    words = "test error gained when one layer is set back, points"
    beside = ("distance", "distance moved / √n")
    return [
        output.draw(
            f"layers-set-back-{arm}",
            layer_cells(of_arm, "to", "lost", words, beside),
            caption("set_back_to", title=of_arm["title"][0]),
        )
        for (arm,), of_arm in answer.numbers.group_by(["arm"], maintain_order=True)
    ]


def _modules(answer: Answer, output: Folder) -> list[Drawing]:
    marks = {row["module"]: row["alpha"] for row in answer.facts["rows"]}
    figure = heatmaps.layers(answer.facts["lines"], answer.facts["chance"], marks=marks)
    return [output.draw("modules", figure, caption("modules", within=answer.facts["within"]))]


def _dimensions(answer: Answer, output: Folder) -> list[Drawing]:
    """A figure for each task: accuracy as a share of the baseline's against the dimension."""
    enough = answer.facts["enough"]
    of_runs = pl.DataFrame(answer.facts["of_runs"])
    drawings = []
    for (task,), rows in answer.numbers.rename({"dimension": "step"}).group_by(["task"], maintain_order=True):
        runs, words = of_runs.filter(pl.col("task") == task), "accuracy, % of that of training all weights"
        line = (enough, f"enough: {enough:g} %")
        figure = against_steps(rows, runs, "share", words, line, axis="dimensions of the random subspace")
        drawings.append(output.draw(f"dimensions-{task}", figure, caption("dimensions", task=task)))
    return drawings


def _critical_modules(answer: Answer, output: Folder) -> list[Drawing]:
    kinds = pl.when("early").then(pl.lit("first, or reduces the resolution")).otherwise(pl.lit("other modules"))
    figure = critical.of_modules(answer.facts["runs"].with_columns(kind=kinds))
    return [output.draw("critical-modules", figure, caption("critical_modules"))]


def _critical_networks(answer: Answer, output: Folder) -> list[Drawing]:
    figure = critical.of_networks(answer.facts["runs"])
    return [output.draw("critical-networks", figure, caption("critical_networks"))]


def _critical_in_transfer(answer: Answer, output: Folder) -> list[Drawing]:
    figure = critical.of_modules(answer.facts["runs"])
    return [output.draw(answer.name, figure, caption("critical_in_transfer"))]


def _averaged(answer: Answer, output: Folder) -> list[Drawing]:
    return [
        output.draw(
            f"averaged-layers-{arm}",
            layers_averaged(of_arm, answer.facts["tolerance"]),
            caption("averaged_layers", title=of_arm["title"][0]),
        )
        for (arm,), of_arm in answer.numbers.group_by(["arm"], maintain_order=True)
    ]


def _transfer(answer: Answer, output: Folder) -> list[Drawing]:
    between = answer.facts["lines"]
    drawn = figures.parts(between, tables.means(between), answer.facts["runs"], measure="error", columns=4)
    return [output.draw("transfer-barriers", drawn, caption("transfer_barriers"))]


def _worth(answer: Answer, output: Folder) -> list[Drawing]:
    words = "test accuracy, fine-tuned − from scratch, points"
    none = answer.numbers.select("step", "difference").clear()
    figure = against_steps(answer.numbers, none, "difference", words, axis="side of shuffled blocks, pixels (0: none)")
    return [output.draw("worth-of-pretraining", figure, caption("worth_of_pretraining"))]


def _barriers(answer: Answer, output: Folder) -> list[Drawing]:
    """A heat map for each network: lines from its states, in the order of training."""
    drawings = []
    means = tables.means(answer.facts["lines"]).with_columns(label=pl.col("label").replace("whole", "from start"))
    for (arm, title), of_arm in means.group_by(["arm", "title"], maintain_order=True):
        chance = answer.facts["runs"].filter(pl.col("arm") == arm)["chance_loss"][0]
        drawing = output.draw(
            f"{answer.name}-{arm}", figures.heat(of_arm, chance, CEILING), caption("states_to_end", title=title)
        )
        drawings.append(drawing)
    return drawings


def _lines(
    words: str, measure: str = "cross_entropy", first: str = "whole", columns: int = 3
) -> Callable[[Answer, Folder], list[Drawing]]:
    """An answer's lines, a panel for each arm, in the colours of their labels; `first` in ink."""

    def drawn(answer: Answer, output: Folder) -> list[Drawing]:
        lines = answer.facts["lines"]
        means, runs = tables.means(lines), answer.facts["runs"]
        figure = figures.parts(lines, means, runs, measure=measure, first=(first,), columns=columns)
        return [output.draw(answer.name, figure, caption(words))]

    return drawn


def _ways(answer: Answer, output: Folder) -> list[Drawing]:
    return [output.draw(answer.name, ways(answer.facts["trajectories"]), caption("way_of_training"))]


def _grid(answer: Answer, output: Folder) -> list[Drawing]:
    figure = rises_by_setting(answer.facts["points"], answer.facts["least"])
    return [output.draw(answer.name, figure, caption("grid_of_lines", limit=answer.facts["limit"]))]


def _poisoned(answer: Answer, output: Folder) -> list[Drawing]:
    figure = from_starts(answer.facts["runs"], "test error, %")
    return [output.draw(answer.name, figure, caption("poisoned_starts"))]


def _joined(answer: Answer, output: Folder) -> list[Drawing]:
    of_runs = answer.facts["of_runs"].select("title", start="way", value="lost")
    figure = from_starts(of_runs, "test error at the middle − mean of both ends, points")
    return [output.draw(answer.name, figure, caption("joined_networks"))]


def _features(answer: Answer, output: Folder) -> list[Drawing]:
    """Two dots for each pair: how far the middle is from the mixture, and both ends from each other."""
    runs = answer.facts["of_runs"]
    kinds = {"distance": "middle and mixture of both ends", "ends": "both ends"}
    of_runs = pl.concat([runs.select("title", start=pl.lit(words), value=name) for name, words in kinds.items()])
    figure = from_starts(of_runs, "1 − cos of features, mean over layers")
    return [output.draw(answer.name, figure, caption("feature_connectivity"))]


def _distance(answer: Answer, output: Folder) -> list[Drawing]:
    points = answer.facts["points"]
    if not points.height:
        return []
    return [output.draw(answer.name, rise_against(points, 1e-4), caption("distance_and_rise_in_grid"))]


def _gauss(answer: Answer, output: Folder) -> list[Drawing]:
    points = answer.facts["points"]
    if not points.height:
        return []
    kinds = points.with_columns(title=pl.col("label").replace("whole", "from the own start"))
    figure = rise_against(kinds, 1e-4, "gauss_length", "Gauss length, radians")
    return [output.draw(answer.name, figure, caption("gauss_length"))]


def _other_ends(answer: Answer, output: Folder) -> list[Drawing]:
    figure = from_starts(answer.facts["of_runs"], "largest rise of training loss, nats")
    return [output.draw(answer.name, figure, caption("other_ends"))]


def _last_biases(answer: Answer, output: Folder) -> list[Drawing]:
    return [output.draw(answer.name, plateau_against_gap(answer.facts["points"]), caption("last_biases"))]


def _learnt_last(answer: Answer, output: Folder) -> list[Drawing]:
    figure = from_starts(answer.facts["of_runs"], "rank of its last bias, 1 is the largest")
    return [output.draw(answer.name, figure, caption("class_learnt_last"))]


def _curves(answer: Answer, output: Folder) -> list[Drawing]:
    """The paths, and the plane of a curve with the curve and the line in it."""
    planes = [
        output.draw(f"plane-{arm}-{seed}", contours(surface, way=bezier(surface)), caption("plane_of_a_curve"))
        for (arm, seed, _), surface in answer.facts["planes"].items()
    ]
    return [*_lines("curves", first="straight line")(answer, output), *planes]


DRAWINGS: Mapping[str, Callable[[Answer, Folder], list[Drawing]]] = {
    "instability": _instability,
    "pruned-instability": _pruned,
    "layers-set-back": _set_back,
    "modules": _modules,
    "critical-modules": _critical_modules,
    "critical-networks": _critical_networks,
    "critical-in-transfer": _critical_in_transfer,
    "averaged-layers": _averaged,
    "transfer-barriers": _transfer,
    "basins": _lines("basins", first=BEYOND, columns=4),
    "worth-of-pretraining": _worth,
    "poisoned-starts": _poisoned,
    "joined-networks": _joined,
    "feature-connectivity": _features,
    "intrinsic-dimension": _dimensions,
    "curves": _curves,
    "low-rank-lines": _lines("low_rank_lines", first=FACTORS),
    "lines-from-poisoned-starts": _lines("lines_from_poisoned_starts", first="usual start"),
    "fall-along-the-line": _lines("fall_along_the_line"),
    "barriers-within-training": _barriers,
    "other-starts": _lines("other_starts", first="own start"),
    "plateau": _lines("plateau_of_the_error", "error", "straight"),
    "large-batches": _lines("large_batches", first="from small to large"),
    "smooth-and-monotone": _lines("smooth_and_monotone"),
    "solution-to-solution": _lines("solution_to_solution"),
    "way-of-training": _ways,
    "grid-of-lines": _grid,
    "grid-of-residual-lines": _grid,
    "distance-and-rise": _distance,
    "gauss-length": _gauss,
    "other-ends": _other_ends,
    "last-biases": _last_biases,
    "class-learnt-last": _learnt_last,
}
"""How the figures of an answer are drawn, by its name."""
