"""Folders of ``torch.distributed.checkpoint``: a plan of chunks in ``.metadata``, and files with the chunks.

Each chunk is an archive of torch.save inside a larger file. A tensor in one chunk is mapped; one in several (as FSDP
writes them) is put together in memory.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from linescape.checkpoints.formats import containers, pickled, torch_file
from linescape.checkpoints.formats.contents import Contents, FileFormat
from linescape.checkpoints.formats.inert import Described, Storage, shape
from linescape.checkpoints.formats.mapped import Mapped, plain
from linescape.data.pickles import Foreign, UnreadableError
from linescape.errors import CheckpointError, abbreviate

METADATA = ".metadata"
_DEEP = 64
"""The most keys that lead to a tensor: many tensors may share one list of them in a short file."""
Chunks = dict[tuple[str, tuple[int, ...]], Mapping[str, Any]]
"""Name and first position of a chunk -> the plan's record of where its bytes are."""


def is_one(folder: Path) -> bool:
    """Whether a folder is such a checkpoint."""
    return (folder / METADATA).is_file()


def read(folder: Path, ema: bool = False, key: str | None = None) -> Contents:
    """The tensors of the network among those of a folder; the optimizer's are left out.

    Args:
        folder: of the plan and its files.
        ema: read the moving average of the weights that the folder also has.
        key: where the network is in the dictionaries that were saved, such as ``app/model``.

    Raises:
        CheckpointError: it is damaged, a file is missing, names one outside the folder, has no moving average, or
            several networks and no key says which.
    """
    path = folder / METADATA
    try:
        plain(path)
        with path.open("rb") as file:
            plan = _fields(pickled.load(file).content)
        wanted = {
            _text(name): _fields(record)
            for name, record in plan["state_dict_metadata"].items()
            if isinstance(record, Foreign) and record.kind.endswith(".TensorStorageMetadata")
        }
        stored: Chunks = {}
        for index, record in plan["storage_data"].items():
            of_chunk = _fields(index)
            stored[_text(of_chunk["fqn"]), shape(of_chunk.get("offset") or ())] = _fields(record)
        planned = plan.get("planner_data") or {}
        saved = _nested(
            (_keys(name, planned), _described(name, wanted[name]) if name in wanted else None)
            for name in plan["state_dict_metadata"]
        )
        beside = [name for name, value in saved.items() if name.startswith("optim") or containers.is_moment(name)]
        found = containers.find({k: v for k, v in saved.items() if k not in beside}, str(folder), ema, key)
        files = _Files(folder)
        tensors = {
            str(name): files.whole(wanted[value.storage.key], value.storage.key, stored)
            for name, value in found.entries.items()
            if isinstance(value, Described)
        }
    except OSError as error:
        raise CheckpointError(f"{error.filename or path} could not be opened: {error.strerror or error}.") from error
    except CheckpointError:
        raise
    except (UnreadableError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is damaged, or is not the plan of a distributed checkpoint as PyTorch writes it "
            f"({type(error).__name__}: {error}). Copy the folder again, or convert it with `python -m "
            "torch.distributed.checkpoint.format_utils dcp_to_torch`."
        ) from error
    notes = (*found.notes, *((f"Left out {abbreviate(beside)}, which is an optimizer's.",) if beside else ()))
    return Contents(tensors, notes, path=str(folder), file_format=FileFormat("distributed", found.keys))


def _described(name: str, record: Mapping[str, Any]) -> Described:
    """A tensor by its name in the plan and its shape; its type is in the file with it."""
    return Described(Storage(torch.uint8, name), torch.uint8, 0, _shape(record["size"]), ())


def _keys(name: str, planned: Mapping[str, Any]) -> tuple[str | int, ...]:
    """The keys of a tensor in the dictionaries and lists that were saved."""
    path = planned.get(name, (_text(name),))
    if not isinstance(path, tuple | list):
        raise UnreadableError("the keys of a tensor are no list")
    if not path or not isinstance(path[0], str) or len(path) > _DEEP or not all(_is_key(key) for key in path):
        raise UnreadableError("the keys of a tensor are none that PyTorch writes")
    return tuple(path)


def _is_key(key: object) -> bool:
    return isinstance(key, str) or (isinstance(key, int) and 0 <= key < 1 << 32)


def _nested(leaves: Iterable[tuple[containers.Keys, Described | None]]) -> dict[str, Any]:
    """What was saved, from the keys of each tensor and of each other thing."""
    saved: dict[Any, Any] = {}
    for keys, value in leaves:
        inner = saved
        for key, following in pairwise(keys):
            kind = containers.Items if isinstance(following, int) else dict
            inner = inner.setdefault(key, kind())
            if type(inner) is not kind:
                raise UnreadableError(f"{key!r} is said to be two things")
        inner[keys[-1]] = value
    return saved


def _fields(record: Any) -> Mapping[str, Any]:
    """The fields of a data class."""
    state = record.state if isinstance(record, Foreign) else None
    if not isinstance(state, Mapping):
        raise UnreadableError(f"a {type(record).__name__} is where the plan has a record")
    return state


class _Files:
    """The files of the plan, each mapped once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open: dict[str, Mapped] = {}
        self.chunks: dict[tuple[str, int, int], Tensor] = {}
        self.mapped = 0  # bytes of all files
        self.joined = 0  # bytes of tensors put together; more than all files would mean chunks that are used twice

    def whole(self, record: Mapping[str, Any], name: str, stored: Chunks) -> Tensor:
        """A tensor from its chunks."""
        size = _shape(record["size"])
        chunks = [
            (begin := _shape(chunk["offsets"]), _shape(chunk["sizes"]), self.chunk(stored[name, begin]))
            for chunk in map(_fields, record["chunks"])
        ]
        if not chunks or any(tuple(tensor.shape) != extent for _, extent, tensor in chunks):
            raise UnreadableError(f"a part of {name!r} has another shape than the plan says")
        if len(chunks) == 1 and chunks[0][1] == size:
            return chunks[0][2]
        first = chunks[0][2]
        _check_joint([(begin, extent) for begin, extent, _ in chunks if math.prod(extent)], size, name)
        self.joined += math.prod(size) * first.itemsize
        if any(tensor.dtype != first.dtype for *_, tensor in chunks) or self.joined > self.mapped:
            raise UnreadableError(f"the parts of {name!r} have several types, or share bytes of a file")
        joined = torch.empty(size, dtype=first.dtype)
        for begin, extent, tensor in chunks:
            joined[tuple(slice(low, low + length) for low, length in zip(begin, extent, strict=True))] = tensor
        return joined

    def chunk(self, record: Mapping[str, Any]) -> Tensor:
        """The tensor in a part of a file."""
        file, (begin, length) = record["relative_path"], _shape((record["offset"], record["length"]))
        if not isinstance(file, str) or Path(file).name != file or file in ("", ".", ".."):
            raise CheckpointError(
                f"{self.folder / METADATA} says that a tensor is in {file!r}, outside its folder. A plan names files "
                "in its own folder; do not use this one."
            )
        if record.get("transform_descriptors"):
            raise CheckpointError(
                f"{self.folder} is compressed or otherwise transformed, so its tensors cannot be mapped. Save it "
                "without."
            )
        if file not in self.open:
            self.open[file] = Mapped.of(self.folder / file)
            self.mapped += self.open[file].storage.nbytes()
        if (file, begin, length) in self.chunks:
            return self.chunks[file, begin, length]
        mapped = self.open[file]
        with mapped.path.open("rb") as whole:
            loaded, inside = torch_file.zip_archive(
                io.BufferedReader(_Section(whole, begin, length)), str(mapped.path), begin
            )
        if not isinstance(loaded.content, Described):
            raise UnreadableError(f"{file} holds no tensor at byte {begin:,}")
        tensor = self.chunks[file, begin, length] = torch_file.tensor(mapped, loaded.content, inside)
        return tensor


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UnreadableError("the name of a tensor is no text")
    return value


def _check_joint(parts: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], size: tuple[int, ...], name: str) -> None:
    """Raise unless parts (begin and extent of each) are inside the whole, as large as it and nowhere overlap."""
    inside = all(
        len(begin) == len(extent) == len(size)
        and all(low + length <= whole for low, length, whole in zip(begin, extent, size, strict=True))
        for begin, extent in parts
    )
    if not inside or sum(math.prod(extent) for _, extent in parts) != math.prod(size):
        raise UnreadableError(f"the parts of {name!r} are not all of it")
    begins = torch.tensor([begin for begin, _ in parts])
    ends = begins + torch.tensor([extent for _, extent in parts])
    for part in range(1, len(parts)):
        if ((begins[:part] < ends[part]) & (begins[part] < ends[:part])).all(1).any():
            raise UnreadableError(f"the parts of {name!r} overlap")


def _shape(size: Any) -> tuple[int, ...]:
    sizes = shape(size)
    if min(sizes, default=0) < 0:
        raise UnreadableError(f"{sizes} is no shape")
    return sizes


class _Section(io.RawIOBase):
    """Some bytes of a file as a file."""

    def __init__(self, whole: IO[bytes], begin: int, length: int) -> None:
        super().__init__()
        self.whole, self.begin, self.length, self.position = whole, begin, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        if base + offset < 0:
            raise ValueError(f"there is no byte {base + offset}")
        self.position = base + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self.length - self.position))
        self.whole.seek(self.begin + self.position)
        content = self.whole.read(count)
        buffer[: len(content)] = content
        self.position += len(content)
        return len(content)
