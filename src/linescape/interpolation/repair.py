"""REPAIR: a path whose hidden units keep, at each position, the mean and the deviation that both ends let expect.

Between two networks the outputs of a layer vary less from example to example than in either (variance collapse).
Jordan et al. 2022 (arXiv 2211.08403) correct this. With BatchNorm it suffices to measure its statistics anew
(``recalibrate``); without, each unit is rescaled and shifted, which its own weights and bias can take up: so the result
is a network of the same kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from linescape.errors import AlphaError, DataError, StateError, abbreviate, check_type
from linescape.evaluation import batchnorm
from linescape.evaluation.batches import head, lengths, map_tensors, to_device
from linescape.evaluation.copies.copying import independent
from linescape.evaluation.copies.observing import random_state_kept
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Path
from linescape.geometry.state import State
from linescape.geometry.tensors import in_float64

EXAMPLES = 1000
"""Examples by which means and deviations are measured."""

_KINDS = nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear
_CONSTANT = 1e-5
"""A deviation below this share of the largest output of a unit is rounding: such a unit is shifted and not rescaled."""


class Repaired(Path):
    """A path with each unit of its hidden layers rescaled and shifted (Jordan et al. 2022, arXiv 2211.08403).

    The units are the outputs of convolutions and linear layers before whatever follows, over examples and places. At
    alpha, mean and standard deviation of each become ``(1 - alpha) A + alpha B``, with A and B those at alpha = 0 and
    1: the weights of the unit are multiplied by a factor, and its bias takes up the shift. Layers are corrected in the
    order in which they are called, each on the outputs of those before as corrected, by the first `EXAMPLES` examples
    of the evaluator's calibration data, or else of its first. The layer that is called last is left as it is, and so
    is one that has no bias, shares its weights or is called more than once. Both ends are the path's, to the bit.

    Args:
        path: of networks without BatchNorm, such as the line to an aligned end.
        evaluator: the network and its data; a copy of the network is made.

    Raises:
        StateError: the network has BatchNorm, or no layer that can be corrected; or the path is not one of it.
        DataError: there are fewer than two examples.
        RecipeError: an argument is of another type.
    """

    def __init__(self, path: Path, evaluator: Evaluator) -> None:
        check_type(path, Path, "The path", "Give a path between two networks, such as Line(start, end).")
        check_type(evaluator, Evaluator, "The evaluator", "Give an Evaluator: Evaluator(model, {'test': data}).")
        if norms := list(batchnorm.layers(evaluator.model)):
            raise StateError(
                f"The network has BatchNorm ({abbreviate(norms, 3)}), whose statistics are what has to be corrected "
                "there: rescaling what it normalises would do nothing. Scan the path itself with "
                "batchnorm='recalibrate'."
            )
        if path.spectral:
            raise StateError(
                f"The weights of {abbreviate(sorted(path.spectral), 3)} are normalised in each call, so a factor would "
                "do nothing. Scan the path itself."
            )
        self.path = path
        with evaluator.lent():
            self._network = independent(evaluator.model).eval()
        path.at(0.0).load_into(self._network)
        self._forward, self._device = evaluator.forward, evaluator.device
        names = (evaluator.calibration, *evaluator.data)
        self._batches = _first(next(evaluator.data[name] for name in names if name in evaluator.data))
        self.layers, self.left_alone = self._find()
        if not self.layers:
            raise StateError(
                "No hidden layer of this network can be rescaled: it has no convolution or linear layer before its "
                "last one that has a bias, weights of its own and one call. Scan the path itself."
            )
        self._expected = tuple(self._moments_at(alpha) for alpha in (0.0, 1.0))
        self._known: tuple[float, dict[str, Tensor]] | None = None

    @property
    def template(self) -> State:
        """The path's."""
        return self.path.template

    @cached_property
    def moving(self) -> frozenset[str]:
        """What moves on the path, and weights and biases that are corrected."""
        corrected = (f"{name}.{of}" for name in self.layers for of in ("weight", "bias"))
        return self.path.moving.union(corrected) if self.path.moving else frozenset()

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Those of the path."""
        return self.path.unsaved

    def tensor(self, name: str, alpha: float) -> Tensor:
        """The path's tensor, corrected between the ends.

        Raises:
            AlphaError: alpha is beyond an end, where a deviation could be expected to be negative.
        """
        if not 0.0 <= alpha <= 1.0:
            raise AlphaError(
                f"alpha = {alpha:g} lies beyond the ends of a repaired path, where nothing tells how much its units "
                "should vary. Use positions from 0 to 1."
            )
        if alpha in (0.0, 1.0) or not self.path.moving:
            return self.path.tensor(name, alpha)
        if self._known is None or self._known[0] != alpha:
            self._known = alpha, self._corrected(alpha)
        corrected = self._known[1].get(self.template.tied.get(name, name))
        return self.path.tensor(name, alpha) if corrected is None else corrected

    def describe(self) -> dict[str, object]:
        """The path for the provenance of a result, with the layers that are corrected, and others that are not."""
        return {
            **super().describe(),
            "of": type(self.path).__name__,
            "rescaled": list(self.layers),
            "not_rescaled": list(self.left_alone),
        }

    def _find(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the layers that are corrected, in the order of their calls; and those of the others."""
        called: list[str] = []
        handles = [
            layer.register_forward_hook(lambda *_, name=name: called.append(name))
            for name, layer in self._network.named_modules()
            if isinstance(layer, _KINDS)
        ]
        try:
            self._call(head(self._batches[0], 4)[0])
        finally:
            for handle in handles:
                handle.remove()
        hidden = [name for name in dict.fromkeys(called) if name != called[-1]]
        corrected = tuple(name for name in hidden if called.count(name) == 1 and self._is_own(name))
        return corrected, tuple(name for name in hidden if name not in corrected)

    def _is_own(self, name: str) -> bool:
        """Whether a layer has a weight and a bias in the state, and shares them with none."""
        template = self.template
        return all(
            of in template.parameters and of not in template.tied.values() for of in (f"{name}.weight", f"{name}.bias")
        )

    def _moments_at(self, alpha: float) -> dict[str, _Moments]:
        self.path.at(alpha).load_into(self._network)
        return {name: self._measured(name) for name in self.layers}

    def _corrected(self, alpha: float) -> dict[str, Tensor]:
        """Weights and biases by name."""
        self.path.at(alpha).load_into(self._network)
        start, end = self._expected
        corrected: dict[str, Tensor] = {}
        for name in self.layers:
            found, a, b = self._measured(name), start[name], end[name]
            mean = (1 - alpha) * a.mean + alpha * b.mean
            deviation = (1 - alpha) * a.deviation + alpha * b.deviation
            factor = torch.where(found.constant, 1.0, deviation / found.deviation)
            layer = self._network.get_submodule(name)
            weight, bias = layer.get_parameter("weight").detach(), layer.get_parameter("bias").detach()
            scaled = (in_float64(weight) * factor.view(-1, *[1] * (weight.ndim - 1))).to(weight.dtype).to(weight.device)
            shifted = ((in_float64(bias) - found.mean) * factor + mean).to(bias.dtype).to(bias.device)
            weight.copy_(scaled)  # the layers that follow are measured on this
            bias.copy_(shifted)
            corrected |= {f"{name}.weight": scaled, f"{name}.bias": shifted}
        return corrected

    def _measured(self, name: str) -> _Moments:
        """Mean and deviation of a layer's outputs in the network as it is."""
        layer = self._network.get_submodule(name)
        axis = -1 if isinstance(layer, nn.Linear) else -1 - len(layer.kernel_size)  # type: ignore[arg-type]
        moments = _Moments()

        def see(_: nn.Module, __: Any, output: Tensor) -> None:
            moments.add(output.detach().movedim(axis, 0).flatten(1))
            raise _Seen

        handle = layer.register_forward_hook(see)
        try:
            for batch in self._batches:
                self._call(batch)
        finally:
            handle.remove()
        return moments

    def _call(self, batch: Any) -> None:
        with torch.no_grad(), random_state_kept(self._device):
            try:
                self._forward(self._network, map_tensors(to_device(batch, self._device), torch.clone))
            except _Seen:
                return


class _Seen(Exception):  # noqa: N818 - not an error
    """A layer has been called, and what follows need not be computed."""


@dataclass
class _Moments:
    """Sums over examples and places, about the mean of the first of them so that no digits are lost."""

    _count: int = 0
    _sums: list[Tensor] = field(default_factory=list)

    def add(self, values: Tensor) -> None:
        """Add outputs ``(units, examples x places)``."""
        wide = in_float64(values)
        if not self._sums:
            self._sums = [wide.mean(1), wide.new_zeros(len(wide)), wide.new_zeros(len(wide)), wide.new_zeros(len(wide))]
        centre, total, squares, largest = self._sums
        largest.copy_(torch.maximum(largest, wide.abs().amax(1)))
        wide = wide - centre[:, None]
        total += wide.sum(1)
        squares += wide.square().sum(1)
        self._count += wide.shape[1]

    @property
    def mean(self) -> Tensor:
        """Of each unit."""
        return self._sums[0] + self._sums[1] / self._count

    @property
    def deviation(self) -> Tensor:
        """Of each unit; the square root of the mean square."""
        return (self._sums[2] / self._count - (self._sums[1] / self._count).square()).clamp(min=0).sqrt()

    @property
    def constant(self) -> Tensor:
        """Whether a unit does not vary by more than rounding."""
        return self.deviation <= _CONSTANT * self._sums[3]


def _first(batches: Iterable[Any]) -> list[Any]:
    """Batches with the first `EXAMPLES` examples."""
    chosen: list[Any] = []
    left = EXAMPLES
    for batch in batches:
        if left <= 0:
            break
        chosen.append(head(batch, left)[0])
        left -= max(lengths(chosen[-1]), default=0)
    if EXAMPLES - left < 2:
        raise DataError("Mean and deviation of units are those over examples, and there are fewer than two. Give more.")
    return chosen
