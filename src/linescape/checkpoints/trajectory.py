"""The checkpoints of one training in a folder, in the order of the numbers in their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from linescape import atomic, checkpoints
from linescape.checkpoints.formats import Contents
from linescape.checkpoints.formats.contents import stamp
from linescape.errors import CheckpointError, abbreviate
from linescape.geometry.state import State
from linescape.geometry.tensors import is_finite

Read = Callable[[Path], Contents]

_Signature = frozenset[tuple[str, torch.Size, torch.dtype]]
"""Names, shapes and types of a checkpoint's tensors."""


@dataclass(frozen=True)
class Trajectory:
    """The course of a training: at least two checkpoints of one network.

    Attributes:
        paths: files and folders by name, first to last; suffixes are left off where that keeps names apart.
        metadata: the texts in the last checkpoint besides its tensors.
        notes: the order, what was left out and why, and what was changed on reading, in words.
        read: reads a checkpoint.
        stamps: each file of them -> which it was when it was first read, see `Contents.stamps`.
    """

    paths: Mapping[str, Path]
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    read: Read = checkpoints.read
    stamps: Mapping[Path, tuple[int, ...]] = field(default_factory=dict)

    @property
    def last(self) -> Path:
        """The path of the last checkpoint."""
        return list(self.paths.values())[-1]

    def states(self, module: nn.Module, device: str = "cpu") -> Mapping[str, State]:
        """The checkpoints as states of a network on a device, each read when it is asked for, and not cached."""
        return _States(self, module, device)

    def check_unchanged(self) -> None:
        """Raise `CheckpointError` if a file is another by now, as lines that share it may be of two networks."""
        for file, before in self.stamps.items():
            if (stamp(file) or before) != before:
                raise CheckpointError(
                    f"{file} was written to since it was first read, as by a training that still runs, so lines with "
                    "it may be of two different networks. Copy the folder, and read the copy."
                )


def find(folder: str | Path, read: Read = checkpoints.read) -> Trajectory:
    """The checkpoints in a folder: all files and folders in it that `read` can read.

    Names are ordered by the numbers in them, so that ``step-900`` comes before ``step-1000``; names without a number
    come last. What cannot be read, holds NaN or infinity, or has other tensors than most is left out.

    Raises:
        CheckpointError: the folder cannot be listed, or has fewer than two checkpoints.
    """
    folder = Path(folder)
    entries = _entries(folder)
    found = _Found.of(entries, read)
    found.leave_out_infinite()
    found.leave_out_unlike(read)
    kept = [path for path in found.signatures if path not in found.left_out]
    reasons = [f"Left out {path.name}. {reason}" for path, reason in found.left_out.items()]
    if len(kept) < 2:
        raise CheckpointError(
            f"{folder} has {len(kept) or 'no'} checkpoint{'s' * (not kept)} among its {len(entries)} entries, and a "
            "line needs two. Name two checkpoints, or a folder of checkpoints of one training. "
            f"{' '.join(reasons[-3:])}"
        )
    paths = _named(kept)
    order = f"{len(paths)} checkpoints, in this order: {', '.join(paths)}."
    read_first = {file: first for path in kept for file, first in found.stamps[path].items()}
    return Trajectory(paths, found.metadata[kept[-1]], (order, *reasons, *found.notes), read, read_first)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, in the order of its numbers."""
    try:
        atomic.check_name(folder)
        return [path for path in sorted(folder.iterdir(), key=_position) if not path.name.startswith(".")]
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be listed as a folder ({error.strerror or error}). Name two checkpoints, or a folder of "
            "checkpoints of one training."
        ) from error


@dataclass
class _Found:
    """What was read of each file or folder, without its tensors.

    Attributes:
        signatures: of what could be read.
        broken: names of tensors that hold NaN or infinity.
        metadata: the texts besides the tensors.
        stamps: as of `Trajectory`.
        left_out: why it is no part of the course.
        notes: what was changed on reading, once each.
    """

    signatures: dict[Path, _Signature] = field(default_factory=dict)
    broken: dict[Path, set[str]] = field(default_factory=dict)
    metadata: dict[Path, Mapping[str, str]] = field(default_factory=dict)
    stamps: dict[Path, Mapping[Path, tuple[int, ...]]] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[Path], read: Read) -> _Found:
        """Read each."""
        found = cls()
        for path in entries:
            try:
                contents = read(path)
            except CheckpointError as error:
                found.left_out[path] = str(error)
                continue
            found.broken[path] = {name for name, value in contents.items() if not is_finite(value)}
            found.signatures[path] = _signature(contents)
            found.metadata[path], found.stamps[path] = contents.metadata or {}, contents.stamps
            found.notes |= dict.fromkeys(contents.notes)
        return found

    def leave_out_infinite(self) -> None:
        """Leave out what holds NaN or infinity where another does not: what is infinite in all are masks."""
        masks = set[str].intersection(*self.broken.values()) if self.broken else set()
        for path in [path for path, names in self.broken.items() if names - masks]:
            self.left_out[path] = "It holds NaN or infinity."
            del self.signatures[path]

    def leave_out_unlike(self, read: Read) -> None:
        """Leave out what has other tensors than most; of equally many the later ones stay."""
        counted = Counter(reversed(self.signatures.values())).most_common(1)
        usual = next((signature for signature, _ in counted), frozenset())
        for path, signature in self.signatures.items():
            if signature != usual:  # a script may have other names for the same tensors
                signature = _signature(read(path).named_as([name for name, *_ in usual]))
            if signature != usual:
                names = sorted({name for name, *_ in signature ^ usual})
                self.left_out[path] = (
                    f"Names, shapes or types of its tensors differ from those of most others ({abbreviate(names[:3])})."
                )


def _signature(contents: Contents) -> _Signature:
    return frozenset((name, value.shape, value.dtype) for name, value in contents.items())


class _States(Mapping[str, State]):
    def __init__(self, trajectory: Trajectory, module: nn.Module, device: str) -> None:
        self._trajectory, self._module, self._device = trajectory, module, device

    def __getitem__(self, name: str) -> State:
        state = self._trajectory.read(self._trajectory.paths[name]).into(self._module).to(self._device)
        self._trajectory.check_unchanged()
        return state

    def __iter__(self) -> Iterator[str]:
        return iter(self._trajectory.paths)

    def __len__(self) -> int:
        return len(self._trajectory.paths)


def _position(path: Path) -> tuple[bool, list[int], str]:
    numbers = [int(digits) for digits in re.findall(r"\d+", path.name if path.is_dir() else path.stem)]
    return not numbers, numbers, path.name


def _named(paths: list[Path]) -> dict[str, Path]:
    stems = [path.name if path.is_dir() else path.stem for path in paths]
    return dict(zip(stems if len(set(stems)) == len(stems) else [path.name for path in paths], paths, strict=True))
