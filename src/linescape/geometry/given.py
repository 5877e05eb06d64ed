"""A network as users have it: a module, its state dict, or a `State`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from linescape.errors import StateError
from linescape.geometry.state import State
from linescape.geometry.tensors import is_plain

Network = nn.Module | Mapping[str, Any]
"""A module, a state dict of it, or a `State`."""


def as_state(network: Network, what: str, module: nn.Module | None = None) -> State:
    """A network as a `State`: that of a module is a copy, as the module may go on training.

    Args:
        network: a module, a state dict or a `State`, which is returned as it is.
        what: what a message calls it.
        module: whose state dict it is, if it is one.

    Raises:
        StateError: it is none of these, or is a state dict, and not one of `module`.
    """
    if isinstance(network, State):
        return network
    if isinstance(network, nn.Module):
        return State.from_module(network)
    if not isinstance(network, Mapping):
        raise StateError(
            f"{what} is a {type(network).__name__}, not a network. Give a module, its state dict or a State. "
            "Checkpoint files are read by linescape.compare(path, path, data, model=model)."
        )
    if module is None:
        raise StateError(
            f"{what} is a state dict, which does not say which tensors are parameters, nor which are tied. Give the "
            "module, or State.from_state_dict(module, tensors) with a module of this kind."
        )
    return State.from_state_dict(module, network)


def as_ends(start: Network, end: Network, module: nn.Module | None = None) -> tuple[State, State]:
    """Two networks as states; where one is a state dict, it is of `module`, or of the other one.

    Raises:
        StateError: as `as_state`; or the two are the same tensors in memory.
    """
    if not (isinstance(start, State) and isinstance(end, State)) and _memory(start) == _memory(end) != set():
        raise StateError(
            "The start and the end are the same tensors in memory, so nothing lies between them. Training changes a "
            "network in place, and with it what its state_dict() returned before. Keep its start by "
            "copy.deepcopy(model) or State.from_module(model)."
        )
    module = module or next((network for network in (start, end) if isinstance(network, nn.Module)), None)
    return as_state(start, "The start", module), as_state(end, "The end", module)


def _memory(network: object) -> set[int]:
    """Where the tensors of a network are in memory."""
    entries = network.state_dict() if isinstance(network, nn.Module) else network
    held = entries.values() if isinstance(entries, Mapping) else ()
    return {value.data_ptr() for value in held if isinstance(value, Tensor) and is_plain(value)} - {0}  # of no values


def _is_average(model: nn.Module) -> TypeGuard[AveragedModel]:
    return isinstance(model, AveragedModel) and type(model).forward is AveragedModel.forward


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside the wrappers of data parallelism, `torch.compile` and moving averages."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel) or _is_average(model):
            model = model.module
        elif isinstance(compiled := getattr(model, "_orig_mod", None), nn.Module):
            model = compiled
        else:
            return model
