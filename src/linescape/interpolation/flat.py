"""How flat the loss is around the networks on a path: its curvature and its sharpness, kept as one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from linescape import tensor_file
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Path
from linescape.interpolation.hessian import Curvature, curvature
from linescape.interpolation.sam import sharpness

RADIUS, ADAPTIVE_RADIUS = 0.05, 0.5
"""Of the balls of SAM (Foret et al. 2021, arXiv 2010.01412) and of ASAM (Kwon et al. 2021, arXiv 2102.11600)."""

_FORMAT = "flatness 1"
_OF_CURVATURE = [field.name for field in fields(Curvature) if field.name != "provenance"]


@dataclass(frozen=True)
class Flatness:
    """Curvature and sharpness of the mean loss at positions of a path.

    Attributes:
        curvature: positions, the mean loss there and its Hessian; the provenance has the radii of both balls too.
        rise: of the loss by SAM's step, with `RADIUS` ``(positions,)``.
        adaptive_rise: by ASAM's, with `ADAPTIVE_RADIUS` ``(positions,)``.
    """

    curvature: Curvature
    rise: np.ndarray
    adaptive_rise: np.ndarray

    def to_bytes(self) -> bytes:
        """All of it as a safetensors file."""
        values = {name: getattr(self.curvature, name) for name in _OF_CURVATURE}
        values |= {"rise": self.rise, "adaptive_rise": self.adaptive_rise}
        arrays = {name: np.ascontiguousarray(of, float) for name, of in values.items()}
        note = {"format": _FORMAT, "provenance": self.curvature.provenance}
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
        arrays = {name: tensors[name].numpy() for name in (*_OF_CURVATURE, "rise", "adaptive_rise")}
        curved = Curvature(**{name: arrays.pop(name) for name in _OF_CURVATURE}, provenance=note["provenance"])
        return cls(curved, **arrays)


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
    provenance = {**curved.provenance, "radius": RADIUS, "adaptive_radius": ADAPTIVE_RADIUS}
    return Flatness(replace(curved, provenance=provenance), *rises)
