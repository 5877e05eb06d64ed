"""Writes a checkpoint in the format of another one: same files, names and order, one tensor after the other.

Whatever its size, about one tensor is in memory. Writing a file of ``torch.save`` takes twice its size on disk: PyTorch
needs all tensors at once, so they are first written to a temporary file and mapped from there.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linescape import atomic
from linescape.checkpoints.formats import hugging_face
from linescape.checkpoints.formats.containers import Keys, label
from linescape.checkpoints.formats.contents import Contents
from linescape.checkpoints.formats.mapped import Mapped
from linescape.checkpoints.formats.reading import read_file
from linescape.errors import CheckpointError, StateError, StoreError, abbreviate

Tensors = Callable[[str], Tensor]
"""Name -> tensor, on the CPU, with the shape of the checkpoint whose format is used. Called once for each name; each
tensor is written before the next call."""

Types = Mapping[str, torch.dtype]
"""Name -> type in which a tensor is written."""

SMALL = 64 << 20
"""Bytes up to which other files of the folder are copied: the largest tokenizers have half of that."""

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".index.json")
_ENDINGS = {"safetensors": (".safetensors",), "torch": (".pt", ".pth", ".ckpt", ".bin")}
"""Of files by their format. Programs go by them: `torch.load` too, which reads ``.safetensors`` as that."""

_ALIGNED = 64
_SPELLED = {torch.float32: "F32", torch.float64: "F64", torch.complex64: "C64", torch.uint8: "U8", torch.uint16: "U16"}
_SPELLED |= {torch.uint32: "U32", torch.uint64: "U64", torch.int8: "I8", torch.int16: "I16", torch.int32: "I32"}
_SPELLED |= {torch.int64: "I64"}
"""How safetensors spells the types that hold two narrower ones."""


def write_like(
    like: Contents, tensor: Tensors, out: str | Path, provenance: Mapping[str, Any], types: Types
) -> tuple[str, ...]:
    """Write other tensors in the format of a checkpoint.

    Args:
        like: the checkpoint, from `linescape.checkpoints.read`; its file is read again.
        tensor: returns what to write under each of its names.
        out: a file, or a folder if the checkpoint is one. It is written completely or not at all.
        provenance: what safetensors files record under ``linescape`` in their texts (JSON-able).
        types: of the tensors that are written.

    Returns:
        What was left out, in words.

    Raises:
        StoreError: `out` exists already or cannot be written.
        CheckpointError: the checkpoint's file no longer holds the tensors that were read from it.
        StateError: the format has no place for a type.
    """
    out = Path(out)
    check_new(out, like)
    names = {like.file_format.spelled.get(name, name): name for name in like}
    spelled = replace(like, tensors={old: like[name] for old, name in names.items()})
    try:
        with atomic.replacing(out) as target:
            in_file = {old: types[name] for old, name in names.items()}
            notes = _write(spelled, lambda name: tensor(names[name]), target, provenance, in_file)
            check_new(out, like)  # another process may have written there in the minutes that this took
    except RuntimeError as error:
        if "inline_container" not in str(error):  # PyTorch's writer of archives, and what it makes of a full disk
            raise
        raise StoreError(f"{out} could not be written: {error}. Free some space, then try again.") from error
    return notes


def check_new(out: Path, like: Contents) -> None:
    """Raise `StoreError` if a checkpoint in the format of another cannot be written to a place.

    That is where it is taken, or where its name has the ending of another format.
    """
    if not out.name:  # what is written is renamed at the end, and the folder one is in has no name to give it
        raise StoreError(f"{str(out)!r} has no name of its own. Name a new file or folder.")
    try:
        # An empty file may be a device or a pipe, which a rename would replace as well.
        taken = out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir())))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{out} could not be looked at: {getattr(error, 'strerror', error)}. Name another place."
        ) from error
    if taken:
        raise StoreError(f"{out} is there already, and nothing is written over. Name another place, or remove it.")
    if out.is_dir() and like.file_format.kind in ("safetensors", "torch"):
        raise StoreError(f"{out} is a folder, but {like.path} is a file, and so is what is written. Name a file.")
    own = _ENDINGS.get(like.file_format.kind, ())
    if own and out.suffix.lower() in {ending for endings in _ENDINGS.values() for ending in endings}.difference(own):
        what = "safetensors" if like.file_format.kind == "safetensors" else "a file of torch.save"
        raise StoreError(
            f"What is written is {what}, as {like.path} is, and programs that go by the ending {out.suffix} could not "
            f"read it. Let {out} end in {own[0]}, or give a checkpoint of the other format last."
        )


def _write(
    like: Contents, tensor: Tensors, target: Path, provenance: Mapping[str, Any], types: Types
) -> tuple[str, ...]:
    match like.file_format.kind:
        case "safetensors":
            _safetensors(like, tensor, target, provenance, types)
            return ()
        case "hugging face":
            return _hugging_face(like, tensor, target, provenance, types)
        case "torch":
            _torch(like, tensor, target, types)
        case "distributed":
            _distributed(like, tensor, target, types)
    if any("eft out" in note for note in like.notes):
        return ("Only the network's tensors are written, without what was left out on reading.",)
    return ()


def _safetensors(like: Contents, tensor: Tensors, target: Path, provenance: Mapping[str, Any], types: Types) -> None:
    """With the header of the old file, which has the spelling of types and the order of tensors (and so alignment)."""
    with Path(like.path).open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        given: dict[str, Any] = json.loads(file.read(length))
    order = sorted((name for name in given if name in like), key=lambda name: given[name]["data_offsets"])
    header: dict[str, Any] = {"__metadata__": _texts(like.metadata or {}, provenance)}
    other = {types[name] for name in order if types[name] != like[name].dtype} - set(_SPELLED)
    if other:
        raise StateError(
            f"What is written would have tensors of {abbreviate(sorted(map(str, other)))}, the wider of the types at "
            "both ends, which safetensors files cannot have. Convert one of the checkpoints to the other's types."
        )
    if [name for name in like if name not in given]:
        raise _changed(like)
    end = 0
    for name in order:
        value, before = like[name], given[name]["data_offsets"]
        begin, end = end, end + value.numel() * types[name].itemsize
        if value.nbytes != before[1] - before[0]:
            raise _changed(like)
        spelled = {} if types[name] == value.dtype else {"dtype": _SPELLED[types[name]]}
        header[name] = {**given[name], **spelled, "data_offsets": [begin, end]}
    written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    written += b" " * (-len(written) % 8)
    with target.open("wb") as file:
        file.write(struct.pack("<Q", len(written)) + written)
        for name in order:
            file.write(_bytes(tensor(name)))


def _changed(like: Contents) -> CheckpointError:
    return CheckpointError(
        f"{like.path} no longer has the tensors that were read from it: the file has changed, or they have been "
        "converted or added to. Read it again, and write what was read."
    )


def _texts(metadata: Mapping[str, str], provenance: Mapping[str, Any]) -> dict[str, str]:
    """The file's texts, with the new provenance added to what linescape recorded before."""
    try:
        known = dict(json.loads(metadata["linescape"]))
    except (KeyError, ValueError, TypeError, RecursionError):
        known = {}
    return {**metadata, "linescape": json.dumps({**known, **provenance})}


def _torch(like: Contents, tensor: Tensors, target: Path, types: Types) -> None:
    scratch = target.with_name(f".tensors-{target.name}")
    tied = like.tied
    spans: dict[str, tuple[int, int]] = {}
    try:
        with scratch.open("wb") as file:
            file.write(bytes(_ALIGNED))  # an empty file cannot be mapped
            for name in like:
                if name not in tied:
                    file.write(bytes(-file.tell() % _ALIGNED))
                    begin = file.tell()
                    file.write(_bytes(tensor(name)))
                    spans[name] = begin, file.tell()
        _save_mapped(like, spans, tied, Mapped.of(scratch), target, types)
    finally:
        scratch.unlink(missing_ok=True)


def _save_mapped(
    like: Contents,
    spans: Mapping[str, tuple[int, int]],
    tied: Mapping[str, str],
    mapped: Mapped,
    target: Path,
    types: Types,
) -> None:
    tensors = {
        name: mapped.tensor(types[name], where, 0, like[name].shape, _contiguous(like[name].shape))
        for name, where in spans.items()
    }
    content: dict[str, Any] = {name: tensors[tied.get(name, name)] for name in like}
    if like.file_format.versions:
        content = OrderedDict(content)
        versions = {module: {"version": version} for module, version in like.file_format.versions.items()}
        vars(content)["_metadata"] = OrderedDict(versions)
    torch.save(_nested(content, like.file_format.container), target)


def _nested(content: Any, container: Keys) -> Any:
    """The content under its keys; the only item of a list that it was an item of."""
    for key in reversed(container):
        content = [content] if isinstance(key, int) else {key: content}
    return content


def _contiguous(shape: torch.Size) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _hugging_face(
    like: Contents, tensor: Tensors, target: Path, provenance: Mapping[str, Any], types: Types
) -> tuple[str, ...]:
    folder = Path(like.path)
    parts = hugging_face.files(folder) or {}
    target.mkdir()
    written: set[str] = set()
    for file, placed in parts.items():
        part = read_file(folder / file, key=label(like.file_format.container) if like.file_format.container else None)
        new_part = replace(part, tensors={name: like[name] for name in placed or part if name in like})
        _write(new_part, tensor, target / file, provenance, types)
        written |= set(new_part)
    if written != set(like):
        raise _changed(like)
    index = hugging_face.index(folder)
    if index:
        (target / index.name).write_bytes(_indexed(index, sum(like[n].numel() * types[n].itemsize for n in like)))
    others = sorted(path for path in folder.iterdir() if path.name not in (*parts, target.name) and path != index)
    left = [path.name for path in others if not _belongs(path, folder)]
    for path in others:
        if path.name not in left:
            shutil.copyfile(path, target / path.name)
    notes = [f"Not copied from {folder}: {abbreviate(left)}."] if left else []
    if any(types[name] != value.dtype for name, value in like.items()) and (target / "config.json").is_file():
        notes.append(
            "config.json may name a narrower type than is written, to which `from_pretrained` then converts: give it "
            "the type, as in `dtype=torch.float32`."
        )
    return tuple(notes)


def _indexed(index: Path, size: int) -> bytes:
    """An index with another total size, in bytes, where it has one."""
    written = json.loads(index.read_bytes())
    about = written.get("metadata")
    if not isinstance(about, dict) or about.get("total_size", size) == size:
        return index.read_bytes()
    return json.dumps({**written, "metadata": {**about, "total_size": size}}, indent=2).encode() + b"\n"


def _belongs(path: Path, folder: Path) -> bool:
    """Whether a file of the folder is copied. Links may lead into Hugging Face's cache, where its files are."""
    target, home = path.resolve(), folder.resolve()
    inside = target.parent in (home, home.parent.parent / "blobs")
    return inside and target.is_file() and not path.name.endswith(_WEIGHTS) and target.stat().st_size <= SMALL


def _distributed(like: Contents, tensor: Tensors, target: Path, types: Types) -> None:
    """With PyTorch's writer, which asks its planner for one tensor after the other."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    container = like.file_format.container
    prefix = "".join("0." if isinstance(key, int) else f"{key}." for key in container)

    class OneByOne(DefaultSavePlanner):
        def resolve_data(self, write_item: Any) -> Tensor:
            return tensor(write_item.index.fqn.removeprefix(prefix)).contiguous()

    empty = {name: torch.empty(value.shape, dtype=types[name], device="meta") for name, value in like.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there are no other processes
        try:
            save(
                _nested(empty, container),
                storage_writer=FileSystemWriter(target),
                planner=OneByOne(),
                no_dist=True,
            )
        except CheckpointException as error:  # around what was raised, here by the one process
            raise next(iter(error.failures.values()))[0] from error


def _bytes(value: Tensor) -> memoryview:
    """The bytes of a tensor in the order of its indices, without a copy where they lie so."""
    return value.contiguous().reshape(-1).view(torch.uint8).numpy().data
