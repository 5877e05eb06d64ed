"""Folders as Hugging Face's libraries write them: one file of weights, or parts and an index of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from linescape.checkpoints.formats.contents import Contents, FileFormat
from linescape.errors import CheckpointError, abbreviate

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors")
"""Names of the file. If it is in parts, the folder also has an index, with this name and ``.index.json``."""

INDEX = 1 << 25
"""The most bytes of an index: reading JSON takes 20 times its size."""


def files(folder: Path) -> dict[str, list[str]] | None:
    """The files of the weights -> the tensors that each should have (empty for a single file).

    None where the folder is not such a checkpoint.

    Raises:
        CheckpointError: the index is damaged, or names a file outside the folder.
    """
    index_file = index(folder)
    if index_file:
        return _parts(index_file)
    for name in WEIGHTS:
        if (folder / name).is_file():
            return {name: []}
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{folder} has an adapter (such as LoRA), which is a change to a network and not a network. Merge it "
            "into its base, `model.merge_and_unload().save_pretrained(...)`, and name that folder."
        )
    return None


def index(folder: Path) -> Path | None:
    """The index of the weights' parts; None where they are in one file, or the folder is not such a checkpoint."""
    for name in WEIGHTS:
        file = folder / f"{name}.index.json"
        if file.is_file() or (folder / name).is_file():
            return file if file.is_file() else None
    return None


def joined(folder: Path, files: Mapping[str, Sequence[str]], parts: Mapping[str, Contents]) -> Contents:
    """The parts of a folder as one checkpoint.

    Args:
        folder: of the parts.
        files: as `files` returns them.
        parts: the contents of the same files.

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
    return Contents(
        tensors,
        tuple(notes),
        first.metadata,
        str(folder),
        FileFormat("hugging face", first.file_format.container),
        {name: kind for part in parts.values() for name, kind in part.unread.items()},
    )


def _parts(index: Path) -> dict[str, list[str]]:
    try:
        if index.stat().st_size > INDEX:
            raise ValueError(f"it has more than {INDEX:,} bytes")
        read: Any = json.loads(index.read_bytes())
        file_of = {str(tensor): str(name) for tensor, name in read["weight_map"].items()}
        if not file_of:
            raise ValueError("it names no tensors")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} is no index of parts ({type(error).__name__}: {error}). Copy or download the folder again."
        ) from error
    parts: dict[str, list[str]] = {}
    for tensor, name in file_of.items():
        if Path(name).name != name or name in ("", ".", ".."):
            raise CheckpointError(
                f"{index} says that {tensor!r} is in {name!r}, outside its folder. An index names files in its own "
                "folder; do not use this one."
            )
        parts.setdefault(name, []).append(tensor)
    return parts
