"""What a user's code is given in place of a network: it is the network in all but that a call goes to the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn


class StandIn:
    """Stands for a network: attributes are read, set and deleted there, and `isinstance` tells no difference.

    Args:
        call: what is called in place of the network.
        network: all else.
    """

    __slots__ = ("__weakref__", "_call", "_network")

    def __init__(self, call: Callable[..., Any], network: nn.Module) -> None:
        object.__setattr__(self, "_call", call)
        object.__setattr__(self, "_network", network)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns for these arguments."""
        return object.__getattribute__(self, "_call")(*args, **kwargs)

    def __getattribute__(self, name: str) -> Any:
        called = name in ("forward", "__call__")
        return object.__getattribute__(self, "_call") if called else getattr(network_behind(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(network_behind(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(network_behind(self), name)

    # Python looks these up in the class.

    def __dir__(self) -> list[str]:
        return dir(network_behind(self))

    def __repr__(self) -> str:
        return repr(network_behind(self))

    def __eq__(self, other: object) -> bool:
        return bool(network_behind(self) == network_behind(other))

    def __hash__(self) -> int:
        return hash(network_behind(self))  # so that it is found where the network is a key

    def __bool__(self) -> bool:
        return bool(network_behind(self))

    def __len__(self) -> int:
        return len(network_behind(self))

    def __iter__(self) -> Iterator[Any]:
        return iter(network_behind(self))

    def __contains__(self, item: Any) -> bool:
        return item in network_behind(self)

    def __getitem__(self, index: Any) -> Any:
        return network_behind(self)[index]


def network_behind(model: Any) -> Any:
    """The network that a `StandIn` stands for; of a network itself, that."""
    return object.__getattribute__(model, "_network") if type(model) is StandIn else model
