"""A state of a network, written in the format of a checkpoint of this network: its files, names and types."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from linescape.checkpoints.formats import Contents, write_like
from linescape.errors import StateError, abbreviate
from linescape.geometry.state import State


def write_state(
    like: Contents, network: nn.Module, state: State, out: str | Path, provenance: Mapping[str, Any]
) -> tuple[str, ...]:
    """Write a state in the format of a checkpoint; tensors of its file that are not the network's stay.

    Args:
        like: the checkpoint.
        network: of which it is.
        state: of the network.
        out: the file or folder to write; it must not exist.
        provenance: what safetensors files record (JSON-able).

    Returns:
        What was left out, in words.

    Raises:
        CheckpointError: the checkpoint is of another network.
        StateError: the file lacks tensors of the state.
        StoreError: `out` exists or cannot be written.
    """
    own = names_in(like, network)
    tensors = {own[name]: value for name, value in state.state_dict().items() if name in own}
    lost = [name for name in state if not {name, *_also(name, state)} & own.keys()]
    if lost:
        raise StateError(
            f"{like.path} has no place for {abbreviate(lost)}, so the network would not be complete. Write it with "
            "linescape.checkpoints.write."
        )
    types = {name: value.dtype for name, value in like.items()}
    return write_like(like, lambda name: tensors.get(name, like[name]).cpu().to(types[name]), out, provenance, types)


def names_in(contents: Contents, network: nn.Module) -> dict[str, str]:
    """Names of the network's tensors -> names in a checkpoint of it, as far as it has them.

    Raises:
        CheckpointError: the checkpoint has several networks.
    """
    in_file = contents.named_as(network.state_dict()).file_format.spelled
    names = {contents.file_format.spelled.get(name, name): name for name in contents}
    wanted = {name: in_file.get(name, name) for name in network.state_dict()}
    return {name: names[spelled] for name, spelled in wanted.items() if spelled in names}


def _also(name: str, state: State) -> list[str]:
    """Further names of a tied tensor."""
    return [other for other, owner in state.tied.items() if owner == name]
