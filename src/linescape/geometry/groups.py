"""Which tensors move together: a group is a name and the tensors that it stands for.

Every function returns `Groups`, a dictionary from group name to tensor names as in a `State`: a tied tensor appears
under its first name, so that it moves once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import nn

from linescape.errors import GroupError, suggest
from linescape.geometry.state import State

Groups = dict[str, tuple[str, ...]]

WHOLE_NETWORK = ("all", "whole")
"""Names that stand for the whole network in results, so that no group has them."""

NORMS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LocalResponseNorm,
)


def by_layer(module: nn.Module) -> Groups:
    """One group for each submodule with parameters or buffers that are not its children's (a convolution, a norm)."""
    state = State.from_module(module, copy=False)
    return _collect(
        state,
        {
            name or "(top)": _own(name, layer)
            for name, layer in module.named_modules()
            if any(tensor in state or tensor in state.tied for tensor in _own(name, layer))
        },
    )


def by_convolution(module: nn.Module) -> Groups:
    """One group for each convolution and linear layer, with the norm layers that follow it (`NORMS`), by its name.

    Finer than blocks, coarser than `by_layer`: a convolution moves with the statistics of its own outputs. Parameters
    that are part of neither, such as Fixup's scalars, are in no group.
    """
    state = State.from_module(module, copy=False)
    groups: dict[str, list[str]] = {}
    last: list[str] = []
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
            last = groups.setdefault(name, [])
            last += _under(state, name)
        elif isinstance(layer, NORMS):
            last += _under(state, name)
    return _collect(state, groups)


def by_block(module: nn.Module) -> Groups:
    """The named blocks of a network: its attribute ``blocks`` if it has one, else its children and repeated parts.

    ``blocks`` maps a block's name to the prefixes of its submodules or parameters, from input to output. The
    convolutions on a ResNet's skip connections belong to their stage, as in Vlaar & Frankle 2022.

    Otherwise blocks are the top-level children. A child that contains, at any depth, a ``ModuleList``, or a
    ``Sequential`` with two or more children of one class, is split into that list's children
    (``bert.encoder.layer.0``, ``layer1.0``) and its other parts (``bert.embeddings``); these blocks are not split
    further. Parts without tensors (activations, pooling), or with none but those tied to an earlier block's, are left
    out.

    Raises:
        GroupError: the network has no children with tensors, or `blocks` names something that it lacks.
    """
    state = State.from_module(module, copy=False)
    declared = getattr(module, "blocks", None)
    if isinstance(declared, Mapping):
        parts = dict(module.named_modules())
        # A declared part may be empty in this network, as a norm layer is where there is no norm.
        declared_here = {
            block: [p for p in prefixes if p not in parts or _under(state, p)] for block, prefixes in declared.items()
        }
        return by_prefix(module, declared_here)
    names = [name for child in _children(module, "", state) for name in _split(*child, state)]
    names += [name for name, _ in module.named_parameters(recurse=False)]
    if not names:
        raise GroupError(f"{type(module).__name__} has no parts with tensors, so there are no blocks to move.")
    blocks: Groups = {}
    for name, tensors in by_prefix(module, {_free(name): (name,) for name in names}).items():
        if not any(set(tensors) <= set(earlier) for earlier in blocks.values()):
            blocks[name] = tensors
    return blocks


def _children(module: nn.Module, prefix: str, state: State) -> list[tuple[str, nn.Module]]:
    named = [(f"{prefix}.{name}" if prefix else name, child) for name, child in module.named_children()]
    return [(name, child) for name, child in named if _under(state, name)]


def _split(name: str, module: nn.Module, state: State) -> list[str]:
    """The names of a module's repeated parts and of its other parts; its own name if nothing in it is repeated."""
    children = _children(module, name, state)
    if _repeats(module, children):
        return _items(children, state)
    parts = {child: _split(child, inner, state) for child, inner in children}
    if all(names == [child] for child, names in parts.items()):
        return [name]
    direct = [f"{name}.{parameter}" for parameter, _ in module.named_parameters(recurse=False)]
    return [*direct, *(part for names in parts.values() for part in names)]


def _items(children: list[tuple[str, nn.Module]], state: State) -> list[str]:
    """A list's children; a child that is itself a list of blocks is a stage, and is replaced by its children."""
    names: list[str] = []
    for name, child in children:
        inner = _children(child, name, state)
        names += _items(inner, state) if _repeats(child, inner) else [name]
    return names


def _repeats(module: nn.Module, children: list[tuple[str, nn.Module]]) -> bool:
    types = [type(child) for _, child in children]
    return isinstance(module, nn.ModuleList) or (isinstance(module, nn.Sequential) and len(types) > len(set(types)))


def by_name(names: Iterable[str]) -> Groups:
    """Blocks from tensor names alone: up to the first number, as in ``layer1.0`` or ``encoder.layer.3``.

    A name without a number is grouped by all but its last part, as a layer.
    """
    blocks: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        last = next((index for index, part in enumerate(parts[:-1]) if part.isdigit()), len(parts) - 2)
        blocks.setdefault(_free(".".join(parts[: last + 1]) or name), []).append(name)
    return {block: tuple(tensors) for block, tensors in blocks.items()}


def by_prefix(module: nn.Module, mapping: Mapping[str, Iterable[str] | str]) -> Groups:
    """Custom groups: each name maps to tensor names or to the submodules whose tensors belong to it.

    Raises:
        GroupError: an entry is neither a tensor nor a submodule with tensors.
    """
    state = State.from_module(module, copy=False)
    groups: dict[str, list[str]] = {}
    for group, prefixes in mapping.items():
        names = groups.setdefault(group, [])
        for prefix in [prefixes] if isinstance(prefixes, str) else prefixes:
            under = _under(state, prefix)
            if not under:
                known = dict.fromkeys([*dict(module.named_modules()), *state, *state.tied])
                raise GroupError(
                    f"Group {group!r} names {prefix!r}, which is no tensor of the network and no part with "
                    f"tensors. {suggest(prefix, filter(None, known))}"
                )
            names += under
    return _collect(state, groups)


def by_pattern(module: nn.Module, patterns: Mapping[str, str] | Iterable[str]) -> Groups:
    """One group for each regular expression, searched in the tensors' names; a list names each group by its pattern.

    ``{"attention": r"\\.attn\\."}`` moves all attention weights together.

    Raises:
        GroupError: a pattern matches no tensor or is no regular expression.
    """
    state = State.from_module(module, copy=False)
    patterns = [patterns] if isinstance(patterns, str) else patterns  # not one for each of its letters
    named = dict(patterns) if isinstance(patterns, Mapping) else {_free(p): p for p in patterns}
    groups: dict[str, list[str]] = {}
    for group, pattern in named.items():
        try:
            search = re.compile(pattern).search
        except re.error as error:
            raise GroupError(f"{pattern!r} is not a regular expression: {error}.") from error
        groups[group] = [name for name in (*state, *state.tied) if search(name)]
        if not groups[group]:
            raise GroupError(f"The pattern {pattern!r} matches no tensor of the network. {suggest(pattern, state)}")
    return _collect(state, groups)


def by_type(module: nn.Module, types: Mapping[str, type[nn.Module] | tuple[type[nn.Module], ...]]) -> Groups:
    """One group for each type of layer, for example ``{"norms": NORMS, "convolutions": nn.Conv2d}``.

    Raises:
        GroupError: the network has no layer of a type with tensors.
    """
    state = State.from_module(module, copy=False)
    groups: dict[str, list[str]] = {}
    for group, classes in types.items():
        layers = [name for name, layer in module.named_modules() if isinstance(layer, classes)]
        groups[group] = [tensor for name in layers for tensor in _under(state, name)]
        if not groups[group]:
            present = dict.fromkeys(type(layer).__name__ for layer in module.modules())
            raise GroupError(f"The network has no layer for group {group!r}. It has: {', '.join(present)}.")
    return _collect(state, groups)


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


def joined(first: Groups, second: Groups) -> Groups:
    """The groups of both.

    Raises:
        GroupError: a name stands for other tensors in each.
    """
    for name in first.keys() & second.keys():
        if set(first[name]) != set(second[name]):
            raise GroupError(
                f"Two groups are named {name!r}, of {len(first[name])} and of {len(second[name])} tensors, so one "
                f"would be taken for the other. Name one in another way; a pattern can be written ({name})."
            )
    return first | second


def check_names(groups: Iterable[str]) -> None:
    """Refuse names of groups that stand for the whole network.

    Raises:
        GroupError: there is one, whose numbers would be taken for those of the whole network.
    """
    for name in groups:
        if name in WHOLE_NETWORK:
            raise GroupError(f"A group is named {name!r}, as the whole network is in results. Give it another name.")


def _free(name: str) -> str:
    """A name that follows from the network, unless it stands for the whole network."""
    return f"{name} (part)" if name in WHOLE_NETWORK else name


def _under(state: State, prefix: str) -> list[str]:
    return [name for name in (*state, *state.tied) if name == prefix or name.startswith(prefix + ".")]


def _own(name: str, layer: nn.Module) -> list[str]:
    tensors = [*dict(layer.named_parameters(recurse=False)), *dict(layer.named_buffers(recurse=False))]
    return [f"{name}.{tensor}" if name else tensor for tensor in tensors]


def _collect(state: State, groups: Mapping[str, Iterable[str]]) -> Groups:
    def first(name: str) -> str:
        return state.tied.get(name, name)

    return {
        group: tuple(dict.fromkeys(first(name) for name in names if first(name) in state))
        for group, names in groups.items()
    }
