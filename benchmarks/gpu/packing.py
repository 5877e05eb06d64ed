"""CIFAR-10 in a few files that are small enough to be carried one at a time, and whole again.

FOLDER/manifest.json     the files of the set with their sizes and SHA-256, and the parts likewise
FOLDER/part-1 ...        its binary form, one file after another, compressed by bzip2 and cut
"""

from __future__ import annotations

import bz2
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linescape import atomic
from linescape.data.archives.cifar import CIFAR10
from linescape.data.archives.files import Arrays
from linescape.data.sets import locate, read
from linescape.errors import DataError

NAME = "cifar10"
PART_BYTES = 50_000_000
MANIFEST = "manifest.json"


def pack(folder: Path, root: Path | None = None, part_bytes: int = PART_BYTES) -> list[Path]:
    """Write CIFAR-10 as it lies in the user's folder of data sets; returns the files written.

    Raises:
        DataError: it is not there, or not whole.
    """
    return pack_files(as_binary(*read(NAME, root)), folder, part_bytes)


def as_binary(train: Arrays, test: Arrays) -> dict[str, bytes]:
    """The files of CIFAR-10's binary form, by name: what `linescape.data.archives.cifar` reads fastest.

    Args:
        train: images ``(n, 3, 32, 32)`` and labels ``(n,)``; a fifth of them goes into each file.
        test: likewise, into one file.
    """
    layout = CIFAR10[1]
    train_rows, test_rows = (
        np.concatenate([labels[:, None].astype(np.uint8), images.reshape(-1, 3072)], 1)
        for images, labels in (train, test)
    )
    parts = np.array_split(train_rows, len(layout.train))
    return {name: rows.tobytes() for name, rows in zip(layout.files, (*parts, test_rows), strict=True)}


def pack_files(files: Mapping[str, bytes], folder: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Write files as parts of at most so many bytes each, and the manifest; returns the files written."""
    packer = bz2.BZ2Compressor()
    packed = b"".join([*map(packer.compress, files.values()), packer.flush()])
    count = -(-len(packed) // part_bytes)
    each = -(-len(packed) // count)
    parts = {f"part-{n + 1}": packed[n * each : (n + 1) * each] for n in range(count)}
    for name, content in parts.items():
        atomic.write(folder / name, content)
    manifest = {"files": _listed(files), "parts": _listed(parts)}
    atomic.write(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
    return [folder / name for name in (MANIFEST, *parts)]


def at_hand() -> bool:
    """Whether the set lies in the user's folder of data sets."""
    return locate(NAME) is not None


def join(folder: Path, to: Path) -> None:
    """Make the files from the parts in a folder, each checked by its SHA-256; they are there all or not at all.

    Raises:
        DataError: parts are missing, or something is not what was packed.
    """
    manifest = folder / MANIFEST
    if not manifest.exists():
        raise DataError(f"There is no {manifest}. Make the parts by: python -m benchmarks.gpu pack FOLDER")
    held = json.loads(manifest.read_bytes())
    missing = [name for name in held["parts"] if not (folder / name).exists()]
    if missing:
        raise DataError(f"{folder} has no {', '.join(missing)} yet. Carry them here, one a call.")
    unpacker, sizes = bz2.BZ2Decompressor(), [noted["bytes"] for noted in held["files"].values()]
    # Never more than the manifest says, whatever the parts hold.
    whole = b"".join(_checked(folder / name, noted) for name, noted in held["parts"].items())
    content = unpacker.decompress(whole, max_length=sum(sizes) + 1)
    at = 0
    with atomic.replacing(to) as place:
        place.mkdir()
        for name, noted in held["files"].items():
            piece = content[at : at + noted["bytes"]]
            at += noted["bytes"]
            if Path(name).name != name or hashlib.sha256(piece).hexdigest() != noted["sha256"]:
                raise DataError(f"{name} in {folder} is not what was packed. Pack and carry the set again.")
            (place / name).write_bytes(piece)
        if at != len(content):
            raise DataError(f"The parts in {folder} hold more than their manifest says. Pack the set again.")


def _listed(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    return {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }


def _checked(path: Path, noted: Mapping[str, Any]) -> bytes:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != noted["sha256"]:
        raise DataError(f"{path} is not the part that was packed: its checksum differs. Carry it again.")
    return content
