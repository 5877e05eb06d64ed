"""Which tensors move together: a group is a name and the tensors that it stands for.

Every function returns `Groups`, a dictionary from group name to tensor names as a `State` holds them: a tied
tensor appears under its first name, so that it moves once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from torch import nn

from linescape.errors import GroupError, suggest
from linescape.geometry.state import State

Groups = dict[str, tuple[str, ...]]

NORMS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LocalResponseNorm,
)


def by_layer(module: nn.Module) -> Groups:
    """One group for each submodule that owns parameters or buffers itself (a convolution, a norm, a linear layer)."""
    held = State.from_module(module, copy=False)
    return _collect(
        held,
        {
            name or "(top)": _own(name, layer)
            for name, layer in module.named_modules()
            if any(own in held or own in held.tied for own in _own(name, layer))
        },
    )


def by_convolution(module: nn.Module) -> Groups:
    """One group for each convolution and linear layer, with the norm layers that follow it (`NORMS`), by its name.

    Finer than blocks, coarser than `by_layer`: a convolution moves with the statistics of its own outputs. Parameters
    that are part of neither, such as Fixup's scalars, are in no group.
    """
    held = State.from_module(module, copy=False)
    found: dict[str, list[str]] = {}
    last: list[str] = []
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
            last = found.setdefault(name, [])
            last += _under(held, name)
        elif isinstance(layer, NORMS):
            last += _under(held, name)
    return _collect(held, found)


def by_block(module: nn.Module) -> Groups:
    """The named blocks of a network: its attribute ``blocks`` if it has one, else its children and repeated parts.

    ``blocks`` maps a block's name to the prefixes of its submodules or parameters, from input to output. The
    convolutions that carry a ResNet's skip connections belong to their stage, as Vlaar & Frankle 2022 have it.

    Otherwise blocks are the top-level children. One of them that holds, at whatever depth, a ``ModuleList``, or a
    ``Sequential`` with two or more children of one class, is taken apart into that list's children
    (``bert.encoder.layer.0``, ``layer1.0``) and what stands beside it on the way (``bert.embeddings``); these blocks
    are not taken apart further. What has no tensors (activations, pooling), or only such as are tied to an earlier
    block's, is left out.

    Raises:
        GroupError: the network has no children with tensors, or `blocks` names something that it lacks.
    """
    held = State.from_module(module, copy=False)
    declared = getattr(module, "blocks", None)
    if isinstance(declared, Mapping):
        parts = dict(module.named_modules())
        # A declared part may hold nothing in this network: the place of a norm layer, where there is no norm.
        held_by = {
            block: [p for p in prefixes if p not in parts or _under(held, p)] for block, prefixes in declared.items()
        }
        return by_prefix(module, held_by)
    names = [name for child in _children(module, "", held) for name in _taken_apart(*child, held)]
    names += [name for name, _ in module.named_parameters(recurse=False)]
    if not names:
        raise GroupError(f"{type(module).__name__} has no parts that hold tensors, so there are no blocks to move.")
    found: Groups = {}
    for name, tensors in by_prefix(module, {name: (name,) for name in names}).items():
        if not any(set(tensors) <= set(earlier) for earlier in found.values()):
            found[name] = tensors
    return found


def _children(module: nn.Module, prefix: str, held: State) -> list[tuple[str, nn.Module]]:
    named = [(f"{prefix}.{name}" if prefix else name, child) for name, child in module.named_children()]
    return [(name, child) for name, child in named if _under(held, name)]


def _taken_apart(name: str, module: nn.Module, held: State) -> list[str]:
    """The names of a module's repeated parts and of what stands beside them; its own name where it has none."""
    children = _children(module, name, held)
    if _repeats(module, children):
        return _items(children, held)
    parts = {child: _taken_apart(child, of, held) for child, of in children}
    if all(found == [child] for child, found in parts.items()):
        return [name]
    own = [f"{name}.{parameter}" for parameter, _ in module.named_parameters(recurse=False)]
    return [*own, *(part for found in parts.values() for part in found)]


def _items(children: list[tuple[str, nn.Module]], held: State) -> list[str]:
    """A list's children; those that are lists of blocks themselves are stages, and their children stand for them."""
    found: list[str] = []
    for name, child in children:
        inner = _children(child, name, held)
        found += _items(inner, held) if _repeats(child, inner) else [name]
    return found


def _repeats(module: nn.Module, children: list[tuple[str, nn.Module]]) -> bool:
    kinds = [type(child) for _, child in children]
    return isinstance(module, nn.ModuleList) or (isinstance(module, nn.Sequential) and len(kinds) > len(set(kinds)))


def by_name(names: Iterable[str]) -> Groups:
    """Blocks as they show in tensor names alone: up to the first number, as in ``layer1.0`` or ``encoder.layer.3``.

    A name without a number is grouped by all but its last part, as a layer.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        number = next((place for place, part in enumerate(parts[:-1]) if part.isdigit()), len(parts) - 2)
        found.setdefault(".".join(parts[: number + 1]) or name, []).append(name)
    return {group: tuple(held) for group, held in found.items()}


def by_prefix(module: nn.Module, mapping: Mapping[str, Iterable[str] | str]) -> Groups:
    """Groups of one's own: each name maps to tensor names or to the submodules whose tensors belong to it.

    Raises:
        GroupError: an entry is neither a tensor nor a submodule that holds tensors.
    """
    held = State.from_module(module, copy=False)
    found: dict[str, list[str]] = {}
    for group, prefixes in mapping.items():
        names = found.setdefault(group, [])
        for prefix in [prefixes] if isinstance(prefixes, str) else prefixes:
            under = _under(held, prefix)
            if not under:
                known = dict.fromkeys([*dict(module.named_modules()), *held, *held.tied])
                raise GroupError(
                    f"Group {group!r} names {prefix!r}, which is no tensor of the network and no part that holds "
                    f"tensors. {suggest(prefix, filter(None, known))}"
                )
            names += under
    return _collect(held, found)


def by_pattern(module: nn.Module, patterns: Mapping[str, str] | Iterable[str]) -> Groups:
    """One group for each regular expression, searched in the tensors' names; a list names each group by its pattern.

    ``{"attention": r"\\.attn\\."}`` moves all attention weights together.

    Raises:
        GroupError: a pattern matches no tensor or is no regular expression.
    """
    held = State.from_module(module, copy=False)
    named = dict(patterns) if isinstance(patterns, Mapping) else {pattern: pattern for pattern in patterns}
    found: dict[str, list[str]] = {}
    for group, pattern in named.items():
        try:
            search = re.compile(pattern).search
        except re.error as error:
            raise GroupError(f"{pattern!r} is not a regular expression: {error}.") from error
        found[group] = [name for name in (*held, *held.tied) if search(name)]
        if not found[group]:
            raise GroupError(f"The pattern {pattern!r} matches no tensor of the network. {suggest(pattern, held)}")
    return _collect(held, found)


def by_type(module: nn.Module, types: Mapping[str, type[nn.Module] | tuple[type[nn.Module], ...]]) -> Groups:
    """One group for each kind of layer, for example ``{"norms": NORMS, "convolutions": nn.Conv2d}``.

    Raises:
        GroupError: the network has no layer of a kind that holds tensors.
    """
    held = State.from_module(module, copy=False)
    found: dict[str, list[str]] = {}
    for group, kinds in types.items():
        layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kinds)]
        found[group] = [own for name, layer in layers for own in _under(held, name)]
        if not found[group]:
            present = dict.fromkeys(type(layer).__name__ for layer in module.modules())
            raise GroupError(f"The network has no layer for group {group!r}. It has: {', '.join(present)}.")
    return _collect(held, found)


def choose(groups: Groups, names: Iterable[str]) -> Groups:
    """The named groups, in the order asked for.

    Raises:
        GroupError: a name is unknown.
    """
    chosen: Groups = {}
    for name in names:
        if name not in groups:
            raise GroupError(f"There is no group {name!r}. {suggest(name, groups)}")
        chosen[name] = groups[name]
    return chosen


def _under(held: State, prefix: str) -> list[str]:
    inside: Callable[[str], bool] = lambda name: name == prefix or name.startswith(prefix + ".")  # noqa: E731
    return [name for name in (*held, *held.tied) if inside(name)]


def _own(name: str, layer: nn.Module) -> list[str]:
    tensors = [*dict(layer.named_parameters(recurse=False)), *dict(layer.named_buffers(recurse=False))]
    return [f"{name}.{tensor}" if name else tensor for tensor in tensors]


def _collect(held: State, groups: Mapping[str, Iterable[str]]) -> Groups:
    def first(name: str) -> str:
        return held.tied.get(name, name)

    return {
        group: tuple(dict.fromkeys(first(name) for name in names if first(name) in held))
        for group, names in groups.items()
    }
