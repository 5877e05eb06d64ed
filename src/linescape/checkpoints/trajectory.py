"""The checkpoints of one training in a folder, in the order of the numbers in their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from linescape import checkpoints
from linescape.checkpoints.formats import Contents
from linescape.errors import CheckpointError, abbreviate
from linescape.geometry.state import State, is_finite

Read = Callable[[Path], Contents]

_Form = frozenset[tuple[str, torch.Size, torch.dtype]]
"""Names, shapes and types of a checkpoint's tensors."""


@dataclass(frozen=True)
class Trajectory:
    """Where a training has been: at least two checkpoints of one network.

    Attributes:
        paths: files and folders by name, first to last; suffixes are left off where that keeps names apart.
        metadata: the texts that the last checkpoint holds beside its tensors.
        notes: the order, what was left out and why, and what was changed on reading, in words.
        read: how a checkpoint is read.
    """

    paths: Mapping[str, Path]
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    read: Read = checkpoints.read

    @property
    def last(self) -> Path:
        """Where the last checkpoint is."""
        return list(self.paths.values())[-1]

    def states(self, module: nn.Module, device: str = "cpu") -> Mapping[str, State]:
        """The checkpoints as states of a network on a device, each read when it is asked for and not kept."""
        return _States(self, module, device)


def find(folder: str | Path, read: Read = checkpoints.read) -> Trajectory:
    """The checkpoints in a folder: all files and folders in it that `read` takes.

    Names are ordered by the numbers in them, so that ``step-900`` comes before ``step-1000``; names without a number
    come last. What cannot be read, holds NaN or infinity, or has other tensors than most is left out.

    Raises:
        CheckpointError: the folder cannot be listed, or holds fewer than two checkpoints.
    """
    folder = Path(folder)
    try:
        entries = [path for path in sorted(folder.iterdir(), key=_place) if not path.name.startswith(".")]
    except OSError as error:
        raise CheckpointError(
            f"{folder} is no folder that can be listed ({error.strerror or error}). Name two checkpoints, or a folder "
            "of checkpoints of one training."
        ) from error
    forms: dict[Path, _Form] = {}
    left: dict[Path, str] = {}
    notes: dict[str, None] = {}
    metadata: dict[Path, Mapping[str, str]] = {}
    for path in entries:
        try:
            found = read(path)
        except CheckpointError as error:
            left[path] = str(error)
            continue
        if not all(map(is_finite, found.values())):
            left[path] = "It holds NaN or infinity."
            continue
        forms[path] = _form(found)
        metadata[path] = found.metadata or {}
        notes |= dict.fromkeys(found.notes)
    usual = Counter(reversed(forms.values())).most_common(1)  # of equally many the later ones
    for path, form in forms.items():
        if form != usual[0][0]:
            form = _form(read(path).named_as([name for name, *_ in usual[0][0]]))  # a script may name them otherwise
        if form != usual[0][0]:
            names = sorted({name for name, *_ in form ^ usual[0][0]})
            left[path] = (
                f"Names, shapes or types of its tensors are not those of most others ({abbreviate(names[:3])})."
            )
    kept = [path for path in forms if path not in left]
    said = [f"Left out {path.name}. {reason}" for path, reason in left.items()]
    if len(kept) < 2:
        raise CheckpointError(
            f"{folder} holds {len(kept) or 'no'} checkpoint{'s' * (not kept)} among its {len(entries)} entries, and a "
            f"line needs two. Name two checkpoints, or a folder of checkpoints of one training. {' '.join(said[-3:])}"
        )
    paths = _named(kept)
    order = f"{len(paths)} checkpoints, in this order: {', '.join(paths)}."
    return Trajectory(paths, metadata[kept[-1]], (order, *said, *notes), read)


def _form(found: Contents) -> _Form:
    return frozenset((name, value.shape, value.dtype) for name, value in found.items())


class _States(Mapping[str, State]):
    def __init__(self, of: Trajectory, module: nn.Module, device: str) -> None:
        self._of, self._module, self._device = of, module, device

    def __getitem__(self, name: str) -> State:
        return self._of.read(self._of.paths[name]).into(self._module).to(self._device)

    def __iter__(self) -> Iterator[str]:
        return iter(self._of.paths)

    def __len__(self) -> int:
        return len(self._of.paths)


def _place(path: Path) -> tuple[bool, list[int], str]:
    numbers = [int(digits) for digits in re.findall(r"\d+", path.name if path.is_dir() else path.stem)]
    return not numbers, numbers, path.name


def _named(paths: list[Path]) -> dict[str, Path]:
    stems = [path.name if path.is_dir() else path.stem for path in paths]
    return dict(zip(stems if len(set(stems)) == len(stems) else [path.name for path in paths], paths, strict=True))
