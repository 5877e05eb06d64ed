"""Writes tensors as safetensors; an existing file is replaced only once the new one is whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from linescape import atomic


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors; an existing file is replaced only once the new one is whole.

    Raises:
        StoreError: the place cannot be written.
    """
    atomic.write(Path(path), encode(tensors, metadata))


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The safetensors file of some tensors. With at most one text in `metadata`, equal content gives equal bytes."""
    # Clones, as safetensors refuses tensors that share memory; one layout, as it knows no channels_last.
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    return bytes(save(plain, dict(metadata) if metadata else None))
