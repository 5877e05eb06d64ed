"""Points of a scan, saved in a folder while it runs, so that a scan that was stopped continues."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from linescape import atomic, tensor_file
from linescape.engine import arithmetic_digest, library_digest
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry import paths
from linescape.interpolation import identity
from linescape.interpolation.curve import Point
from linescape.version import VERSION

FLUSHED = 0.05
"""Seconds that a point must have taken to be flushed to the disk, which takes 0.01: others are sooner measured again. A
point that a power failure left in pieces is noticed by its digest."""

DAMAGED = "Kept points were measured again, as their files were damaged or those of other points."
CHANGED = "Kept points were not used: one of them was measured again, and its values are others now."
NOTES = (DAMAGED, CHANGED)
"""What a scan says of points that were kept and not used."""

_NAMES = re.compile(r"\d+-[0-9a-f]{64}")
"""Of the folders of scans, from `folder_of`."""


def read(folder: Path) -> list[Point]:
    """The points in the folder of one scan; those that are damaged, or of another, are left out."""
    points = []
    for file in sorted(_matching(folder, "*.safetensors")):
        with suppress(OSError, KeyError, ValueError, TypeError):
            points.append(decode(atomic.read(file), file.name, folder.name))
    return points


def decode(content: bytes, name: str, of: object) -> Point:
    """The point in a file with a name.

    Raises:
        KeyError, ValueError, TypeError: it is damaged, or of something else.
    """
    tensors, note = tensor_file.decode_sealed(content)
    if (note["of"], file_name(note["alpha"])) != (of, name):
        raise ValueError("it is of something else")
    values = {tuple(key): tensors[str(i)].numpy() for i, key in enumerate(note["series"])}
    return Point(note["alpha"], values, note["seconds"])


def encode(point: Point, of: object) -> bytes:
    """A point as `decode` reads it; `of`: what it is a point of, in JSON's types."""
    arrays = {str(i): np.ascontiguousarray(values) for i, values in enumerate(point.values.values())}
    note = {"of": of, "alpha": point.alpha, "seconds": point.seconds, "series": list(point.values)}
    return tensor_file.encode_sealed(tensor_file.from_arrays(arrays), note)


def file_name(alpha: float) -> str:
    """The name of the file of a point."""
    return f"{alpha!r}.safetensors"


def lost(folder: Path, usable: Sequence[Point]) -> int:
    """How many of the points in the folder of one scan are not usable."""
    return len(_matching(folder, "*.safetensors")) - len(usable)


def keep(folder: Path, point: Point) -> None:
    """Write one point of a scan into its folder, as `folder_of` names it.

    Raises:
        StoreError: the folder cannot be written.
    """
    content = encode(point, folder.name)
    atomic.write(folder / file_name(point.alpha), content, durable=point.seconds >= FLUSHED)


def count(folder: Path) -> int:
    """How many points of all scans there are in a folder of such folders."""
    return len(_matching(folder, "*/*.safetensors"))


def clear(folder: Path) -> None:
    """Remove the points of all scans from a folder of such folders, and the folders that are then empty."""
    with suppress(OSError):  # a left-over takes room on the disk, nothing else
        for scan in [
            scan for scan in _matching(folder, "*-*") if _NAMES.fullmatch(scan.name)
        ]:  # the user may have others
            for file in (*scan.glob("*.safetensors"), *scan.glob(f".*{atomic.SUFFIX}")):
                file.unlink(missing_ok=True)
            scan.rmdir()
        folder.rmdir()


def folder_of(folder: Path, path: paths.Path, evaluator: Evaluator, treatments: tuple[str, ...]) -> Path:
    """The folder inside `folder` for the points of a straight path, named by the content of what is measured.

    The name depends on the tensors at both ends, which of them move, all data, the settings, measures and versions, the
    code of the layers, and the bits of the direct values of the first examples at both ends. The last bits of a result
    depend on the CPU, on the compiled library and on the number of threads, so these are part of the name too. Where
    the network is large enough for all cores, a scan that began on fewer cores continues with as many threads as it
    had.

    Args:
        folder: of the points of all scans.
        path: the path that is scanned.
        evaluator: the network and its data.
        treatments: of BatchNorm statistics.

    Raises:
        DataError, MeasureError, StateError: data, outputs or tensors do not fit.
        StoreError: the folder cannot be read.
        UnidentifiedError: data or a measure hold something whose content is unknown.
    """
    if (evaluator.threads or 1) > 1:  # a small network has one thread on every machine
        evaluator.threads = _threads(folder) or evaluator.threads
    direct = [evaluator.spot_check(path, alpha) for alpha in (0.0, 1.0)]
    library = library_digest() if evaluator.device.type == "cpu" else None
    settings = {
        "versions": [VERSION, str(torch.__version__), torch.backends.cpu.get_cpu_capability(), library],
        "arithmetic": arithmetic_digest() if evaluator.device.type == "cpu" else None,
        "device": evaluator.device.type,
        "measures": list(evaluator.measures),
        "settings": [evaluator.precision, evaluator.batch_size, evaluator.calibration, treatments],
        "moving": sorted(path.moving),
        "names": list(path.template),
        "data": list(evaluator.data),
    }
    digest = hashlib.sha256(json.dumps(settings).encode())
    for values in (*direct[0].values(), *direct[1].values()):
        identity.add(digest, values)
    for name in path.template:
        identity.add(digest, path.tensor(name, 1.0))
    for name in sorted(path.moving):
        identity.add(digest, path.tensor(name, 0.0))
    identity.add_code(digest, evaluator.model)
    identity.add(digest, [*evaluator.measures.values(), evaluator.forward])
    with torch.random.fork_rng([]):  # which a DataLoader draws from
        for batch in (batch for batches in evaluator.data.values() for batch in batches):
            identity.add(digest, batch)
    return folder / f"{evaluator.threads or 0}-{digest.hexdigest()}"


def _threads(folder: Path) -> int | None:
    """The number of threads of the scans in a folder, if it is no more than may be used."""
    numbers = (scan.name.partition("-")[0] for scan in _matching(folder, "*-*"))
    return next((int(n) for n in sorted(numbers) if n.isdigit() and 1 <= int(n) <= torch.get_num_threads()), None)


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        return list(folder.glob(pattern))
    except OSError as error:
        raise atomic.cannot_read(folder, error) from error
