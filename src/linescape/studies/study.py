"""A study is a question as data: arms of runs, and the lines to walk for each run.

`Study.tasks` lists the trainings and scans that answer it, each once, each after the tasks that it needs. `work` does
them; a study knows nothing of files or of what is already done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from linescape.errors import RecipeError, suggest
from linescape.recipe import Barrier, Content, Moment, Random, Recipe, Weights

__all__ = ["Arm", "Keep", "Moment", "Run", "Scan", "Study", "Task", "Train", "hump_line", "in_order", "needs_of"]


class Train(Content, frozen=True, tag_field="task", tag="train"):
    """Task: train a recipe. The result is its start, its end and a log with a row for each epoch."""

    recipe: Recipe

    def needs(self) -> tuple[Task, ...]:
        """The trainings and scans that must be done first."""
        init = self.recipe.init
        if isinstance(init, Random | Weights):
            return ()
        return (hump_line(init.recipe),) if isinstance(init, Barrier) else needs_of(init.moment)


class Keep(Content, frozen=True, tag_field="task", tag="keep"):
    """Task: a state within a training. The result is the state and the optimizer's.

    A training keeps it as it passes, so each step is done once, whatever is asked for. One that is finished is repeated
    up to there and compared with its log; its own result stays as it is.
    """

    moment: Moment

    def _check(self) -> None:
        if self.moment.at in ("start", "end"):
            raise RecipeError(f"The {self.moment.at} of a training is kept by the training itself. Ask for Train.")

    @property
    def recipe(self) -> Recipe:
        """The training that it is a state of."""
        return self.moment.recipe

    def step(self, per_epoch: int) -> int:
        """The number of the step after which it is, where an epoch has so many."""
        return (self.moment.number or 0) * (per_epoch if self.moment.at == "epoch" else 1)

    def needs(self) -> tuple[Task, ...]:
        """The tasks that make the start of the training."""
        return Train(self.recipe).needs()


class Scan(Content, frozen=True, tag_field="task", tag="scan"):
    """Task: walk the straight line between two moments, of one training or of two, on the data of the `end`'s recipe.

    Attributes:
        block: move only this named block of the model, or one convolution or linear layer with its norm by the name of
            the module (`groups.by_convolution`); empty moves the whole network.
        rest: the end at which the other blocks are held fixed in a layer-wise line, ``end`` (Chatterji et al. 2020) or
            ``start``.
        alphas: number of equally spaced positions, both ends included.
        batchnorm: treatments of BatchNorm statistics, each of which gives a curve.
        train_examples: number of training examples measured, class-balanced, without augmentation; 0 is all.
        test_examples: number of test examples measured, class-balanced; 0 is all.
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
        """The tasks that make the two ends."""
        return tuple(dict.fromkeys((*needs_of(self.start), *needs_of(self.end))))


Task = Train | Keep | Scan


def needs_of(moment: Moment) -> tuple[Task, ...]:
    """The tasks that make a state of a training."""
    if moment.at == "start":
        return Train(moment.recipe).needs()
    return (Train(moment.recipe) if moment.at == "end" else Keep(moment),)


def hump_line(recipe: Recipe) -> Scan:
    """The line from a training's start to its end, measured in the one way that defines a restart at its barrier."""
    return Scan(start=Moment(recipe, "start"), end=Moment(recipe, "end"))


@dataclass(frozen=True)
class Run:
    """One replicate of an arm: a training, and the lines to walk by label.

    The label ``whole`` is the line from its start to its end, and the name of a block its layer-wise line; other labels
    are ``to another start``, ``start to start`` and ``treatments``.
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
    """The experiments of a publication at one scale.

    Attributes:
        name: the module's name in `linescape.studies`.
        scale: the name of the scale (``mini``).
        title: what the study is, in words.
        source: the publication whose experiments it repeats.
        arms: in the order of the report.
        larger: the scale with more runs of the same arms; empty where there is none.
    """

    name: str
    scale: str
    title: str
    source: str
    arms: tuple[Arm, ...]
    larger: str = ""

    def tasks(self) -> tuple[Task, ...]:
        """Every task once, each after the tasks that it needs."""
        tasks: list[Task] = []
        for arm in self.arms:
            for run in arm.runs:
                tasks += [Train(run.recipe), *run.lines.values()]
        return in_order(tasks)

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
            chosen = (run for run in arm.runs[:runs] if seeds is None or run.recipe.seed in seeds)
            return replace(arm, runs=tuple(chosen))

        return replace(self, arms=tuple(map(with_fewer_runs, kept)))


def in_order(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """These tasks and all that they need, each once, each after the tasks that it needs."""
    ordered: dict[Task, None] = {}

    def add(task: Task) -> None:
        if task not in ordered:
            for need in task.needs():
                add(need)
            ordered[task] = None

    for task in tasks:
        add(task)
    return tuple(ordered)
