"""Criticality: how much of its way a module needs, and how much noise it bears, for the network to keep its loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linescape import tensor_file
from linescape.errors import MeasureError, check_type, suggest
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Only, Path
from linescape.geometry.perturbed import SIGMAS, Perturbed
from linescape.geometry.state import distances
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions, grid
from linescape.interpolation.scanning import scan

if TYPE_CHECKING:
    import polars as pl

ERRORS = 2.0
"""Standard errors of the mean over draws by which `Mu.low` and `Mu.high` differ from `Mu.value`."""

_FORMAT = "linescape-criticality-1"


class Mu(NamedTuple):
    """The criticality of a module.

    Attributes:
        value: the smallest ``alpha^2 distance^2 / sigma^2`` of the grid whose mean loss is within the bound; the true
            minimum over all alphas and sigmas is no larger, but for the noise's error. Infinite where none is within
            the bound, as with sigmas that are all too large.
        alpha, sigma: where it is; NaN where it is nowhere.
        low, high: the same if each mean over draws were `ERRORS` standard errors lower, or higher: how far the number
            of draws leaves it open. All have the same draws, so this is no confidence interval.
    """

    value: float
    alpha: float
    sigma: float
    low: float
    high: float


@dataclass(frozen=True, eq=False, repr=False)
class Criticality:
    """The result of `criticality`.

    Attributes:
        alphas: positions ``(n,)``, from 0, the module's start, to 1, its end.
        sigmas: standard deviations of the noise ``(m,)``, in the unit of the parameters.
        means: (data, measure) -> means over the examples ``(n, m, draws)``, of each draw of the noise.
        without: (data, measure) -> means over the examples without noise ``(n,)``; the last is the trained network's.
        distance: ``|end - start|`` over the module's parameters.
        provenance: as of a `Curve`, with the draws and their seed (JSON-able).
    """

    alphas: np.ndarray
    sigmas: np.ndarray
    means: Mapping[tuple[str, str], np.ndarray]
    without: Mapping[tuple[str, str], np.ndarray]
    distance: float
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        series = ", ".join("/".join(key) for key in self.means)
        return f"<Criticality: {len(self.alphas)} alphas, {len(self.sigmas)} sigmas: {series}>"

    @classmethod
    def of(cls, curve: Curve, path: Perturbed, distance: float) -> Criticality:
        """What a curve along noisy networks says: means over examples, put in the order of alphas, sigmas, draws."""
        shape, first = (path.draws, len(path.alphas), len(path.sigmas)), len(path.alphas) - 1
        means: dict[tuple[str, str], np.ndarray] = {}
        without: dict[tuple[str, str], np.ndarray] = {}
        for series in curve:
            key = series.data, series.measure
            means[key] = series.mean[first:-1].reshape(shape).transpose(1, 2, 0).copy()
            without[key] = np.append(series.mean[:first], series.mean[-1])
        return cls(np.array(path.alphas), np.array(path.sigmas), means, without, distance, curve.provenance)

    def end(self, key: str | tuple[str, ...]) -> float:
        """The mean of a series at the end, without noise, from which a bound may be made: ``1.01 * c.end("error")``.

        Raises:
            MeasureError: as `mu`.
        """
        return float(self.without[self._find(key)][-1])

    def mu(self, bound: float, key: str | tuple[str, ...]) -> Mu:
        """``min alpha^2 distance^2 / sigma^2`` over the grid's alphas and sigmas whose mean over draws is <= `bound`.

        Definition: Chatterji, Neyshabur & Sedghi 2020 (arXiv 1912.00528), there of the training error, with sigmas up
        to 1. The sum over modules is the network's. A mean that is NaN is within no bound.

        Args:
            bound: of the mean, in the measure's unit.
            key: the series, as ``("train", "error")``; what has one choice may be left out.

        Raises:
            MeasureError: there is no such series, or more than one.
        """
        draws = self.means[self._find(key)]
        with np.errstate(invalid="ignore", over="ignore"):  # infinite losses have no deviation, and are no candidates
            mean, error = draws.mean(axis=2), draws.std(axis=2, ddof=1) / math.sqrt(draws.shape[2])
            values = np.square(self.alphas[:, None] * self.distance / self.sigmas[None, :])
            least, value, most = (
                np.where(mean + shift * error <= bound, values, math.inf) for shift in (-ERRORS, 0.0, ERRORS)
            )
        row, column = np.unravel_index(int(np.argmin(value)), value.shape)
        found = math.isfinite(value[row, column])
        place = (float(self.alphas[row]), float(self.sigmas[column])) if found else (math.nan, math.nan)
        return Mu(float(value[row, column]), *place, float(least.min()), float(most.min()))

    def frame(self) -> pl.DataFrame:
        """A row for each series, alpha and sigma, without noise where sigma is 0.

        Columns: data, measure, alpha, sigma, mean, standard_error (of the mean over draws; null without noise), draws.
        """
        import polars as pl  # which takes half a second

        rows = []
        for key, draws in self.means.items():
            for a, alpha in enumerate(self.alphas.tolist()):
                named = {"data": key[0], "measure": key[1], "alpha": alpha}
                rows.append({**named, "sigma": 0.0, "mean": float(self.without[key][a]), "draws": 1})
                for s, sigma in enumerate(self.sigmas.tolist()):
                    values, count = draws[a, s], draws.shape[2]
                    with np.errstate(invalid="ignore"):
                        error = float(values.std(ddof=1)) / math.sqrt(count)
                    mean = float(values.mean())
                    rows.append({**named, "sigma": sigma, "mean": mean, "standard_error": error, "draws": count})
        columns: dict[str, Any] = {**dict.fromkeys(("data", "measure"), pl.String), "alpha": pl.Float64}
        columns |= {**dict.fromkeys(("sigma", "mean", "standard_error"), pl.Float64), "draws": pl.Int64}
        return pl.DataFrame(rows, schema=columns)

    def to_bytes(self) -> bytes:
        """All of it as a safetensors file."""
        arrays = {"alphas": self.alphas, "sigmas": self.sigmas}
        arrays |= {f"{i} with": values for i, values in enumerate(self.means.values())}
        arrays |= {f"{i} without": values for i, values in enumerate(self.without.values())}
        note = {"format": _FORMAT, "series": list(self.means), "distance": self.distance, "of": self.provenance}
        return tensor_file.encode_sealed(tensor_file.from_arrays(arrays), note)

    @classmethod
    def from_bytes(cls, content: bytes) -> Criticality:
        """What `to_bytes` made.

        Raises:
            LookupError, TypeError, ValueError: it is damaged or something else.
        """
        tensors, note = tensor_file.decode_sealed(content)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        keys = [(str(data), str(measure)) for data, measure in note["series"]]
        means, without = ({key: arrays[f"{i} {w}"] for i, key in enumerate(keys)} for w in ("with", "without"))
        shape = arrays["alphas"].shape + arrays["sigmas"].shape
        if note["format"] != _FORMAT or any(v.ndim != 3 or v.shape[:2] != shape for v in means.values()):
            raise ValueError("its parts do not fit together")
        return cls(arrays["alphas"], arrays["sigmas"], means, without, float(note["distance"]), dict(note["of"]))

    def _find(self, key: str | tuple[str, ...]) -> tuple[str, str]:
        parts = (key,) if isinstance(key, str) else key
        matching = [series for series in self.means if all(part in series for part in parts)]
        if len(matching) != 1:
            known, name = ["/".join(series) for series in (matching or self.means)], "/".join(parts)
            raise MeasureError(
                f"{len(matching)} series of this criticality match {name!r}; name one. "
                + (f"They are: {', '.join(known)}." if matching else suggest(name, known))
            )
        return matching[0]


def criticality(
    path: Path,
    names: Iterable[str],
    evaluator: Evaluator,
    alphas: int | Sequence[float] = 11,
    sigmas: Sequence[float] = SIGMAS,
    draws: int = 10,
    seed: int = 0,
    progress: bool | None = None,
) -> Criticality:
    """Measure a network whose one module is on its way from its start to its end and has Gaussian noise added.

    Source: Chatterji, Neyshabur & Sedghi 2020 (arXiv 1912.00528). The other modules are held fixed at their end.
    The module's running statistics move with its parameters, and get no noise. The values of all examples at all
    positions, sigmas and draws are held in memory until the means are made, so choose a thousand examples or so.

    Args:
        path: from the start of the training to its end, as `Line`.
        names: tensors of the module, as from `linescape.geometry.groups`.
        evaluator: the network and its data; of training data, as in the source.
        alphas: number of equally spaced positions from 0 to 1, or the positions.
        sigmas: standard deviations of the noise, positive and rising, in the unit of the parameters.
        draws: of the noise; all alphas and sigmas have the same ones.
        seed: of the draws.
        progress: as of `ScanOptions`.

    Raises:
        AlphaError: alphas, sigmas or the number of draws are impossible.
        GroupError: a name is not a tensor of the path, or none is a parameter.
        RecipeError: an argument is of another type.
        DataError, EndsError, MeasureError, StateError: as `scan`.
    """
    check_type(evaluator, Evaluator, "The evaluator", "Give an Evaluator(network, {'train': (inputs, targets)}).")
    alone = Only(path, names)
    noisy = Perturbed(alone, alone.names, grid(alphas), sigmas, draws, seed)
    curve = scan(noisy, evaluator, ScanOptions(alphas=noisy.positions, progress=progress))
    return Criticality.of(curve, noisy, moved(noisy))


def moved(path: Perturbed) -> float:
    """How far apart the two ends of a path are in the parameters that get noise."""
    return distances(path.path.at(0.0), path.path.at(1.0), {"module": tuple(path.names)})["module"].total
