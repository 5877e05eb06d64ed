"""A recurrent classifier: `recipe.LSTM`."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from linescape import recipe
from linescape.errors import RecipeError


class LSTM(nn.Module):
    """Layers of LSTM cells (Hochreiter & Schmidhuber 1997), and a linear layer on the last one's last hidden state.

    The steps of an image are its rows from top to bottom, each with the pixels of all channels. Those of a series
    ``(features, steps)`` are its columns, and those of ``(steps,)`` its numbers. Layers are initialised as torch does.
    """

    blocks: dict[str, tuple[str, ...]]
    """``layer1``, ``layer2``, ... and ``fc``, the linear layer."""

    def __init__(self, spec: recipe.LSTM, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        if len(shape) > 3:
            raise RecipeError(
                "An LSTM takes images (channels, height, width) and series (features, steps) or (steps,), but the "
                f"inputs have shape {shape}. Use an MLP, or another data set."
            )
        features = 1 if len(shape) == 1 else shape[0] if len(shape) == 2 else shape[0] * shape[2]
        sizes = (features, *(spec.hidden for _ in range(spec.layers)))
        self.layers = nn.Sequential(*(_Layer(*pair, batch_first=True) for pair in pairwise(sizes)))
        self.fc = nn.Linear(spec.hidden, classes)
        self.blocks = {f"layer{number + 1}": (f"layers.{number}",) for number in range(spec.layers)}
        self.blocks["fc"] = ("fc",)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``(batch, classes)``."""
        if inputs.ndim == 4:
            x = inputs.transpose(1, 2).flatten(2)
        else:
            x = inputs.unsqueeze(2) if inputs.ndim == 2 else inputs.transpose(1, 2)
        logits: Tensor = self.fc(self.layers(x)[:, -1])
        return logits


class _Layer(nn.LSTM):
    """One layer, written as a function of its weights: torch's own module keeps them in a list, and is no graph."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Hidden states ``(batch, steps, hidden)`` of a series ``(batch, steps, features)``."""
        start = x.new_zeros(1, x.shape[0], self.hidden_size)
        weights = tuple(map(self.get_parameter, ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")))
        return torch.lstm(x, (start, start), weights, True, 1, 0.0, self.training, False, True)[0]
