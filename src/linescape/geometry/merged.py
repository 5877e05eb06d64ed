"""The line in merged weights between two networks with LoRA, beside the one in the factors.

A layer with LoRA (Hu et al. 2022, arXiv 2106.09685) computes with ``W + s B A``. On the line of the factors this is
quadratic in alpha: with ``dA = A1 - A0`` and ``dB = B1 - B0``,

    B(alpha) A(alpha)  =  (1 - alpha) B0 A0 + alpha B1 A1  -  alpha (1 - alpha) dB dA

So the line in merged weights is the line in factors with ``alpha (1 - alpha) s dB dA`` added to W, which is a state of
the same network. Many factors have one product (``B R`` and ``R^-1 A`` for any R): the line in factors depends on which
of them training arrived at, the one in merged weights does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from linescape.errors import StateError
from linescape.geometry.given import Network, as_ends
from linescape.geometry.low_rank import CLOSE, Update, measured
from linescape.geometry.packed import Pair, low_rank_pairs
from linescape.geometry.paths import Line, Path, Segment
from linescape.geometry.state import State
from linescape.geometry.tensors import norm, subtract

_MERGE = "Merge each adapter into its base network, and take the line between these."


class Merged(Path):
    """The line in merged weights between two networks with LoRA, as states of the same network.

    It is ``(1 - alpha) (W0 + s B0 A0) + alpha (W1 + s B1 A1)`` of each layer with LoRA.

    The factors move as on `Line`, and each weight that has an update of which both factors move takes up the rest; see
    the module. All else moves straight, and both ends are bit-exact. The scale s is in no state dict, so it is
    measured, by calls of each layer (`low_rank.measured`).

    Args:
        start: the network at alpha = 0, with factors named as peft and others do (``lora_A`` and ``lora_B``).
        end: the network at alpha = 1.
        model: the network of which they are states, needed if neither is a module; it is not changed.

    Attributes:
        apart: the distance between the middles of the two lines, in factors and in merged weights, by the merged
            weights of the layers with LoRA; as a share of the length of the line in merged weights. None where that
            is zero.

    Raises:
        StateError: as `Line`; no factor of LoRA moves; an update is not ``s B A`` in one weight of its layer (DoRA,
            AdaLoRA, LoKr, rotations, embeddings; disabled or already merged), or has not one scale at both ends; its
            weight is in half precision or tied.
    """

    def __init__(self, start: Network, end: Network, model: nn.Module | None = None) -> None:
        self.line = Line(*as_ends(start, end, model))
        given = next((network for network in (model, start, end) if isinstance(network, nn.Module)), None)
        if given is None:
            raise StateError(
                "Both networks are states, which do not say how their updates are scaled. Give the network of which "
                "they are states too: Merged(start, end, model)."
            )
        modules = [network if isinstance(network, nn.Module) else given for network in (start, end)]
        names = self.template.state_dict()
        pairs = low_rank_pairs(names, {name for name in names if self._moves(name)})
        if not pairs:
            raise StateError(
                "No factor of LoRA differs between the two networks, so the line in merged weights is the line itself. "
                "Use Line(start, end)."
            )
        found = [self._measured(pair, *modules) for pair in pairs]
        both = [update for update in found if self._moves(update.up) and self._moves(update.down)]
        self._updates = {
            weight: [update for update in both if update.weight == weight]
            for weight in dict.fromkeys(update.weight for update in both)
        }
        self.apart = self._apart(found)

    @property
    def template(self) -> State:
        """The end."""
        return self.line.end

    @cached_property
    def moving(self) -> frozenset[str]:
        """Tensors that differ between the ends, and the weights that take up what the product of factors lacks."""
        return self.line.moving.union(self._updates)

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Those of the line in factors."""
        return self.line.unsaved

    @property
    def spectral(self) -> frozenset[str]:
        """Those of the line in factors."""
        return self.line.spectral

    def tensor(self, name: str, alpha: float) -> Tensor:
        """The tensor on the line in factors; of a weight with an update, ``alpha (1 - alpha) s dB dA`` more."""
        value = self.line.tensor(name, alpha)
        if alpha in (0.0, 1.0) or name not in self._updates:
            return value
        return (value + alpha * (1.0 - alpha) * self._lacking(name)).to(value.dtype)

    def segment(self, name: str) -> Segment | None:
        """Those of the line in factors, but for weights with an update."""
        return None if name in self._updates else self.line.segment(name)

    def describe(self) -> dict[str, object]:
        """As of every path, with the number of weights that take up a rest, and how far both lines are apart."""
        return {**super().describe(), "corrected": len(self._updates), "apart": self.apart}

    def _moves(self, name: str) -> bool:
        return self.template.tied.get(name, name) in self.line.moving

    def _lacking(self, name: str) -> Tensor:
        """``s dB dA`` of a weight, of all its updates."""
        start, end = self.line.start, self.line.end
        parts = (
            update.product(
                subtract(end[update.up], start[update.up]), subtract(end[update.down], start[update.down]), end[name]
            )
            for update in self._updates[name]
        )
        return sum(parts, torch.zeros((), device=end[name].device))

    def _apart(self, updates: Sequence[Update]) -> float | None:
        start, end = self.line.start, self.line.end

        def moved(weight: str) -> Tensor:
            parts = (
                update.product(end[update.up], end[update.down], end[weight])
                - update.product(start[update.up], start[update.down], start[weight])
                for update in updates
                if update.weight == weight
            )
            return sum(parts, subtract(end[weight], start[weight]))

        length = norm(moved(weight) for weight in dict.fromkeys(update.weight for update in updates))
        return norm(self._lacking(name) / 4.0 for name in self._updates) / length if length else None

    def _measured(self, pair: Pair, at_start: nn.Module, at_end: nn.Module) -> Update:
        first, last = measured(pair, at_start, self.line.start), measured(pair, at_end, self.line.end)
        if first[:3] != last[:3] or not math.isclose(first.scale, last.scale, rel_tol=CLOSE):
            raise StateError(
                f"The product of {pair.up} and {pair.down} is multiplied by {first.scale:.6g} at the start and by "
                f"{last.scale:.6g} at the end, so these factors do not mean the same in both networks. {_MERGE}"
            )
        if last.weight in {*self.template.tied, *self.template.tied.values()}:
            raise StateError(
                f"{last.weight} is used in several places (tied weights), and the product of {pair.up} and {pair.down} "
                f"is added in one of them only, so no network of this kind has it in its weight. {_MERGE}"
            )
        if narrow := [name for name in (last.weight, *pair[1:]) if self.template[name].dtype.itemsize < 4]:
            raise StateError(
                f"{narrow[0]} is {self.template[narrow[0]].dtype}, in which much of an update is lost to rounding "
                "between the two ends, and not at them. Convert the networks to float32: model.float()."
            )
        return last
