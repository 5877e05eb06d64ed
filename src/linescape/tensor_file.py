"""Tensors with a note in one safetensors file: the form in which curves, their points and trainings are kept.

The note is JSON. It is in the file's metadata under the name ``linescape``, so any reader of safetensors can read the
tensors. Equal content gives equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

_NAME = "linescape"


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The safetensors file of some tensors. With at most one text in `metadata`, equal content gives equal bytes."""
    # Clones, as safetensors refuses tensors that share memory; one layout, as it knows no channels_last.
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    return bytes(safetensors.torch.save(plain, dict(metadata) if metadata else None))


def encode_with_note(tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> bytes:
    """The safetensors file of some tensors and of a note that JSON can express."""
    return encode(tensors, {_NAME: json.dumps(note)})


def decode_with_note(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the note of a file that `encode_with_note` made.

    Raises:
        ValueError: the file is damaged or has no such note.
    """
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return tensors, read_note(metadata)


def read_note(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The note in a file's metadata.

    Raises:
        ValueError: there is none.
    """
    note = json.loads(metadata.get(_NAME, "null"))
    if not isinstance(note, dict):
        raise ValueError("it holds no note of linescape's")
    return note


def from_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Copies of some arrays as tensors."""
    return {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
