"""Tensors with a note in one safetensors file: the form in which curves, their points and trainings are kept.

The note is JSON. It is in the file's metadata under the name ``linescape``, so any reader of safetensors can read the
tensors. Equal content gives equal bytes. A file that is sealed has a digest of all its bytes in the note, since
safetensors has no checksum: a flipped bit in a tensor would be another number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

_NAME = "linescape"

_BLANK = b"0" * 64
"""What is in the place of a seal while the digest is computed."""


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The safetensors file of some tensors. With at most one text in `metadata`, equal content gives equal bytes."""
    # Clones, as safetensors refuses tensors that share memory; one layout, as it knows no channels_last.
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    return bytes(safetensors.torch.save(plain, dict(metadata) if metadata else None))


def encode_with_note(tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> bytes:
    """The safetensors file of some tensors and of a note that JSON can express."""
    return encode(tensors, {_NAME: json.dumps(note)})


def encode_sealed(tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> bytes:
    """Like `encode_with_note`, with a digest of the whole file in it, which `decode_sealed` checks."""
    content = encode_with_note(tensors, {"digest": _BLANK.decode(), **note})
    place = content.index(_BLANK)  # the note is the first thing in the file, and the digest the first in the note
    return content[:place] + hashlib.sha256(content).hexdigest().encode() + content[place + len(_BLANK) :]


def decode_with_note(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the note of a file that `encode_with_note` made.

    Raises:
        ValueError: the file is damaged or has no such note.
    """
    try:
        return safetensors.torch.load(content), _note_in(content)
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def decode_sealed(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the note of a file that `encode_sealed` made.

    Raises:
        ValueError: a bit of it is not what was written, or it has no seal.
    """
    seal = str(_note_in(content).get("digest")).encode()
    place = max(content.find(seal), 0)
    digest = hashlib.sha256(memoryview(content)[:place])
    digest.update(_BLANK)
    digest.update(memoryview(content)[place + len(_BLANK) :])
    if digest.hexdigest().encode() != seal:
        raise ValueError("its bytes are not those that were written, or it is of an older linescape")
    return decode_with_note(content)


def _note_in(content: bytes) -> dict[str, Any]:
    try:
        length = int.from_bytes(content[:8], "little")
        return read_note(json.loads(content[8 : 8 + length])["__metadata__"])
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its header is not readable ({type(error).__name__}: {error})") from error


def read_note(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The note in a file's metadata.

    Raises:
        ValueError: there is none.
    """
    try:
        note = json.loads(metadata.get(_NAME, "null"))
    except RecursionError as error:
        raise ValueError(f"its note is lists in lists, too deep to be read ({error})") from error
    if not isinstance(note, dict):
        raise ValueError("it holds no note of linescape's")
    return note


def from_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Copies of some arrays as tensors."""
    return {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
