"""What a checkpoint holds, whatever its format: tensors by name, mapped from the file and read when they are used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor, nn

from linescape.errors import CheckpointError, StateError, abbreviate
from linescape.geometry.state import State

Kind = Literal["safetensors", "torch", "hugging face", "distributed"]

LEADING = {"module.": "DataParallel", "_orig_mod.": "torch.compile", "_forward_module.": "DeepSpeed"}
"""Prefixes that wrappers put before every name."""

WRAPPERS = 8
"""How many, one in another, are looked for."""

DEEP = 8
"""How many parts a prefix has at most."""

WITHIN = {
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "activation checkpointing",
}
"""Parts that wrappers of a part of the network put into names."""


@dataclass(frozen=True)
class Form:
    """How a checkpoint was written, as far as it takes to write another like it.

    Attributes:
        kind: of the file or folder.
        container: the key of a torch file under which the state dict lies; empty where it is the file's own content.
        spelled: name -> the name in the file, where they differ.
    """

    kind: Kind
    container: str = ""
    spelled: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Contents(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name, on the CPU.

    They are mapped from the file: they take memory only as they are read, and the file must stay as it is meanwhile.

    Attributes:
        tensors: by name, wrappers' prefixes taken off.
        notes: what was left out or changed on reading, in words.
        metadata: the texts that a safetensors file holds beside its tensors.
        path: the file or folder.
        form: how it was written.
    """

    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] | None = None
    path: str = ""
    form: Form = Form("safetensors")

    def into(self, module: nn.Module) -> State:
        """The tensors as a state of a network; the network itself is not changed.

        Raises:
            CheckpointError: the checkpoint is another network's; the message names the first tensors.
        """
        fitting = self.named_as(module.state_dict())
        try:
            return State.from_state_dict(module, fitting, copy=False)
        except StateError as error:
            kind = type(module).__name__
            raise CheckpointError(f"{self.path} is no checkpoint of this {kind}. {error}") from error

    def named_as(self, wanted: Collection[str]) -> Contents:
        """With the prefix taken off, or put before each name, by which most names become those wanted (half at least).

        A training script's class often holds the network as ``self.model``, so that its checkpoint says ``model.fc``
        for the network's ``fc``. What lies outside the prefix, such as the weights of a loss, is left out; a note says
        all that.
        """
        known = set(wanted)
        most = sum(name in known for name in self)
        if most == len(known):
            return self
        most = max(most, (len(known) - 1) // 2)
        if best := _prefix(self, known, most):
            found = {name: name.removeprefix(best) for name in self if name.startswith(best)}
            outside = [name for name in self if name not in found]
            said = f"Took {best!r} off {len(found)} names" + (
                f" and left out {abbreviate(outside)}." if outside else "."
            )
            return self.renamed(found, said)
        if best := _prefix(known, self, most):
            return self.renamed({name: best + name for name in self}, f"Put {best!r} before {len(self)} names.")
        return self

    def renamed(self, names: Mapping[str, str], said: str) -> Contents:
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
        spelled = {new: self.form.spelled.get(old, old) for old, new in names.items()}
        return replace(
            self,
            tensors={new: self.tensors[old] for old, new in names.items()},
            notes=(*self.notes, said),
            form=replace(self.form, spelled={new: old for new, old in spelled.items() if new != old}),
        )

    @property
    def tied(self) -> dict[str, str]:
        """Further names of tensors that lie in one place of the file (tied weights) -> the first name of each."""
        first: dict[object, str] = {}
        found: dict[str, str] = {}
        for name, value in self.items():
            place = (value.data_ptr(), value.dtype, value.shape, value.stride()) if value.numel() else name
            owner = first.setdefault(place, name)
            if owner != name:
                found[name] = owner
        return found

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def unwrapped(found: Contents) -> Contents:
    """Without what wrappers add to names: before all of them, or inside where this leaves each name its own."""
    averaged = found.tensors.get("n_averaged")
    if averaged is not None and len(found) > 1 and all(n.startswith("module.") for n in found if n != "n_averaged"):
        count = averaged.item() if averaged.numel() == 1 else "some"
        others = {name: name for name in found if name != "n_averaged"}
        found = found.renamed(others, f"These weights are an average over {count} (torch.optim.swa_utils).")
    for _ in range(WRAPPERS):
        prefix = next((prefix for prefix in LEADING if all(name.startswith(prefix) for name in found)), None)
        if not prefix:
            break
        said = f"Took {prefix!r} ({LEADING[prefix]}) off {len(found)} names."
        found = found.renamed({name: name.removeprefix(prefix) for name in found}, said)
    for part, wrapper in WITHIN.items():
        inside = [name for name in found if f".{part}" in f".{name}"]
        names = {name: f".{name}".replace(f".{part}", ".")[1:] for name in found}
        if inside and len(set(names.values())) == len(names):
            found = found.renamed(names, f"Took {part!r} ({wrapper}) out of {len(inside)} names.")
    return found


def _prefix(names: Iterable[str], known: Container[str], most: int) -> str:
    """What to take off names, so that more of them than `most` are known: the shortest that does so for most of all."""
    found: Counter[str] = Counter()
    for name in names:
        place = -1
        for _ in range(DEEP):
            place = name.find(".", place + 1)
            if place < 0:
                break
            if name[place + 1 :] in known:
                found[name[: place + 1]] += 1
    best = min(found, key=lambda prefix: (-found[prefix], len(prefix), prefix), default="")
    return best if found[best] > most else ""
