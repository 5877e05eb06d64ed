"""Checkpoint files: told by what is in them, not by their names, and never run.

=======================  ===========================================================================
safetensors              all tensors of the file
``torch.save``           a state dict, or one of `CONTAINERS` that holds it; read with ``weights_only``,
                         so that a file can hold numbers but no code
=======================  ===========================================================================
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from linescape import atomic
from linescape.errors import CheckpointError, StateError
from linescape.space import State

CONTAINERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts keep the state dict beside epoch, optimizer and the like."""

PREFIXES = {"module.": "DataParallel", "_orig_mod.": "torch.compile"}
"""Prefixes that wrappers put before every name."""

_RESAVE = (
    "linescape never runs code from a file. Where you trust it, load it with the program that made it and write "
    "`torch.save(model.state_dict(), path)`."
)


@dataclass(frozen=True, eq=False)
class Contents(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name, on the CPU.

    Attributes:
        tensors: by name, wrappers' prefixes taken off.
        notes: what was left out or changed on reading, in words.
        metadata: the texts that a safetensors file holds beside its tensors.
        path: the file.
    """

    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] | None = None
    path: str = ""

    def into(self, module: nn.Module) -> State:
        """The tensors as a state of a network; the network itself is not changed.

        Raises:
            CheckpointError: the checkpoint is another network's; the message names the first tensors.
        """
        try:
            return State.like(module, self)
        except StateError as error:
            kind = type(module).__name__
            raise CheckpointError(f"{self.path} is no checkpoint of this {kind}. {error}") from error

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def read(path: str | Path) -> Contents:
    """Read a checkpoint of any known format.

    Raises:
        CheckpointError: the file is missing, a folder, empty, cut short, no checkpoint, or holds code.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
        size = path.stat().st_size
    except IsADirectoryError as error:
        raise CheckpointError(f"{path} is a folder. Name the checkpoint file in it.") from error
    except OSError as error:
        raise CheckpointError(f"{path} could not be opened: {error.strerror or error}.") from error
    if not size:
        raise CheckpointError(f"{path} is empty: its program was stopped while writing it. Use an earlier checkpoint.")
    if head[:2] == b"PK":
        found = _from_torch(path, _torch_zip(path))
    elif head[:1] == b"\x80":
        found = _from_torch(path, _torch_load(path))
    elif head[8:9] == b"{":
        found = _safetensors(path, head, size)
    else:
        raise CheckpointError(
            f"{path} is neither safetensors nor a file of torch.save (it begins with {head[:8]!r}). Convert it with "
            "the program that made it."
        )
    if not found.tensors:
        raise CheckpointError(f"{path} holds no tensors, so there is no network in it.")
    return replace(_unwrapped(found), path=str(path))


def read_into(path: str | Path, module: nn.Module) -> State:
    """Read a checkpoint of a network as a state of it; the network itself is not changed.

    Raises:
        CheckpointError: as `read`, or the checkpoint is another network's; the message names the first tensors.
    """
    return read(path).into(module)


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors; an existing file is replaced only once the new one is whole.

    Raises:
        StoreError: the place cannot be written.
    """
    atomic.write(Path(path), encode(tensors, metadata))


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The safetensors file of some tensors. With at most one text in `metadata`, equal content gives equal bytes."""
    # Clones, as safetensors refuses tensors that share memory; one layout, as it knows no channels_last.
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    return bytes(save(plain, dict(metadata) if metadata else None))


def _safetensors(path: Path, head: bytes, size: int) -> Contents:
    (header,) = struct.unpack("<Q", head[:8])
    if header + 8 > size:
        raise CheckpointError(
            f"{path} announces a header of {header:,} bytes but has {size:,} in all: it is cut short or no "
            "safetensors file. Copy or download it again."
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return Contents({name: file.get_tensor(name) for name in file.keys()}, metadata=file.metadata())  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} begins like a safetensors file but is damaged or cut short ({error}). Copy or download it again."
        ) from error


def _torch_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception as error:  # zipfile raises as many kinds on damage as it has fields
        raise CheckpointError(
            f"{path} begins like a file of torch.save but is cut short or damaged ({error}). Copy or download it again."
        ) from error
    if any("/code/" in name for name in names):
        raise CheckpointError(f"{path} is a TorchScript program. {_RESAVE}")
    if not any(name.endswith("data.pkl") for name in names):
        raise CheckpointError(
            f"{path} is a zip archive but none of torch.save (it holds {', '.join(names[:3])}). Unpack or convert it."
        )
    return _torch_load(path)


def _torch_load(path: Path) -> Any:
    try:
        # An open file, as by its path torch would tell the format by the suffix.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on how to load unsafely
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\w+(?:\.\w+)+)", str(error))
        if found is None:
            raise CheckpointError(
                f"{path} is a pickle but no checkpoint that can be read without running code. {_RESAVE}"
            ) from error
        raise CheckpointError(
            f"{path} holds more than tensors: reading it would call {found[1]!r}. {_RESAVE}"
        ) from error
    except Exception as error:  # what torch raises on a damaged file depends on where the damage is
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} begins like a file of torch.save but is cut short or damaged ({first}). Copy or download it again."
        ) from error


def _from_torch(path: Path, loaded: Any) -> Contents:
    notes: list[str] = []
    if isinstance(loaded, Mapping):
        inner = next((key for key in CONTAINERS if isinstance(loaded.get(key), Mapping)), None)
        if inner is not None:
            others = [str(key) for key in loaded if key != inner]
            if others:
                notes.append(f"Read {inner!r} and left out {_some(others)}.")
            loaded = loaded[inner]
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(loaded).__name__}, not tensors by name. Save `model.state_dict()` instead."
        )
    tensors = {str(name): value.detach() for name, value in loaded.items() if isinstance(value, Tensor)}
    skipped = [str(name) for name, value in loaded.items() if not isinstance(value, Tensor)]
    if not tensors:
        raise CheckpointError(
            f"{path} holds no tensors by name (its keys are {_some(skipped)}). The state dict is looked for under "
            f"{', '.join(CONTAINERS)} or at the top. Save `model.state_dict()` instead."
        )
    if skipped:
        notes.append(f"Left out what is no tensor: {_some(skipped)}.")
    return Contents(tensors, tuple(notes))


def _unwrapped(found: Contents) -> Contents:
    tensors, notes = dict(found.tensors), list(found.notes)
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
        notes.append(f"Took {prefix!r} ({PREFIXES[prefix]}) off {len(tensors)} names.")
    return Contents(tensors, tuple(notes), found.metadata)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
