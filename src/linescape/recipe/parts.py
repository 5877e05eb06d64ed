"""A recipe, the states of its training, and where it starts; `networks` has the models, `settings` the other parts."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from msgspec.structs import force_setattr, replace

from linescape.errors import RecipeError
from linescape.recipe.content import Content
from linescape.recipe.networks import LoRA, Model, ResNet
from linescape.recipe.settings import Data, Optimizer, Schedule

DIGITS = 8
"""Digits of a hash that name a file of weights: as many as torchvision puts into its file names."""

At = Literal["start", "end", "step", "epoch", "best"]
Scheme = Literal[
    "default",
    "kaiming_normal",
    "kaiming_uniform",
    "xavier_normal",
    "xavier_uniform",
    "orthogonal",
    "normal",
    "zeros",
]


class Random(Content, frozen=True, tag_field="from", tag="random"):
    """A fresh draw.

    Attributes:
        scheme: ``default`` is the model's own; the others redraw every weight of two or more dimensions and leave
            norm layers and biases as the model has them; ``normal`` is N(0, 1) for every parameter (Goodfellow 2015),
            ``zeros`` is 0 for every parameter (Tao et al. 2024).
        scale: multiplies every redrawn weight (with ``default``: every weight of two or more dimensions).
    """

    scheme: Scheme = "default"
    scale: float = 1.0

    def _check(self) -> None:
        self._require("scale", math.isfinite(self.scale), "a finite factor")


class Trained(Content, frozen=True, tag_field="from", tag="trained"):
    """A state of another training, its end if nothing else is said, some blocks of it set back.

    Attributes:
        recipe: the other training.
        reset: blocks that do not keep their trained state. Pre-training resets the head; partial pre-training
            (T-All but RI-k) resets block k; adversarial pre-training resets nothing.
        to: ``fresh`` draws the blocks anew from this recipe's seed; ``own`` restores the other training's start.
        statistics: also reset the running statistics of the norm layers in those blocks; else they stay trained.
        optimizer: ``new`` starts without momentum; ``kept`` continues with the other training's.
        at: which state of the other training, with `number` as in `Moment`. Neyshabur et al. 2020 (arXiv 2008.11687)
            fine-tune from epochs of pre-training.
        number: of the step or the epoch.
        schedule: ``new`` begins with step 0 of this recipe's schedule; ``continued`` with the step that the other
            training had reached, so that learning rate, epochs and end are those of one training. Frankle et al. 2020
            (arXiv 1912.05671) train copies of one state so, which differ in `Recipe.order_seed`.
        order: what the order of the data, augmentation, mixing and dropout are drawn from: ``own`` is this recipe;
            ``shared`` is the other training's with this recipe's `order_seed`, step by step of the schedule. So copies
            from different states see the same batches, and one with the other's `order_seed` is that training.
    """

    recipe: Recipe
    reset: tuple[str, ...] = ()
    to: Literal["fresh", "own"] = "fresh"
    statistics: bool = True
    optimizer: Literal["new", "kept"] = "new"
    at: At = "end"
    number: int | None = None
    schedule: Literal["new", "continued"] = "new"
    order: Literal["own", "shared"] = "own"

    def _check(self) -> None:
        moment = self.moment
        force_setattr(self, "at", moment.at)  # one key for one state
        force_setattr(self, "number", moment.number)

    @property
    def moment(self) -> Moment:
        """The state of the other training."""
        return Moment(self.recipe, self.at, self.number)


class Barrier(Content, frozen=True, tag_field="from", tag="barrier"):
    """The top of the highest hump on another training's line (training loss), as the start of a new training.

    Only where that hump is above `shape.TOLERANCE`, as in the target study; else the training is declined.
    """

    recipe: Recipe


class Weights(Content, frozen=True, tag_field="from", tag="weights"):
    """Weights from a file, such as torchvision's or timm's of ImageNet, some blocks of them drawn anew.

    Images are normalised by the moments of their own data set, whatever those of the file's training were.

    Attributes:
        file: name of a file in ``weights/`` in the folder of the data sets, or an absolute path. It is no part of the
            key: the same content elsewhere is the same start.
        sha256: hash of the file's bytes in lower-case hex, or its beginning, 8 digits or more (torchvision has them in
            its file names). A shorter one is another key.
        reset: blocks that are drawn anew.
    """

    uncounted: ClassVar[tuple[str, ...]] = ("file",)

    file: str
    sha256: str
    reset: tuple[str, ...] = ("fc",)

    def _check(self) -> None:
        if len(self.sha256) < DIGITS or not set(self.sha256) <= set("0123456789abcdef"):
            raise RecipeError(
                f"The hash of {self.file} is given as {self.sha256!r}. Results are named by it, so give the file's "
                f"SHA-256 in lower-case hex, its first {DIGITS} digits or more: `sha256sum` prints it."
            )


class Midway(Content, frozen=True, tag_field="from", tag="midway"):
    """The middle of the straight line between two states, running statistics too.

    Attributes:
        first: the state at alpha = 0.
        second: the state at alpha = 1.
    """

    first: Moment
    second: Moment


Init = Random | Trained | Barrier | Weights | Midway


class Everything(Content, frozen=True, tag_field="trained", tag="everything"):
    """All weights of the network, each by itself."""


class OnCurve(Content, frozen=True, tag_field="trained", tag="curve"):
    """The bend of a curve between the two states that the training starts midway of (Garipov et al. 2018).

    Each step takes its loss at a position of the curve that is drawn uniformly from (0, 1), and its gradient goes to
    the bend. The result of the training is the bend: a network too, which is on the curve only if that is a chain.

    Attributes:
        kind: ``bezier`` is (1 - a)^2 first + 2 a (1 - a) bend + a^2 second; ``chain`` goes straight from the first to
            the bend, at a = 1/2, and straight to the second.
    """

    kind: Literal["bezier", "chain"] = "bezier"


class Subspace(Content, frozen=True, tag_field="trained", tag="subspace"):
    """Coordinates in a random subspace: weights are the start plus P times the coordinates, which begin at 0.

    Source: Li, Farkhoor, Liu & Yosinski 2018, arXiv 1804.08838. P is drawn from the recipe's seed; its columns have
    length 1. Which map it is decides the memory it takes: see `training.projections`.

    Attributes:
        dimension: number of coordinates.
        projection: ``fastfood``, a product of fast transforms; ``dense``, Gaussian, with as many numbers as weights
            times coordinates; or ``sparse``, with the square root of the number of weights for each coordinate.
    """

    dimension: int
    projection: Literal["fastfood", "dense", "sparse"] = "fastfood"

    def _check(self) -> None:
        self._require("dimension", self.dimension >= 1, "one coordinate or more")


class Remaining(Content, frozen=True, tag_field="trained", tag="remaining"):
    """The weights that are left after pruning by magnitude; the others are 0 at the start and stay 0.

    All convolutions and linear layers are pruned together, biases and norm layers are not (Frankle et al. 2020, arXiv
    1912.05671). Weights that were pruned before are 0 at the end that decides, so each further round prunes those that
    are left: with densities 0.8, 0.64, ... of which each is decided by the training before it, and all of which start
    from one state, it is iterative magnitude pruning with rewinding. A `Random` start is drawn for each recipe by
    itself, so rewinding to the start of a training takes ``init=Trained(recipe, at="start")``.

    Attributes:
        by: the state whose magnitudes decide, of the same network: the end of the training before.
        density: share of the weights of those layers that is left, in (0, 1].
    """

    by: Moment
    density: float

    def _check(self) -> None:
        self._require("density", 0 < self.density <= 1, "the share of weights that is left, in (0, 1]")


Trains = Everything | OnCurve | Subspace | Remaining


class Recipe(Content, frozen=True):
    """A whole training. Two recipes with the same content have the same key and the same result.

    Attributes:
        seed: tells replicates apart; it enters every draw together with the rest of the recipe.
        order_seed: tells apart trainings with the same start and data (samples of the noise of SGD): it enters the
            order of the data, augmentation, mixing and dropout, but neither the start nor the choice of data.
        trains: what is trained, all weights unless it says otherwise. Where it does, weight decay is a penalty on the
            weights at which the loss is taken, and follows the same way to what is trained.
    """

    data: Data = Data()
    model: Model = ResNet()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    init: Init = Random()
    seed: int = 0
    order_seed: int = 0
    trains: Trains = Everything()

    def _check(self) -> None:
        self._check_trains()
        self._check_updates()
        if not isinstance(self.init, Trained) or self.init.optimizer == "new":
            return
        if Subspace in (type(self.trains), type(self.init.recipe.trains)):
            raise RecipeError(
                "The optimizer of another training is kept, but that of a training in a subspace is of its coordinates"
                ", which are others from another start. Start with a new one."
            )
        other = self.init.recipe.optimizer.name
        if self.optimizer.name != other:
            raise RecipeError(
                f"The optimizer is {self.optimizer.name!r} here and {other!r} in the training that it starts from, so "
                "its state cannot be kept. Use the same, or start with a new one."
            )

    def _check_trains(self) -> None:
        if isinstance(self.trains, OnCurve) and not isinstance(self.init, Midway):
            raise RecipeError(
                f"A curve's bend is to be trained, but the start is {type(self.init).__name__}, so the curve has no "
                "ends. Start midway of two states: init=Midway(first, second)."
            )
        decays = self.optimizer.name == "adamw" and self.optimizer.weight_decay
        if decays and not isinstance(self.trains, Everything):
            raise RecipeError(
                "AdamW shrinks each weight by itself, but here it is not the weights themselves that are trained. "
                "Give weight_decay=0, or use Adam, whose decay is a penalty."
            )

    def _check_updates(self) -> None:
        if not isinstance(self.model, LoRA):
            return
        if isinstance(self.trains, Remaining):
            raise RecipeError(
                "Of a network with updates of LoRA, pruning by magnitude would compare the factors, which start at 0, "
                "with weights that are fixed, and remove the updates first. Prune the network without updates."
            )
        if isinstance(self.init, Random) and self.init != Random():
            raise RecipeError(
                f"The network has updates of LoRA, and its start is {self.init}, which would draw their factors anew "
                "too, although an update has to start at 0. Train a network without updates from that start, and start "
                "from its end: init=Trained(other)."
            )
        if not isinstance(self.init, Trained) or self.init.optimizer == "new":
            return
        if self.init.recipe.model != self.model:
            raise RecipeError(
                "The optimizer of another training is kept, but here updates of LoRA are trained that it does not "
                "have. Start with a new one."
            )

    @property
    def ordering(self) -> Recipe:
        """The recipe that the order of the data, augmentation, mixing and dropout are drawn from."""
        if not isinstance(self.init, Trained) or self.init.order == "own":
            return self
        return replace(self.init.recipe, order_seed=self.order_seed).ordering

    def needs(self) -> tuple[Recipe, ...]:
        """The trainings whose result this one starts from."""
        pruning = (self.trains.by.recipe,) if isinstance(self.trains, Remaining) else ()
        if isinstance(self.init, Midway):
            return self.init.first.recipe, self.init.second.recipe, *pruning
        return (*(() if isinstance(self.init, Random | Weights) else (self.init.recipe,)), *pruning)


class Moment(Content, frozen=True):
    """A state of a training: its start, its end, its best, or that after some step or epoch.

    A start that is a fresh draw or a file needs no training, and a step or an epoch none beyond it.

    Attributes:
        recipe: the training.
        at: ``start``, ``end``, ``step``, ``epoch`` or ``best``. After 0 steps or epochs is the start, and equal to it.
            ``best`` is after the epoch with the lowest cross entropy on the examples that `Data.held_out` keeps from
            training, the first of several (the end point of Goodfellow et al. 2015, arXiv 1412.6544).
        number: of steps or whole epochs done, counted from the beginning of the schedule, which a training that
            continues another (`Trained.schedule`) does not start at.
    """

    recipe: Recipe
    at: At = "end"
    number: int | None = None

    def _check(self) -> None:
        if self.at in ("step", "epoch"):
            named = self.number is not None and self.number >= 0
            self._require("number", named, f"that of the {self.at}, 0 or more")
        elif self.number is not None:
            raise RecipeError(f"number is {self.number}, but a training has one {self.at}. Give at='step' or 'epoch'.")
        if self.at == "best" and not self.recipe.data.held_out:
            raise RecipeError(
                "The best state of a training is asked for, but it trains on all of its examples, so there are none to "
                "decide by. Hold some out, such as a tenth with held_out=0.1 of Data."
            )
        init = self.recipe.init
        if self.number == 0 and not (isinstance(init, Trained) and init.schedule == "continued"):
            force_setattr(self, "at", "start")
            force_setattr(self, "number", None)

    def __str__(self) -> str:
        if self.at == "best":
            return "the best epoch"
        return self.at if self.number is None else f"{self.at} {self.number}"
