"""Layerwise linear feature connectivity: whether the outputs of each layer are interpolated where its weights are.

For one example, with A, B and M the outputs of a layer at alpha = 0, at alpha = 1 and at alpha between them, and the
mixture ``X = (1 - alpha) A + alpha B``: the distance ``1 - cos(M, X)``, and the coefficient of least squares c of
``M = c X``. Source: Zhou et al. 2023 (arXiv 2307.08286), who compare the distance with that of both ends,
``1 - cos(A, B)``. Theirs is 0 for outputs of opposite signs too, as their code takes the absolute value of the cosine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils import _pytree as pytree

from linescape import tensor_file
from linescape.errors import DataError, MeasureError, abbreviate, check_type, suggest
from linescape.evaluation import batchnorm
from linescape.evaluation.batches import first_with_examples, head, lengths, map_tensors, to_device
from linescape.evaluation.copies.observing import random_state_kept
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Path
from linescape.geometry.tensors import in_float64
from linescape.interpolation import plain
from linescape.interpolation.options import ScanOptions

if TYPE_CHECKING:
    import polars as pl

_FORMAT = "linescape-features-1"

_BETWEEN = 0.4142
"""Where the copy is compared with the evaluator: no position of a usual grid, nor a symmetric one."""

_ALIKE = {torch.float16: 3e-2, torch.bfloat16: 1e-1, torch.float64: 1e-6}
"""By how much of their size outputs may differ that are the same but for rounding; 1e-3 in float32."""


@dataclass(frozen=True, eq=False, repr=False)
class FeatureConnectivity:
    """The result of `feature_connectivity`.

    Attributes:
        alphas: positions ``(n,)``, 0 and 1 among them.
        layers: names of the modules, in the order in which they are called.
        distances: ``1 - cos(M, X)`` of each example ``(n, layers, examples)``, from 0 to 2; NaN where M or X is 0, as
            of a layer whose units are all off, or not finite.
        coefficients: ``<M, X> / <X, X>`` ``(n, layers, examples)``; below 1 where outputs shrink between the ends.
        ends: ``1 - cos(A, B)`` of each example ``(layers, examples)``.
        left_out: names of other modules -> why they were not measured.
        provenance: path, data, treatment of BatchNorm, notes (JSON-able).
    """

    alphas: np.ndarray
    layers: tuple[str, ...]
    distances: np.ndarray
    coefficients: np.ndarray
    ends: np.ndarray
    left_out: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        positions, layers, examples = self.distances.shape
        return f"<FeatureConnectivity of {layers} layers at {positions} positions: {examples} examples>"

    def frame(self) -> pl.DataFrame:
        """A row for each layer and alpha, with means over the examples for which they are defined.

        Columns: layer, alpha, distance, coefficient, ends (the distance of both ends), undefined (examples for which
        `distances` is NaN). Means are null where no example is left.
        """
        import polars as pl  # which takes half a second

        rows = [
            {
                "layer": layer,
                "alpha": float(alpha),
                "distance": _mean(self.distances[row, place]),
                "coefficient": _mean(self.coefficients[row, place]),
                "ends": _mean(self.ends[place]),
                "undefined": int(np.isnan(self.distances[row, place]).sum()),
            }
            for place, layer in enumerate(self.layers)
            for row, alpha in enumerate(self.alphas)
        ]
        numbers = dict.fromkeys(("alpha", "distance", "coefficient", "ends"), pl.Float64)
        return pl.DataFrame(rows, schema={"layer": pl.String, **numbers, "undefined": pl.Int64})

    def to_bytes(self) -> bytes:
        """All of it as a safetensors file."""
        arrays = {name: getattr(self, name) for name in ("alphas", "distances", "coefficients", "ends")}
        note = {"format": _FORMAT, "layers": self.layers, "left_out": dict(self.left_out), "of": self.provenance}
        return tensor_file.encode_sealed(tensor_file.from_arrays(arrays), note)

    @classmethod
    def from_bytes(cls, content: bytes) -> FeatureConnectivity:
        """What `to_bytes` made.

        Raises:
            LookupError, TypeError, ValueError: it is damaged or something else.
        """
        tensors, note = tensor_file.decode_sealed(content)
        alphas, distances, coefficients, ends = (
            tensors[name].numpy() for name in ("alphas", "distances", "coefficients", "ends")
        )
        layers = tuple(str(name) for name in note["layers"])
        shape = (len(alphas), len(layers), ends.shape[-1])
        if note["format"] != _FORMAT or not distances.shape == coefficients.shape == shape or ends.shape != shape[1:]:
            raise ValueError("its parts do not fit together")
        return cls(alphas, layers, distances, coefficients, ends, dict(note["left_out"]), dict(note["of"]))


def feature_connectivity(
    path: Path,
    evaluator: Evaluator,
    alphas: int | Sequence[float] = 11,
    *,
    layers: Sequence[str] | None = None,
    data: str | None = None,
    batchnorm: str = "interpolate",
) -> FeatureConnectivity:
    """How far the outputs of each layer are from the mixture of those at both ends of a path.

    Layers are modules, and features are what they return: of a convolution that is before its norm and activation. The
    output of the first linear layer is exactly the mixture, since its input does not move. Three copies of the network
    are called for each batch and position, and the outputs of all layers of one batch at both ends are held in memory;
    a smaller ``batch_size`` of the evaluator takes less. All examples are flattened: places and channels alike.

    Args:
        path: such as ``Line(a, b)``; of two trained networks, perhaps aligned.
        evaluator: the network and its data.
        alphas: positions, or their number, as for `ScanOptions`: 0 and 1 are added if they are missing.
        layers: names of modules; by default all that are called once and return one tensor with a row for each
            example, less those that only pass on the output of a part of theirs.
        data: name of the data; the evaluator's first by default.
        batchnorm: treatment of the running statistics (`linescape.evaluation.batchnorm`), of both ends too: with
            ``recalibrate`` theirs are measured anew like those between. The source's code interpolates them.

    Raises:
        MeasureError: a layer is unknown, is not called exactly once, or does not return one tensor of numbers with a
            row for each example, or depends on the other examples; a copy of the network computes something else than
            the network; or the treatment is unknown.
        DataError: there are no data of this name, or none to recalibrate with; or examples cannot be told apart.
        AlphaError, RecipeError, StateError: as of `scan`.
    """
    check_type(path, Path, "The path", "Give a path between two networks, such as Line(start, end).")
    check_type(evaluator, Evaluator, "The evaluator", "Give an Evaluator: Evaluator(model, {'test': data}).")
    check_type(batchnorm, str, "batchnorm", "Give one treatment, such as 'interpolate' or 'recalibrate'.")
    positions = ScanOptions(alphas=alphas, batchnorm=batchnorm, progress=False).positions
    watched = _Watched(path, evaluator, batchnorm, _data_of(evaluator, data))
    chosen, left_out = watched.choose(layers)
    watched.check(chosen)
    ends, distances, coefficients = watched.measured(positions, chosen)
    at_ends = distances[[positions.index(alpha) for alpha in (0.0, 1.0)]]
    if (off := float(np.nan_to_num(at_ends).max())) > 1e-4:
        raise MeasureError(
            f"At an end of the path two copies of the network give outputs with 1 - cos = {off:.1e}, which should be "
            "the same: it is random, or keeps something from one call to the next."
        )
    names = tuple(name or "(top)" for name in chosen)
    return FeatureConnectivity(np.array(positions), names, distances, coefficients, ends, left_out, watched.describe())


class _Watched:
    """Three copies of a network, at both ends of a path and at a position between, whose layers' outputs are seen."""

    def __init__(self, path: Path, evaluator: Evaluator, treatment: str, data: str) -> None:
        self.path, self.evaluator, self.treatment, self.data = path, evaluator, treatment, data
        self.between, self.start, self.end = (plain.copied(evaluator, treatment) for _ in range(3))
        evaluator.spot_check(path, 0.0)  # which refuses a path that is none of this network
        for network, alpha in ((self.start, 0.0), (self.end, 1.0)):
            plain.load(network, path, alpha, treatment, evaluator)

    def describe(self) -> dict[str, Any]:
        """What was measured, for provenance (JSON-able)."""
        return {
            **self.path.describe(),
            "data": self.data,
            "batchnorm": self.treatment if batchnorm.layers(self.between) else "none in the network",
            "dtype": str(self.evaluator.dtype).removeprefix("torch."),
            "notes": self.evaluator.notes(self.path),
        }

    def choose(self, layers: Sequence[str] | None) -> tuple[tuple[str, ...], dict[str, str]]:
        """The layers that are measured in the order of their calls, and why others are not."""
        batch = head(first_with_examples(self.evaluator.data[self.data]), 4)[0]
        count = _examples(batch)
        calls = self._outputs(self.start, batch, [name for name, _ in self.start.named_modules()])
        reasons = {name: _refused(outputs, count) for name, outputs in calls.items()}
        if layers is not None:
            return self._named(layers, calls, reasons), {}
        chosen: list[str] = []
        left_out: dict[str, str] = {}
        for name, outputs in calls.items():
            reason = reasons[name]
            if not reason and chosen and self._passes_on(name, outputs[0], calls[chosen[-1]][0]):
                reason = f"it passes on the output of {chosen[-1]}"
            if reason:
                left_out[name or "(top)"] = reason
            else:
                chosen.append(name)
        if not chosen:
            raise MeasureError(
                f"No module of the network can be measured ({_listed(left_out)}). Give a network whose layers are "
                "modules that are called once and return a tensor with a row for each example."
            )
        return tuple(chosen), left_out

    def _passes_on(self, name: str, output: Tensor, last: Tensor) -> bool:
        layer = self.start.get_submodule(name)
        does_nothing = isinstance(layer, nn.Identity | _DropoutNd) or any(True for _ in layer.children())
        return does_nothing and torch.equal(output, last)

    def _named(
        self, layers: Sequence[str], calls: Mapping[str, list[Any]], reasons: Mapping[str, str]
    ) -> tuple[str, ...]:
        names = [layers] if isinstance(layers, str) else list(layers)
        known = dict(self.start.named_modules())
        for name in names:
            if name not in known:
                raise MeasureError(f"The network has no module {name!r}. {suggest(name, filter(None, known))}")
        if not names or len(set(names)) < len(names):
            raise MeasureError(f"The layers {names} are empty or repeat one. Name each module once.")
        refused = {name: reason for name in names if (reason := reasons.get(name, _refused([], 0)))}
        if refused:
            raise MeasureError(
                f"These layers have no features that could be compared ({_listed(refused)}). Name modules that are "
                "called once in a forward pass and return a tensor with a row for each example."
            )
        return tuple(name for name in calls if name in names)

    def check(self, layers: Sequence[str]) -> None:
        """The copy computes what the network does, and the outputs of an example do not depend on the others."""
        plain.load(self.between, self.path, _BETWEEN, "interpolate", self.evaluator)
        sizes = self.evaluator.measuring({"size": _sizes})
        batch = first_with_examples(self.evaluator.data[self.data])
        with self._quiet():
            outputs, targets = self._call(self.between, batch)
        expected = sizes.spot_check(self.path, _BETWEEN)[self.data, "size"]
        found = _sizes(outputs, targets).cpu().numpy()[: len(expected)]
        close = _ALIKE.get(self.evaluator.dtype, 1e-3)
        if self.treatment != "batch":
            if not np.allclose(found, expected[: len(found)], rtol=close, atol=1e-6, equal_nan=True):
                raise MeasureError(
                    f"At alpha = {_BETWEEN} a plain copy of the network gives other outputs than the network: it "
                    "computes with something else than the tensors of its state dict, as where eval() merges adapters. "
                    "Merge them first, and give the merged networks."
                )
            self._check_alone(batch, layers, close)

    def _check_alone(self, batch: Any, layers: Sequence[str], close: float) -> None:
        one, share = head(batch, 1)
        if share == 1.0 and _examples(batch) > 1:
            raise DataError(
                "The examples of a batch cannot be told apart, so features cannot be compared example by example. Give "
                "batches of dense tensors with a row for each example."
            )
        together, alone = (self._outputs(self.between, each, layers) for each in (batch, one))
        for name in layers:
            first, again = in_float64(together[name][0][:1]), in_float64(alone[name][0])
            far = again.shape != first.shape or not torch.allclose(
                again, first, rtol=close, atol=close * float(first.abs().nan_to_num().max()), equal_nan=True
            )
            if far:
                raise MeasureError(
                    f"The outputs of {name!r} for an example are others when it is measured alone, so they are random, "
                    "depend on the other examples, or have no row for each. Give a network that answers for each "
                    "example by itself in eval mode, or leave this layer out with `layers`."
                )

    def measured(self, positions: Sequence[float], layers: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances of both ends ``(layers, examples)``, and distances and coefficients ``(n, layers, examples)``."""
        rows: list[list[np.ndarray]] = []
        ends: list[np.ndarray] = []
        for alpha in positions:
            plain.load(self.between, self.path, alpha, self.treatment, self.evaluator)
            parts = []
            for batch in self.evaluator.data[self.data]:
                if first_with_examples([batch]) is None:
                    continue
                start, end, between = (self._outputs(n, batch, layers) for n in (self.start, self.end, self.between))
                of_batch = [_compared(start[name][0], end[name][0], between[name][0], alpha) for name in layers]
                parts.append(np.stack(of_batch, axis=1))  # (3, layers, examples)
            whole = np.concatenate(parts, axis=2).astype(np.float32)
            rows.append([whole[1], whole[2]])
            ends = [whole[0]]
        distances, coefficients = (np.stack([row[i] for row in rows]) for i in (0, 1))
        return ends[0], distances, coefficients

    def _outputs(self, network: nn.Module, batch: Any, layers: Sequence[str]) -> dict[str, list[Any]]:
        """What layers return in each of their calls, by name in the order of their first calls.

        Outputs are copied at once, since what follows may write to them.
        """
        seen: dict[str, list[Any]] = {}

        def see(name: str, output: Any) -> None:
            seen.setdefault(name, []).append(output.detach().clone() if isinstance(output, Tensor) else type(output))

        wanted = set(layers)
        handles = [
            layer.register_forward_hook(lambda _, __, output, name=name: see(name, output))
            for name, layer in network.named_modules()
            if name in wanted
        ]
        try:
            with self._quiet():
                self._call(network, batch)
        finally:
            for handle in handles:
                handle.remove()
        return seen

    def _call(self, network: nn.Module, batch: Any) -> tuple[Any, Any]:
        placed = map_tensors(to_device(batch, self.evaluator.device), torch.clone)
        return self.evaluator.forward(network, placed)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        with torch.no_grad(), random_state_kept(self.evaluator.device):
            yield


def _compared(start: Tensor, end: Tensor, between: Tensor, alpha: float) -> np.ndarray:
    """Distance of both ends, distance from their mixture, and coefficient, of each example ``(3, examples)``."""
    a, b, m = (in_float64(values.flatten(1)) for values in (start, end, between))
    mixture = (1 - alpha) * a + alpha * b
    inner, squares = (m * mixture).sum(1), mixture.square().sum(1)
    distance = 1 - inner / (m.norm(dim=1) * mixture.norm(dim=1))
    of_ends = 1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    of_ends, distance = (values.clamp(0, 2) for values in (of_ends, distance))  # which rounding may leave
    return torch.stack([of_ends, distance, inner / squares]).cpu().numpy()


def _refused(outputs: Sequence[Any], examples: int) -> str:
    """Why a module with these outputs of its calls cannot be measured; empty where it can."""
    if len(outputs) != 1:
        return f"it is called {len(outputs)} times" if outputs else "it is not called"
    output = outputs[0]
    if not isinstance(output, Tensor):
        return f"it returns a {output.__name__}"
    if not output.is_floating_point():
        return f"it returns numbers of the type {str(output.dtype).removeprefix('torch.')}"
    if not output.ndim or len(output) != examples:
        return f"it returns a tensor {tuple(output.shape)} for {examples} examples"
    return ""


def _examples(batch: Any) -> int:
    """How many examples a batch has."""
    found = lengths(batch)
    if len(found) != 1:
        raise DataError(
            f"The tensors of a batch have {sorted(found)} rows, so it is unknown what one example is, and features are "
            "compared example by example. Give batches whose tensors all have a row for each example."
        )
    return max(found)


def _sizes(outputs: Any, _: Any) -> Tensor:
    """The norm of all outputs for each example, by which a copy is compared with the network."""
    leaves = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.ndim]
    norms = torch.stack([in_float64(leaf.flatten(1)).norm(dim=1) for leaf in map(_with_axis, leaves)])
    return norms.square().sum(0).sqrt()


def _with_axis(values: Tensor) -> Tensor:
    return values[:, None] if values.ndim == 1 else values


def _listed(reasons: Mapping[str, str]) -> str:
    return abbreviate([f"{name}: {reason}" for name, reason in reasons.items()])


def _data_of(evaluator: Evaluator, name: str | None) -> str:
    if name is None:
        return next(iter(evaluator.data))
    if name not in evaluator.data:
        raise DataError(f"The evaluator has no data {name!r}. {suggest(name, evaluator.data)}")
    return name


def _mean(values: np.ndarray) -> float | None:
    """The mean of those that are numbers; None where none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean(dtype=np.float64)) if defined.size else None
