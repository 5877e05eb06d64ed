"""A study is a question as data: arms of runs, and the lines to walk for each run.

`Study.tasks` lists the trainings and scans that answer it, each once, each after what it needs.
Doing them is `work`'s part; a study knows nothing of files or of what is already done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from linescape.errors import RecipeError, suggest
from linescape.recipe import Barrier, Content, Random, Recipe, Weights


class Moment(Content, frozen=True):
    """A state of a training: its ``start`` or its ``end``. A start that is a fresh draw or a file needs no training."""

    recipe: Recipe
    at: Literal["start", "end"] = "end"


class Train(Content, frozen=True, tag_field="task", tag="train"):
    """Task: train a recipe; leaves its start, its end and a log per epoch."""

    recipe: Recipe

    def needs(self) -> tuple[Task, ...]:
        """The trainings and scans that must be done before."""
        init = self.recipe.init
        if isinstance(init, Random | Weights):
            return ()
        return (hump_line(init.recipe),) if isinstance(init, Barrier) else (Train(init.recipe),)


class Scan(Content, frozen=True, tag_field="task", tag="scan"):
    """Task: walk the straight line between two moments, on the data of the `end`'s recipe.

    Attributes:
        block: move only this named block of the model, or one convolution or linear layer with its norm by the name of
            the module (`groups.by_convolution`); empty moves the whole network.
        rest: where the other blocks stand in a layer-wise line, ``end`` (Chatterji et al. 2020) or ``start``.
        alphas: number of equally spaced positions, both ends included.
        batchnorm: treatments of BatchNorm statistics, each giving its own curve.
        train_examples: training examples measured, class-balanced, as trained on but not augmented; 0 is all.
        test_examples: test examples measured, class-balanced; 0 is all.
    """

    start: Moment
    end: Moment
    block: str = ""
    rest: Literal["end", "start"] = "end"
    alphas: int = 50
    batchnorm: tuple[str, ...] = ("interpolate",)
    train_examples: int = 1000
    test_examples: int = 0

    def needs(self) -> tuple[Task, ...]:
        """The trainings that make the two ends."""
        found: list[Task] = []
        for moment in (self.start, self.end):
            task = Train(moment.recipe)
            found += [task] if moment.at == "end" else task.needs()
        return tuple(dict.fromkeys(found))


Task = Train | Scan


def hump_line(recipe: Recipe) -> Scan:
    """The line from a training's own start to its end, measured so that a restart at its barrier is defined by it."""
    return Scan(start=Moment(recipe, "start"), end=Moment(recipe, "end"))


@dataclass(frozen=True)
class Run:
    """One replicate of an arm: a training, and the lines to walk by label.

    The label ``whole`` is the line from own start to own end; a block's name is its layer-wise line; other labels
    (``to another start``, ``start to start``) say what they are.
    """

    recipe: Recipe
    lines: Mapping[str, Scan]


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
    """A work's experiments at one scale.

    Attributes:
        name: the module's name in `linescape.studies`.
        scale: the name of the scale (``mini``).
        title: what the study is, in words.
        source: the work it repeats.
        arms: in the order of the report.
    """

    name: str
    scale: str
    title: str
    source: str
    arms: tuple[Arm, ...]

    def tasks(self) -> tuple[Task, ...]:
        """Every training and scan once, each after what it needs."""
        asked: list[Task] = []
        for arm in self.arms:
            for run in arm.runs:
                asked += [Train(run.recipe), *run.lines.values()]
        return in_order(asked)

    def only(self, *names: str, runs: int | None = None, seeds: Sequence[int] | None = None) -> Study:
        """A part of the study.

        Args:
            names: the arms that are kept, in this order; all if none is named.
            runs: the number of replicates that are kept of each arm, the first ones; None keeps all.
            seeds: the seeds whose runs are kept; None keeps all.

        Raises:
            RecipeError: an arm's name is unknown.
        """
        known = {arm.name: arm for arm in self.arms}
        for name in names:
            if name not in known:
                raise RecipeError(f"Study {self.name!r} has no arm {name!r}. {suggest(name, known)}")
        kept = [known[name] for name in dict.fromkeys(names)] if names else self.arms

        def cut(arm: Arm) -> Arm:
            chosen = (run for run in arm.runs[:runs] if seeds is None or run.recipe.seed in seeds)
            return replace(arm, runs=tuple(chosen))

        return replace(self, arms=tuple(map(cut, kept)))


def in_order(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """These tasks and all that they need, each once, each after what it needs."""
    found: dict[Task, None] = {}

    def add(task: Task) -> None:
        if task not in found:
            for need in task.needs():
                add(need)
            found[task] = None

    for task in tasks:
        add(task)
    return tuple(found)
