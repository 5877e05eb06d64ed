"""Files of weights that were trained elsewhere: found by name, identified by content, and fitted to a network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
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
    """The folder in which files of weights are looked for by name: ``weights`` in `data.sets.folder`."""
    return (sets.folder() / "weights").resolve()


def find(file: str) -> Path:
    """A file by its name in `folder`, or by its absolute path.

    Raises:
        CheckpointError: there is no such file.
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
        CheckpointError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} could not be read: {error.strerror or error}.") from error


def read(spec: Weights) -> Contents:
    """The tensors of the file that `spec` names, whose content must have the hash that `spec` names.

    They are copies: the file may be that of a training that still runs, while a start is kept until the end of another.

    Raises:
        CheckpointError: the file is missing, has another hash, is no readable checkpoint, or is written to meanwhile.
    """
    path = find(spec.file)
    sha256 = digest(path)
    if not sha256.startswith(spec.sha256):
        raise CheckpointError(
            f"{path} has the SHA-256 {sha256}, but the recipe names a file with {spec.sha256}. It is cut short or "
            "another file, and results would go by the name of weights that they were not made with. Copy it again, or "
            "give the recipe the hash of this file."
        )
    contents = checkpoints.read(path)
    copied = replace(contents, tensors={name: value.clone() for name, value in contents.items()})
    if digest(path) != sha256:
        raise CheckpointError(
            f"{path} was written to while it was read, as by a training that still runs, so its tensors may be of two "
            "different networks. Copy the file, and name the copy."
        )
    return copied


def tensors_for(contents: Contents, network: nn.Module, reset: Sequence[str]) -> dict[str, Tensor]:
    """The tensors that a network takes from a file, by the network's names, without those of the blocks in `reset`.

    BatchNorm's counts of batches (``num_batches_tracked``), which older files lack, may be missing. Tensors are cast to
    the network's types.

    Args:
        contents: the content of the file.
        network: gives names, shapes and types; its values are not read.
        reset: blocks of the network.

    Raises:
        CheckpointError: the file lacks tensors of the network, has others, or has them in other shapes.
        GroupError: the network has no such block.
    """
    blocks = choose(by_block(network), reset)
    drawn = {name for block in blocks.values() for name in block}
    expected = {name: value for name, value in network.state_dict().items() if name not in drawn}
    tensors = {name: value for name, value in _named(contents, network).items() if name not in drawn}
    missing = [name for name in expected if name not in tensors and not name.endswith(".num_batches_tracked")]
    unknown = [name for name in tensors if name not in expected]
    if missing or unknown:
        kind = type(network).__name__
        raise CheckpointError(
            f"{contents.path} holds another network than this {kind}. "
            + (f"It lacks {abbreviate(list(map(repr, missing)), 3)}. " if missing else "")
            + (f"It has {abbreviate(list(map(repr, unknown)), 3)}, which this {kind} has not. " if unknown else "")
            + "Give the network that the file is of (depth, norm, head), or draw the blocks that differ anew."
        )
    differ = [name for name, value in tensors.items() if value.shape != expected[name].shape]
    if differ:
        shapes = (
            f"{name!r} is {tuple(tensors[name].shape)} and here {tuple(expected[name].shape)}" for name in differ[:3]
        )
        raise CheckpointError(
            f"{contents.path} has other shapes than this {type(network).__name__} in {len(differ)} of {len(tensors)} "
            f"tensors: {'; '.join(shapes)}. Give the network that the file is of (width, stem), images with as many "
            "channels, or draw the blocks that differ anew."
        )
    return {name: value.to(expected[name].dtype) for name, value in tensors.items()}


def _named(contents: Contents, network: nn.Module) -> dict[str, Tensor]:
    layers = own_names() if isinstance(network, EfficientNetLite) else {}
    parts = ((name.rpartition("."), value) for name, value in contents.items())
    return {f"{layers.get(layer, layer)}{dot}{leaf}": value for (layer, dot, leaf), value in parts}
