"""Weights that were trained elsewhere, as plain files: found by name, known by their content, fitted to a network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from linescape import checkpoints
from linescape.checkpoints import Contents
from linescape.data import sets
from linescape.errors import CheckpointError, abbreviate
from linescape.geometry.groups import by_block, choose
from linescape.models.efficientnet import EfficientNetLite, own_names
from linescape.recipe import Weights


def folder() -> Path:
    """Where files of weights are looked for by name: ``weights`` in `data.sets.folder`."""
    return (sets.folder() / "weights").resolve()


def find(file: str) -> Path:
    """A file by its name in `folder`, or by its absolute path.

    Raises:
        CheckpointError: it is not there.
    """
    path = folder() / file  # an absolute path stays what it is
    if not path.is_file():
        raise CheckpointError(
            f"There is no file {path}, from which a training starts. Put the file there, or name it by its absolute "
            "path. The environment variable LINESCAPE_DATA names the folder that weights/ is in."
        )
    return path


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 lower-case hex digits.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} could not be read: {error.strerror or error}.") from error


def read(spec: Weights) -> Contents:
    """The tensors of the file that `spec` names, if its content is the one that `spec` names.

    Raises:
        CheckpointError: the file is not there, not the one meant, or no readable checkpoint.
    """
    path = find(spec.file)
    found = digest(path)
    if not found.startswith(spec.sha256):
        raise CheckpointError(
            f"{path} has the SHA-256 {found}, but the recipe names a file with {spec.sha256}. It is cut short or "
            "another file, and results would go by the name of weights that they were not made with. Copy it again, or "
            "give the recipe the hash of this file."
        )
    return checkpoints.read(path)


def kept(contents: Contents, network: nn.Module, reset: Sequence[str]) -> dict[str, Tensor]:
    """What a network takes over from a file: tensors by the network's names, without those of the blocks in `reset`.

    BatchNorm's counts of batches (``num_batches_tracked``), which older files lack, may be missing. Half precision
    becomes the network's.

    Args:
        contents: the file's.
        network: gives names, shapes and types; its values are not read.
        reset: blocks of the network.

    Raises:
        CheckpointError: the file has not the network's tensors, or not in its shapes.
        GroupError: the network has no such block.
    """
    blocks = choose(by_block(network), reset)
    back = {name for block in blocks.values() for name in block}
    wanted = {name: value for name, value in network.state_dict().items() if name not in back}
    found = {name: value for name, value in _named(contents, network).items() if name not in back}
    lacking = [name for name in wanted if name not in found and not name.endswith(".num_batches_tracked")]
    further = [name for name in found if name not in wanted]
    if lacking or further:
        kind = type(network).__name__
        raise CheckpointError(
            f"{contents.path} holds another network than this {kind}. "
            + (f"It lacks {abbreviate(list(map(repr, lacking)), 3)}. " if lacking else "")
            + (f"It has {abbreviate(list(map(repr, further)), 3)}, which this {kind} has not. " if further else "")
            + "Give the network that the file is of (depth, norm, head), or draw the blocks that differ anew."
        )
    differ = [name for name, value in found.items() if value.shape != wanted[name].shape]
    if differ:
        shapes = (f"{name!r} is {tuple(found[name].shape)} and here {tuple(wanted[name].shape)}" for name in differ[:3])
        raise CheckpointError(
            f"{contents.path} has other shapes than this {type(network).__name__} in {len(differ)} of {len(found)} "
            f"tensors: {'; '.join(shapes)}. Give the network that the file is of (width, stem), images with as many "
            "channels, or draw the blocks that differ anew."
        )
    return {name: value.to(wanted[name].dtype) for name, value in found.items()}


def _named(contents: Contents, network: nn.Module) -> dict[str, Tensor]:
    layers = own_names() if isinstance(network, EfficientNetLite) else {}
    parts = ((name.rpartition("."), value) for name, value in contents.items())
    return {f"{layers.get(layer, layer)}{dot}{leaf}": value for (layer, dot, leaf), value in parts}
