"""Where in the content of a file of torch.save the tensors of a network are.

Training scripts save dictionaries in dictionaries: a network beside its optimizer, moving average, epoch and losses, or
several networks. What is meant is found only where there is one answer; else the user is asked for a key.
"""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from linescape.checkpoints.formats.inert import Described, Ordered
from linescape.data.pickles import Foreign
from linescape.errors import CheckpointError, abbreviate

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "module")
"""Keys under which training scripts have the network; where several are in a file, the first one of these is read."""

RESAVE = (
    "linescape never runs code from a file. Where you trust it, load it with the program that made it and write "
    "`torch.save(model.state_dict(), path)`."
)

_MOST = 200_000
"""Tensors and parts of one pickled network that are looked at."""

_LONG = 500
"""Characters of the name of a part of a pickled network."""

_VISITS = 4
"""Places in which one object is looked at."""

_NETWORKS = 8
"""Pickled networks that are looked at."""

_DEEP = 8
"""Keys that lead to a dictionary at most."""

_OTHERS = re.compile(r"(?i)optim|sched|rng|random|scaler|callback|hyper|loops|_extra_state$")
"""Keys of what is saved beside a network."""

_MOMENT = re.compile(
    r"(?:^|\.)(?:(?:max_)?exp_(?:avg(?:_(?:sq|diff|res|slow))?(?:_(?:row|col))?|inf)|momentum_buffer|square_avg|grad_avg|acc_delta)$"
)
"""The last part of the names of tensors that only optimizers keep, for each parameter."""

Keys = tuple[str | int, ...]
"""Keys that lead to a dictionary from the top: texts in dictionaries, and places in lists."""


class Items(dict[int, Any]):
    """Some items of a list, by their places."""


class Found(NamedTuple):
    """The tensors of a network in a file.

    Attributes:
        keys: that lead to them from the top.
        entries: all that is under these keys.
        notes: what was left out, in words.
    """

    keys: Keys
    entries: Mapping[Any, Any]
    notes: tuple[str, ...]


def find(content: Any, path: str, ema: bool, key: str | None) -> Found:
    """The network in the content of a file.

    Args:
        content: of the pickle in the file.
        path: of the file, for messages.
        ema: find the moving average of the weights instead.
        key: where to look, such as ``teacher`` or ``state/model``; ``/`` is the top.

    Raises:
        CheckpointError: there is none, several and no key, or nothing under the key; the message says what is there.
    """
    whole = {keys: entries for keys, entries in _dictionaries(content) if any(map(is_named, entries.items()))}
    averages = [keys for keys in whole if any(map(is_average, keys))]
    if key is not None:
        above, inside = _under(whole, key, path)
        chosen = _choose(inside, path, above)
    elif ema:
        if not averages:
            tops = list(map(str, content)) if isinstance(content, Mapping) else []
            if nameless := [top for top in tops if is_average(top)]:
                raise CheckpointError(
                    f"{path} has no tensors by name under {abbreviate(nameless)}: torch_ema and others save a list, of "
                    "which only the program knows the order. Put the average into the network there, and save its "
                    "`model.state_dict()`."
                )
            raise CheckpointError(
                f"{path} holds no moving average of the weights (its keys are {abbreviate(tops)}). Read the weights "
                "themselves, without --ema."
            )
        first = averages[0][: next(place for place, part in enumerate(averages[0]) if is_average(part)) + 1]
        chosen = _choose({k: whole[k] for k in averages if k[: len(first)] == first}, path, len(first))
    else:
        # Which item of a list is meant is for the user to say, even of one.
        single = {k: entries for k, entries in whole.items() if not any(isinstance(part, int) for part in k)}
        chosen = _choose({k: entries for k, entries in single.items() if k not in averages}, path)
    if chosen is None:
        raise CheckpointError(f"{path} {_nothing(content)}{_instead(whole)}")
    notes = []
    if others := list(_beside(content, chosen)):
        notes.append(f"Read {label(chosen)!r} and left out {abbreviate(others)}.")
    elif isinstance(content, list) and len(content) > 1:
        notes.append(f"Read {label(chosen)!r} and left out the other {len(content) - 1} items of the list.")
    if averages and not ema and key is None:
        first_average = next(part for part in averages[0] if is_average(part))
        notes.append(f"The file also has a moving average of the weights, under {first_average!r}: --ema reads it.")
    if isinstance(whole[chosen], _Module):
        notes.append("A whole network is pickled here, whose code was not run: its parameters and buffers were read.")
    return Found(chosen, whole[chosen], tuple(notes))


def versions(entries: Mapping[Any, Any]) -> dict[str, int]:
    """The versions of modules that a state dict has as its attribute ``_metadata``, by their names."""
    state = entries.state if isinstance(entries, Ordered) else None
    modules = state.get("_metadata") if isinstance(state, Mapping) else None
    known = modules.items() if isinstance(modules, Mapping) else ()
    found = {name: about.get("version") for name, about in known if isinstance(about, Mapping)}
    return {name: version for name, version in found.items() if isinstance(name, str) and type(version) is int}


def is_named(item: tuple[Any, Any]) -> bool:
    """Whether an item of a dictionary is a tensor under a name."""
    key, value = item
    return isinstance(value, Described) and not isinstance(key, Foreign)


def is_moment(name: object) -> bool:
    """Whether a tensor is what an optimizer keeps for a parameter, to judge by its name."""
    return _MOMENT.search(str(name)) is not None


def _choose(found: Mapping[Keys, Mapping[Any, Any]], path: str, above: int = 0) -> Keys | None:
    """The keys of the one network among several dictionaries of tensors; None where there are none.

    The first `above` of the keys say nothing.
    """
    networks = {
        k: entries
        for k, entries in found.items()
        if not any(map(_OTHERS.search, map(str, k[above:]))) and not any(map(is_moment, entries))
    }
    # Losses and counters are single numbers; a network has more in a tensor, except the smallest.
    candidates = [k for k, entries in networks.items() if any(map(_is_larger, entries.items()))] or list(networks)
    usual = [keys for keys in candidates if len(keys) > above and all(part in CONTAINERS for part in keys[above:])]
    if usual:  # the deepest of those that begin alike
        return min(usual, key=lambda keys: (*(CONTAINERS.index(str(key)) for key in keys[above:]), len(CONTAINERS)))
    if len(candidates) > 1:
        raise CheckpointError(
            f"{path} has tensors in {len(candidates)} places, and any may be the network: "
            f"{_listed({keys: found[keys] for keys in candidates})}. Choose one: --key {label(candidates[0])!r}, or "
            "checkpoints.read(path, key=...)."
        )
    return candidates[0] if candidates else None


def _beside(content: Any, chosen: Keys) -> Iterator[str]:
    """What is in the dictionaries that lead to a place, besides what leads there."""
    for depth, key in enumerate(chosen):
        if isinstance(content, Mapping):
            yield from (label((*chosen[:depth], str(other))) for other in content if other != key)
        content = content[key]


def _under(found: Mapping[Keys, Mapping[Any, Any]], key: str, path: str) -> tuple[int, dict[Keys, Mapping[Any, Any]]]:
    """What is at a key, or else below it, and how many keys lead there; the keys may be joined by dots as well.

    Raises:
        CheckpointError: nothing is there, or two places have this name, as a key may have the joint in it.
    """
    for joint in ("/", "."):
        places = {keys[:depth] for keys in found for depth in range(len(keys) + 1)}
        places = {keys for keys in places if label(keys, joint) == (key.strip(joint) or "/")}
        if len(places) > 1:
            raise CheckpointError(
                f"{path} has {len(places)} places that are called {key!r}, as one key there has {joint!r} in it. "
                f"{RESAVE}"
            )
        for wanted in places:
            if wanted in found and any(map(_is_larger, found[wanted].items())):
                return len(wanted), {wanted: found[wanted]}
            return len(wanted), {keys: entries for keys, entries in found.items() if keys[: len(wanted)] == wanted}
    raise CheckpointError(f"{path} has no tensors under the key {key!r}. It has: {_listed(found)}.")


def _is_larger(item: tuple[Any, Any]) -> bool:
    return is_named(item) and math.prod(item[1].size) > 1


def is_average(key: str | int) -> bool:
    """Whether something is a moving average of weights, to judge by its key."""
    return "ema" in str(key).lower().replace("-", "_").split("_")


def label(keys: Keys, joint: str = "/") -> str:
    """How a place in a file is called; ``[0]`` is one in a list, ``/`` is the top."""
    return joint.join(f"[{key}]" if isinstance(key, int) else key for key in keys) or "/"


def _listed(found: Mapping[Keys, Mapping[Any, Any]]) -> str:
    counts = {keys: sum(map(is_named, entries.items())) for keys, entries in found.items()}
    return abbreviate([f"{label(keys)!r} ({count} tensors)" for keys, count in counts.items()], 12) or "no tensors"


def _nothing(content: Any) -> str:
    if isinstance(content, Foreign):
        return f"holds more than tensors: reading it would call {content.kind!r}. {RESAVE}"
    if not isinstance(content, Mapping):
        name = {Described: "Tensor"}.get(type(content), type(content).__name__)
        return f"holds a {name}, not tensors by name. Save `model.state_dict()` instead."
    what = "the state of an optimizer, and no network" if "param_groups" in content else "no tensors by name"
    keys = abbreviate(list(map(str, content)))
    return f"holds {what} (its keys are {keys}). Save `model.state_dict()` instead."


def _instead(found: Mapping[Keys, Mapping[Any, Any]]) -> str:
    return f" Or name what it has, with --key (or --ema): {_listed(found)}." if found else ""


def _dictionaries(content: Any) -> Iterator[tuple[Keys, Mapping[Any, Any]]]:
    """All dictionaries in a file by their keys, the outer ones first; without those of optimizers."""
    waiting: deque[tuple[Keys, Any]] = deque([((), content)])
    visits: Counter[int] = Counter()  # an object may be under several keys, or hold itself
    modules = 0
    while waiting:
        keys, value = waiting.popleft()
        visits[id(value)] += 1
        if visits[id(value)] > _VISITS or len(keys) > _DEEP:
            continue
        inner: list[tuple[str | int, Any]] = []
        if isinstance(value, Foreign):
            modules += isinstance(value.state, Mapping) and "_modules" in value.state
            if modules <= _NETWORKS and (module := _Module.of(value)) is not None:
                yield keys, module
        elif isinstance(value, list):
            inner = list(enumerate(value))
        elif isinstance(value, Items):
            inner = list(value.items())
        elif isinstance(value, Mapping) and "param_groups" not in value:
            yield keys, value
            inner = [(key, item) for key, item in value.items() if isinstance(key, str)]
        waiting.extend(((*keys, key), item) for key, item in inner if _inner(item))


def _inner(value: Any) -> bool:
    return isinstance(value, Foreign) or (isinstance(value, Mapping | list) and bool(value))


_PARTS = ("_parameters", "_buffers", "_modules")
"""Attributes of every `torch.nn.Module`."""


class _Module(dict[str, Any]):
    """The tensors of a pickled `torch.nn.Module`, by the names that its state dict would have."""

    @classmethod
    def of(cls, pickled: Foreign) -> _Module | None:
        """None where it is none."""
        tensors = cls()
        waiting: list[tuple[str, Any]] = [("", pickled)]
        looked_at = 0  # parts may be shared, so that there are any number of them in a short file
        while waiting:
            prefix, module = waiting.pop()
            if module is None:  # a part that may be absent
                continue
            state = module.state if isinstance(module, Foreign) else None
            parts: list[Any] = [state.get(part) for part in _PARTS] if isinstance(state, Mapping) else [None]
            looked_at += sum(len(part) + 1 for part in parts if isinstance(part, Mapping))
            if not all(isinstance(part, Mapping) for part in parts) or looked_at > _MOST or len(prefix) > _LONG:
                return None
            parameters, buffers, children = parts
            unsaved = state.get("_non_persistent_buffers_set") if isinstance(state, Mapping) else None
            unsaved = unsaved if isinstance(unsaved, list) and len(unsaved) <= len(buffers) else []
            names = {name for name in unsaved if isinstance(name, str)}
            for name, value in (*parameters.items(), *buffers.items()):
                if value is not None and name not in names:
                    tensors[f"{prefix}{name}"] = value
            waiting.extend((f"{prefix}{name}.", child) for name, child in reversed(children.items()))
        return tensors
