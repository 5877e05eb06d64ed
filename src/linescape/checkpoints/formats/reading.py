"""Reads a checkpoint; its format follows from its content, not from its name."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open

from linescape.checkpoints.formats import distributed, hugging_face, torch_file
from linescape.checkpoints.formats.contents import Contents, FileFormat, stamp, unwrapped
from linescape.checkpoints.formats.mapped import opened, plain
from linescape.errors import CheckpointError, abbreviate
from linescape.geometry.tensors import is_plain

HEADER = 1 << 24
"""The most bytes of the header of a safetensors file: 300,000 tensors. Reading it takes 24 times its size."""

_OF_BATCHNORM = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers, which every process of a training has whole."""


def read(path: str | Path, ema: bool = False, key: str | None = None) -> Contents:
    """Read a checkpoint of any known format (see `linescape.checkpoints`).

    Args:
        path: a file, or a folder that is one checkpoint.
        ema: read the moving average of the weights that a file of torch.save may also have.
        key: where the network is in a file of torch.save that has several, such as ``teacher`` or ``state/model``.

    Raises:
        CheckpointError: it is missing, empty, cut short, no checkpoint, has no moving average, nothing under the key,
            or several networks and no key says which.
    """
    path = Path(path)
    if ema and key is not None:
        raise CheckpointError(f"{path}: a key names one place in the file; leave out --ema, or the key {key!r}.")
    try:
        is_folder = path.is_dir()
        if not is_folder and (hint := hugging_face.download_hint(path)):
            raise CheckpointError(f"{path} could not be opened: there is no such file or folder.{hint}")
    except OSError as error:
        raise CheckpointError(f"{path} could not be opened: {error.strerror or error}.") from error
    files = [file for file in path.iterdir() if file.is_file()] if is_folder else [path]
    stamps = {file: found for file in files if (found := stamp(file))}
    contents = _plain(_folder(path, ema, key) if is_folder else read_file(path, ema, key))
    if not contents.tensors:
        raise CheckpointError(f"{path} holds no tensors, so there is no network in it.")
    if not any(value.numel() and not name.endswith(_OF_BATCHNORM) for name, value in contents.items()):
        raise CheckpointError(
            f"{path} has the names of {len(contents)} tensors and no values: they are empty. DeepSpeed's ZeRO-3 writes "
            "the values to other files, a part to each: run `python zero_to_fp32.py . OUT` in the folder of the "
            "checkpoint, which is there, and name OUT."
        )
    if ema:
        contents = _average(contents)
    return unwrapped(replace(contents, path=str(path), stamps=stamps))


def _folder(path: Path, ema: bool, key: str | None) -> Contents:
    if distributed.is_one(path):
        return distributed.read(path, ema, key)
    files = hugging_face.files(path)
    if files is None:
        raise CheckpointError(
            f"{path} is a folder but no checkpoint: it has no model.safetensors, pytorch_model.bin, an index of their "
            "parts, or .metadata of torch.distributed.checkpoint. Name the checkpoint file in it."
        )
    return hugging_face.joined(path, files, {name: read_file(path / name, ema, key) for name in files})


def read_file(path: Path, ema: bool = False, key: str | None = None) -> Contents:
    """Read one file, with its own names.

    Raises:
        CheckpointError: as `read`.
    """
    size = plain(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if not size:
            raise CheckpointError(
                f"{path} is empty: its program may have been stopped while writing it. Use an earlier checkpoint."
            )
        # Before the others: a header whose length ends in 0x80 begins like a pickle.
        header = head[8:9] == b"{"
        if not header and (head[:2] == b"PK" or head[:1] == b"\x80"):
            return torch_file.read(path, ema, key)
    except OSError as error:
        raise CheckpointError(f"{path} could not be opened: {error.strerror or error}.") from error
    if not header:
        advice = "Convert it with the program that made it."
        if head.startswith((b"version https://", b"<")):  # what Git LFS leaves, and what a server says of an error
            advice = "It is text, as a file that was not downloaded: run `git lfs pull`, or download it again."
        raise CheckpointError(
            f"{path} is neither safetensors nor a file of torch.save (it begins with {head[:8]!r}). {advice}"
        )
    if ema or key is not None:
        option = "--ema" if ema else "--key"
        raise CheckpointError(
            f"{path} is a safetensors file, which holds one set of weights. Read it without {option}."
        )
    return _safetensors(path, head, size)


def _safetensors(path: Path, head: bytes, size: int) -> Contents:
    (header,) = struct.unpack("<Q", head[:8])
    if header + 8 > size:
        raise CheckpointError(
            f"{path} announces a header of {header:,} bytes but has {size:,} in all: it is cut short or no "
            "safetensors file. Copy or download it again."
        )
    if header > HEADER:
        raise CheckpointError(
            f"{path} has a header of {header:,} bytes, where those of the largest networks have a tenth of {HEADER:,}. "
            "Write its tensors to several files."
        )
    try:
        with opened(path) as name, safe_open(name, framework="pt", device="cpu") as file:  # which maps the file
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Contents(tensors, metadata=file.metadata(), path=str(path), file_format=FileFormat("safetensors"))
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} begins like a safetensors file but is damaged or cut short ({error}). Copy or download it again."
        ) from error


def _plain(contents: Contents) -> Contents:
    """Without tensors whose types pack several numbers into a byte."""
    tensors = {name: value for name, value in contents.items() if is_plain(value)}
    if len(tensors) == len(contents):
        return contents
    packed = {name: str(value.dtype) for name, value in contents.items() if name not in tensors}
    note = f"Left out tensors of types that cannot be computed with: {abbreviate(list(packed))}."
    return replace(contents, tensors=tensors, notes=(*contents.notes, note), unread={**contents.unread, **packed})


def _average(contents: Contents) -> Contents:
    """Only the average, where a class such as ema-pytorch's also saves other tensors."""
    prefix = "ema_model."
    names: Mapping[str, str] = {name: name.removeprefix(prefix) for name in contents if name.startswith(prefix)}
    return contents.renamed(names, f"Took {prefix!r} off {len(names)} names.") if names else contents
