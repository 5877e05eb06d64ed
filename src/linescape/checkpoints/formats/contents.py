"""The contents of a checkpoint, whatever its format: tensors by name, mapped from the file, read when they are used."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from linescape.checkpoints.formats.containers import is_average
from linescape.errors import CheckpointError, StateError, abbreviate
from linescape.geometry.state import State

LEADING = {"module.": "DataParallel", "_orig_mod.": "torch.compile", "_forward_module.": "DeepSpeed"}
"""Prefixes that wrappers add to every name."""

WRAPPERS = 8
"""How many nested wrappers are looked for."""

DEEP = 8
"""The most parts of a prefix."""

WITHIN = {
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "activation checkpointing",
}
"""What wrappers of a part of the network add inside names."""


@dataclass(frozen=True)
class FileFormat:
    """How a checkpoint was written, as far as is needed to write another like it.

    Attributes:
        kind: of the file or folder.
        container: the keys that lead to the state dict in a torch file or a distributed checkpoint (a number is a place
            in a list); empty where the state dict is the whole content.
        spelled: name -> the name in the file, where they differ.
        versions: module -> the version of its class that wrote its tensors, which some classes ask for on loading; only
            files of torch.save have them.
    """

    kind: Literal["safetensors", "torch", "hugging face", "distributed"]
    container: tuple[str | int, ...] = ()
    spelled: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Contents(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name, on the CPU.

    They are mapped from the file: they take memory only as they are read, and the file must not change meanwhile.

    Attributes:
        tensors: by name, without wrappers' prefixes.
        notes: what was left out or changed on reading, in words.
        metadata: the texts in a safetensors file besides its tensors.
        path: the file or folder.
        file_format: how it was written.
        unread: name -> kind of the tensors that cannot be read, such as sparse and quantised ones.
        stamps: each file that was read -> which it was: its number, bytes and time.
    """

    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] | None = None
    path: str = ""
    file_format: FileFormat = FileFormat("safetensors")
    unread: Mapping[str, str] = field(default_factory=dict)
    stamps: Mapping[Path, tuple[int, ...]] = field(default_factory=dict)

    def check_unchanged(self) -> None:
        """Raise `CheckpointError` if a file was written to since it was read: its tensors may be of two networks."""
        for file, before in self.stamps.items():
            number, *now = stamp(file) or before
            if number == before[0] and now != [*before[1:]]:  # one that was replaced by another file is still mapped
                raise CheckpointError(
                    f"{file} was written to while it was read, as by a training that still runs, so what was computed "
                    "of it may be of two different networks. Copy the file, and read the copy."
                )

    def __repr__(self) -> str:
        return f"Contents({self.path}: {self.file_format.kind}, {len(self)} tensors)"

    def into(self, module: nn.Module) -> State:
        """The tensors as a state of a network; the network itself is not changed.

        Raises:
            CheckpointError: the checkpoint is of another network; the message names the first tensors.
        """
        fitting = self.named_as(module.state_dict())
        try:
            return State.from_state_dict(module, fitting, copy=False)
        except StateError as error:
            network = type(module).__name__
            unread = abbreviate([f"{name} ({kind})" for name, kind in self.unread.items()])
            lacks = f" The file also has what cannot be read: {unread}." if unread else ""
            raise CheckpointError(f"{self.path} is no checkpoint of this {network}. {error}{lacks}") from error

    def named_as(self, wanted: Collection[str]) -> Contents:
        """Without, or with, the prefix by which most names become those wanted (half at least).

        A training script's class often has the network as ``self.model``, so that its checkpoint says ``model.fc`` for
        the network's ``fc``. What is outside the prefix, such as the weights of a loss, is left out; a note says so.

        Raises:
            CheckpointError: there are several such prefixes, so the file has several networks.
        """
        known = set(wanted)
        most = sum(name in known for name in self)
        if most == len(known):
            return self
        most = max(most, (len(known) - 1) // 2)
        if best := self._own_prefix(known, most):
            inside = {name: name.removeprefix(best) for name in self if name.startswith(best)}
            outside = [name for name in self if name not in inside]
            note = f"Took {best!r} off {len(inside)} names" + (
                f" and left out {abbreviate(outside)}." if outside else "."
            )
            return self.renamed(inside, note)
        if best := next(iter(_prefixes(known, self, most)), ""):
            return self.renamed({name: best + name for name in self}, f"Put {best!r} before {len(self)} names.")
        return self

    def _own_prefix(self, known: Container[str], most: int) -> str:
        """The prefix of a network in the file, rather of its weights than of their average; empty for none."""
        prefixes = _prefixes(self, known, most)
        best, *others = (
            [prefix for prefix in prefixes if not any(map(is_average, prefix.split(".")))] or prefixes or [""]
        )
        if other := next((prefix for prefix in others if not prefix.startswith(best)), None):
            raise CheckpointError(
                f"{self.path} has such a network under {best!r} and under {other!r}, and either may be meant. Write "
                "the tensors of one to a file of their own, or take the prefix off these: --rename "
                f"'^{re.escape(best)}='."
            )
        return best

    def renamed(self, names: Mapping[str, str], note: str) -> Contents:
        """Under other names (old -> new), with a note of it; what is not named is left out.

        Raises:
            CheckpointError: two tensors would have one name.
        """
        twice = [name for name, count in Counter(names.values()).items() if count > 1]
        if twice:
            raise CheckpointError(
                f"Under new names several tensors of {self.path} would be called {abbreviate(twice)}, so all but one "
                "would be lost. Rename fewer."
            )
        spelled = {new: self.file_format.spelled.get(old, old) for old, new in names.items()}
        return replace(
            self,
            tensors={new: self.tensors[old] for old, new in names.items()},
            notes=(*self.notes, note),
            file_format=replace(self.file_format, spelled={new: old for new, old in spelled.items() if new != old}),
        )

    @property
    def tied(self) -> dict[str, str]:
        """Further names of tensors with the same memory in the file (tied weights) -> the first name of each."""
        first: dict[object, str] = {}
        tied: dict[str, str] = {}
        for name, value in self.items():
            memory = (value.data_ptr(), value.dtype, value.shape, value.stride()) if value.numel() else name
            owner = first.setdefault(memory, name)
            if owner != name:
                tied[name] = owner
        return tied

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def stamp(file: Path) -> tuple[int, ...]:
    """Which file lies in a place, and how it was last written: its number, bytes and time; nothing for none."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def unwrapped(contents: Contents) -> Contents:
    """Without what wrappers add to names, before all of them or inside, as long as names stay different."""
    averaged = contents.tensors.get("n_averaged")
    if (
        averaged is not None
        and len(contents) > 1
        and all(n.startswith("module.") for n in contents if n != "n_averaged")
    ):
        count = averaged.item() if averaged.numel() == 1 else "some"
        others = {name: name for name in contents if name != "n_averaged"}
        contents = contents.renamed(
            others,
            f"These weights are an average over {count} (torch.optim.swa_utils). Left out 'n_averaged', the count.",
        )
    for _ in range(WRAPPERS):
        prefix = next((prefix for prefix in LEADING if all(name.startswith(prefix) for name in contents)), None)
        if not prefix:
            break
        note = f"Took {prefix!r} ({LEADING[prefix]}) off {len(contents)} names."
        contents = contents.renamed({name: name.removeprefix(prefix) for name in contents}, note)
    for part, wrapper in WITHIN.items():
        inside = [name for name in contents if f".{part}" in f".{name}"]
        names = {name: f".{name}".replace(f".{part}", ".")[1:] for name in contents}
        if inside and len(set(names.values())) == len(names):
            contents = contents.renamed(names, f"Took {part!r} ({wrapper}) out of {len(inside)} names.")
    return contents


def _prefixes(names: Iterable[str], known: Container[str], most: int) -> list[str]:
    """The prefixes without which most names are known, more than `most` and equally many; the shortest one first."""
    counts: Counter[str] = Counter()
    for name in names:
        dot = -1
        for _ in range(DEEP):
            dot = name.find(".", dot + 1)
            if dot < 0:
                break
            if name[dot + 1 :] in known:
                counts[name[: dot + 1]] += 1
    highest = max(counts.values(), default=0)
    best = [prefix for prefix, count in counts.items() if count == highest]
    return sorted(best, key=lambda prefix: (len(prefix), prefix)) if highest > most else []
