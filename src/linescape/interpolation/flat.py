"""How flat the loss is around the networks on a path: its curvature and its sharpness, kept as one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from linescape import tensor_file
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Path
from linescape.interpolation.hessian import curvature
from linescape.interpolation.sam import sharpness

RADIUS, ADAPTIVE_RADIUS = 0.05, 0.5
"""Of the balls of SAM (Foret et al. 2021, arXiv 2010.01412) and of ASAM (Kwon et al. 2021, arXiv 2102.11600)."""

_FORMAT = "flatness 1"


@dataclass(frozen=True)
class Flatness:
    """Curvature and sharpness of the mean loss at positions of a path; see `Curvature` and `Sharpness`.

    Attributes:
        alphas: positions ``(positions,)``.
        loss: the mean loss there ``(positions,)``, in its own unit.
        gradient: Euclidean norm of its gradient ``(positions,)``.
        eigenvalues: the largest ones of its Hessian, falling ``(positions, top)``.
        residuals: of each eigenvalue ``(positions, top)``.
        trace: of the Hessian ``(positions,)``.
        trace_half_width: half width of its 95 % interval over random vectors; 0 where it is exact ``(positions,)``.
        rise: of the loss by SAM's step, with `RADIUS` ``(positions,)``.
        adaptive_rise: by ASAM's, with `ADAPTIVE_RADIUS` ``(positions,)``.
        provenance: which function and which numbers of vectors these are of (JSON-able).
    """

    alphas: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    eigenvalues: np.ndarray
    residuals: np.ndarray
    trace: np.ndarray
    trace_half_width: np.ndarray
    rise: np.ndarray
    adaptive_rise: np.ndarray
    provenance: dict[str, object]

    def to_bytes(self) -> bytes:
        """All of it as a safetensors file."""
        arrays = {name: np.ascontiguousarray(getattr(self, name), float) for name in _ARRAYS}
        note = {"format": _FORMAT, "provenance": self.provenance}
        return tensor_file.encode_sealed(tensor_file.from_arrays(arrays), note)

    @classmethod
    def from_bytes(cls, content: bytes) -> Flatness:
        """What `to_bytes` made.

        Raises:
            LookupError, TypeError, ValueError: it is damaged or something else.
        """
        tensors, note = tensor_file.decode_sealed(content)
        if note["format"] != _FORMAT:
            raise ValueError("it is no flatness")
        return cls(**{name: tensors[name].numpy() for name in _ARRAYS}, provenance=note["provenance"])


_ARRAYS = [field.name for field in fields(Flatness) if field.name != "provenance"]


def flatness(
    path: Path,
    evaluator: Evaluator,
    alphas: int | Sequence[float],
    *,
    data: str,
    batchnorm: str = "interpolate",
    top: int = 1,
    vectors: int = 30,
    seed: int = 0,
) -> Flatness:
    """Measure curvature and both kinds of sharpness of the evaluator's first measure.

    Args:
        path: such as ``Line(start, end)``.
        evaluator: the network and its data.
        alphas: positions, or their number, as for `ScanOptions`.
        data: name of the data whose mean loss it is.
        batchnorm: treatment of the running statistics, see `curvature`.
        top: number of eigenvalues.
        vectors: random vectors for the trace.
        seed: of these vectors.

    Raises:
        LinescapeError: as of `curvature` and `sharpness`.
    """
    curved = curvature(path, evaluator, alphas, data=data, batchnorm=batchnorm, top=top, vectors=vectors, seed=seed)
    rises = [
        sharpness(path, evaluator, alphas, radius=radius, adaptive=adaptive, data=data, batchnorm=batchnorm).rise
        for radius, adaptive in ((RADIUS, False), (ADAPTIVE_RADIUS, True))
    ]
    of_curvature = {field.name: getattr(curved, field.name) for field in fields(curved)}
    of_curvature["provenance"] = {**curved.provenance, "radius": RADIUS, "adaptive_radius": ADAPTIVE_RADIUS}
    return Flatness(**of_curvature, rise=rises[0], adaptive_rise=rises[1])
