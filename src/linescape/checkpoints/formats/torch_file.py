"""Files of ``torch.save``, of any age: finds where each tensor is and maps it."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO

from torch import Tensor

from linescape.checkpoints.formats import containers, pickled
from linescape.checkpoints.formats.containers import RESAVE
from linescape.checkpoints.formats.contents import Contents, FileFormat
from linescape.checkpoints.formats.inert import Described
from linescape.checkpoints.formats.mapped import Mapped, OutsideError
from linescape.checkpoints.formats.pickled import Loaded
from linescape.data.pickles import Foreign, UnreadableError
from linescape.errors import CheckpointError, abbreviate

LISTED = 1 << 25
"""Bytes of an archive's list of entries at most: some 400,000 tensors."""

_AGAIN = "Copy or download it again."
_OTHER_ORDER = (
    f"was written on a machine with another byte order than this one ({sys.byteorder}-endian). Write it again here, or "
    "as safetensors, which have the same order everywhere."
)
_LEGACY = 0x1950A86A20F9469CFC6C
Locate = Callable[[Described], tuple[int, int]]
"""Described tensor -> where in the file the bytes of its storage begin and end."""


def read(path: Path, ema: bool = False, key: str | None = None) -> Contents:
    """The state dict of a file of torch.save.

    Args:
        path: the file; it begins like one of torch.save.
        ema: read the moving average of the weights that the file also has.
        key: where in the file the network is, such as ``teacher`` or ``state/model``.

    Raises:
        CheckpointError: it is cut short or damaged, is something else, has no moving average, or several networks and
            no key says which.
    """
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
        file.seek(0)
        loaded, locate = (zip_archive if zipped else _legacy)(file, str(path))
    return _state_dict(path, loaded, Mapped.of(path), locate, ema, key)


def tensor(mapped: Mapped, described: Described, locate: Locate) -> Tensor:
    """A described tensor of a file.

    Raises:
        CheckpointError: it lies outside the file.
    """
    try:
        return mapped.tensor(described.dtype, locate(described), described.offset, described.size, described.stride)
    except (OutsideError, KeyError) as error:
        if any(not step and length > 1 for step, length in zip(described.stride, described.size, strict=False)):
            raise CheckpointError(
                f"{mapped.path} has a tensor of shape {described.size} that repeats its numbers, as `expand` makes: it "
                "could take any amount of memory. Save its `.contiguous()`."
            ) from error
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
    entries, root = _entries(file, name)
    inside = partial(_inside, file, _size(file))
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


def _entries(file: IO[bytes], name: str) -> tuple[dict[str, zipfile.ZipInfo], str]:
    """Name of an archive's entry -> entry, and what the names of all begin with.

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
    return entries, root


def _inside(file: IO[bytes], size: int, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Where in an archive of some bytes the content of an entry begins and ends.

    Raises:
        OutsideError: it is not where the archive says.
    """
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


def _state_dict(path: Path, loaded: Loaded, mapped: Mapped, locate: Locate, ema: bool, key: str | None) -> Contents:
    keys, entries, noted = containers.find(loaded.content, str(path), ema, key)
    notes = list(noted)
    named = {key: value for key, value in entries.items() if containers.is_named((key, value))}
    tensors = {str(key): value for key, value in named.items()}
    if len(tensors) < len(named):
        raise CheckpointError(f"{path} has two tensors of one name, as a number and as text. {RESAVE}")
    if numbers := [name for key, name in zip(named, tensors, strict=True) if key is not name]:
        notes.append(f"Names that are no text are read, and would be written, as text: {abbreviate(numbers)}.")
    rest = [(key, value) for key, value in entries.items() if key not in named]
    odd = Counter(str(key) for key, value in rest if isinstance(value, Described))
    nameless = [f"{count} under {kind}" for kind, count in odd.items()]
    others = {str(key): value for key, value in rest if not isinstance(value, Described)}
    unread = {
        name: value.kind.rpartition(".")[2].removeprefix("_rebuild_")
        for name, value in others.items()
        if isinstance(value, Foreign) and value.kind.startswith(("torch._utils._rebuild", "torch._tensor."))
    }
    if unread:
        kinds = [f"{name} ({kind})" for name, kind in unread.items()]
        notes.append(f"Left out tensors that are sparse, quantised or of another class: {abbreviate(kinds)}.")
    if skipped := [name for name in others if name not in unread]:
        notes.append(f"Left out what is no tensor: {abbreviate(skipped)}.")
    if nameless:
        notes.append(f"Left out tensors whose keys are no names: {abbreviate(nameless)}.")
        unread |= dict.fromkeys(nameless, "no name")
    if loaded.foreign:
        notes.append(f"Objects of {abbreviate(loaded.foreign)} were not created, as no code from a file is run.")
    return Contents(
        {name: tensor(mapped, described, locate) for name, described in tensors.items()},
        tuple(notes),
        path=str(path),
        file_format=FileFormat("torch", keys, versions=containers.versions(entries)),
        unread=unread,
    )
