"""The device to compute on."""

from __future__ import annotations

import torch

from linescape.errors import RecipeError, first_line


def device(text: str) -> str:
    """An available device by its name in torch: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        RecipeError: torch does not know it or cannot use it here.
    """
    try:
        torch.empty(1, device=text)
    except (RuntimeError, AssertionError) as error:  # torch raises the second where it was built without CUDA
        raise RecipeError(
            f"The device {text!r} cannot be used: {first_line(error)}. Use cpu, or a torch built for it."
        ) from error
    return text
