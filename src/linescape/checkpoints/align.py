"""Aligns two checkpoints as the two ends of one line: names are matched, and what only one of them has is held fixed.

A fine-tune often has a new head, or names from another script. Tensors that are not in both, or have another shape, can
be held fixed at the end's values where the user says so; they are listed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from linescape.checkpoints.formats import Contents
from linescape.checkpoints.formats.hugging_face import differing_settings
from linescape.errors import CheckpointError, abbreviate
from linescape.geometry.mismatch import Mismatch, with_counters
from linescape.geometry.state import split, tied_names, with_tied_names
from linescape.geometry.tensors import promoted


@dataclass(frozen=True)
class Fit:
    """How two checkpoints are aligned.

    Raises:
        CheckpointError: a pattern is no regular expression.

    Attributes:
        rename: (pattern, replacement) pairs, applied to all names of both by `re.sub`, one after another.
        allow_missing: patterns, searched in names; tensors that match need not be in both, nor have one shape.
        only_shared: as if all names matched.
    """

    rename: Sequence[tuple[str, str]] = ()
    allow_missing: Sequence[str] = ()
    only_shared: bool = False

    def __post_init__(self) -> None:
        for pattern in (*(old for old, _ in self.rename), *self.allow_missing):
            try:
                re.compile(pattern)
            except re.error as error:
                raise CheckpointError(f"{pattern!r} is not a regular expression: {error}.") from error

    def allows(self, name: str) -> bool:
        """Whether a tensor need not be in both."""
        return self.only_shared or any(re.search(pattern, name) for pattern in self.allow_missing)


def pair(
    start: Contents, end: Contents, fit: Fit | None = None, module: nn.Module | None = None
) -> tuple[Contents, Contents]:
    """Two checkpoints with the same names, shapes and types; notes of both say what was done.

    Tensors that `fit` allows to be missing have the end's value in both (or that of the only checkpoint with them), so
    they are held fixed. Where only the type differs, both are converted to the wider one, which changes no value.

    Args:
        start: the checkpoint at alpha = 0.
        end: the checkpoint at alpha = 1.
        fit: what may differ; by default nothing.
        module: the network, of which only names and ties matter; without it the end's tensors are the network.

    Raises:
        CheckpointError: names or shapes differ by more than is allowed.
    """
    fit = fit or Fit()
    start, end, known = _under_one_names(renamed(start, fit), renamed(end, fit), module)
    differences = _Differences.between(start, end, known)
    refused = [name for name in differences.fixed_or_left_out if not fit.allows(name)]
    if refused:
        network = f" in this {type(module).__name__}" if module is not None else ""
        raise CheckpointError(
            f"{start.path} and {end.path} do not fit together{network}: {_described(refused, start, end, known)}. A "
            "line needs the same tensors at both ends. To hold such tensors fixed at the end's values, name them with "
            "--allow-missing PATTERN, or use --only-shared; for other names of the same tensors, use --rename "
            "PATTERN=NEW."
        )
    first, last = dict(start), dict(end)
    for name in differences.fixed:
        first[name] = last[name] = last[name] if name in last else first[name]
    for name in differences.dtypes:
        wider = promoted(first[name].dtype, last[name].dtype)
        if wider is None:
            raise CheckpointError(
                f"{name!r} is {first[name].dtype} in {start.path} and {last[name].dtype} in {end.path}, and no type "
                "holds the numbers of both. Convert one of the two checkpoints."
            )
        first[name], last[name] = first[name].to(wider), last[name].to(wider)
    notes = (*end.notes, *_notes(differences, fit), *_note_of_settings(start, end))
    return (
        replace(start, tensors={name: first[name] for name in differences.names}),
        replace(end, tensors={name: last[name] for name in differences.names}, notes=notes),
    )


def _under_one_names(
    start: Contents, end: Contents, module: nn.Module | None
) -> tuple[Contents, Contents, Collection[str]]:
    """Both under the names of the network, or without one of the end; and the names that are known there."""
    if module is None:
        start = start.named_as(end)
        return replace(start, tensors=with_counters(start, end)), end, set(end)
    (slots, opaque), tied = split(module.state_dict(), "The network"), tied_names(module)
    start, end = (
        replace(contents, tensors=with_counters(with_tied_names(contents, tied), slots))
        for contents in (start.named_as(slots), end.named_as(slots))
    )
    _check_shapes(start, end, module, slots)
    return start, end, {*slots, *opaque}


@dataclass(frozen=True)
class _Differences:
    """In what two checkpoints under one names differ.

    Attributes:
        names: all that the line has, in the order of the end.
        missing: of these, what only one of the two has.
        shapes: what has another shape.
        further: what the network, or the end, does not know.
        dtypes: what has only another type.
    """

    names: Sequence[str]
    missing: Sequence[str]
    shapes: Sequence[str]
    further: Sequence[str]
    dtypes: Collection[str]

    @property
    def fixed(self) -> tuple[str, ...]:
        """What is held fixed, if that is allowed."""
        return (*self.missing, *self.shapes)

    @property
    def fixed_or_left_out(self) -> tuple[str, ...]:
        """What has to be allowed."""
        return (*self.fixed, *self.further)

    @classmethod
    def between(cls, start: Contents, end: Contents, known: Collection[str]) -> _Differences:
        """Compare them by names, shapes and types."""
        mismatch = Mismatch.between(end, start)
        everything = (*end, *mismatch.only_right)
        shapes = [name for name in mismatch.shapes if name in known]
        return cls(
            names=[name for name in everything if name in known],
            missing=[name for name in (*mismatch.only_left, *mismatch.only_right) if name in known],
            shapes=shapes,
            further=[name for name in everything if name not in known],
            dtypes={name for name in mismatch.dtypes if name in known and name not in shapes},
        )


def _notes(differences: _Differences, fit: Fit) -> list[str]:
    notes = [
        f"No tensor that differs matches {pattern!r} of --allow-missing."
        for pattern in fit.allow_missing
        if not any(re.search(pattern, name) for name in differences.fixed_or_left_out)
    ]
    if differences.fixed:
        notes.append(
            f"Held fixed, as only one checkpoint has them or their shapes differ: {', '.join(differences.fixed)}. "
            "They have the end's values, or those of the only checkpoint that has them, along the whole line, so the "
            "network at alpha = 0 is not that of the start checkpoint."
        )
    if differences.further:
        left_out = ", ".join(differences.further)
        notes.append(f"Left out, as the network or the end has no such tensors: {left_out}.")
    if differences.dtypes:
        notes.append(f"Converted to the wider of two types: {abbreviate(sorted(differences.dtypes))}.")
    return notes


def _note_of_settings(start: Contents, end: Contents) -> list[str]:
    settings = differing_settings(start, end)
    if not settings:
        return []
    return [
        f"The config.json of the two checkpoints differ: {abbreviate(settings)}. All positions are measured with "
        "the one network that was given, so an end with other settings is not the network that was trained."
    ]


def _check_shapes(start: Contents, end: Contents, module: nn.Module, slots: Mapping[str, Tensor]) -> None:
    """The end's shapes must be the network's, since what is held fixed has the end's values."""
    differ = Mismatch.between(end, slots).shapes
    if differ:
        shapes = abbreviate([f"{name} {of_end} and {of_network}" for name, (of_end, of_network) in differ.items()])
        kind = type(module).__name__
        if Mismatch.between(start, slots).shapes:
            raise CheckpointError(
                f"Neither {start.path} nor {end.path} is a checkpoint of this {kind}: shapes of the end and of the "
                f"network differ ({shapes}). Name the network that was trained (classes, width, depth)."
            )
        raise CheckpointError(
            f"The end, {end.path}, is no checkpoint of this {kind}: its shapes and the network's differ ({shapes}). "
            "Name the network of the end (classes, width, depth), or swap the two checkpoints."
        )


def renamed(contents: Contents, fit: Fit) -> Contents:
    """A checkpoint under the names that `fit` gives its tensors.

    Raises:
        CheckpointError: a replacement does not fit its pattern, or two tensors would have one name.
    """
    names = {name: name for name in contents}
    for pattern, new in fit.rename:
        try:
            names = {old: re.sub(pattern, new, name) for old, name in names.items()}
        except (re.error, IndexError) as error:
            raise CheckpointError(f"{pattern!r} cannot be replaced by {new!r} in names: {error}.") from error
    changed = sum(old != new for old, new in names.items())
    return contents.renamed(names, f"Renamed {changed} tensors.") if changed else contents


def _described(refused: Collection[str], start: Contents, end: Contents, known: Collection[str]) -> str:
    groups: dict[str, list[str]] = {}
    for name in refused:
        if name in start and name in end and name in known:
            groups.setdefault("of another shape", []).append(
                f"{name}: {tuple(start[name].shape)} and {tuple(end[name].shape)}"
            )
        elif name not in known:
            where = "in both" if name in start and name in end else "in the start" if name in start else "in the end"
            groups.setdefault(f"not in the network but {where}", []).append(name)
        else:
            groups.setdefault("only in the start" if name in start else "only in the end", []).append(name)
    return "; ".join(f"{len(names)} {what} ({abbreviate(names)})" for what, names in groups.items())
