"""The sections of a study's page that draw its lines."""

from __future__ import annotations

import re
from typing import Any

import polars as pl
from markupsafe import Markup

from linescape.analysis import tables
from linescape.analysis.tables import TOLERANCE, Results
from linescape.report import appendix, columns, figures, page
from linescape.report.page import Drawing, Folder
from linescape.report.text import capital, caption
from linescape.studies import works

_IN_A_PANEL = 18  # lines of other kinds; there are no more colours and styles, and answers draw what is about more
_ON_A_FIGURE = 6  # arms over each other; more cannot be told apart


class StudyLines:
    """A study's lines, and the figures and tables of them.

    Attributes:
        sound: `Results.runs` that did not diverge.
        test: `Results.lines` on test data under the first BatchNorm treatment of each line, which figures show.
    """

    def __init__(self, results: Results, output: Folder) -> None:
        self.results, self.output, self.runs = results, output, results.runs
        self.sound = self.runs.filter(pl.col("status") != "diverged")
        first = pl.col("batchnorm").first().over("arm", "seed", "label")  # each line has its own treatments
        self.test = results.lines.filter((pl.col("data") == "test") & (pl.col("batchnorm") == first))
        self.whole = self.test.filter(pl.col("kind") == "whole")

    def sections(self) -> dict[str, Any]:
        """What the template of a study shows of its lines."""
        by_answers = works.is_of_a_work(self.results.study)  # which draw lines of layers in their own ways
        return {
            "overview": self._overview(),
            "groups": self._groups(),
            "rises": self._rises(),
            "shape_table": self._shapes(),
            "layers": [] if by_answers else [*self._layers(), *self._convolutions()],
            "fixed_at": self._fixed_at(),
            "others": self._others(),
            "treatments": self._treatments(),
        }

    def means(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Means over runs that did not diverge: a diverged one would make them NaN, or a mixture for the error."""
        sound = self.sound.select("arm", "seed")
        return tables.means(lines.join(sound, on=["arm", "seed"], how="semi", maintain_order="left"))

    # -- whole lines -----------------------------------------------------------------------------------------------

    def _overview(self) -> Drawing:
        figure = figures.overview(self.whole, self.means(self.whole), self.runs)
        return self.output.draw("overview", figure, caption("overview"))

    def _groups(self) -> list[tuple[str, Drawing]]:
        drawings = []
        means = self.means(self.whole)
        for group, arms, baselines in self._by_group("whole"):
            parts = [arms[first : first + _ON_A_FIGURE] for first in range(0, len(arms), _ON_A_FIGURE)]
            for index, part in enumerate(parts):
                name = f"{group}, part {index + 1}" if len(parts) > 1 else group
                figure = figures.group(self.whole, means, self.runs, part, baselines)
                drawings.append((capital(name), self.output.draw(_file(f"lines {name}"), figure, caption("lines"))))
        return drawings

    def _rises(self) -> Drawing | None:
        runs = tables.rising(self.sound.filter(pl.col("test_min_delta").is_not_null()))
        if not runs.height:
            return None
        words = caption("rises", examples=appendix.span(runs["test_examples"]), tolerance=TOLERANCE)
        return self.output.draw("rises", figures.rises(runs, self.results.statistics, TOLERANCE), words)

    def _shapes(self) -> Markup:
        table = tables.shapes(self.runs).with_columns(
            pl.format("{} of {}", "not_monotone", "n").alias("not_monotone_of"),
            pl.format("{} of {}", "rising", "n").alias("rising_of"),
        )
        self.output.table("shapes", table)
        words = caption("shapes", examples=appendix.span(self.runs["test_examples"]), tolerance=TOLERANCE)
        return page.table(table, columns.SHAPE, words)

    # -- layer-wise lines ------------------------------------------------------------------------------------------

    def _layers(self) -> list[tuple[str, Drawing]]:
        lines = self.test.filter(pl.col("kind").is_in(["whole", "block"]))
        with_blocks = lines.filter(pl.col("kind") == "block")["arm"].unique().to_list()
        drawings = []
        for group, arms, baselines in self._by_group("block"):
            shown = [lines.filter(pl.col("arm") == arm) for arm in [*baselines, *arms] if arm in with_blocks]
            of_group = pl.concat([lines.clear(), *shown])
            figure = figures.parts(of_group, self.means(of_group), self.runs)
            drawings.append((capital(group), self.output.draw(_file(f"layers {group}"), figure, caption("layers"))))
        return drawings

    def _convolutions(self) -> list[tuple[str, Drawing]]:
        lines = self.means(self.test.filter(pl.col("kind") == "layer"))
        drawings = []
        for (arm, title), of_arm in lines.group_by(["arm", "title"], maintain_order=True):
            chance = self.runs.filter(pl.col("arm") == arm)["chance_loss"][0]
            figure = figures.heat(of_arm, chance)
            drawing = self.output.draw(_file(f"convolutions {arm}"), figure, caption("convolutions"))
            drawings.append((f"{capital(str(title))}, each convolution", drawing))
        return drawings

    def _fixed_at(self) -> list[str]:
        """At which of the two ends the other blocks are held fixed."""
        scans = [scan for arm in self.results.study.arms for run in arm.runs for scan in run.lines.values()]
        return sorted({scan.rest for scan in scans if scan.block})

    # -- other lines, BatchNorm ------------------------------------------------------------------------------------

    def _others(self) -> Drawing | None:
        arms = self.test.filter(pl.col("kind") == "other")["arm"].unique(maintain_order=True).to_list()
        lines = self.test.filter(pl.col("arm").is_in(arms) & pl.col("kind").is_in(["whole", "other"]))
        if not arms or lines["label"].n_unique() > _IN_A_PANEL:
            return None
        figure = figures.parts(lines, self.means(lines), self.runs, columns=2)
        return self.output.draw("other-lines", figure, caption("other_lines"))

    def _treatments(self) -> Drawing | None:
        lines = self.results.lines.filter((pl.col("data") == "test") & pl.col("kind").is_in(["whole", "treatments"]))
        if "treatments" in lines["kind"]:
            lines = lines.filter(pl.col("kind") == "treatments")
        several = lines.group_by("arm").agg(pl.col("batchnorm").n_unique()).filter(pl.col("batchnorm") > 1)["arm"]
        lines = lines.filter(pl.col("arm").is_in(several.to_list()))
        if not lines.height:
            return None
        walks = self.results.walks.join(lines.select("arm", "label").unique(), on=["arm", "label"], how="semi")
        figure = figures.parts(lines, self.means(lines), self.runs, by="batchnorm", first=("interpolate",), columns=4)
        positions, examples = appendix.span(walks["positions"]), appendix.span(walks["test_examples"])
        return self.output.draw("batchnorm", figure, caption("treatments", positions=positions, examples=examples))

    # -- choosing --------------------------------------------------------------------------------------------------

    def _by_group(self, kind: str) -> list[tuple[str, list[str], list[str]]]:
        """(name, arms, baselines in other groups) of each group and test set with lines of a kind.

        The group ``base`` is drawn behind the others; it has an entry only if there is no other group.
        """
        measured = set(self.test.filter(pl.col("kind") == kind)["arm"])
        groups = []
        for (group, test_set), runs in self.runs.group_by(["group", "test_set"], maintain_order=True):
            arms = [arm for arm in runs["arm"].unique(maintain_order=True) if arm in measured]
            bases = runs.filter(pl.col("arm").is_in(arms))["baseline"].unique(maintain_order=True).to_list()
            same_set = set(self.runs.filter(pl.col("test_set") == test_set)["arm"])
            baselines = [name for name in bases if name in measured & same_set and name not in arms]
            if arms:
                common = test_set == tables.comparable(self.runs)["test_set"][0]
                groups.append((str(group) if common else f"{group}: {test_set}", arms, baselines))
        return [entry for entry in groups if entry[0] != "base"] or groups


def _file(words: str) -> str:
    """Words as the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
