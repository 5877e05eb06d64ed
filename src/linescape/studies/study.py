"""A study is a question as data: arms of runs, and the lines to walk for each run.

`Study.tasks` lists the trainings and scans that answer it, each once, each after the tasks that it needs. `work` does
them; a study knows nothing of files or of what is already done.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from linescape import data as datasets
from linescape import models
from linescape.errors import RecipeError, suggest
from linescape.geometry.groups import by_block
from linescape.recipe import Data, Model, Moment, Recipe, Schedule, Weights
from linescape.studies.measurements import Classes, Features, Flat, Greedy, Measurement, Noise, PlaneScan, Turning
from linescape.studies.tasks import Keep, Scan, Task, Train, hump_line, in_order, needs_of
from linescape.training import weight_files
from linescape.training.changes import Change, changed

__all__ = [
    "Arm",
    "Classes",
    "Features",
    "Flat",
    "Greedy",
    "Keep",
    "Measurement",
    "Moment",
    "Noise",
    "PlaneScan",
    "Run",
    "Scan",
    "Study",
    "Task",
    "Train",
    "Turning",
    "hump_line",
    "in_order",
    "needs_of",
]


@dataclass(frozen=True)
class Run:
    """One replicate of an arm: a training, and the lines to walk by label.

    The label ``whole`` is the line from its start to its end, and the name of a block its layer-wise line; other labels
    are ``to another start``, ``start to start`` and ``treatments``.

    Attributes:
        recipe: the training; or what the end is of, where both ends are files.
        lines: by label.
        pair: the number of a pair of files that somebody else trained, counted from 0; None for a training.
        kept: states within the training that are kept, for the way that it takes.
        measured: what else is measured, by its kind and a label: the name of a module or of a line.
    """

    recipe: Recipe
    lines: Mapping[str, Scan]
    pair: int | None = None
    kept: tuple[Moment, ...] = ()
    measured: Mapping[type[Measurement], Mapping[str, Any]] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """What tells it from the others of its arm: the seed, or the number of its pair of files."""
        return self.recipe.seed if self.pair is None else self.pair

    def tasks(self) -> tuple[Task, ...]:
        """The training, its kept states, and all that is measured."""
        training = () if self.pair is not None else (Train(self.recipe),)
        measured = (task for labelled in self.measured.values() for task in labelled.values())
        return (*training, *map(Keep, self.kept), *self.lines.values(), *measured)


@dataclass(frozen=True)
class Arm:
    """One level of one intervention.

    Attributes:
        name: short and unique in its study, as typed on a command line (``no-weight-decay``).
        group: the group of interventions it belongs to: ``base``, ``initialisation``, ``data``, ``optimizer``,
            ``model``, ``partial`` (partial pre-training), ``warm-up``.
        title: a few words for a table or a legend.
        runs: one per seed.
        baseline: name of the arm that it differs from by this intervention alone.
    """

    name: str
    group: str
    title: str
    runs: tuple[Run, ...]
    baseline: str = "base"


@dataclass(frozen=True)
class Study:
    """A question as data: the experiments of a publication at one scale, or one's own (`of`, `of_checkpoints`).

    Attributes:
        name: the module's name in `linescape.studies`, or one's own.
        scale: the name of the scale (``mini``); empty for one's own study.
        title: what the study is, in words.
        source: the publication whose experiments it repeats; empty for one's own study.
        arms: in the order of the report.
        larger: the scale with more runs of the same arms; empty where there is none.
    """

    name: str
    scale: str
    title: str
    source: str
    arms: tuple[Arm, ...]
    larger: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        base: Recipe,
        arms: Mapping[str, Change],
        seeds: int | Sequence[int] = 3,
        lines: Sequence[str] = (),
        title: str = "",
        **settings: Any,
    ) -> Study:
        """A study of one's own: trainings by one recipe, and by others that differ from it.

        Args:
            name: short, as it stands on the report.
            base: the recipe of the arm ``base``, which the others are compared with.
            arms: name -> change of the base, see `linescape.training.changes`.
            seeds: number of replicates of each arm, or their seeds.
            lines: what is walked besides the whole line: ``blocks`` for each block of an arm's network, by itself, or
                names of blocks.
            title: the question in words; the name if it is empty.
            settings: of each line, as in `Scan`: ``alphas``, ``batchnorm``, ``train_examples``, ``test_examples``, ...

        Raises:
            RecipeError: a change, a block or a setting is unknown or impossible, or two arms are the same.
        """
        replicates = range(seeds) if isinstance(seeds, int) else seeds
        made: dict[tuple[Recipe, ...], Arm] = {}
        for arm, change in {"base": {}, **arms}.items():
            recipes = tuple(changed(msgspec.structs.replace(base, seed=seed), change) for seed in replicates)
            if not recipes or len(set(recipes)) < len(recipes):
                raise RecipeError(f"The seeds are {seeds!r}. Give a number of replicates, 1 or more, or their seeds.")
            if recipes in made:
                raise RecipeError(f"The arms {made[recipes].name!r} and {arm!r} are the same trainings. Leave one out.")
            ends = ((Moment(recipe, "start"), Moment(recipe)) for recipe in recipes)
            labelled = _lines(recipes[0], lines, settings)
            runs = tuple(Run(end.recipe, _walks(labelled, start, end, settings)) for start, end in ends)
            made[recipes] = Arm(arm, _group(base, recipes[0]) if arm != "base" else "base", arm, runs)
        return cls(name, "", title or name, "", tuple(made.values()))

    @classmethod
    def of_checkpoints(
        cls,
        pairs: Mapping[str, Sequence[tuple[str | os.PathLike[str], str | os.PathLike[str]]]],
        model: Model,
        data: Data,
        name: str = "checkpoints",
        lines: Sequence[str] = (),
        title: str = "",
        **settings: Any,
    ) -> Study:
        """A study of trainings that were done elsewhere, from the files of their starts and ends.

        A file counts by its content, wherever it is. The first arm is what the others are compared with.

        Args:
            pairs: name of an arm -> (start, end) of each of its trainings, files in any format that is read.
            model: their network.
            data: what is measured on.
            name, lines, title, settings: as of `of`.

        Raises:
            CheckpointError: a file cannot be read.
            RecipeError: there are no pairs, or a block or a setting is unknown.
        """
        if not pairs or not all(pairs.values()):
            raise RecipeError("An arm has no pair of files, so there is nothing to walk. Give (start, end) for each.")
        arms = []
        for arm, files in pairs.items():
            runs = []
            for number, ends in enumerate(files):
                start, end = (Moment(_of_file(Path(file), model, data), "start") for file in ends)
                walks = _walks(_lines(end.recipe, lines, settings), start, end, settings)
                runs.append(Run(end.recipe, walks, number))
            arms.append(Arm(arm, "checkpoints", arm, tuple(runs), baseline=next(iter(pairs))))
        return cls(name, "", title or name, "", tuple(arms))

    def tasks(self) -> tuple[Task, ...]:
        """Every task once, each after the tasks that it needs."""
        return in_order(task for arm in self.arms for run in arm.runs for task in run.tasks())

    def only(self, *names: str, runs: int | None = None, seeds: Sequence[int] | None = None) -> Study:
        """A part of the study.

        Args:
            names: the arms that are kept, in this order; all if none is named.
            runs: the number of replicates that are kept of each arm, the first ones; None keeps all.
            seeds: the seeds whose runs are kept; None keeps all.

        Raises:
            RecipeError: an arm's name is unknown, or there are fewer runs than one.
        """
        if runs is not None and runs < 1:
            raise RecipeError(
                f"{runs} runs of each arm leave nothing to do. Ask for 1 or more, or leave it out for all."
            )
        known = {arm.name: arm for arm in self.arms}
        for name in names:
            if name not in known:
                raise RecipeError(f"Study {self.name!r} has no arm {name!r}. {suggest(name, known)}")
        kept = [known[name] for name in dict.fromkeys(names)] if names else self.arms

        def with_fewer_runs(arm: Arm) -> Arm:
            chosen = (run for run in arm.runs[:runs] if seeds is None or run.seed in seeds)
            return replace(arm, runs=tuple(chosen))

        return replace(self, arms=tuple(map(with_fewer_runs, kept)))


def every_task(tasks: Study | Iterable[Task]) -> tuple[Task, ...]:
    """The tasks of a study, or these, and all that they need, each once, each after the tasks that it needs."""
    return tasks.tasks() if isinstance(tasks, Study) else in_order(tasks)


def _lines(recipe: Recipe, asked: Sequence[str], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The blocks that are walked: ``blocks`` stands for all that the network has."""
    if unknown := set(settings) - set(Scan.__struct_fields__) | set(settings) & {"start", "end", "block", "blocks"}:
        name = min(unknown)
        raise RecipeError(f"A line has no setting {name!r}. {suggest(name, Scan.__struct_fields__[3:])}")
    names = [name for name in ([asked] if isinstance(asked, str) else asked) if name != "whole"]
    if not names:
        return ()
    known = by_block(models.outline(recipe.model, *datasets.form(recipe.data)))
    for name in names:
        if name != "blocks" and name not in known:
            raise RecipeError(f"The network has no block {name!r} to walk. {suggest(name, ['blocks', *known])}")
    return tuple(dict.fromkeys(block for name in names for block in (known if name == "blocks" else [name])))


def _walks(blocks: Iterable[str], start: Moment, end: Moment, settings: Mapping[str, Any]) -> dict[str, Scan]:
    return {"whole": Scan(start, end, **settings)} | {block: Scan(start, end, block, **settings) for block in blocks}


def _group(base: Recipe, other: Recipe) -> str:
    """The group of interventions that an arm belongs to, by the part of the recipe that differs."""
    names = {"init": "initialisation", "data": "data", "model": "model"}
    differing = (group for part, group in names.items() if getattr(base, part) != getattr(other, part))
    return next(differing, "optimizer")


def _of_file(file: Path, model: Model, data: Data) -> Recipe:
    weights = Weights(str(file.resolve()), weight_files.digest(file), reset=())
    return Recipe(data, model, schedule=Schedule(0), init=weights)
