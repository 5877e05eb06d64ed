"""Folders of ``torch.distributed.checkpoint``: a plan of chunks in ``.metadata``, and files that hold them.

Each chunk is an archive of torch.save inside a larger file. A tensor in one piece is mapped from there; one in several
(as FSDP writes them) is put together in memory.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from linescape.checkpoints import pickled, torch_file
from linescape.checkpoints.contents import Contents, Form, some
from linescape.checkpoints.mapped import Mapped
from linescape.checkpoints.pickled import Described, Foreign, UnreadableError
from linescape.errors import CheckpointError

METADATA = ".metadata"


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
        with path.open("rb") as file:
            plan = _fields(pickled.load(file).content)
        wanted = {
            str(name): _fields(about)
            for name, about in plan["state_dict_metadata"].items()
            if type(about).__name__.endswith(".TensorStorageMetadata")
        }
        places: dict[tuple[str, tuple[int, ...]], Mapping[str, Any]] = {}
        for index, where in plan["storage_data"].items():
            key = _fields(index)
            places[key["fqn"], tuple(key.get("offset") or ())] = _fields(where)
        keys = {name: tuple(map(str, (plan.get("planner_data") or {}).get(name, (name,)))) for name in wanted}
        container, names = _network(keys)
        files = _Files(folder)
        tensors = {new: files.whole(wanted[name], name, places) for name, new in names.items()}
    except OSError as error:
        raise CheckpointError(f"{error.filename or path} could not be opened: {error.strerror or error}.") from error
    except (UnreadableError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is damaged, or is not the plan of a distributed checkpoint as PyTorch writes it "
            f"({type(error).__name__}: {error}). Copy the folder again, or convert it with `python -m "
            "torch.distributed.checkpoint.format_utils dcp_to_torch`."
        ) from error
    others = [name for name in wanted if name not in names]
    notes = (f"Read {container or 'all'!r} and left out {some(others)}.",) if others else ()
    return Contents(tensors, notes, path=str(folder), form=Form("distributed", container))


def _network(keys: Mapping[str, tuple[str, ...]]) -> tuple[str, dict[str, str]]:
    """The key of the network's state dict, if there is one, and the names in the folder -> the network's."""
    for container in torch_file.CONTAINERS:
        names = {name: ".".join(key[1:]) for name, key in keys.items() if key[0] == container and len(key) > 1}
        if names:
            return container, names
    return "", {name: ".".join(key) for name, key in keys.items() if not key[0].startswith("optim")}


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

    def whole(
        self, about: Mapping[str, Any], name: str, places: Mapping[tuple[str, tuple[int, ...]], Mapping[str, Any]]
    ) -> Tensor:
        """A tensor from its chunks."""
        size = _shape(about["size"])
        chunks = [_fields(chunk) for chunk in about["chunks"]]
        parts = [
            (_shape(chunk["offsets"]), _shape(chunk["sizes"]), places[name, _shape(chunk["offsets"])])
            for chunk in chunks
        ]
        found = [(begin, extent, self.chunk(place)) for begin, extent, place in parts]
        if any(tuple(tensor.shape) != extent for _, extent, tensor in found):
            raise UnreadableError(f"a part of {name!r} has another shape than the plan says")
        if len(found) == 1 and found[0][1] == size:
            return found[0][2]
        if sum(tensor.numel() for *_, tensor in found) != torch.Size(size).numel():
            raise UnreadableError(f"the parts of {name!r} are not all of it")
        joined = torch.empty(size, dtype=found[0][2].dtype)
        for begin, extent, tensor in found:
            joined[tuple(slice(at, at + length) for at, length in zip(begin, extent, strict=True))] = tensor
        return joined

    def chunk(self, place: Mapping[str, Any]) -> Tensor:
        """The tensor in a part of a file."""
        file, begin, length = place["relative_path"], place["offset"], place["length"]
        if not isinstance(file, str) or Path(file).name != file or file in ("", ".", ".."):
            raise CheckpointError(
                f"{self.folder / METADATA} says that a tensor is in {file!r}, outside its folder. A plan names files "
                "beside it; do not use this one."
            )
        if place.get("transform_descriptors"):
            raise CheckpointError(
                f"{self.folder} is compressed ({place['transform_descriptors']}), so its tensors cannot be read where "
                "they lie. Save it without."
            )
        if file not in self.held:
            self.held[file] = Mapped.of(self.folder / file)
        mapped = self.held[file]
        with mapped.path.open("rb") as whole:
            loaded, inside = torch_file.zip_archive(
                io.BufferedReader(_Part(whole, begin, length)), str(mapped.path), begin
            )
        if not isinstance(loaded.content, Described):
            raise UnreadableError(f"{file} holds no tensor at byte {begin:,}")
        return torch_file.tensor(mapped, loaded.content, inside)


def _shape(size: Any) -> tuple[int, ...]:
    found = tuple(size)
    if not all(type(length) is int and length >= 0 for length in found):
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
