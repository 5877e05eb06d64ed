"""What a training is besides its network and its start: data, optimizer and schedule.

Each part checks its values, so one that is impossible cannot be made. What depends on the data set, such as the number
of its classes, is checked by `data.load`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Self

from linescape.errors import RecipeError
from linescape.recipe.content import Content
from linescape.recipe.own import OwnData

_FACTOR = 0.1

TrainingPrecision = Literal["float32", "bfloat16"]


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
            measurements. On a processor without instructions for it, products are computed in float32 and rounded.
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
