"""Writes a checkpoint in the form of another one: same format, files, names and order, one tensor after the other.

Whatever its size, about one tensor is in memory. A file of ``torch.save`` takes its size on disk twice meanwhile:
PyTorch writes one from all tensors at once, so they are first written to a file beside it, and mapped from there.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linescape import atomic
from linescape.checkpoints.formats import hugging_face
from linescape.checkpoints.formats.contents import Contents
from linescape.checkpoints.formats.mapped import Mapped
from linescape.checkpoints.formats.reading import read_file
from linescape.errors import CheckpointError, StoreError, abbreviate

Tensors = Callable[[str], Tensor]
"""Name -> tensor, on the CPU, of the shape and type that it has in the checkpoint to write one like. Each name is asked
for once, and its tensor written before the next is asked for."""

SMALL = 64 << 20
"""Bytes up to which a file beside the weights is copied: the largest tokenizers have half of that."""

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".index.json")
_ALIGNED = 64


def write_like(like: Contents, tensor: Tensors, out: str | Path, about: Mapping[str, Any]) -> tuple[str, ...]:
    """Write other tensors in the form of a checkpoint.

    Args:
        like: the checkpoint, as `linescape.checkpoints.read` gives it; its file is read again.
        tensor: what to write under each of its names.
        out: where: a file, or a folder where the checkpoint is one. It is there whole or not at all.
        about: what safetensors files say of their making, under ``linescape`` in their texts (JSON-able).

    Returns:
        What was left out, in words.

    Raises:
        StoreError: something is there already, or the place cannot be written.
        CheckpointError: the checkpoint's file no longer holds the tensors that were read from it.
    """
    out = Path(out)
    if out.is_symlink() or (out.exists() and (any(out.iterdir()) if out.is_dir() else out.stat().st_size)):
        raise StoreError(f"{out} is there already, and nothing is written over. Name another place, or remove it.")
    if out.is_dir() and like.form.kind in ("safetensors", "torch"):
        raise StoreError(f"{out} is a folder, but {like.path} is a file, and so is what is written. Name a file.")
    names = {like.form.spelled.get(name, name): name for name in like}
    spelled = replace(like, tensors={old: like[name] for old, name in names.items()})
    try:
        with atomic.replacing(out) as place:
            notes = _write(spelled, lambda name: tensor(names[name]), place, about)
    except RuntimeError as error:
        if "inline_container" not in str(error):  # PyTorch's writer of archives, and what it makes of a full disk
            raise
        raise StoreError(f"{out} could not be written: {error}. Free some space, then try again.") from error
    return notes


def _write(like: Contents, tensor: Tensors, place: Path, about: Mapping[str, Any]) -> tuple[str, ...]:
    match like.form.kind:
        case "safetensors":
            _safetensors(like, tensor, place, about)
            return ()
        case "hugging face":
            return _hugging_face(like, tensor, place, about)
        case "torch":
            _torch(like, tensor, place)
        case "distributed":
            _distributed(like, tensor, place)
    if any("eft out" in note for note in like.notes):
        return ("Only the network's tensors are written, without what was left out on reading.",)
    return ()


def _safetensors(like: Contents, tensor: Tensors, place: Path, about: Mapping[str, Any]) -> None:
    """The header first, so the file's own: how it names types, in which order tensors lie (which aligns them)."""
    with Path(like.path).open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        given: dict[str, Any] = json.loads(file.read(length))
    order = sorted((name for name in given if name in like), key=lambda name: given[name]["data_offsets"])
    header: dict[str, Any] = {"__metadata__": _texts(like.metadata or {}, about)}
    if [name for name in like if name not in given]:
        raise _changed(like)
    end = 0
    for name in order:
        begin, end = end, end + like[name].nbytes
        if end - begin != given[name]["data_offsets"][1] - given[name]["data_offsets"][0]:
            raise _changed(like)
        header[name] = {**given[name], "data_offsets": [begin, end]}
    written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    written += b" " * (-len(written) % 8)
    with place.open("wb") as file:
        file.write(struct.pack("<Q", len(written)) + written)
        for name in order:
            file.write(_bytes(tensor(name)))


def _changed(like: Contents) -> CheckpointError:
    return CheckpointError(
        f"{like.path} no longer holds the tensors that were read from it: it has changed, or they have been converted "
        "or added to. Read it again, and write from what was read."
    )


def _texts(metadata: Mapping[str, str], about: Mapping[str, Any]) -> dict[str, str]:
    """The file's texts, and among linescape's own what is new."""
    try:
        known = dict(json.loads(metadata["linescape"]))
    except (KeyError, ValueError, TypeError):
        known = {}
    return {**metadata, "linescape": json.dumps({**known, **about})}


def _torch(like: Contents, tensor: Tensors, place: Path) -> None:
    scratch = place.with_name(f".tensors-{place.name}")
    tied = like.tied
    places: dict[str, tuple[int, int]] = {}
    try:
        with scratch.open("wb") as file:
            file.write(bytes(_ALIGNED))  # an empty file cannot be mapped
            for name in like:
                if name not in tied:
                    file.write(bytes(-file.tell() % _ALIGNED))
                    begin = file.tell()
                    file.write(_bytes(tensor(name)))
                    places[name] = begin, file.tell()
        _save_mapped(like, places, tied, Mapped.of(scratch), place)
    finally:
        scratch.unlink(missing_ok=True)


def _save_mapped(
    like: Contents, places: Mapping[str, tuple[int, int]], tied: Mapping[str, str], mapped: Mapped, place: Path
) -> None:
    own = {
        name: mapped.tensor(like[name].dtype, where, 0, like[name].shape, _contiguous(like[name].shape))
        for name, where in places.items()
    }
    held: dict[str, Any] = {name: own[tied.get(name, name)] for name in like}
    for container in reversed(like.form.container.split("/") if like.form.container else ()):
        held = {container: held}
    torch.save(held, place)


def _contiguous(shape: torch.Size) -> tuple[int, ...]:
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))


def _hugging_face(like: Contents, tensor: Tensors, place: Path, about: Mapping[str, Any]) -> tuple[str, ...]:
    folder = Path(like.path)
    parts = list(hugging_face.files(folder) or ())
    place.mkdir()
    written: set[str] = set()
    for name in parts:
        part = read_file(folder / name)
        held = replace(part, tensors={name: like[name] for name in part if name in like})
        _write(held, tensor, place / name, about)
        written |= set(held)
    if written != set(like):
        raise _changed(like)
    index = hugging_face.index(folder)
    if index:
        shutil.copyfile(index, place / index.name)
    others = sorted(path for path in folder.iterdir() if path.name not in (*parts, place.name) and path != index)
    left = [path.name for path in others if not _belongs(path, folder)]
    for path in others:
        if path.name not in left:
            shutil.copyfile(path, place / path.name)
    return (f"Not copied from {folder}: {abbreviate(left)}.",) if left else ()


def _belongs(path: Path, folder: Path) -> bool:
    """Whether a file of the folder is copied. Links may lead to where Hugging Face's cache keeps its files."""
    target, home = path.resolve(), folder.resolve()
    inside = target.parent in (home, home.parent.parent / "blobs")
    return inside and target.is_file() and not path.name.endswith(_WEIGHTS) and target.stat().st_size <= SMALL


def _distributed(like: Contents, tensor: Tensors, place: Path) -> None:
    """By PyTorch's own writer, which asks its planner for one tensor after the other."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    container = like.form.container
    prefix = f"{container}." if container else ""

    class OneByOne(DefaultSavePlanner):
        def resolve_data(self, write_item: Any) -> Tensor:
            return tensor(write_item.index.fqn.removeprefix(prefix)).contiguous()

    empty = {name: torch.empty(value.shape, dtype=value.dtype, device="meta") for name, value in like.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there are no other processes
        try:
            save(
                {container: empty} if container else empty,
                storage_writer=FileSystemWriter(place),
                planner=OneByOne(),
                no_dist=True,
            )
        except CheckpointException as error:  # around what was raised, here by the one process
            raise next(iter(error.failures.values()))[0] from error


def _bytes(value: Tensor) -> memoryview:
    """The bytes of a tensor in the order of its indices, without a copy where they lie so."""
    return value.contiguous().reshape(-1).view(torch.uint8).numpy().data
