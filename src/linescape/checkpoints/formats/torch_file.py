"""Files of ``torch.save``, of any age: finds where each tensor is and maps it."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from linescape.checkpoints.formats import pickled
from linescape.checkpoints.formats.contents import Contents, FileFormat
from linescape.checkpoints.formats.inert import Described
from linescape.checkpoints.formats.mapped import Mapped, OutsideError
from linescape.checkpoints.formats.pickled import Loaded
from linescape.data.pickles import Foreign, UnreadableError
from linescape.errors import CheckpointError, abbreviate

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "module")
"""Keys of the state dict in files of training scripts, which also have epoch, optimizer and the like."""

LISTED = 1 << 25
"""Bytes of an archive's list of entries at most: some 400,000 tensors."""

RESAVE = (
    "linescape never runs code from a file. Where you trust it, load it with the program that made it and write "
    "`torch.save(model.state_dict(), path)`."
)

_AGAIN = "Copy or download it again."
_OTHER_ORDER = (
    f"was written on a machine with another byte order than this one ({sys.byteorder}-endian). Write it again here, or "
    "as safetensors, which have the same order everywhere."
)
_LEGACY = 0x1950A86A20F9469CFC6C
Locate = Callable[[Described], tuple[int, int]]
"""Described tensor -> where in the file the bytes of its storage begin and end."""


def read(path: Path, ema: bool) -> Contents:
    """The state dict of a file of torch.save.

    Args:
        path: the file; it begins like one of torch.save.
        ema: read the moving average of the weights that the file also has.

    Raises:
        CheckpointError: it is cut short or damaged, is something else, or has no moving average.
    """
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
        file.seek(0)
        loaded, locate = (zip_archive if zipped else _legacy)(file, str(path))
    return _state_dict(path, loaded, Mapped.of(path), locate, ema)


def tensor(mapped: Mapped, described: Described, locate: Locate) -> Tensor:
    """A described tensor of a file.

    Raises:
        CheckpointError: it lies outside the file.
    """
    try:
        return mapped.tensor(described.dtype, locate(described), described.offset, described.size, described.stride)
    except (OutsideError, KeyError) as error:
        raise CheckpointError(f"{mapped.path} is cut short or damaged ({error}). {_AGAIN}") from error


def zip_archive(file: IO[bytes], name: str, begin: int = 0) -> tuple[Loaded, Locate]:
    """The contents of an archive of torch.save, and where its storages are.

    Args:
        file: only the archive, from its first byte.
        name: of the file in messages.
        begin: where the archive begins in the mapped file.

    Raises:
        CheckpointError: it is damaged, compressed, or no archive of torch.save.
    """
    try:
        archive = zipfile.ZipFile(_Bounded(file))
        entries = {entry.filename: entry for entry in archive.infolist()}
    except Exception as error:  # zipfile raises as many kinds on damage as it has fields
        raise CheckpointError(
            f"{name} begins like a file of torch.save but is cut short or damaged ({error}). {_AGAIN}"
        ) from error
    if any("/code/" in entry for entry in entries):
        raise CheckpointError(f"{name} is a TorchScript program. {RESAVE}")
    root = next((entry.removesuffix("data.pkl") for entry in entries if entry.endswith("data.pkl")), None)
    if root is None:
        raise CheckpointError(
            f"{name} is a zip archive but none of torch.save (it holds {abbreviate(list(entries))}). Unpack or "
            "convert it."
        )
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries.values()):
        raise CheckpointError(
            f"{name} is a compressed archive, which torch.save never writes: its tensors cannot be mapped. Write "
            "it again with torch.save."
        )

    size = _size(file)

    def inside(entry: zipfile.ZipInfo) -> tuple[int, int]:
        if not 0 <= entry.header_offset <= size:
            raise OutsideError(f"{entry.filename} is not where the archive says")
        file.seek(entry.header_offset)
        head = file.read(30)
        if len(head) < 30 or not head.startswith(b"PK\3\4"):
            raise OutsideError(f"{entry.filename} is not where the archive says")
        names, extra = struct.unpack("<HH", head[26:30])
        first = entry.header_offset + 30 + names + extra
        if first + entry.file_size > size:
            raise OutsideError(f"{entry.filename} is cut short")
        return first, first + entry.file_size

    try:
        order = entries.get(f"{root}byteorder")
        if order is not None:
            file.seek(inside(order)[0])
            if file.read(order.file_size if order.file_size < 16 else 0).decode("latin1") != sys.byteorder:
                raise CheckpointError(f"{name} {_OTHER_ORDER}")
        first, last = inside(entries[f"{root}data.pkl"])
        file.seek(first)
        loaded = pickled.load(file)
        if file.tell() > last:
            raise OutsideError("its pickle goes on behind its end")
        storages = {
            entry.removeprefix(f"{root}data/"): inside(info)
            for entry, info in entries.items()
            if entry.startswith(f"{root}data/")
        }
    except UnreadableError as error:
        raise CheckpointError(
            f"{name} holds a pickle that is damaged or no checkpoint's ({error}). {_AGAIN} {RESAVE}"
        ) from error
    except OutsideError as error:
        raise CheckpointError(
            f"{name} begins like a file of torch.save but is cut short or damaged ({error}). {_AGAIN}"
        ) from error
    spans = {key: (first + begin, last + begin) for key, (first, last) in storages.items()}
    return loaded, lambda described: spans[described.storage.key]


def _legacy(file: IO[bytes], name: str) -> tuple[Loaded, Locate]:
    """The format before PyTorch 1.6: five pickles, then for each storage the number of elements and the elements."""
    spans: dict[str, tuple[int, int]] = {}
    try:
        magic, _, system = (pickled.load(file).content for _ in range(3))
        if magic != _LEGACY:
            raise CheckpointError(f"{name} is a pickle, but none of torch.save. {RESAVE}")
        if isinstance(system, Mapping) and system.get("little_endian") is not (sys.byteorder == "little"):
            raise CheckpointError(f"{name} {_OTHER_ORDER}")
        loaded = pickled.load(file)
        keys = pickled.load(file).content
        position = file.tell()
        size = _size(file)
        for key in keys:
            file.seek(position)
            (count,) = struct.unpack("<q", file.read(8))
            begin, position = position + 8, position + 8 + count * loaded.storages[key].dtype.itemsize
            if count < 0 or position > size:
                raise OutsideError(f"storage {key} of {count:,} elements is cut short")
            spans[key] = begin, position
    except (UnreadableError, OutsideError, struct.error, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{name} begins like a file of torch.save but is cut short or damaged, or no checkpoint ({error}). "
            f"{_AGAIN} {RESAVE}"
        ) from error
    return loaded, lambda described: spans[described.storage.key]


class _Bounded:
    """A file for `zipfile`, which reads a whole list of entries and takes 20 bytes of memory for each of its bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self.file = file

    def read(self, count: int = -1) -> bytes:
        if count > LISTED:
            raise ValueError(f"its list of entries has {count:,} bytes")
        return self.file.read(count)


def _size(file: IO[bytes]) -> int:
    return file.seek(0, io.SEEK_END)


def _state_dict(path: Path, loaded: Loaded, mapped: Mapped, locate: Locate, ema: bool) -> Contents:
    top, notes = loaded.content, []
    if not isinstance(top, Mapping):
        type_name = {Described: "Tensor"}.get(type(top), type(top).__name__)
        if isinstance(top, Foreign):
            raise CheckpointError(f"{path} holds more than tensors: reading it would call {top.kind!r}. {RESAVE}")
        raise CheckpointError(f"{path} holds a {type_name}, not tensors by name. Save `model.state_dict()` instead.")
    averages = [key for key in map(str, top) if "ema" in key.lower().replace("-", "_").split("_")]
    averages = [key for key in averages if _under(top, (key,)) is not None]
    if ema and not averages:
        raise CheckpointError(
            f"{path} holds no moving average of the weights (its keys are {abbreviate(list(map(str, top)))}). Read the "
            "weights themselves, without --ema."
        )
    keys = _under(top, averages if ema else CONTAINERS)
    entries = top
    for key in keys or ():
        entries = entries[key]
    tensors = {str(key): value for key, value in entries.items() if _named(key, value)}
    skipped = [str(key) for key, value in entries.items() if not _named(key, value)]
    if not tensors:
        raise CheckpointError(
            f"{path} holds no tensors by name (its keys are {abbreviate(skipped)}). The state dict is looked for under "
            f"{', '.join(CONTAINERS)} or at the top. Save `model.state_dict()` instead."
        )
    if keys and (others := [str(key) for key in top if key != keys[0]]):
        notes.append(f"Read {'/'.join(keys)!r} and left out {abbreviate(others)}.")
    if averages and not ema:
        notes.append(f"The file also has a moving average of the weights, under {averages[0]!r}: --ema reads it.")
    if skipped:
        notes.append(f"Left out what is no tensor: {abbreviate(skipped)}.")
    if loaded.foreign:
        notes.append(f"Objects of {abbreviate(loaded.foreign)} were not created, as no code from a file is run.")
    mapped_tensors = {name: tensor(mapped, described, locate) for name, described in tensors.items()}
    return Contents(mapped_tensors, tuple(notes), path=str(path), file_format=FileFormat("torch", "/".join(keys or ())))


def _named(key: object, value: object) -> bool:
    return isinstance(value, Described) and not isinstance(key, Foreign)


def _under(entries: Mapping[Any, Any], keys: Iterable[str], depth: int = 3) -> tuple[str, ...] | None:
    """The keys that lead to tensors by name: under one of the given keys, or no key where they are at this level."""
    for key in keys:
        inner = entries.get(key)
        if isinstance(inner, Mapping) and depth:
            further = _under(inner, CONTAINERS, depth - 1)
            if further is not None:
                return key, *further
    return () if any(_named(key, value) for key, value in entries.items()) else None
