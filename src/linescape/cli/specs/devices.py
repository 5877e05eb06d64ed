"""The device to compute on."""

from __future__ import annotations

import torch

from linescape.errors import RecipeError


def device(text: str) -> str:
    """An available device by its name in torch: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        RecipeError: torch does not know it or cannot use it here.
    """
    try:
        usable = (torch.ones(1, device=text) + 1).item() == 2  # "meta" computes nothing
    except Exception:  # each kind of device has errors of its own, of a page or more
        usable = False
    if not usable:
        raise RecipeError(
            f"The device {text!r} cannot be used here. The installed torch {torch.__version__} can use "
            f"{', '.join(_usable())}. Name one of these, or install a torch that is built for it."
        )
    return text


def _usable() -> list[str]:
    """The devices that torch can use here."""
    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*names, "mps"] if torch.backends.mps.is_available() else names
