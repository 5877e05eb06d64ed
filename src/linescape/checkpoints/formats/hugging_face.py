"""Folders as Hugging Face's libraries write them: one file of weights, or parts and an index of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from linescape.checkpoints.formats.contents import Contents, Form
from linescape.errors import CheckpointError, abbreviate

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors")
"""What the file is called. With parts there is an index beside them, of this name and ``.index.json``."""

INDEX = 1 << 25
"""Bytes of an index at most: JSON takes 20 times its size to read."""


def files(folder: Path) -> dict[str, list[str]] | None:
    """The files that the weights lie in -> the tensors that each should hold (of a single file, none is known).

    None where the folder is none of these.

    Raises:
        CheckpointError: the index is damaged, or names a file outside the folder.
    """
    found = index(folder)
    if found:
        return _parts(found)
    for name in WEIGHTS:
        if (folder / name).is_file():
            return {name: []}
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{folder} holds an adapter (LoRA or alike), which is a change to a network and not a network. Merge it "
            "into its base, `model.merge_and_unload().save_pretrained(...)`, and name that folder."
        )
    return None


def index(folder: Path) -> Path | None:
    """The index of the parts that the weights lie in; None where they lie in one file, or the folder is no such one."""
    for name in WEIGHTS:
        found = folder / f"{name}.index.json"
        if found.is_file() or (folder / name).is_file():
            return found if found.is_file() else None
    return None


def joined(folder: Path, files: Mapping[str, Sequence[str]], parts: Mapping[str, Contents]) -> Contents:
    """The parts of a folder as one checkpoint.

    Args:
        folder: that they lie in.
        files: as `files` gives them.
        parts: the same files, read.

    Raises:
        CheckpointError: a part lacks tensors that the index says it has.
    """
    tensors: dict[str, Tensor] = {}
    for name, wanted in files.items():
        lacking = [tensor for tensor in wanted if tensor not in parts[name]]
        if lacking:
            raise CheckpointError(
                f"{folder / name} lacks {abbreviate(lacking)}, which the index says it has: the parts are of different "
                "checkpoints, or one is cut short. Copy or download the folder again."
            )
        tensors |= parts[name].tensors
    first = next(iter(parts.values()))
    notes = dict.fromkeys(note for part in parts.values() for note in part.notes)
    return Contents(tensors, tuple(notes), first.metadata, str(folder), Form("hugging face", first.form.container))


def _parts(index: Path) -> dict[str, list[str]]:
    try:
        if index.stat().st_size > INDEX:
            raise ValueError(f"it has more than {INDEX:,} bytes")
        read: Any = json.loads(index.read_bytes())
        places = {str(tensor): str(name) for tensor, name in read["weight_map"].items()}
        if not places:
            raise ValueError("it names no tensors")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} is no index of parts ({type(error).__name__}: {error}). Copy or download the folder again."
        ) from error
    found: dict[str, list[str]] = {}
    for tensor, name in places.items():
        if Path(name).name != name or name in ("", ".", ".."):
            raise CheckpointError(
                f"{index} says that {tensor!r} is in {name!r}, outside its folder. An index names files beside it; do "
                "not use this one."
            )
        found.setdefault(name, []).append(tensor)
    return found
