"""Writes tensors as safetensors; an existing file is replaced only once the new one is whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from linescape import atomic
from linescape.tensor_file import encode


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors; an existing file is replaced only once the new one is whole.

    Raises:
        StoreError: the place cannot be written.
    """
    atomic.write(Path(path), encode(tensors, metadata))
