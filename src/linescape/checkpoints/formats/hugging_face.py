"""Folders as Hugging Face's libraries write them: one file of weights, or parts and an index of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from linescape.checkpoints.formats.contents import Contents, FileFormat
from linescape.checkpoints.formats.mapped import plain
from linescape.errors import CheckpointError, abbreviate
from linescape.geometry.tensors import identical

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors")
"""Names of the file. If it is in parts, the folder has an index instead, with this name and ``.index.json``.

Where a folder has several, the first is read, and a file rather than an index, as `from_pretrained` does.
"""

_OTHER = re.compile(r"(?:model|pytorch_model|diffusion_pytorch_model)(?:_\d+)?\.(?:safetensors|bin)(?:\.index\.json)?")
"""Names of other weights: of older saves, in another format, or of further networks (as accelerate numbers them)."""

INDEX = 1 << 25
"""The most bytes of an index, or of the settings: reading JSON takes 20 times its size."""

_NOT_COMPUTED = {
    *("_name_or_path", "_commit_hash", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache"),
    *("id2label", "label2id", "finetuning_task", "problem_type"),
}
"""Settings that do not change what a network computes in eval mode."""

_SUFFIXES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".py", ".safetensors", ".tar", ".txt")


def download_hint(path: str | Path, form: Literal["", "hf:", "hf-data:"] = "") -> str:
    """What to do where a path that does not exist may be a name on the hub; empty where it cannot be one.

    Args:
        path: what was named.
        form: what is written before the folder where it is named.
    """
    path = Path(path)
    if not re.fullmatch(r"(?:[\w.-]+/)?[\w.-]+", path.as_posix()) or path.suffix in _SUFFIXES:
        return ""
    if path.exists() or path.is_symlink():  # a link to nothing is told as that
        return ""
    if path.parent != Path() and path.parent.is_dir():
        return ""
    kind, option = ("data set", " --repo-type dataset") if form == "hf-data:" else ("model", "")
    return (
        f" If {path.as_posix()} is a {kind} on the Hugging Face hub, download it first: "
        f"hf download {path.as_posix()}{option} --local-dir {path.name}. Then name its folder: {form}{path.name}"
    )


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
        if (folder / name).is_file():
            return None
        if file.is_file():
            return file
    return None


def joined(folder: Path, files: Mapping[str, Sequence[str]], parts: Mapping[str, Contents]) -> Contents:
    """The parts of a folder as one checkpoint.

    Args:
        folder: of the parts.
        files: as `files` returns them.
        parts: the contents of the same files.

    Raises:
        CheckpointError: a part lacks tensors that the index says it has, or has another value of one that is elsewhere.
    """
    tensors: dict[str, Tensor] = {}
    for name, wanted in files.items():
        lacking = [tensor for tensor in wanted if tensor not in parts[name]]
        if lacking:
            raise CheckpointError(
                f"{folder / name} lacks {abbreviate(lacking)}, which the index says it has: the parts are of different "
                "checkpoints, or one is cut short. Copy or download the folder again."
            )
        tensors |= {tensor: parts[name][tensor] for tensor in wanted or parts[name]}
    unplaced: list[str] = []
    for name, part in parts.items():
        for tensor, value in part.items():
            if tensor not in tensors:
                unplaced.append(f"{tensor} of {name}")
            elif not identical(value, tensors[tensor]):
                raise CheckpointError(
                    f"{folder / name} has another {tensor!r} than the part in which the index says it is, so programs "
                    "differ in which they load: the parts are of different checkpoints. Save the network again."
                )
    first = next(iter(parts.values()))
    notes = list(dict.fromkeys(note for part in parts.values() for note in part.notes))
    if unplaced:
        notes.append(f"Left out what the index does not name: {abbreviate(unplaced)}.")
    read = index(folder)
    beside = (path.name for path in folder.iterdir() if _OTHER.fullmatch(path.name))
    if others := sorted(name for name in beside if name not in files and not (read and name == read.name)):
        taken = read.name if read else next(iter(files))
        notes.append(f"Read {taken}, as `from_pretrained` does, and not what else is there: {abbreviate(others)}.")
    return Contents(
        tensors,
        tuple(notes),
        first.metadata,
        str(folder),
        FileFormat("hugging face", first.file_format.container),
        {name: kind for part in parts.values() for name, kind in part.unread.items()},
    )


def differing_settings(start: Contents, end: Contents) -> list[str]:
    """What differs between the ``config.json`` of two checkpoints' folders and may change what a network computes.

    Networks of equal shapes may differ in it, as in the number of attention heads, and then compute different things.
    """
    first, last = (_settings(Path(contents.path)) for contents in (start, end))
    if not (first and last):
        return []
    return [
        f"{name} ({first.get(name, 'not given')} and {last.get(name, 'not given')})"
        for name in dict.fromkeys([*first, *last])
        if name not in _NOT_COMPUTED and first.get(name) != last.get(name)
    ]


def _settings(path: Path) -> Mapping[str, Any]:
    """What the ``config.json`` of a checkpoint has; nothing where there is none that can be read."""
    file = (path if path.is_dir() else path.parent) / "config.json"
    try:
        read: Any = json.loads(file.read_bytes()) if plain(file) <= INDEX else {}
    except (CheckpointError, OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


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
