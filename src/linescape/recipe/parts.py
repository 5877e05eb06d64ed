"""A recipe and its parts: data, optimizer, schedule and initialisation; `networks` has the models.

Each part checks its values, so one that is impossible cannot be made. What depends on the data set, such as the number
of its classes, is checked by `data.load`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

from msgspec.structs import force_setattr, replace

from linescape.errors import RecipeError
from linescape.recipe.content import Content
from linescape.recipe.networks import Model, ResNet
from linescape.recipe.own import OwnData

DIGITS = 8
"""Digits of a hash that name a file of weights: as many as torchvision puts into its file names."""

_FACTOR = 0.1

TrainingPrecision = Literal["float32", "bfloat16"]
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


class Poison(Content, frozen=True):
    """Copies of the training images with pixels zeroed and labels drawn at random (Liu et al. 2020, section 3).

    Attributes:
        copies: poisoned copies of each training image (R in the source); they replace the clean set.
        zeroed: fraction of each copy's pixel-channels that is set to zero.
    """

    copies: int = 1
    zeroed: float = 0.1

    def _check(self) -> None:
        self._require("copies", 1 <= self.copies <= 1000, "at least one copy, and a thousand at most")
        self._require("zeroed", 0 <= self.zeroed <= 1, "a zeroed part in [0, 1]")


class Data(Content, frozen=True):
    """A data set and what is done to its training split.

    Only `size`, `classes` and `shuffled_blocks` change the test split too.

    Attributes:
        name: ``fashion-mini`` (embedded), ``spiral``, ``digits``, ``mnist``, ``fashion-mnist``, ``cifar10`` or
            ``cifar100``; of data of one's own the function's name.
        size: side in pixels to which images are averaged down, test images too; 0 keeps them as stored.
        classes: keep only these labels, renumbered in this order, in test too; empty keeps all.
        fraction: class-balanced fraction of the training examples that is kept, in (0, 1].
        label_noise: fraction of the kept training labels moved to another class, uniformly.
        poison: replace the training set by poisoned copies.
        augment: random changes of each training image: ``none``, ``flip``, ``crop`` (padding an eighth of the side),
            ``crop-flip``, ``cutout`` (a square of half the side is zeroed).
        mixup: train on mixtures of two images of a batch and of their labels, with a share drawn from
            Beta(mixup, mixup) (Zhang et al. 2018, arXiv 1710.09412); 0 does not mix.
        shuffled_blocks: side in pixels of the square blocks that images are cut into, training and test images alike,
            whose places are permuted (Neyshabur et al. 2020, arXiv 2008.11687); 1 shuffles pixels, 0 nothing. Our
            choice is that each image has a permutation of its own, for all channels together and in every epoch, which
            follows from the data set and the image's index alone and not from the recipe's seed.
        held_out: class-balanced fraction of the training examples, in [0, 1), that is not trained on but kept for
            validation, as it is stored: `fraction`, noise and poison act on the others. See `Moment.at`.
        own: the user's own data set; None for one of linescape's. See `of`.
    """

    name: str = "fashion-mini"
    size: int = 0
    classes: tuple[int, ...] = ()
    fraction: float = 1.0
    label_noise: float = 0.0
    poison: Poison | None = None
    augment: Literal["none", "flip", "crop", "crop-flip", "cutout"] = "none"
    mixup: float = 0.0
    shuffled_blocks: int = 0
    held_out: float = 0.0
    own: OwnData | None = None

    @classmethod
    def of(cls, function: str | Callable[..., Any], **settings: Any) -> Self:
        """The user's own data set, which a function returns: see `OwnData` and `data.own`.

        Args:
            function: the function itself, or its name, ``module:name`` or ``file.py:name``.
            settings: its arguments by name, as of `Own.of`.

        Raises:
            RecipeError: it has no name by which other processes find it, or a setting is no plain value.
        """
        own = OwnData.of(function, **settings)
        return cls(own.function, own=own)

    @property
    def label(self) -> str:
        """The name, with the settings of data of one's own."""
        return str(self.own) if self.own else self.name

    def _check(self) -> None:
        if self.own and self.name != self.own.function:
            raise RecipeError(
                f"The data are called {self.name!r}, but the function that returns them {self.own.function!r}, so the "
                "name says nothing. Make them with Data.of(function)."
            )
        self._require("size", self.size >= 0, "a side in pixels, or 0 for images as stored")
        distinct = len(set(self.classes)) == len(self.classes) and min(self.classes, default=0) >= 0
        self._require("classes", distinct, "different labels, 0 or more, or () for all")
        self._require("fraction", 0 < self.fraction <= 1, "the part of the training set to keep, in (0, 1]")
        self._require("label_noise", 0 <= self.label_noise <= 1, "the part of the labels to change, in [0, 1]")
        self._require("mixup", 0 <= self.mixup < math.inf, "the strength of mixing, 0 or more; 0 does not mix")
        self._require("shuffled_blocks", self.shuffled_blocks >= 0, "the side of a block in pixels, or 0 for none")
        self._require("held_out", 0 <= self.held_out < 1, "the part of the training set to validate on, in [0, 1)")
        if self.label_noise and len(self.classes) == 1:
            raise RecipeError(
                f"label_noise is {self.label_noise!r} and moves labels to another class, but classes are "
                f"{self.classes}, which is only one. Keep two classes or more."
            )

    @property
    def wrong_labels(self) -> float:
        """The share of training labels that are wrong by intention; poisoned copies count as wrong."""
        return 1.0 if self.poison else self.label_noise


class Optimizer(Content, frozen=True):
    """Optimizer settings, and how a step computes.

    Attributes:
        name: SGD, Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019).
        lr: learning rate before the schedule's factor.
        momentum: SGD's; the first beta of Adam and AdamW.
        weight_decay: the factor with which a weight is added to its gradient; AdamW shrinks the weights instead.
        batch_size: number of examples in a step.
        precision: of convolutions, matrix products and activations in training. ``bfloat16`` has 8 significant bits;
            weights, their gradients and updates, running statistics and the loss are in float32 either way, and so are
            measurements.
        native: on the CPU, 3x3 convolutions and their gradients by linescape's own kernels, which need a C compiler.
            They are faster for wide networks and give other last bits than torch, hence another key.
    """

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 128
    precision: TrainingPrecision = "float32"
    native: bool = False

    def _check(self) -> None:
        self._require("lr", 0 <= self.lr < math.inf, "a finite learning rate, 0 or more")
        self._require("momentum", 0 <= self.momentum < 1, "one in [0, 1)")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "a finite weight decay, 0 or more")
        self._require("batch_size", self.batch_size >= 1, "one example or more")
        if self.native and self.precision != "float32":
            raise RecipeError(
                f"native is True with precision {self.precision!r}, but in a training the native convolutions compute "
                "in float32. Give only one of the two."
            )


class Schedule(Content, frozen=True):
    """The length of a training, and its learning rate over time.

    Attributes:
        epochs: passes over the training set.
        kind: ``step`` multiplies by `factor` at the start of each (0-based) epoch in `drops`; ``cosine`` falls to 0
            over all steps; ``constant``.
        warmup: epochs of linear rise from 0 at the beginning.
        until_error: training ends after the first epoch whose training error in %, as it occurred in training, is at
            most this, or after all `epochs`. 0 always trains all of them.
    """

    epochs: int = 100
    kind: Literal["step", "cosine", "constant"] = "constant"
    drops: tuple[int, ...] = ()
    factor: float = _FACTOR
    warmup: float = 0.0
    until_error: float = 0.0

    def _check(self) -> None:
        self._require("epochs", self.epochs >= 0, "a number of epochs, 0 or more")
        ordered = self.drops == tuple(sorted(self.drops))
        self._require("drops", ordered and min(self.drops, default=0) >= 0, "epochs in order, counted from 0")
        if self.kind == "step" and max(self.drops, default=-1) >= self.epochs > 0:
            raise RecipeError(
                f"drops is {self.drops}, but the last epoch is {self.epochs - 1}, counted from 0, so not all would "
                f"come. Give epochs below {self.epochs}."
            )
        if self.kind != "step" and (self.drops or self.factor != _FACTOR):
            raise RecipeError(
                f"drops is {self.drops} and factor is {self.factor!r}, but a schedule of kind {self.kind!r} has no "
                "drops, so they would do nothing. Leave them out, or use kind 'step'."
            )
        self._require("factor", 0 <= self.factor < math.inf, "a finite factor, 0 or more")
        self._require("warmup", 0 <= self.warmup < math.inf, "a finite number of epochs, 0 or more")
        self._require("until_error", 0 <= self.until_error < 100, "an error in %, in [0, 100); 0 trains all epochs")


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


Init = Random | Trained | Barrier | Weights


class Recipe(Content, frozen=True):
    """A whole training. Two recipes with the same content have the same key and the same result.

    Attributes:
        seed: tells replicates apart; it enters every draw together with the rest of the recipe.
        order_seed: tells apart trainings with the same start and data (samples of the noise of SGD): it enters the
            order of the data, augmentation, mixing and dropout, but neither the start nor the choice of data.
    """

    data: Data = Data()
    model: Model = ResNet()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    init: Init = Random()
    seed: int = 0
    order_seed: int = 0

    def _check(self) -> None:
        if not isinstance(self.init, Trained) or self.init.optimizer == "new":
            return
        other = self.init.recipe.optimizer.name
        if self.optimizer.name != other:
            raise RecipeError(
                f"The optimizer is {self.optimizer.name!r} here and {other!r} in the training that it starts from, so "
                "its state cannot be kept. Use the same, or start with a new one."
            )

    @property
    def ordering(self) -> Recipe:
        """The recipe that the order of the data, augmentation, mixing and dropout are drawn from."""
        if not isinstance(self.init, Trained) or self.init.order == "own":
            return self
        return replace(self.init.recipe, order_seed=self.order_seed).ordering

    def needs(self) -> tuple[Recipe, ...]:
        """The trainings whose result this one starts from."""
        return () if isinstance(self.init, Random | Weights) else (self.init.recipe,)


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
