"""Two checkpoints made into the two ends of one line: names fitted, what only one of them has left at rest.

A fine-tune often has a new head, or names from another script. What is not in both, or has another shape, can stay at
the end's values, where the user says so; it is listed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from linescape.checkpoints.formats import Contents
from linescape.errors import CheckpointError, abbreviate
from linescape.geometry.state import tied_names, with_tied_names


@dataclass(frozen=True)
class Fit:
    """How two checkpoints are made to fit together.

    Attributes:
        rename: (pattern, replacement) pairs, applied to all names of both as by `re.sub`, one after another.
        allow_missing: patterns, searched in names; tensors that match need not be in both, nor have one shape.
        only_shared: as if all names matched.
    """

    rename: Sequence[tuple[str, str]] = ()
    allow_missing: Sequence[str] = ()
    only_shared: bool = False

    def allows(self, name: str) -> bool:
        """Whether a tensor need not be in both."""
        return self.only_shared or any(_searches(pattern, name) for pattern in self.allow_missing)


def pair(
    start: Contents, end: Contents, fit: Fit | None = None, module: nn.Module | None = None
) -> tuple[Contents, Contents]:
    """Two checkpoints with the same names, shapes and types; both carry notes of what was done.

    Tensors that `fit` allows to be missing have the end's value in both (or that of the only checkpoint that has them),
    so they rest. Where only the type differs, both are taken in the wider one, which changes no value.

    Args:
        start: the checkpoint at alpha = 0.
        end: the checkpoint at alpha = 1.
        fit: what may differ; by default nothing.
        module: the network, of which only names and ties matter; without it the end's tensors are the network.

    Raises:
        CheckpointError: names or shapes differ by more than is allowed, or a pattern is no regular expression.
    """
    fit = fit or Fit()
    start, end = renamed(start, fit), renamed(end, fit)
    if module is not None:
        wanted, tied = module.state_dict(), tied_names(module)
        start, end = (
            replace(found, tensors=with_tied_names(found, tied))
            for found in (start.named_as(wanted), end.named_as(wanted))
        )
        _check_shapes(end, module)
        known = set(wanted)
    else:
        start = start.named_as(end)
        known = set(end)
    names = [name for name in dict.fromkeys((*end, *start)) if name in known]
    further = [name for name in dict.fromkeys((*end, *start)) if name not in known]
    missing = [name for name in names if name not in start or name not in end]
    shapes = [name for name in names if name in start and name in end and start[name].shape != end[name].shape]
    refused = [name for name in (*missing, *shapes, *further) if not fit.allows(name)]
    if refused:
        inside = f" in this {type(module).__name__}" if module is not None else ""
        raise CheckpointError(
            f"{start.path} and {end.path} do not fit together{inside}: {_described(refused, start, end, known)}. A "
            "line needs the same tensors at both ends. To leave such tensors at the end's values, name them with "
            "--allow-missing PATTERN, or take --only-shared; for other names of the same tensors, --rename "
            "PATTERN=NEW."
        )
    held_start, held_end = dict(start), dict(end)
    for name in missing:
        held_start[name] = held_end[name] = held_end[name] if name in held_end else held_start[name]
    for name in shapes:
        held_start[name] = held_end[name]
    types = {name for name in names if held_start[name].dtype != held_end[name].dtype}
    for name in types:
        wider = torch.promote_types(held_start[name].dtype, held_end[name].dtype)
        held_start[name], held_end[name] = held_start[name].to(wider), held_end[name].to(wider)
    notes = [
        f"No tensor that differs matches {pattern!r} of --allow-missing."
        for pattern in fit.allow_missing
        if not any(_searches(pattern, name) for name in (*missing, *shapes, *further))
    ]
    if missing or shapes:
        notes.append(
            f"At rest, as not in both or of another shape: {', '.join((*missing, *shapes))}. They have the end's "
            "values, or those of the only one that has them, along the whole line, so alpha = 0 is not the start "
            "checkpoint's own network."
        )
    if further:
        notes.append(f"Left out, as the network or the end has no such tensors: {', '.join(further)}.")
    if types:
        notes.append(f"Taken in the wider of two types: {abbreviate(sorted(types))}.")
    return (
        replace(start, tensors={name: held_start[name] for name in names}),
        replace(end, tensors={name: held_end[name] for name in names}, notes=(*end.notes, *notes)),
    )


def _check_shapes(end: Contents, module: nn.Module) -> None:
    """The end's own tensors have the network's shapes: they are what stays at rest."""
    wanted = module.state_dict()
    differ = [name for name, value in end.items() if name in wanted and value.shape != wanted[name].shape]
    if differ:
        shapes = [f"{name} {tuple(end[name].shape)} and {tuple(wanted[name].shape)}" for name in differ]
        raise CheckpointError(
            f"The end, {end.path}, is no checkpoint of this {type(module).__name__}: its shapes and the network's "
            f"differ ({abbreviate(shapes)}). Name the network that the end is of (classes, width, depth), or the two "
            "checkpoints the other way round."
        )


def renamed(found: Contents, fit: Fit) -> Contents:
    """A checkpoint under the names that `fit` gives its tensors.

    Raises:
        CheckpointError: a pattern is no regular expression, or two tensors would have one name.
    """
    names = {name: name for name in found}
    for pattern, new in fit.rename:
        try:
            names = {old: re.sub(pattern, new, name) for old, name in names.items()}
        except (re.error, IndexError) as error:
            raise CheckpointError(f"{pattern!r} cannot be replaced by {new!r} in names: {error}.") from error
    changed = sum(old != new for old, new in names.items())
    return found.renamed(names, f"Renamed {changed} tensors.") if changed else found


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


def _searches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise CheckpointError(f"{pattern!r} is not a regular expression: {error}.") from error
