"""Points of walks, kept in a folder while they are walked, so that a walk that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path as Place

import numpy as np
import torch
from torch import Tensor

from linescape import atomic, tensor_file
from linescape.engine import compiler
from linescape.evaluation.batches import tensors
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Path
from linescape.interpolation.curve import Point


def read(folder: Place) -> list[Point]:
    """The points in a folder; damaged ones are left out, and so measured again."""
    found = []
    for place in sorted(folder.glob("*.safetensors")):
        try:
            held, note = tensor_file.decode_with_note(place.read_bytes())
            values = {tuple(key): held[str(i)].numpy() for i, key in enumerate(note["series"])}
            if note["digest"] == _digest(values.values()):
                found.append(Point(note["alpha"], values, note["seconds"]))
        except (OSError, KeyError, ValueError, TypeError):
            continue
    return found


def keep(folder: Place, point: Point) -> None:
    """Write one point of a walk into its folder.

    Raises:
        StoreError: the folder cannot be written.
    """
    held = {str(i): np.ascontiguousarray(values) for i, values in enumerate(point.values.values())}
    series, digest = list(point.values), _digest(held.values())
    about = {"alpha": point.alpha, "seconds": point.seconds, "series": series, "digest": digest}
    content = tensor_file.encode_with_note(tensor_file.from_arrays(held), about)
    atomic.write(folder / f"{point.alpha!r}.safetensors", content, durable=False)


def count(folder: Place) -> int:
    """How many points of all walks there are in a folder of such folders."""
    return sum(1 for _ in folder.glob("*/*.safetensors"))


def clear(folder: Place) -> None:
    """Take the points of all walks out of a folder of such folders, and the folders that are empty then."""
    with suppress(OSError):  # a left-over costs room, nothing else
        for walk in list(folder.glob("*-*")):
            for place in (*walk.glob("*.safetensors"), *walk.glob(f".*{atomic.SUFFIX}")):
                place.unlink(missing_ok=True)
            walk.rmdir()
        folder.rmdir()


def place_of(folder: Place, path: Path, evaluator: Evaluator, batchnorm: tuple[str, ...]) -> Place:
    """Where in `folder` the points of a walk along a straight path are kept: by the content of what it measures.

    Equal are the tensors at both ends, which of them move, all data, the settings, the versions, and to the bit the
    direct values of the first examples at both ends, in which the network's code shows. The last bits depend on the
    number of threads: it is in the name too. Where the network is large enough for all cores, a walk that began on
    fewer cores goes on with as many threads as it had.

    Raises:
        DataError, MeasureError, StateError: data, outputs or tensors do not fit.
    """
    if (evaluator.threads or 1) > 1:  # a small network has one thread on every machine
        evaluator.threads = _threads(folder) or evaluator.threads
    direct = [evaluator.spot_check(path.at(alpha)) for alpha in (0.0, 1.0)]
    about = {
        "versions": [version("linescape"), str(torch.__version__), compiler()],
        "device": evaluator.device.type,
        "measures": list(evaluator.measures),
        "settings": [evaluator.precision, evaluator.batch_size, evaluator.calibration, batchnorm],
        "moving": sorted(path.moving),
        "names": list(path.template),
        "data": list(evaluator.data),
    }
    found = hashlib.sha256(json.dumps(about).encode())
    for values in (*direct[0].values(), *direct[1].values()):
        _add(found, torch.from_numpy(values))
    for name in path.template:
        _add(found, path.tensor(name, 1.0))
    for name in sorted(path.moving):
        _add(found, path.tensor(name, 0.0))
    with torch.random.fork_rng([]):  # which a DataLoader draws from
        for tensor in (t for batches in evaluator.data.values() for batch in batches for t in tensors(batch)):
            _add(found, tensor)
    return folder / f"{evaluator.threads or 0}-{found.hexdigest()}"


def _threads(folder: Place) -> int | None:
    """The number of threads of the walks in a folder, where as many may be used."""
    numbers = (place.name.partition("-")[0] for place in folder.glob("*-*"))
    return next((int(n) for n in sorted(numbers) if n.isdigit() and 1 <= int(n) <= torch.get_num_threads()), None)


def _add(to: hashlib._Hash, tensor: Tensor) -> None:
    to.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    to.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _digest(arrays: Iterable[np.ndarray]) -> str:
    found = hashlib.sha256()
    for values in arrays:
        found.update(values.data)
    return found.hexdigest()
