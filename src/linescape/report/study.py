"""The page of a study: its sections in order, answers first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup
from matplotlib.figure import Figure

from linescape import atomic
from linescape.analysis import tables
from linescape.analysis.answers import Answer, answers, pool
from linescape.analysis.at_a_glance import findings
from linescape.analysis.tables import TOLERANCE, Results, Source
from linescape.errors import RecipeError, suggest
from linescape.recipe import title
from linescape.report import appendix, columns, figures, page, sentences
from linescape.report.answers import answer_entry
from linescape.report.exclusive import reserved
from linescape.report.longer import more_runs
from linescape.report.page import Drawing, Folder
from linescape.report.plots import Plot, styled
from linescape.report.published import published_section
from linescape.report.study_lines import StudyLines
from linescape.report.text import caption, sentence
from linescape.report.trainings import trainings_section
from linescape.shape.definitions import DISTANCES
from linescape.studies import works
from linescape.studies.study import Arm, Study
from linescape.version import VERSION


def write(study: Study, store: Source, folder: str | Path) -> Path:
    """Write the report of a study's finished part: ``index.html``, ``answers.json``, ``figures/`` and ``tables/``.

    Returns:
        The path of the page.

    Raises:
        StoreError: a result is damaged, or the folder cannot be written.
    """
    with reserved(folder):
        output = Folder(folder)
        return output.page("study.html", _Content(tables.read(study, store), output).everything())


def figure(results: Results, name: str, style: Mapping[str, Any] | None = None) -> Plot:
    """One of the report's figures, by the name of its file: ``overview``, ``accuracy``, ``lines-optimizer``.

    Args:
        results: of the study.
        name: of the figure.
        style: of the figure, in matplotlib's rcParams.

    Raises:
        RecipeError: the results have no such figure, or a setting is unknown.
    """
    return styled(style, lambda: _drawn(results, name))


def _drawn(results: Results, name: str) -> Figure:
    gallery = _Gallery()
    content = _Content(results, gallery)
    test = content.lines.test
    sections: Sequence[Callable[[], object]] = (
        content.lines.sections,
        content.accuracy,
        content.partial,
        content.distances,
        lambda: published_section(results, test, content.lines.means(test), gallery),
        lambda: [answer_entry(each, sentences.of(each), results.runs, gallery) for each in answers(results)],
    )
    for draw in sections:
        draw()
        if name in gallery.figures:
            return gallery.figures[name]
    raise RecipeError(f"These results have no figure {name!r}. {suggest(name, gallery.figures)}")


class _Gallery(Folder):
    """Collects the figures of a page and writes nothing."""

    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}

    def draw(self, name: str, figure: Figure, caption: str) -> Drawing:
        """Keep the figure."""
        self.figures[name] = figure
        return Drawing(Markup(), caption, [])

    def table(self, name: str, frame: pl.DataFrame) -> None:
        """Leave the table out."""


def _contents(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Anchor and title of each section that a page has."""
    sections = (
        ("glance", "At a glance", True),
        ("answers", "Answers", True),
        ("accuracy", "Accuracy", True),
        ("published", "Published", content["published"]),
        ("lines", "Lines", True),
        ("explorer-section", "Explore", True),
        ("layers", "Layer-wise", content["layers"]),
        ("partial", "Partial pre-training", content["partial"]),
        ("distances", "Distance", True),
        ("others", "Other lines", content["others"]),
        ("batchnorm", "BatchNorm", content["treatments"]),
        ("definitions", "Definitions", True),
        ("provenance", "Provenance", True),
        ("missing", "Missing", True),
    )
    return [(anchor, title) for anchor, title, present in sections if present]


class _Content:
    """The sections of one study's page; each writes its figures and tables on the way."""

    def __init__(self, results: Results, output: Folder) -> None:
        self.results, self.output, self.runs = results, output, results.runs
        self.lines = StudyLines(results, output)
        self.of_a_work = works.is_of_a_work(results.study)

    def everything(self) -> dict[str, Any]:
        made = answers(self.results)
        written = [sentences.of(answer) for answer in made]
        self.answers_file(made, written)
        for name in ("runs", "lines", "layers", "distances", "walks"):
            self.output.table(name, getattr(self.results, name))
        self.output.table("heights", self.results.statistics)
        test_lines = self.lines.test
        content: dict[str, Any] = {
            "version": VERSION,
            "title": self.results.study.title,
            "study": self.results.study,
            "from_files": any(run.pair is not None for arm in self.results.study.arms for run in arm.runs),
            "facts": self.facts(),
            "trained": self.trained(),
            "of_a_work": self.of_a_work,
            "findings": [
                sentence("findings", finding.name, **finding.facts)
                for finding in (() if self.of_a_work else findings(self.results))
            ],
            "findings_note": caption("findings"),
            "more_runs": more_runs(self.results),
            "runs": self.runs.height,
            "unfinished": int((self.runs["status"] == "missing").sum()),
            "answers": [answer_entry(*pair, self.runs, self.output) for pair in zip(made, written, strict=True)],
            **self.accuracy(),
            **trainings_section(self.results),
            "published": published_section(self.results, test_lines, self.lines.means(test_lines), self.output),
            **self.lines.sections(),
            "explorer": self.explorer(),
            "partial": self.partial(),
            **self.distances(),
            "definitions": appendix.definitions(),
            "provenance": appendix.provenance(self.results.walks, self.runs),
            "notes": self.notes(),
            "missing": self.missing(),
            **self.not_finite(),
        }
        return content | {"contents": _contents(content)}

    # -- head ------------------------------------------------------------------------------------------------------

    def facts(self) -> list[tuple[str, str]]:
        states = self.runs["status"].to_list()
        walks = self.results.walks
        spent = float(self.runs["seconds"].sum()) + float(walks["seconds"].sum())
        facts = [
            ("arms", str(self.runs["arm"].n_unique())),
            ("runs done", f"{states.count('done')} of {len(states)}"),
            *((word, str(states.count(word))) for word in ("diverged", "declined") if word in states),
            ("lines evaluated", f"{walks.height}"),
            ("positions on a line", appendix.span(walks["positions"])),
            ("test examples", appendix.span(walks["test_examples"])),
            ("compute time", appendix.compute_time(spent)),
        ]
        return [(word, value) for word, value in facts if value]

    def trained(self) -> str:
        """What was trained, in a sentence: the most common baseline, and what differs from it."""
        base = self.runs["baseline"].mode(maintain_order=True)[0]
        arm = next((arm for arm in self.results.study.arms if arm.name == base), self.results.study.arms[0])
        if not arm.runs:
            return ""
        recipe, of_base = arm.runs[0].recipe, self.runs.filter(pl.col("arm") == arm.name)
        if arm.runs[0].pair is not None:
            runs, arms = self.runs.height, self.runs["arm"].n_unique()
            return caption("pairs_of_files", runs=runs, network=title(recipe.model), data=recipe.data.label, arms=arms)
        others = self.runs.filter(pl.col("test_set") != of_base["test_set"][0])
        common: dict[str, Any] = {
            "network": title(recipe.model) + (f"-{recipe.model.depth}" if hasattr(recipe.model, "depth") else ""),
            "data": of_base["test_set"][0],
            "epochs": recipe.schedule.epochs,
            "optimizer": {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[recipe.optimizer.name],
        }
        if self.of_a_work:
            return caption(
                "trained_for_a_work",
                **common,
                runs=self.runs.height,
                arms=self.runs["arm"].n_unique(),
                others=others["test_set"].unique(maintain_order=True).to_list(),
                grid=any(_settings(arm) > 1 for arm in self.results.study.arms),
            )
        same = self.runs.filter(pl.col("test_set") == of_base["test_set"][0])
        return caption(
            "trained",
            **common,
            runs=same.height,
            arms=same["arm"].n_unique(),
            seeds=of_base.height,
            others=others["title"].unique(maintain_order=True).to_list(),
        )

    def answers_file(self, made: Sequence[Answer], written: Sequence[sentences.Sentences]) -> None:
        """Write every answer's outcomes and sentences as JSON; its numbers are in ``tables/``."""
        content = [
            {"name": answer.name, "outcomes": answer.outcomes, **vars(words)}
            for answer, words in zip(made, written, strict=True)
        ]
        self.output.begin()
        atomic.write(self.output.root / "answers.json", page.as_json(content))

    # -- accuracy, partial pre-training, distance ------------------------------------------------------------------

    def accuracy(self) -> dict[str, Any]:
        table = tables.accuracy(self.runs)
        self.output.table("accuracy", table)
        drawings = []
        for index, (_, runs) in enumerate(self.runs.group_by("test_set", maintain_order=True)):
            measured = table.filter(pl.col("arm").is_in(runs["arm"].to_list()) & (pl.col("n") > 0))
            if measured.height > 1:  # a single arm is in the table only
                reference = runs["baseline"].mode(maintain_order=True)[0]
                drawings.append(
                    self.output.draw(
                        f"accuracy-{index + 1}" if index else "accuracy",
                        figures.accuracy(measured, runs, reference),
                        caption("accuracy", test_set=runs["test_set"][0]),
                    )
                )
        shown = page.table(table, columns.ACCURACY, caption("accuracy_table"))
        return {"accuracy_drawings": drawings, "accuracy_table": shown}

    def partial(self) -> dict[str, Any] | None:
        table = tables.partial(self.results)
        if not table.filter((pl.col("group") == "partial") & (pl.col("n") > 0)).height:
            return None
        self.output.table("partial", table)
        drawings = []
        # A figure for each test set: accuracies on different ones are not comparable.
        for index, base in enumerate(table["baseline"].drop_nulls().unique(maintain_order=True).to_list() or [""]):
            compared = table.filter((pl.col("baseline") == base) | (pl.col("arm") == base)) if base else table
            name = f"partial-{index + 1}" if index else "partial"
            drawings.append(self.output.draw(name, figures.accuracy(compared, self.runs, base), caption("partial")))
        return {"drawings": drawings, "table": page.table(table, columns.PARTIAL)}

    def distances(self) -> dict[str, Any]:
        sound = self.lines.sound.select("arm", "seed")
        moved = self.results.distances.join(sound, on=["arm", "seed"], maintain_order="left")
        blocks = moved.filter(~pl.col("block").str.contains(".", literal=True))  # single convolutions are in the table
        means = blocks.group_by(["title", "block"], maintain_order=True).agg(pl.col("relative_distance").mean())
        whole = (
            moved.filter(pl.col("block") == "all")
            .group_by(["group", "title"], maintain_order=True)
            .agg(pl.len().alias("n"), pl.col(*DISTANCES).mean())
        )
        measured = pool(self.runs).filter(pl.col("distance").is_not_null())
        drawings: list[Drawing] = []
        if means.height:
            drawings.append(self.output.draw("distances", figures.distances(means), caption("distances")))
        if measured.height:
            figure = figures.distance_against_rise(measured, TOLERANCE)
            words = caption("distance_and_rise", tolerance=TOLERANCE)
            drawings.append(self.output.draw("distance-and-monotonicity", figure, words))
        table = page.table(whole, columns.DISTANCE, caption("distance_table"))
        return {"distance_drawings": drawings, "distance_table": table}

    # -- foot ------------------------------------------------------------------------------------------------------

    def explorer(self) -> str:
        chosen = ["arm", "title", "label", "seed", "data", "measure", "batchnorm", "alpha", "mean", "standard_error"]
        # Under every treatment, and on training data too, a line would be most of the page.
        shown = self.results.lines.filter((pl.col("kind") != "treatments") | (pl.col("data") == "test"))
        single = shown.select(chosen)
        means = self.lines.means(shown).with_columns(seed=pl.lit(None, pl.Int64), standard_error=pl.lit(float("nan")))
        arms = self.runs.unique("arm", maintain_order=True)
        chance = {
            arm: {"cross_entropy": loss, "error": error}
            for arm, loss, error in arms.select("arm", "chance_loss", "chance_error").iter_rows()
        }
        return page.explorer(pl.concat([means.select(chosen), single]), chance)

    def notes(self) -> list[str]:
        notes = [note for note in self.results.walks["notes"].unique(maintain_order=True) if note]
        used = self.results.walks["batchnorm"].str.split(", ").explode().to_list()
        return [*appendix.treatments(used), *notes]

    def missing(self) -> Markup | None:
        unfinished = self.runs.filter(pl.col("status") != "done").with_columns(
            pl.when(pl.col("status") == "diverged")
            .then(pl.lit("the training ended in NaN or infinity"))
            .when(pl.col("reason").is_not_null())
            .then("reason")
            .otherwise(pl.format("not done yet: {}", pl.col("missing").list.join(", ")))
            .alias("why")
        )
        return page.table(unfinished, columns.MISSING, caption("missing")) if unfinished.height else None

    def not_finite(self) -> dict[str, int]:
        positions = self.results.lines.filter(pl.col("mean").is_nan() | pl.col("mean").is_infinite())
        lines = positions.select("arm", "seed", "label").unique().height
        return {"positions_not_finite": positions.height, "lines_not_finite": lines}


def _settings(arm: Arm) -> int:
    """How many settings the runs of an arm have; 1 where they are replicates."""
    recipes = (run.recipe for run in arm.runs)
    return len({(recipe.data, recipe.model, recipe.optimizer, recipe.schedule) for recipe in recipes})
