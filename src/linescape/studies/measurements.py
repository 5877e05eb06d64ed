"""What is measured between two networks besides lines, as tasks: each gives one object, in one file."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, Self

from linescape.errors import RecipeError
from linescape.evaluation.batchnorm import check_treatments
from linescape.geometry.perturbed import SIGMAS, check_grid
from linescape.interpolation.by_class import ClassErrors
from linescape.interpolation.critical import Criticality
from linescape.interpolation.features import FeatureConnectivity
from linescape.interpolation.flat import Flatness
from linescape.interpolation.greedy import GreedyOrder
from linescape.interpolation.options import grid
from linescape.interpolation.surface import Surface
from linescape.interpolation.turning import GaussLength
from linescape.recipe import Moment
from linescape.studies.paths import Aligned, Straight
from linescape.studies.tasks import Between, Scan, Task


class Measured(Protocol):
    """What such a task gives."""

    def to_bytes(self) -> bytes:
        """As it is kept in a file."""

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """From such a file; raises `LookupError`, `TypeError` or `ValueError` if it is damaged."""


class Measurement(Between, frozen=True):
    """A task whose result is one object.

    Attributes:
        form: the type of the result.
        file: the name of its file.
    """

    form: ClassVar[type[Measured]]
    file: ClassVar[str]


class Noise(Measurement, frozen=True, tag_field="task", tag="noise"):
    """Task: measure a training's end with one module on its way from its start and noise added, see `criticality`.

    Attributes:
        end: the trained network; the module moves from the `start` to it.
        block: the module, as of `Scan`.
        alphas: number of equally spaced positions of the module, both ends included.
        sigmas: standard deviations of the noise, positive and rising.
        draws: of the noise; all alphas and sigmas have the same ones, and no two tasks do.
        train_examples: number of training examples measured, class-balanced, without augmentation; 0 is all.
    """

    block: str
    alphas: int = 11
    sigmas: tuple[float, ...] = SIGMAS
    draws: int = 10
    train_examples: int = 1000
    form = Criticality
    file = "criticality.safetensors"
    result = "the noise"

    def _check(self) -> None:
        check_grid(grid(self.alphas), self.sigmas, self.draws)

    @property
    def moving(self) -> tuple[str, ...]:
        """The name of the module."""
        return (self.block,)

    @property
    def work(self) -> str:
        """What is done, in a progress bar."""
        return f"add noise to {self.block} of"

    @property
    def pieces(self) -> int:
        """The number of networks that are measured."""
        return self.alphas * (1 + len(self.sigmas) * self.draws)


class Features(Measurement, frozen=True, tag_field="task", tag="features"):
    """Task: compare the features of layers between two moments with the mixture of both, see `feature_connectivity`.

    Attributes:
        start, end: the two networks.
        layers: names of modules of the network; all that have features if there are none.
        alphas: number of equally spaced positions, both ends included.
        batchnorm: treatment of BatchNorm statistics.
        train_examples: number of training examples for ``recalibrate``, class-balanced, without augmentation; 0 is all.
        test_examples: number of test examples measured, class-balanced; 0 is all.
        along: the path between the two moments.
    """

    layers: tuple[str, ...] = ()
    alphas: int = 11
    batchnorm: str = "interpolate"
    train_examples: int = 1000
    test_examples: int = 500
    along: Straight | Aligned = Straight()
    form = FeatureConnectivity
    file = "features.safetensors"
    result = "the features"
    work = "compare features of"

    def _check(self) -> None:
        grid(self.alphas)
        check_treatments((self.batchnorm,))


class Turning(Measurement, frozen=True, tag_field="task", tag="turning"):
    """Task: how the logits of training examples turn on the line between two moments, see `gauss_length`.

    BatchNorm's running statistics move with the line.

    Attributes:
        alphas: number of equally spaced positions, both ends included.
        train_examples: number of training examples measured, class-balanced, without augmentation; 0 is all.
        shown: of how many of them the logits are kept at each position.
    """

    alphas: int = 50
    train_examples: int = 100
    shown: int = 10
    form = GaussLength
    file = "turning.safetensors"
    result = "the Gauss length"
    work = "follow the logits of"

    def _check(self) -> None:
        grid(self.alphas)
        self._require("train_examples", self.train_examples >= 0, "a number of examples, or 0 for all")
        self._require("shown", self.shown >= 0, "a number of examples, 0 or more")


class Classes(Measurement, frozen=True, tag_field="task", tag="classes"):
    """Task: the training error of each class along a line, and the last biases at its end, see `class_errors`.

    Attributes:
        line: the line, whose values of each example are read under its first treatment of BatchNorm; both ends are its.
    """

    line: Scan
    form = ClassErrors
    file = "classes.safetensors"
    result = "the errors by class"
    work = "part the errors by class of"

    @classmethod
    def of(cls, line: Scan) -> Classes:
        """Of a line."""
        return cls(line.start, line.end, line)

    def _check(self) -> None:
        if (self.start, self.end) != (self.line.start, self.line.end):
            raise RecipeError("The ends are not those of the line whose values are read. Use Classes.of(line).")

    def needs(self) -> tuple[Task, ...]:
        """The line, and the tasks that make its ends."""
        return (*super().needs(), self.line)


class Greedy(Measurement, frozen=True, tag_field="task", tag="greedy"):
    """Task: average layers of two networks one after another, greedily, see `greedy_order`.

    BatchNorm's running statistics are averaged with the layers. The `end` is the network whose layers the others are.

    Attributes:
        layers: names of what is averaged, as of `Scan.block`.
        train_examples: number of training examples that layers are chosen by, class-balanced, without augmentation; 0
            is all.
        test_examples: number of test examples measured, class-balanced; 0 is all.
    """

    layers: tuple[str, ...]
    train_examples: int = 1000
    test_examples: int = 0
    form = GreedyOrder
    file = "greedy.safetensors"
    result = "the greedy order of layers"
    work = "average layers greedily of"

    def _check(self) -> None:
        self._require("layers", len(set(self.layers)) == len(self.layers) > 0, "one name or several, none twice")
        self._require("train_examples", self.train_examples >= 0, "a number of examples, or 0 for all")
        self._require("test_examples", self.test_examples >= 0, "a number of examples, or 0 for all")


class Flat(Measurement, frozen=True, tag_field="task", tag="flat"):
    """Task: how flat the training loss is on the line between two moments, see `flatness`.

    Attributes:
        alphas: number of equally spaced positions, both ends included.
        batchnorm: treatment of BatchNorm statistics.
        train_examples: number of training examples measured, class-balanced, without augmentation; 0 is all.
        vectors: random vectors for the trace of the Hessian.
    """

    alphas: int = 3
    batchnorm: str = "interpolate"
    train_examples: int = 500
    vectors: int = 30
    form = Flatness
    file = "flatness.safetensors"
    result = "the flatness"
    work = "measure the curvature along the line of"

    def _check(self) -> None:
        grid(self.alphas)
        check_treatments((self.batchnorm,))
        self._require("train_examples", self.train_examples >= 0, "a number of examples, or 0 for all")
        self._require("vectors", self.vectors >= 2, "a number of random vectors, 2 or more")


class PlaneScan(Measurement, frozen=True, tag_field="task", tag="plane"):
    """Task: measure a plane on a grid, see `linescape.geometry.planes`.

    Attributes:
        span: what spans the plane: ``three`` networks, `start`, `end` and the one of `others`; the ``principal``
            components of the states of one training, `start`, `others` and `end` in order; ``random`` directions around
            `end`, normalised by filters, for which `start` is `end` too.
        others: further networks.
        points: least number of positions on each side.
        batchnorm: treatment of BatchNorm statistics, ``interpolate``, ``recalibrate`` or ``batch``.
        train_examples: number of training examples measured, class-balanced, without augmentation; 0 is all.
        test_examples: number of test examples measured, class-balanced; 0 is all.
        names: of the three networks, `start`, `end` and the other.
    """

    span: Literal["three", "principal", "random"] = "three"
    others: tuple[Moment, ...] = ()
    points: int = 15
    batchnorm: str = "recalibrate"
    train_examples: int = 1000
    test_examples: int = 0
    names: tuple[str, str, str] = ("start", "end", "other")
    form = Surface
    file = "surface.safetensors"
    result = "the plane"
    work = "measure a plane of"

    def _check(self) -> None:
        check_treatments((self.batchnorm,))
        if self.batchnorm in ("start", "end"):
            raise RecipeError(
                f"The treatment {self.batchnorm!r} takes BatchNorm's statistics from one end of a line, and a plane "
                "has no ends. Choose interpolate, recalibrate or batch."
            )
        self._require("points", self.points >= 2, "a number of positions, 2 or more")
        wanted = {"three": "one more network", "principal": "one more state or several", "random": "none"}[self.span]
        count = len(self.others)
        right = {"three": count == 1, "principal": count > 0, "random": not count and self.start == self.end}[self.span]
        if not right:
            raise RecipeError(f"A plane of span {self.span!r} has {count} others. Give {wanted}, see `PlaneScan`.")

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The moments whose networks it reads."""
        return (self.start, *self.others, self.end)

    @property
    def pieces(self) -> int:
        """The least number of networks that are measured."""
        return self.points if self.batchnorm == "interpolate" else self.points**2
