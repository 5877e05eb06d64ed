"""What an update of LoRA adds to its layer, found by calling the layer, as no state dict has its scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from linescape.errors import StateError, first_line
from linescape.geometry.packed import Pair
from linescape.geometry.state import State
from linescape.geometry.tensors import in_float64, widened

CLOSE = 1e-5
"""How far, relative to it, what the factors add may be from what their product in the weight adds."""

_PLACES = 4
"""Places of the example for a convolution along each axis, for each place of its kernel."""


class Update(NamedTuple):
    """``weight + scale * up @ down``: names of the three, the scale, and whether the weight has the product
    transposed."""

    weight: str
    up: str
    down: str
    scale: float
    transposed: bool

    def product(self, up: Tensor, down: Tensor, weight: Tensor) -> Tensor:
        """``scale * up @ down`` in the shape of the weight, in float32 or float64."""
        return self.scale * _product(up, down, weight, self.transposed)


def measured(pair: Pair, model: nn.Module, state: State) -> Update:
    """An update, by calls of its layer in float64: with random factors, and with their product in its weight instead.

    Args:
        pair: names of the factors.
        model: has the layer, of which copies are called in eval mode.
        state: of the model; has the layer's other tensors.

    Raises:
        StateError: the layer cannot be called with numbers, or what it adds is not ``scale * up @ down`` of one weight.
    """
    try:
        found = list(_fitting(pair, model.get_submodule(pair.layer), state))
    except Exception as error:  # whatever a layer raises that is called by itself
        raise StateError(
            f"What {pair.down} and {pair.up} do is unknown, since their layer {pair.layer!r} cannot be called by "
            f"itself with numbers ({type(error).__name__}: {first_line(error)}). Merge each adapter into its base "
            "network, and take the line between these."
        ) from error
    if len(found) != 1:
        raise StateError(
            f"What {pair.down} and {pair.up} add to the layer {pair.layer!r} is their scaled product in {len(found)} "
            "of its weights, not in one: the update is disabled or merged already, or of another kind (as DoRA's). "
            "Merge each adapter into its base network, and take the line between these."
        )
    return found[0]


def _fitting(pair: Pair, layer: nn.Module, state: State) -> Iterator[Update]:
    within = f"{pair.layer}." if pair.layer else ""
    tensors = {
        name: in_float64(value)
        for name, value in state.state_dict().items()
        if name.startswith(within) and value.is_floating_point()
    }
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(tensors[pair.up].device)

    up, down = random(*tensors[pair.up].shape), random(*tensors[pair.down].shape)
    example = random(4, down.shape[1], *(_PLACES * size for size in down.shape[2:]))

    def outputs(changed: Mapping[str, Tensor]) -> Tensor:
        # A copy for each call, loaded before eval mode: some layers then add their product to the weight.
        own = deepcopy(layer).to(up.device).double()
        own.load_state_dict({n.removeprefix(within): v for n, v in {**tensors, **changed}.items()}, strict=False)
        with torch.no_grad():
            result: Tensor = own.eval()(example)
        return result

    none = torch.zeros_like(up)
    without = outputs({pair.up: none})
    added, opposite = (outputs({pair.up: by * up, pair.down: down}) - without for by in (1.0, -2.0))
    if not _near(opposite, -2.0 * added):
        return  # DoRA divides by the norm of the sum, which a product in the weight would change as the factors do
    for name, weight in tensors.items():
        for transposed in (False, True):
            shape = (up.shape[0], *down.shape[1:])
            if name in pair or weight.shape != (shape[::-1] if transposed else shape):
                continue
            merged = outputs({pair.up: none, name: weight + _product(up, down, weight, transposed)}) - without
            scale = float((added * merged).sum() / merged.square().sum())
            if scale and _near(added, scale * merged):
                yield Update(name, pair.up, pair.down, scale, transposed)
                break  # a product of one number is its own transpose


def _near(found: Tensor, expected: Tensor) -> bool:
    return float((found - expected).norm()) <= CLOSE * float(expected.norm())


def _product(up: Tensor, down: Tensor, weight: Tensor, transposed: bool) -> Tensor:
    product = widened(up).flatten(1) @ widened(down).flatten(1)
    return (product.T if transposed else product).reshape(weight.shape)
