"""What stands on the page of a study, and in which order: answers first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from linescape.analysis import answers, tables
from linescape.analysis.tables import TOLERANCE, Results, Source
from linescape.analysis.wording import capitalise
from linescape.report import answers as answered
from linescape.report import appendix, columns, figures, page, trainings
from linescape.report import published as beside
from linescape.report.page import Drawing, Folder
from linescape.shape.definitions import DISTANCES
from linescape.studies.planning import duration
from linescape.studies.study import Study

_ON_A_FIGURE = 6  # arms over each other; more cannot be told apart


def write(study: Study, store: Source, folder: str | Path) -> Path:
    """Write the report of what is done of a study: ``index.html``, ``figures/`` and ``tables/``; returns the page.

    Raises:
        StoreError: a result is damaged, or the folder cannot be written.
    """
    results = tables.read(study, store)
    place = Folder(folder)
    content = _Content(results, place)
    return place.page("study.html", content.everything())


class _Content:
    """The parts of one study's page; each writes its figures and tables on the way."""

    def __init__(self, results: Results, place: Folder) -> None:
        self.results, self.place = results, place
        self.runs = results.runs
        self.sound = self.runs.filter(pl.col("status") != "diverged")
        # What figures and tables show unless they say otherwise: test data under the first BatchNorm treatment.
        first = results.lines["batchnorm"].unique(maintain_order=True).to_list()[:1]
        self.lines = results.lines.filter((pl.col("data") == "test") & pl.col("batchnorm").is_in(first))
        self.whole = self.lines.filter(pl.col("kind") == "whole")

    def everything(self) -> dict[str, Any]:
        found = answers.answers(self.results)
        for name in ("runs", "lines", "heights", "layers", "distances", "walks"):
            self.place.table(name, getattr(self.results, name))
        content: dict[str, Any] = {
            "version": version("linescape"),
            "title": self.results.study.title,
            "study": self.results.study,
            "facts": self.facts(),
            "warning": self.warning(),
            "answers": [answered.entry(answer, self.runs, self.place) for answer in found],
            "summary": [answer for answer in found if answer.headline],
            **self.accuracy(),
            **trainings.section(self.results),
            "published": beside.section(self.results, self.lines, self.means(self.lines), self.place),
            "overview": self.overview(),
            "groups": self.groups(),
            "rises": self.rises(),
            "shape_table": self.shapes(),
            "explorer": self.explorer(),
            "layers": [*self.layers(), *self.convolutions()],
            "rest": self.rest(),
            "partial": self.partial(),
            **self.distances(),
            "others": self.others(),
            "treatments": self.treatments(),
            "definitions": appendix.definitions(),
            "provenance": appendix.provenance(self.results.walks, self.runs),
            "notes": self.notes(),
            "missing": self.missing(),
            "not_finite": self.not_finite(),
        }
        content["contents"] = [
            (place, words)
            for place, words, there in (
                ("answers", "Answers", True),
                ("accuracy", "Accuracy", True),
                ("published", "Published", content["published"]),
                ("lines", "Lines", True),
                ("explorer-section", "Read any line", True),
                ("layers", "Layer-wise", content["layers"]),
                ("partial", "Partial pre-training", content["partial"]),
                ("distances", "Distance", True),
                ("others", "Other lines", content["others"]),
                ("batchnorm", "BatchNorm", content["treatments"]),
                ("definitions", "Definitions", True),
                ("provenance", "How it was made", True),
                ("missing", "Missing", True),
            )
            if there
        ]
        return content

    # -- the head ------------------------------------------------------------------------------------------------

    def facts(self) -> list[tuple[str, str]]:
        states = self.runs["status"].to_list()
        walks = self.results.walks
        spent = float(self.runs["seconds"].sum()) + float(walks["seconds"].sum())
        found = [
            ("arms", str(self.runs["arm"].n_unique())),
            ("runs done", f"{states.count('done')} of {len(states)}"),
            *((word, str(states.count(word))) for word in ("diverged", "declined") if word in states),
            ("lines walked", f"{walks.height}"),
            ("positions on a line", appendix.span(walks["positions"])),
            ("test examples", appendix.span(walks["test_examples"])),
            ("computing", duration(spent) if spent else ""),
        ]
        return [(word, value) for word, value in found if value]

    def warning(self) -> str:
        states = self.runs["status"].to_list()
        missing = states.count("missing")
        return f"{missing} of {len(states)} runs are not finished: everything below is preliminary." if missing else ""

    # -- accuracy and lines --------------------------------------------------------------------------------------

    def accuracy(self) -> dict[str, Any]:
        table = tables.accuracy(self.runs)
        self.place.table("accuracy", table)
        drawings = []
        for index, (_, runs) in enumerate(self.runs.group_by("test_set", maintain_order=True)):
            some = table.filter(pl.col("arm").is_in(runs["arm"].to_list()) & (pl.col("n") > 0))
            if some.height > 1:  # one arm alone stands in the table
                reference = runs["baseline"].mode(maintain_order=True)[0]
                drawings.append(
                    self.place.draw(
                        f"accuracy-{index + 1}" if index else "accuracy",
                        figures.accuracy(some, runs, reference),
                        f"Test accuracy on {runs['test_set'][0]}. Dots: runs; tick: mean; bar: 95 % t "
                        "interval of the mean, absent where runs are too few or all equal, cut (arrow) where it leaves "
                        "the figure. Vertical line: the most common baseline.",
                    )
                )
        caption = (
            "s.d.: between runs. Intervals: t for means, Welch for differences; each for itself, not widened. "
            "Undefined: fewer than two runs, or no spread among them. Means are over runs that did not diverge. On the "
            "whole test half, also where lines were measured on a part of it."
        )
        return {"accuracy_drawings": drawings, "accuracy_table": page.table(table, columns.ACCURACY, caption)}

    def overview(self) -> Drawing:
        return self.place.draw(
            "overview",
            figures.overview(self.whole, self.means(self.whole), self.runs),
            "The whole line of every arm; its colour is its group's, as in the figure of accuracy. ▲ marks where a "
            "loss above 2 × guessing leaves the panel, × where it is NaN.",
        )

    def groups(self) -> list[tuple[str, Drawing]]:
        found = []
        means = self.means(self.whole)
        for group, arms, behind in self.by_group(("whole",)):
            parts = [arms[at : at + _ON_A_FIGURE] for at in range(0, len(arms), _ON_A_FIGURE)]
            for part, some in enumerate(parts):
                name = f"{group}, part {part + 1}" if len(parts) > 1 else group
                figure = figures.group(self.whole, means, self.runs, some, behind)
                caption = "Whole lines. Names stand in the order of the lines at α = 0.75."
                found.append((capitalise(name), self.place.draw(_file(f"lines {name}"), figure, caption)))
        return found

    def rises(self) -> Drawing | None:
        runs = tables.rising(self.sound.filter(pl.col("test_min_delta").is_not_null()))
        if not runs.height:
            return None
        return self.place.draw(
            "rises",
            figures.rises(runs, self.results.heights, TOLERANCE),
            "The largest rise of each run's whole line. Bar: 95 % paired bootstrap interval over the "
            f"{appendix.span(runs['test_examples'])} test examples measured: what other examples would give for these "
            "two networks. Filled: the line rises beyond noise (p at most 0.05, Holm over the runs of the arm); "
            "hollow: not distinguishable from a line that never rises. That test is careful: its noise is that of the "
            f"whole line, so a bar may clear zero beside a hollow dot. Dotted: {TOLERANCE:g} nats. The answers call a "
            "line not monotone where its hump, a rise that is given back, is above that.",
        )

    def shapes(self) -> Markup:
        table = tables.shapes(self.runs).with_columns(
            pl.format("{} of {}", "not_monotone", "n").alias("not_monotone_of"),
            pl.format("{} of {}", "rising", "n").alias("rising_of"),
        )
        self.place.table("shapes", table)
        return page.table(
            table,
            columns.SHAPE,
            f"Means over runs, on test cross entropy of {appendix.span(self.runs['test_examples'])} examples. "
            f"Any rise: runs whose line rises by more than {TOLERANCE:g} nats somewhere, given back or not. "
            "Rising: runs whose line rises beyond the noise of these examples, by however little (p at most 0.05, Holm "
            "over the runs of the arm). "
            "All shape numbers of all runs are in tables/runs.csv, intervals of heights in tables/heights.csv.",
        )

    def layers(self) -> list[tuple[str, Drawing]]:
        lines = self.lines.filter(pl.col("kind").is_in(["whole", "block"]))
        with_blocks = lines.filter(pl.col("kind") == "block")["arm"].unique().to_list()
        found = []
        for group, arms, behind in self.by_group(("block",)):
            some = _in_order(lines, [arm for arm in [*behind, *arms] if arm in with_blocks])
            figure = figures.parts(some, self.means(some), self.runs)
            caption = "Layer-wise lines. ▲ marks where a loss above 4 × guessing leaves the panel, × where it is NaN."
            found.append((capitalise(group), self.place.draw(_file(f"layers {group}"), figure, caption)))
        return found

    def convolutions(self) -> list[tuple[str, Drawing]]:
        lines = self.means(self.lines.filter(pl.col("kind") == "layer"))
        found = []
        for (arm, title), own in lines.group_by(["arm", "title"], maintain_order=True):
            chance = self.runs.filter(pl.col("arm") == arm)["chance_loss"][0]
            caption = "Single convolutions, each with the norm after it; means over runs. Grey: NaN or infinite."
            words = f"{capitalise(str(title))}, each convolution"
            found.append((words, self.place.draw(_file(f"convolutions {arm}"), figures.heat(own, chance), caption)))
        return found

    def rest(self) -> str:
        ends = {
            scan.rest
            for arm in self.results.study.arms
            for run in arm.runs
            for scan in run.lines.values()
            if scan.block
        }
        return " or ".join({"end": "their trained end", "start": "their start"}[end] for end in sorted(ends))

    def others(self) -> Drawing | None:
        arms = self.lines.filter(pl.col("kind") == "other")["arm"].unique(maintain_order=True).to_list()
        lines = self.lines.filter(pl.col("arm").is_in(arms) & pl.col("kind").is_in(["whole", "other"]))
        if not arms:
            return None
        return self.place.draw(
            "other-lines",
            figures.parts(lines, self.means(lines), self.runs, columns=2),
            "Black: from own start to own end, for comparison. α = 0 is the state that a line's name says first, or "
            "the trained network.",
        )

    def treatments(self) -> Drawing | None:
        lines = self.results.lines.filter((pl.col("data") == "test") & pl.col("kind").is_in(["whole", "treatments"]))
        if "treatments" in lines["kind"]:
            lines = lines.filter(pl.col("kind") == "treatments")
        several = lines.group_by("arm").agg(pl.col("batchnorm").n_unique()).filter(pl.col("batchnorm") > 1)["arm"]
        lines = lines.filter(pl.col("arm").is_in(several.to_list()))
        if not lines.height:
            return None
        return self.place.draw(
            "batchnorm",
            figures.parts(lines, self.means(lines), self.runs, by="batchnorm", first=("interpolate",), columns=4),
            "Whole lines by treatment; thin: single runs, thick: their mean. Black: statistics interpolated with the "
            f"weights, as everywhere else on this page. {self.measured(lines)}",
        )

    def measured(self, lines: pl.DataFrame) -> str:
        """On how much some lines were measured, in words."""
        walks = self.results.walks.join(lines.select("arm", "label").unique(), on=["arm", "label"], how="semi")
        return f"{appendix.span(walks['positions'])} positions, {appendix.span(walks['test_examples'])} test examples."

    # -- partial pre-training, distance -------------------------------------------------------------------------

    def partial(self) -> dict[str, Any] | None:
        table = tables.partial(self.results)
        if not table.filter((pl.col("group") == "partial") & (pl.col("n") > 0)).height:
            return None
        self.place.table("partial", table)
        drawings = []
        # A figure for each test set: accuracies on different ones are not comparable.
        for index, base in enumerate(table["baseline"].drop_nulls().unique(maintain_order=True).to_list() or [""]):
            own = table.filter((pl.col("baseline") == base) | (pl.col("arm") == base)) if base else table
            drawings.append(
                self.place.draw(
                    f"partial-{index + 1}" if index else "partial",
                    figures.accuracy(own, self.runs, base),
                    "Test accuracy. Dots: runs; tick: mean; bar: 95 % interval; vertical line: from scratch.",
                )
            )
        return {"drawings": drawings, "table": page.table(table, columns.PARTIAL)}

    def distances(self) -> dict[str, Any]:
        moved = self.results.distances.join(self.sound.select("arm", "seed"), on=["arm", "seed"], maintain_order="left")
        blocks = moved.filter(~pl.col("block").str.contains(".", literal=True))  # single convolutions are in the table
        means = blocks.group_by(["title", "block"], maintain_order=True).agg(pl.col("relative_distance").mean())
        whole = (
            moved.filter(pl.col("block") == "all")
            .group_by(["group", "title"], maintain_order=True)
            .agg(pl.len().alias("n"), pl.col(*DISTANCES).mean())
        )
        pool = answers.pool(self.runs).filter(pl.col("distance").is_not_null())
        return {
            "distances": self.place.draw(
                "distances",
                figures.distances(means),
                "How far parameters moved, over the size of their start. Bar: the whole network; dots: its blocks. "
                "Means over runs that did not diverge. A block that starts at zero has no relative distance.",
            )
            if means.height
            else None,
            "distance_scatter": self.place.draw(
                "distance-and-monotonicity",
                figures.distance_against_rise(pool, TOLERANCE),
                "The largest rise of each run's line over the distance moved. A dot is a run. Dotted: "
                f"{TOLERANCE:g} nats. The answers are about humps, rises that are given back; see their tables.",
            )
            if pool.height
            else None,
            "distance_table": page.table(
                whole, columns.DISTANCE, "Means over runs. Running statistics of BatchNorm do not count."
            ),
        }

    # -- the foot ------------------------------------------------------------------------------------------------

    def explorer(self) -> Markup:
        chosen = ["arm", "title", "label", "seed", "data", "measure", "batchnorm", "alpha", "mean", "standard_error"]
        # Under every treatment, and on training data too, a line would be most of the page.
        shown = self.results.lines.filter((pl.col("kind") != "treatments") | (pl.col("data") == "test"))
        single = shown.select(chosen)
        means = self.means(shown).with_columns(seed=pl.lit(None, pl.Int64), standard_error=pl.lit(float("nan")))
        arms = self.runs.unique("arm", maintain_order=True)
        chance = {
            arm: {"cross_entropy": loss, "error": error}
            for arm, loss, error in arms.select("arm", "chance_loss", "chance_error").iter_rows()
        }
        return page.explorer(pl.concat([means.select(chosen), single]), chance)

    def notes(self) -> list[str]:
        said = [note for note in self.results.walks["notes"].unique(maintain_order=True) if note]
        named = self.results.walks["batchnorm"].str.split(", ").explode().to_list()
        return [*appendix.treatments(named), *said]

    def missing(self) -> Markup | None:
        some = self.runs.filter(pl.col("status") != "done").with_columns(
            pl.when(pl.col("status") == "diverged")
            .then(pl.lit("the training ended in NaN or infinity"))
            .when(pl.col("reason").is_not_null())
            .then("reason")
            .otherwise(pl.format("not done yet: {}", pl.col("missing").list.join(", ")))
            .alias("why")
        )
        if not some.height:
            return None
        return page.table(
            some, columns.MISSING, "Runs that are not simply done. They stay in every table, with their status."
        )

    def not_finite(self) -> str:
        bad = self.results.lines.filter(pl.col("mean").is_nan() | pl.col("mean").is_infinite())
        if not bad.height:
            return "No loss on any line is NaN or infinite."
        lines = bad.select("arm", "seed", "label").unique().height
        return (
            f"The mean of {bad.height} positions on {lines} lines is NaN or infinite. They are kept in the tables, "
            "shown as gaps and marked × or ▲ in figures, and make the shape numbers of their line undefined or "
            "infinite."
        )

    # -- choosing ------------------------------------------------------------------------------------------------

    def means(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Means over runs that did not diverge: a diverged one would make them NaN, or a mixture for the error."""
        return tables.means(
            lines.join(self.sound.select("arm", "seed"), on=["arm", "seed"], how="semi", maintain_order="left")
        )

    def by_group(self, kinds: Sequence[str]) -> list[tuple[str, list[str], list[str]]]:
        """(name, arms of a group and test set with lines of these kinds, their baselines in other groups).

        The group ``base`` stands behind the others; it has an entry of its own only if there is no other.
        """
        measured = set(self.lines.filter(pl.col("kind").is_in(kinds))["arm"])
        found = []
        for (group, test_set), runs in self.runs.group_by(["group", "test_set"], maintain_order=True):
            arms = [arm for arm in runs["arm"].unique(maintain_order=True) if arm in measured]
            bases = runs.filter(pl.col("arm").is_in(arms))["baseline"].unique(maintain_order=True).to_list()
            same = set(self.runs.filter(pl.col("test_set") == test_set)["arm"])
            behind = [name for name in bases if name in measured & same and name not in arms]
            if arms:
                common = test_set == tables.comparable(self.runs)["test_set"][0]
                found.append((str(group) if common else f"{group}: {test_set}", arms, behind))
        return [entry for entry in found if entry[0] != "base"] or found


def _in_order(lines: pl.DataFrame, arms: Sequence[str]) -> pl.DataFrame:
    return pl.concat([lines.clear(), *(lines.filter(pl.col("arm") == arm) for arm in arms)])


def _file(words: str) -> str:
    """Words as the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
