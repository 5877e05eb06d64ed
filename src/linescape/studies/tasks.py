"""What there is to do, as data: a training, a state within one, a line. Each is a `Task`, named by what it holds.

How a task is done and what it costs is in `kinds`, a module for each kind. A new kind is a class and its `Kind` in one
module there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Union

from msgspec.structs import force_setattr

from linescape.errors import RecipeError
from linescape.interpolation.options import grid
from linescape.recipe import Barrier, Content, Midway, Moment, Random, Recipe, Remaining, Weights, title
from linescape.studies.paths import Aligned, Along, Averaged, Bent, Curved, Shuffled, Straight


class Task(Content, frozen=True):
    """What is done once, however many ask for it, and whose result is kept under its key.

    A kind of task is a subclass with a tag, which names the folder of its results and must be of small letters.
    """

    @property
    def recipe(self) -> Recipe:
        """The recipe whose network and data it computes with."""
        raise NotImplementedError

    def needs(self) -> tuple[Task, ...]:
        """The tasks that must be done first."""
        raise NotImplementedError

    @property
    def result(self) -> str:
        """What its result is, in a message: ``the training``; its key is put after it."""
        raise NotImplementedError

    @property
    def work(self) -> str:
        """What is done, in a progress bar: ``train``; its network, data and seed are put after it."""
        raise NotImplementedError

    @property
    def maker(self) -> Task:
        """The task that one process does together with it, under one lock, and that may do it on its way: itself."""
        return self

    @property
    def inside(self) -> str:
        """The name of its folder in that of its `maker`, where that is another."""
        return ""

    @property
    def pieces(self) -> int:
        """Into how many parts it may be cut, at most, which several processes do and the whole then joins."""
        return 1


def known_kinds() -> list[type[Task]]:
    """All kinds of tasks that are known."""
    known = list(Task.__subclasses__())
    for kind in known:
        known += kind.__subclasses__()
    return [kind for kind in known if kind.__struct_config__.tag]


def any_task() -> Any:
    """The type of all kinds of tasks that are known, for msgspec to decode."""
    return Union[tuple(known_kinds())]  # noqa: UP007 - of a list


class Train(Task, frozen=True, tag_field="task", tag="train"):
    """Task: train a recipe. The result is its start, its end and a log with a row for each epoch."""

    recipe: Recipe
    result = "the training"
    work = "train"

    def needs(self) -> tuple[Task, ...]:
        """The trainings and scans that must be done first."""
        init, trains = self.recipe.init, self.recipe.trains
        pruning = needs_of(trains.by) if isinstance(trains, Remaining) else ()
        if isinstance(init, Random | Weights):
            return pruning
        if isinstance(init, Barrier):
            return (hump_line(init.recipe), *pruning)
        moments = (init.first, init.second) if isinstance(init, Midway) else (init.moment,)
        return tuple(dict.fromkeys((*(task for moment in moments for task in needs_of(moment)), *pruning)))


class Keep(Task, frozen=True, tag_field="task", tag="keep"):
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
        return self.maker.needs()

    @property
    def result(self) -> str:
        """What its result is, in a message."""
        state = "best state" if self.moment.at == "best" else f"state after {self.moment}"
        return f"the {state} of the training"

    @property
    def work(self) -> str:
        """What is done, in a progress bar."""
        return f"keep {self.moment} of"

    @property
    def maker(self) -> Train:
        """The training."""
        return Train(self.recipe)

    @property
    def inside(self) -> str:
        """The name of its folder in that of the training."""
        return self.moment.at if self.moment.number is None else f"{self.moment.at}-{self.moment.number}"


class Between(Task, frozen=True):
    """A task on the networks of two moments, of one training or of two, and on the data of the `end`'s recipe."""

    start: Moment
    end: Moment

    def needs(self) -> tuple[Task, ...]:
        """The tasks that make the two ends, and whatever else the task reads."""
        return tuple(dict.fromkeys(task for moment in self.moments for task in needs_of(moment)))

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The moments whose networks it reads."""
        return (self.start, self.end)

    @property
    def recipe(self) -> Recipe:
        """The recipe of the end."""
        return self.end.recipe


class Scan(Between, frozen=True, tag_field="task", tag="scan"):
    """Task: walk the straight line between two moments.

    Attributes:
        block: move only this named block of the model, or one convolution or linear layer with its norm by the name of
            the module (`groups.by_convolution`); empty moves the whole network.
        rest: the end at which the other blocks are held fixed in a layer-wise line, ``end`` (Chatterji et al. 2020) or
            ``start``.
        alphas: number of equally spaced positions, both ends included.
        batchnorm: treatments of BatchNorm statistics, each of which gives a curve.
        train_examples: number of training examples measured, class-balanced, without augmentation; 0 is all.
        test_examples: number of test examples measured, class-balanced; 0 is all.
        along: the path between the two moments, straight unless it says otherwise.
        positions: of a path that is measured elsewhere than at equally spaced alphas in [0, 1]; 0 and 1 among them.
        blocks: further blocks that move with `block`, as in cumulative lines (Adilova et al. 2024, ICLR).
    """

    block: str = ""
    rest: Literal["end", "start"] = "end"
    alphas: int = 50
    batchnorm: tuple[str, ...] = ("interpolate",)
    train_examples: int = 1000
    test_examples: int = 0
    along: Along = Straight()
    positions: tuple[float, ...] = ()
    blocks: tuple[str, ...] = ()
    result = "the line"

    def _check(self) -> None:
        if self.blocks and not self.block:
            raise RecipeError(f"blocks are {self.blocks} without a block to move with. Give the first one as block.")
        if self.block and isinstance(self.along, Aligned | Shuffled):
            raise RecipeError(
                f"The block {self.block!r} is to move alone to an end with its units in another order, but these go "
                "together with what reads them. Let the whole network move."
            )
        if self.positions:
            if grid(self.positions) != self.positions:
                raise RecipeError(
                    f"positions are {self.positions}, without an end of the path. Let 0 and 1 be among them."
                )
            force_setattr(self, "alphas", len(self.positions))
            if self.positions == grid(self.alphas):
                force_setattr(self, "positions", ())  # one key for one line

    @property
    def moving(self) -> tuple[str, ...]:
        """The names of the blocks that move; none where the whole network does."""
        return (self.block, *self.blocks) if self.block else ()

    @property
    def grid(self) -> tuple[float, ...]:
        """The alphas that are measured, in order."""
        return self.positions or grid(self.alphas)

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The moments whose networks it reads."""
        others: tuple[Moment, ...] = (self.along.through,) if isinstance(self.along, Bent | Curved) else ()
        return (self.start, self.end, *(self.along.others if isinstance(self.along, Averaged) else others))

    @property
    def work(self) -> str:
        """What is done, in a progress bar."""
        others = f" and {len(self.blocks)} more blocks" if self.blocks else ""
        return f"walk {f'{self.block}{others}' if self.block else 'the whole line'} of"

    @property
    def pieces(self) -> int:
        """The number of its positions; one where each part would have to permute the units of its end anew."""
        return 1 if isinstance(self.along, Aligned | Shuffled) else self.alphas


def needs_of(moment: Moment) -> tuple[Task, ...]:
    """The tasks that make a state of a training."""
    if moment.at == "start":
        return Train(moment.recipe).needs()
    return (Train(moment.recipe) if moment.at == "end" else Keep(moment),)


def hump_line(recipe: Recipe) -> Scan:
    """The line from a training's start to its end, measured in the one way that defines a restart at its barrier."""
    return Scan(start=Moment(recipe, "start"), end=Moment(recipe, "end"))


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


def describe(task: Task) -> str:
    """A task in a few words, such as ``walk fc of ResNet on fashion-mini, seed 0``."""
    return f"{task.work} {title(task.recipe.model)} on {task.recipe.data.label}, seed {task.recipe.seed}"
