"""What a walk goes along, as data, and the path of tensors that this is between two states."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch

from linescape.errors import RecipeError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry import homogeneous
from linescape.geometry.bezier import Bezier
from linescape.geometry.merged import Merged
from linescape.geometry.paths import Bend, Line, Path, Ray
from linescape.geometry.state import State
from linescape.geometry.tensors import in_float64, is_continuous
from linescape.interpolation.alignment.aligning import align, shuffle
from linescape.interpolation.repair import Repaired
from linescape.recipe import Content, Moment, derive_seed


class Straight(Content, frozen=True, tag_field="path", tag="line"):
    """The straight line from the start to the end."""


class Bent(Content, frozen=True, tag_field="path", tag="bend"):
    """Two straight pieces, which meet at a third state at alpha = 0.5."""

    through: Moment


class Curved(Content, frozen=True, tag_field="path", tag="bezier"):
    """A quadratic Bezier curve whose middle control point is a third state (Garipov et al. 2018, arXiv 1802.10026)."""

    through: Moment


class Homogeneous(Content, frozen=True, tag_field="path", tag="homogeneous"):
    """The line with each bias at the power of alpha of its layer's signal (Wang et al. 2023, arXiv 2210.01019)."""


class RandomDirection(Content, frozen=True, tag_field="path", tag="random"):
    """From the start in a random direction, which goes as far in each tensor as the line to the end does.

    Source: the random directions of Adilova et al. 2024 (ICLR), there of the norm of a layer's difference. Parameters
    move; running statistics stay as they are at the start.

    Attributes:
        seed: tells directions apart.
    """

    seed: int = 0


class Aligned(Content, frozen=True, tag_field="path", tag="aligned"):
    """The line to the end with its units in the order that fits the start's (Ainsworth et al. 2023, arXiv 2209.04836).

    Attributes:
        by: ``weights`` or ``activations``, as of `linescape.interpolation.alignment.aligning.align`.
        repaired: whether units keep mean and deviation along it (Jordan et al. 2022, arXiv 2211.08403; `Repaired`), for
            networks without BatchNorm; with it, measure the treatment ``recalibrate``.
    """

    by: Literal["weights", "activations"] = "weights"
    repaired: bool = False


class Disturbed(Content, frozen=True, tag_field="path", tag="disturbed"):
    """The line to the end with Gaussian noise in its parameters, or from such a start (Lucas et al. 2021).

    That the noise of each tensor is measured by how far the line moves that tensor is our choice.

    Attributes:
        size: norm of the noise in each tensor, relative to the norm of its difference between the ends.
        seed: tells draws apart.
        where: which of both has the noise, ``end`` or ``start``.
    """

    size: float = 1.0
    seed: int = 0
    where: Literal["end", "start"] = "end"

    def _check(self) -> None:
        self._require("size", 0 < self.size < math.inf, "a positive, finite size")


class Shuffled(Content, frozen=True, tag_field="path", tag="shuffled"):
    """The line to the end with its hidden units in a random order, which computes the same (Lucas et al. 2021).

    Attributes:
        seed: tells orders apart.
    """

    seed: int = 0


class Averaged(Content, frozen=True, tag_field="path", tag="averaged"):
    """The line to the mean of the end and of other states, as of several trainings' ends.

    Attributes:
        others: the other states, one or more.
    """

    others: tuple[Moment, ...]

    def _check(self) -> None:
        if not self.others:
            raise RecipeError("A mean of several ends needs others than the line's own. Give at least one.")


class InMergedWeights(Content, frozen=True, tag_field="path", tag="merged"):
    """The line in merged weights between two networks with LoRA (`linescape.geometry.merged.Merged`)."""


Along = (
    Straight
    | Bent
    | Curved
    | Homogeneous
    | RandomDirection
    | Aligned
    | Disturbed
    | Shuffled
    | Averaged
    | InMergedWeights
)


def between(along: Along, start: State, end: State, evaluator: Evaluator, states: Callable[[Moment], State]) -> Path:
    """The path.

    Args:
        along: what it goes along.
        start, end: its states.
        evaluator: a network of them and the data, for what depends on the order of layers or on activations.
        states: gives the state of another moment, such as the bend of a curve.
    """
    if isinstance(along, Bent):
        return Bend([start, states(along.through), end])
    if isinstance(along, Curved):
        return Bezier(start, states(along.through), end)
    if isinstance(along, Homogeneous):
        return homogeneous.Homogeneous(start, end, homogeneous.powers(evaluator.model))
    if isinstance(along, RandomDirection):
        return Ray(start, direction(start, end, derive_seed(along, *_names(start))))
    if isinstance(along, Aligned):
        line = Line(start, align(start, end, evaluator, along.by).state)
        return Repaired(line, evaluator) if along.repaired else line
    if isinstance(along, Disturbed):
        noise = direction(start, end, derive_seed(along, *_names(start)))
        if along.where == "start":
            return Line(Ray(start, noise).at(along.size), end)
        return Line(start, Ray(end, noise).at(along.size))
    if isinstance(along, Shuffled):
        return Line(start, shuffle(end, evaluator, along.seed))
    if isinstance(along, Averaged):
        mean = end
        for count, other in enumerate(along.others, start=2):
            mean = Line(mean, states(other)).at(1 / count)
        return Line(start, mean)
    if isinstance(along, InMergedWeights):
        return Merged(start, end, evaluator.model)
    return Line(start, end)


def direction(start: State, end: State, seed: int) -> dict[str, torch.Tensor]:
    """A normal draw for each parameter that differs, scaled to the norm of the difference; drawn on the CPU."""
    random = torch.Generator().manual_seed(seed)
    drawn: dict[str, torch.Tensor] = {}
    for name, value in start.parameters.items():
        if not is_continuous(value.dtype):
            continue
        wide = torch.complex128 if value.is_complex() else torch.float64
        difference = (in_float64(end[name]) - in_float64(value)).norm()
        if difference > 0:
            noise = torch.randn(value.shape, generator=random, dtype=wide)
            scaled = noise * (difference.cpu() / noise.norm())
            drawn[name] = scaled.to(value.dtype).to(value.device)
    return drawn


def _names(state: State) -> Sequence[str]:
    return sorted(state.parameters)
