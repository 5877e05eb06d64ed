"""Folders of ``torch.distributed.checkpoint``: a plan of chunks in ``.metadata``, and files that hold them.

Each chunk is an archive of torch.save inside a larger file. A tensor in one piece is mapped from there; one in several
(as FSDP writes them) is put together in memory.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from linescape.checkpoints.formats import pickled, torch_file
from linescape.checkpoints.formats.contents import Contents, Form
from linescape.checkpoints.formats.inert import Described, shape
from linescape.checkpoints.formats.mapped import Mapped, plain
from linescape.data.pickles import Foreign, UnreadableError
from linescape.errors import CheckpointError, abbreviate

METADATA = ".metadata"
Places = dict[tuple[str, tuple[int, ...]], Mapping[str, Any]]
"""Name and first position of a chunk -> the plan's record of where it lies."""


def is_one(folder: Path) -> bool:
    """Whether a folder is such a checkpoint."""
    return (folder / METADATA).is_file()


def read(folder: Path) -> Contents:
    """The tensors of the network among those of a folder; the optimizer's are left out.

    Raises:
        CheckpointError: it is damaged, a file is missing, or names one outside the folder.
    """
    path = folder / METADATA
    try:
        plain(path)
        with path.open("rb") as file:
            plan = _fields(pickled.load(file).content)
        wanted = {
            _text(name): _fields(about)
            for name, about in plan["state_dict_metadata"].items()
            if isinstance(about, Foreign) and about.kind.endswith(".TensorStorageMetadata")
        }
        places: Places = {}
        for index, where in plan["storage_data"].items():
            key = _fields(index)
            places[_text(key["fqn"]), shape(key.get("offset") or ())] = _fields(where)
        keys = {name: _key(name, plan.get("planner_data") or {}) for name in wanted}
        container, names = _network(keys)
        files = _Files(folder)
        tensors = {new: files.whole(wanted[name], name, places) for name, new in names.items()}
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
    others = [name for name in wanted if name not in names]
    notes = (f"Read {container or 'all'!r} and left out {abbreviate(others)}.",) if others else ()
    return Contents(tensors, notes, path=str(folder), form=Form("distributed", container))


def _network(keys: Mapping[str, tuple[str, ...]]) -> tuple[str, dict[str, str]]:
    """The key of the network's state dict, if there is one, and the names in the folder -> the network's."""
    for container in torch_file.CONTAINERS:
        names = {name: ".".join(key[1:]) for name, key in keys.items() if key[0] == container and len(key) > 1}
        if names:
            return container, names
    return "", {name: ".".join(key) for name, key in keys.items() if not key[0].startswith("optim")}


def _key(name: str, planned: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a tensor was in the nested dictionaries that were saved."""
    path = planned.get(name, (name,))
    if not isinstance(path, tuple | list) or not path or not all(isinstance(key, str | int) for key in path):
        raise UnreadableError("a tensor's place in what was saved is no list of keys")
    return tuple(map(str, path))


def _fields(record: Any) -> Mapping[str, Any]:
    """The fields of a data class."""
    state = record.state if isinstance(record, Foreign) else None
    if not isinstance(state, Mapping):
        raise UnreadableError(f"a {type(record).__name__} is where the plan has a record")
    return state


class _Files:
    """The files beside the plan, each mapped once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[str, Mapped] = {}
        self.chunks: dict[tuple[str, int, int], Tensor] = {}
        self.mapped = 0  # bytes of all files
        self.joined = 0  # bytes of tensors put together, which are no more: else a part would count many times

    def whole(self, about: Mapping[str, Any], name: str, places: Places) -> Tensor:
        """A tensor from its chunks."""
        size = _shape(about["size"])
        chunks = [_fields(chunk) for chunk in about["chunks"]]
        found = [
            (begin := _shape(chunk["offsets"]), _shape(chunk["sizes"]), self.chunk(places[name, begin]))
            for chunk in chunks
        ]
        if not found or any(tuple(tensor.shape) != extent for _, extent, tensor in found):
            raise UnreadableError(f"a part of {name!r} has another shape than the plan says")
        if len(found) == 1 and found[0][1] == size:
            return found[0][2]
        first = found[0][2]
        _check_joint([(begin, extent) for begin, extent, _ in found if math.prod(extent)], size, name)
        self.joined += math.prod(size) * first.itemsize
        if any(tensor.dtype != first.dtype for *_, tensor in found) or self.joined > self.mapped:
            raise UnreadableError(f"the parts of {name!r} do not lie in files of their own")
        joined = torch.empty(size, dtype=first.dtype)
        for begin, extent, tensor in found:
            joined[tuple(slice(at, at + length) for at, length in zip(begin, extent, strict=True))] = tensor
        return joined

    def chunk(self, place: Mapping[str, Any]) -> Tensor:
        """The tensor in a part of a file."""
        file, (begin, length) = place["relative_path"], _shape((place["offset"], place["length"]))
        if not isinstance(file, str) or Path(file).name != file or file in ("", ".", ".."):
            raise CheckpointError(
                f"{self.folder / METADATA} says that a tensor is in {file!r}, outside its folder. A plan names files "
                "beside it; do not use this one."
            )
        if place.get("transform_descriptors"):
            raise CheckpointError(
                f"{self.folder} is compressed or otherwise transformed, so its tensors cannot be read where they lie. "
                "Save it without."
            )
        if file not in self.held:
            self.held[file] = Mapped.of(self.folder / file)
            self.mapped += self.held[file].storage.nbytes()
        if (file, begin, length) in self.chunks:
            return self.chunks[file, begin, length]
        mapped = self.held[file]
        with mapped.path.open("rb") as whole:
            loaded, inside = torch_file.zip_archive(
                io.BufferedReader(_Part(whole, begin, length)), str(mapped.path), begin
            )
        if not isinstance(loaded.content, Described):
            raise UnreadableError(f"{file} holds no tensor at byte {begin:,}")
        found = self.chunks[file, begin, length] = torch_file.tensor(mapped, loaded.content, inside)
        return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UnreadableError("a tensor has something for a name that is none")
    return value


def _check_joint(parts: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], size: tuple[int, ...], name: str) -> None:
    """Parts (begin and extent of each) that are as much as the whole, lie in it and overlap nowhere, are all of it."""
    inside = all(
        len(begin) == len(extent) == len(size)
        and all(at + length <= whole for at, length, whole in zip(begin, extent, size, strict=True))
        for begin, extent in parts
    )
    if not inside or sum(math.prod(extent) for _, extent in parts) != math.prod(size):
        raise UnreadableError(f"the parts of {name!r} are not all of it")
    begins = torch.tensor([begin for begin, _ in parts])
    ends = begins + torch.tensor([extent for _, extent in parts])
    for place in range(1, len(parts)):
        if ((begins[:place] < ends[place]) & (begins[place] < ends[:place])).all(1).any():
            raise UnreadableError(f"the parts of {name!r} overlap")


def _shape(size: Any) -> tuple[int, ...]:
    found = shape(size)
    if min(found, default=0) < 0:
        raise UnreadableError(f"{found} is no shape")
    return found


class _Part(io.RawIOBase):
    """Some bytes of a file as a file."""

    def __init__(self, whole: IO[bytes], begin: int, length: int) -> None:
        super().__init__()
        self.whole, self.begin, self.length, self.place = whole, begin, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.length}[whence]
        if base + offset < 0:
            raise ValueError(f"there is no byte {base + offset}")
        self.place = base + offset
        return self.place

    def tell(self) -> int:
        return self.place

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self.length - self.place))
        self.whole.seek(self.begin + self.place)
        found = self.whole.read(count)
        buffer[: len(found)] = found
        self.place += len(found)
        return len(found)
