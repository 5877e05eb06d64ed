"""Small networks with LoRA, with the names that peft gives, and the way in which other libraries merge."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.geometry.state import State

SCALE = 0.75


class Transposed(nn.Module):
    """A linear layer with its weight as (inputs, outputs), as GPT-2 has them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weight


class Adapted(nn.Module):
    """A layer with updates, as peft has it: ``base_layer(x) + scaling * lora_B(lora_A(dropout(x)))`` for each."""

    def __init__(
        self, base: nn.Module, down: type[nn.Module], sizes: tuple[int, int, int], names: Sequence[str]
    ) -> None:
        super().__init__()
        inputs, rank, outputs = sizes
        self.base_layer, self.transposed = base, isinstance(base, Transposed)
        size = (3,) if down is nn.Conv2d else ()
        one = (1,) if down is nn.Conv2d else ()
        same = {"padding": 1} if down is nn.Conv2d else {}
        self.lora_A = nn.ModuleDict({name: down(inputs, rank, *size, bias=False, **same) for name in names})
        self.lora_B = nn.ModuleDict({name: down(rank, outputs, *one, bias=False) for name in names})
        self.lora_dropout = nn.Dropout(0.3)
        self.scaling = dict.fromkeys(names, SCALE)

    @property
    def weight(self) -> nn.Parameter:
        """That of the layer below."""
        weight = self.base_layer.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """Both of the first update, B first."""
        up, down = (next(iter(of.values())).weight for of in (self.lora_B, self.lora_A))
        assert isinstance(up, Tensor)
        assert isinstance(down, Tensor)
        return up, down

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.base_layer(inputs)
        for name, scale in self.scaling.items():
            result = result + scale * self.lora_B[name](self.lora_A[name](self.lora_dropout(inputs)))
        return result


class Merging(nn.Module):
    """A layer as loralib has it: eval mode adds the product to the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 3, dtype=torch.float64))
        self.lora_A = nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
        self.lora_B = nn.Parameter(torch.zeros(4, 2, dtype=torch.float64))
        self.merged = False

    def train(self, mode: bool = True) -> Merging:
        if mode == self.merged:
            self.weight.data += (-SCALE if mode else SCALE) * self.lora_B.data @ self.lora_A.data
            self.merged = not mode
        return super().train(mode)

    def forward(self, inputs: Tensor) -> Tensor:
        added = 0.0 if self.merged else SCALE * inputs @ self.lora_A.T @ self.lora_B.T
        return F.linear(inputs, self.weight) + added


def network(kind: str, adapters: Sequence[str] = ("default",)) -> tuple[nn.Sequential, Tensor]:
    """Two layers with updates of rank 2 and a tanh between them, in float64; and inputs. The second is square."""

    def layer(inputs: int, outputs: int) -> Adapted:
        if kind == "convolution":
            base: nn.Module = nn.Conv2d(inputs, outputs, 3, padding=1)
            return Adapted(base, nn.Conv2d, (inputs, 2, outputs), adapters)
        base = Transposed(inputs, outputs) if kind == "transposed" else nn.Linear(inputs, outputs)
        return Adapted(base, nn.Linear, (inputs, 2, outputs), adapters)

    shape = (5, 3, 4, 4) if kind == "convolution" else (5, 3)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return nn.Sequential(layer(3, 4), nn.Tanh(), layer(4, 4)).double(), inputs


def adapted(net: nn.Module, seed: int) -> State:
    """A state of the network with random factors by this seed; the other weights are the same for each seed."""
    state = State.from_module(net)
    generators = {True: torch.Generator().manual_seed(seed), False: torch.Generator().manual_seed(0)}

    def random(name: str, like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=generators["lora_" in name], dtype=torch.float64)
        return (drawn * 0.5).to(like.dtype)

    return state.replace({name: random(name, value) for name, value in state.items()})


def scaled(net: nn.Module, scale: float) -> None:
    """Give each update another scale."""
    for layer in net.modules():
        if isinstance(layer, Adapted):
            layer.scaling = dict.fromkeys(layer.scaling, scale)
