"""A line on which biases move as a homogeneous network needs it.

Without biases a network of d layers with ReLU gives alpha^d times the outputs of its end, along a line from zeros. A
bias of layer i that moved by alpha would be ahead of the signal, which is alpha^i there: the outputs' order at small
alpha is then that of the biases, not of the signal.
"""

from __future__ import annotations

from torch import Tensor, nn

from linescape.errors import StateError
from linescape.geometry.given import Network
from linescape.geometry.paths import Line, Segment
from linescape.geometry.tensors import lerp


class Homogeneous(Line):
    """The line between two networks with each bias at the power of alpha that its layer's signal has.

    ``bias_i(alpha) = (1 - alpha^i) * start + alpha^i * end``, where layer i is the i-th with a weight matrix or kernel;
    everything else is on the straight line. Source: Wang et al. 2023 (arXiv 2210.01019), "homogeneous interpolation".

    Args:
        start, end: as of `Line`.
        powers: name of a bias -> its power, 1 or more; see `powers`.

    Raises:
        StateError: as `Line`, or a bias is unknown, or its power below 1.
    """

    def __init__(self, start: Network, end: Network, powers: dict[str, int]) -> None:
        super().__init__(start, end)
        unknown = next((name for name in powers if name not in self.end), None)
        if unknown is not None or min(powers.values(), default=1) < 1:
            raise StateError(
                f"The powers are {powers}. Give tensors of the networks, each with a power of 1 or more, as "
                "homogeneous.powers(module) does."
            )
        self.powers = powers

    @property
    def straight(self) -> bool:
        """Whether no bias that moves has a power above 1."""
        return super().straight and not any(self.powers.get(name, 1) > 1 for name in self.moving)

    @property
    def given_by_ends(self) -> bool:
        """As `straight`: the powers are not in the ends."""
        return self.straight

    def tensor(self, name: str, alpha: float) -> Tensor:
        """One tensor at one position."""
        power = self.powers.get(self.template.tied.get(name, name), 1)
        if power == 1 or alpha in (0.0, 1.0) or name not in self.moving:
            return super().tensor(name, alpha)
        return lerp(self.start[name], self.end[name], alpha**power)

    def segment(self, name: str) -> Segment | None:
        """Those of tensors with the power 1."""
        powered = self.powers.get(self.template.tied.get(name, name), 1) > 1
        return None if powered else super().segment(name)


def powers(module: nn.Module) -> dict[str, int]:
    """Bias -> the number of its layer, counted from 1 among those with a weight of two or more dimensions, in order.

    Biases are one-dimensional parameters with "bias" in their name; those of norm layers belong to the layer before.
    Branches count as they stand in the module, one after the other, and a recurrent layer counts as one, though its
    signal passes its weights at every step.
    """
    found: dict[str, int] = {}
    layer = 0
    for prefix, part in module.named_modules():
        own = dict(part.named_parameters(prefix, recurse=False))
        layer += any(parameter.ndim >= 2 for parameter in own.values())
        biases = (name for name, each in own.items() if each.ndim == 1 and "bias" in name.rpartition(".")[2])
        found |= dict.fromkeys(biases, max(layer, 1))
    return found
