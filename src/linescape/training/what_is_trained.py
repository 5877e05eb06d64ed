"""How a network's weights follow from what is trained: all weights themselves, or something that decides them.

A step takes its loss at weights that are set for it, and their gradients are brought to what is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from linescape.errors import RecipeError
from linescape.geometry import bezier
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.recipe import Subspace
from linescape.training.projections import projection

COORDINATES = "subspace/coordinates"
"""The name of the coordinates where those of weights stand."""


class WhatIsTrained:
    """All weights, each by itself.

    Attributes:
        plain: nothing is done to weights or gradients, so that a step may be captured or compiled.
    """

    plain = True

    def bind(self, module: nn.Module, weight_decay: float) -> Mapping[str, nn.Parameter]:
        """What an optimizer changes, by name, for this network; where this is not `plain`, without a decay of its own.

        Args:
            module: the network, on its device, with the values at which training begins or goes on.
            weight_decay: the factor with which a weight is added to its gradient.
        """
        self.weights = dict(module.named_parameters())
        self.weight_decay = weight_decay
        return self.weights

    def settle(self) -> None:
        """Write the weights that follow from what is trained now into the network, after an update."""

    @contextmanager
    def step(self, seed: int) -> Iterator[None]:  # noqa: ARG002 - nothing is drawn for all weights
        """Within it, the network has the weights of a step; its loss is taken and differentiated there.

        Afterwards gradients are those of what is trained.

        Args:
            seed: of what is drawn for the step.
        """
        yield

    def _gradients(self) -> Iterator[tuple[str, Tensor]]:
        """The gradient of each weight that has one, decay included, to be changed in place."""
        for name, weight in self.weights.items():
            if weight.grad is not None:
                yield name, weight.grad.add_(weight.detach(), alpha=self.weight_decay)


class OfCurve(WhatIsTrained):
    """The bend of a curve (Garipov et al. 2018, arXiv 1802.10026): each step is at a uniform position on it.

    The network has the weights of the bend, and those of the position during a step only. Running statistics become
    those of the latest positions, and fit none.

    Args:
        start: the curve's state at position 0.
        end: the one at 1.
        kind: as of `recipe.OnCurve`.

    Raises:
        StateError: there is no line between the two.
    """

    plain = False

    def __init__(self, start: State, end: State, kind: Literal["bezier", "chain"]) -> None:
        Line(start, end)  # which checks that they belong together
        self.ends, self.coefficients = (start, end), COEFFICIENTS[kind]

    def bind(self, module: nn.Module, weight_decay: float) -> Mapping[str, nn.Parameter]:
        """The network's weights, as the bend's."""
        bound = super().bind(module, weight_decay)
        self.placed = {name: [end[name].to(weight) for end in self.ends] for name, weight in self.weights.items()}
        return bound

    @contextmanager
    def step(self, seed: int) -> Iterator[None]:
        """Within it, the network is at a position drawn from the seed."""
        position = float(torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
        of_start, of_bend, of_end = self.coefficients(position)
        bend = {name: weight.detach().clone() for name, weight in self.weights.items()}
        with torch.no_grad():
            for name, weight in self.weights.items():
                start, end = self.placed[name]
                weight.mul_(of_bend).add_(start, alpha=of_start).add_(end, alpha=of_end)
        yield
        with torch.no_grad():
            for _, gradient in self._gradients():
                gradient.mul_(of_bend)
            for name, weight in self.weights.items():
                weight.copy_(bend[name])


class OfSubspace(WhatIsTrained):
    """Coordinates in a random subspace (Li et al. 2018, arXiv 1804.08838): weights = start + P coordinates.

    Args:
        start: where the training starts.
        spec: the subspace.
        seed: of the projection.
    """

    plain = False

    def __init__(self, start: State, spec: Subspace, seed: int) -> None:
        self.start, self.spec, self.seed = start, spec, seed

    def bind(self, module: nn.Module, weight_decay: float) -> Mapping[str, nn.Parameter]:
        """The coordinates, at 0; the network's weights are left as they are.

        Raises:
            RecipeError: there are more of them than weights, or weights of several types.
        """
        super().bind(module, weight_decay)
        self.weights = {name: weight for name, weight in self.weights.items() if weight.requires_grad}
        first, size = next(iter(self.weights.values())), sum(weight.numel() for weight in self.weights.values())
        if self.spec.dimension > size or len({weight.dtype for weight in self.weights.values()}) > 1:
            raise RecipeError(
                f"A subspace of dimension {self.spec.dimension} is asked for, but the network has {size} weights, or "
                "they are of several types. Give at most as many dimensions as weights, of one type."
            )
        self.origin = {name: self.start[name].to(weight) for name, weight in self.weights.items()}
        self.projection = projection(self.spec, size, self.seed, first.dtype, first.device)
        self.coordinates = nn.Parameter(torch.zeros(self.spec.dimension, dtype=first.dtype, device=first.device))
        return {COORDINATES: self.coordinates}

    @contextmanager
    def step(self, seed: int) -> Iterator[None]:  # noqa: ARG002 - nothing is drawn
        """Within it, the network is as it was left; its gradient becomes that of the coordinates."""
        yield
        gradients = dict(self._gradients())
        flat = [gradients.get(name, torch.zeros_like(weight)).flatten() for name, weight in self.weights.items()]
        self.coordinates.grad = self.projection.adjoint(torch.cat(flat))

    def settle(self) -> None:
        """Write start + P coordinates into the network."""
        with torch.no_grad():
            moved = self.projection(self.coordinates.detach())
            parts = moved.split([weight.numel() for weight in self.weights.values()])  # type: ignore[no-untyped-call]
            for (name, weight), part in zip(self.weights.items(), parts, strict=True):
                weight.copy_(self.origin[name] + part.view(weight.shape))


class OfRemaining(WhatIsTrained):
    """The weights that pruning left; gradients of the others are 0.

    Args:
        masks: which weights are left, by name, as of `pruning.remaining`.
    """

    plain = False

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        self.masks = masks

    def bind(self, module: nn.Module, weight_decay: float) -> Mapping[str, nn.Parameter]:
        """The network's weights, of which those pruned are 0."""
        bound = super().bind(module, weight_decay)
        self.placed = {name: mask.to(bound[name].device) for name, mask in self.masks.items()}
        return bound

    @contextmanager
    def step(self, seed: int) -> Iterator[None]:  # noqa: ARG002 - nothing is drawn
        """Within it, the network is as it was left; then gradients of what was pruned become 0."""
        yield
        for name, gradient in self._gradients():
            if name in self.placed:
                gradient.mul_(self.placed[name])


def _of_chain(alpha: float) -> tuple[float, float, float]:
    """The shares of start, bend and end on two straight pieces that meet at alpha = 1/2."""
    return max(0.0, 1.0 - 2.0 * alpha), 1.0 - abs(1.0 - 2.0 * alpha), max(0.0, 2.0 * alpha - 1.0)


COEFFICIENTS: Mapping[str, Callable[[float], tuple[float, float, float]]] = {
    "bezier": bezier.coefficients,
    "chain": _of_chain,
}
"""The shares of start, bend and end at a position, for each kind of curve."""
