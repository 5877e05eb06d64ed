"""Networks with low-rank updates in their layers (LoRA, Hu et al. 2021, arXiv 2106.09685): `recipe.LoRA`.

Layers and names are those of peft, without the name of an adapter: ``conv1.base_layer.weight``,
``conv1.lora_A.weight`` and ``conv1.lora_B.weight``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from linescape import recipe

BASE = "base_layer"
"""The name of a layer within the one that has the update."""
_DOWN, _UP = "lora_A", "lora_B"


class Updated(nn.Module):
    """``base(x) + scale * B(A(x))``; the update of a convolution has its kernel in A, and B is a 1x1 convolution.

    A is drawn as a layer of torch is, which is Kaiming uniform with a = sqrt(5), as in peft and the authors' code
    (github.com/microsoft/LoRA); B is 0.

    Args:
        base: the layer, which is fixed.
        rank: of the update.
        scale: of the update.
    """

    def __init__(self, base: nn.Linear | nn.Conv2d, rank: int, scale: float) -> None:
        super().__init__()
        self.base_layer, self.scale = base, scale
        self.lora_A: nn.Linear | nn.Conv2d
        self.lora_B: nn.Linear | nn.Conv2d
        if isinstance(base, nn.Conv2d):
            kernel, stride, padding = base.kernel_size, base.stride, base.padding
            self.lora_A = nn.Conv2d(base.in_channels, rank, kernel, stride, padding, base.dilation, bias=False)  # type: ignore[arg-type]
            self.lora_B = nn.Conv2d(rank, base.out_channels, 1, bias=False)
        else:
            self.lora_A = nn.Linear(base.in_features, rank, bias=False)
            self.lora_B = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """What the layer computes with ``W + scale * B A``."""
        outputs: Tensor = self.base_layer(inputs) + self.scale * self.lora_B(self.lora_A(inputs))
        return outputs


def with_updates(network: nn.Module, spec: recipe.LoRA, whole: Collection[str]) -> nn.Module:
    """The same network with an update in each linear layer and convolution, and all else fixed.

    Args:
        network: is changed.
        spec: rank and scale.
        whole: names of the parameters that are trained whole; their layers have no update.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in whole)
    layers = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    for name, layer in layers:
        if f"{name}.weight" not in whole:
            network.set_submodule(name, Updated(layer, spec.rank, spec.alpha / spec.rank))
    return network


def with_names_of_updates(state: Mapping[str, Tensor], drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of a network without updates under the names of the network with them, which are as drawn.

    Args:
        state: of a network; one that has updates, or is to have none, stays as it is.
        drawn: of the network that it is to be a state of.
    """
    names = {name.replace(f".{BASE}.", "."): name for name in drawn if f".{BASE}." in name}
    if any(name in state for name in names.values()):
        return dict(state)
    factors = {name: drawn[name] for name in drawn if {_DOWN, _UP} & {*name.split(".")}}
    return {names.get(name, name): value for name, value in state.items()} | factors
