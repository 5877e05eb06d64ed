"""Writes tensors as safetensors; an existing file is replaced only once the new one is whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from linescape import atomic
from linescape.errors import StateError, abbreviate
from linescape.geometry.tensors import described, is_plain
from linescape.tensor_file import encode


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors; an existing file is replaced only once the new one is whole.

    Raises:
        StateError: something is no plain tensor, such as a sparse one, for which the format has no place.
        StoreError: the place cannot be written.
    """
    if other := [f"{name} ({described(value)})" for name, value in tensors.items() if not is_plain(value)]:
        raise StateError(
            f"safetensors files hold plain tensors, but these are not: {abbreviate(other)}. Convert them, or leave "
            "them out."
        )
    atomic.write(Path(path), encode(tensors, metadata))
