"""The mean loss at a position of a path as a function of the network's parameters, to be differentiated.

It is the loss that a scan measures: the same examples, weights and treatment of BatchNorm, and at each position its
value is compared with the scan's. Running statistics are constants of the derivatives; only under the treatment
``batch`` they are computed of the parameters, and differentiated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from linescape.errors import MeasureError, check_type, suggest
from linescape.evaluation import batchnorm
from linescape.evaluation.batches import map_tensors, to_device
from linescape.evaluation.copies.observing import random_state_kept
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import counting
from linescape.geometry.paths import Path
from linescape.geometry.tensors import in_float64, is_continuous
from linescape.interpolation import plain
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan


class MeanLoss(nn.Module):
    """The mean of a measure over one data set, in a copy of the evaluator's network.

    ``loss(number)`` are the parts of the examples of a batch ``(examples,)``; their sum over all batches is the mean.

    Args:
        path: whose positions are loaded.
        evaluator: the network and its data.
        alphas: positions, or their number, as for `ScanOptions`.
        data: name of the data; the evaluator's first by default.
        measure: name of the measure; the evaluator's first by default.
        treatment: of BatchNorm, see `linescape.evaluation.batchnorm`.

    Attributes:
        alphas: the positions ``(positions,)``.
        values: the mean loss at them as the scan has measured it ``(positions,)``.
        weights: the network's parameters, frozen ones too and tied ones once; none of whole numbers.
        dtype: the least precise type of theirs.

    Raises:
        MeasureError: a name is unknown; the measure has no gradient; or a parameter is complex or in half precision.
        LinescapeError: as of `scan`.
    """

    def __init__(
        self,
        path: Path,
        evaluator: Evaluator,
        alphas: int | Sequence[float],
        data: str | None,
        measure: str | None,
        treatment: str,
    ) -> None:
        super().__init__()
        check_type(path, Path, "The path", "Give a path between two networks, such as Line(start, end).")
        check_type(evaluator, Evaluator, "The evaluator", "Give an Evaluator: Evaluator(model, {'test': data}).")
        check_type(treatment, str, "The treatment of BatchNorm", f"Give one of {', '.join(batchnorm.TREATMENTS)}.")
        _check_types(evaluator.model)
        self._data = _known(data, evaluator.data, "data")
        self._name = _known(measure, evaluator.measures, "measure")
        self._measure, self._forward = evaluator.measures[self._name], evaluator.forward
        self._path, self._evaluator, self.treatment = path, evaluator, treatment
        curve = scan(path, evaluator, ScanOptions(alphas=alphas, batchnorm=treatment, progress=False))
        self.alphas, self.values = curve.alphas, curve[self._data, self._name].mean
        self.network = plain.copied(evaluator, treatment)
        self.weights = tuple(of for of in self.network.parameters() if is_continuous(of.dtype))
        for weight in self.weights:
            weight.requires_grad_(True)
        self.dtype = min((weight.dtype for weight in self.weights), key=lambda of: of.itemsize)
        self._batches = [to_device(batch, evaluator.device) for batch in evaluator.data[self._data]]
        self._total, self._alpha = 1.0, float("nan")
        with torch.no_grad(), random_state_kept(evaluator.device):
            self._total = sum(float(self._counts(*self._outputs(number)).sum()) for number in self.numbers)

    @property
    def numbers(self) -> range:
        """Of the batches."""
        return range(len(self._batches))

    def describe(self) -> dict[str, object]:
        """What the derivatives are those of, for provenance (JSON-able)."""
        return {
            **self._path.describe(),
            "data": self._data,
            "measure": self._name,
            "batchnorm": self.treatment if batchnorm.layers(self.network) else "none in the network",
            "batches": len(self._batches),
            "weight_of_all_examples": self._total,
            "parameters": sum(weight.numel() for weight in self.weights),
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    def forward(self, number: Any) -> Tensor:
        """The parts of the examples of a batch by its number ``(examples,)``."""
        outputs, targets = self._outputs(int(number))
        values = self._measure(outputs, targets)
        if torch.is_grad_enabled() and not values.requires_grad:
            raise MeasureError(
                f"The measure {self._name!r} has no gradient, so there is no curvature of it. Name a loss with "
                "`measure=`, such as 'cross_entropy'."
            )
        return values * (self._counts(outputs, targets).to(values.dtype) / self._total)

    def positions(self) -> Iterator[int]:
        """Load one position after another, and give its place; the loss is that of the scan or it is refused."""
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels of attention cannot be differentiated twice
            for place, (alpha, expected) in enumerate(zip(self.alphas.tolist(), self.values.tolist(), strict=True)):
                if not np.isfinite(expected):
                    raise MeasureError(
                        f"At alpha = {alpha:g} the loss is {expected}, which has no derivatives. Leave this position "
                        "out, or choose another treatment of BatchNorm."
                    )
                self._alpha = alpha
                plain.load(self.network, self._path, alpha, self.treatment, self._evaluator)
                found = self.value()
                if not np.isclose(found, expected, rtol=1e-3, atol=1e-6):
                    raise MeasureError(
                        f"At alpha = {alpha:g} the loss to be differentiated is {found:.6g}, but a scan measures "
                        f"{expected:.6g}: derivatives would be those of another function. The network computes "
                        "something else in a plain copy; compute what depends on its weights in its forward."
                    )
                yield place

    def value(self) -> float:
        """The mean loss of the network as it stands."""
        with torch.no_grad(), random_state_kept(self._evaluator.device):
            return sum(float(in_float64(self(number)).sum()) for number in self.numbers)

    def gradient(self) -> list[Tensor]:
        """Of the mean loss, by `weights`; zero for those that it does not depend on.

        Raises:
            MeasureError: it is not finite.
        """
        total = [torch.zeros_like(weight) for weight in self.weights]
        with torch.enable_grad(), random_state_kept(self._evaluator.device):
            for number in self.numbers:
                parts = torch.autograd.grad(self(number).sum(), self.weights, allow_unused=True)
                for sum_of, part in zip(total, parts, strict=True):
                    if part is not None:
                        sum_of += part
        for part in total:
            self.check_finite(bool(part.isfinite().all()), "gradient")
        return total

    def check_finite(self, finite: bool, what: str) -> None:
        """Raise `MeasureError` if a derivative at the position that is loaded is not finite."""
        if not finite:
            raise MeasureError(
                f"At alpha = {self._alpha:g} the loss is finite and its {what} is not: an operation of the network has "
                "no derivative there, as a square root has none at 0. Leave this position out, or add a small number "
                "to what the operation is given."
            )

    def _outputs(self, number: int) -> tuple[Any, Any]:
        outputs, targets = self._forward(self.network, map_tensors(self._batches[number], torch.clone))
        return outputs, targets

    def _counts(self, outputs: Any, targets: Any) -> Tensor:
        """How much each example counts, as in the mean of a scan."""
        counter = counting(self._measure)
        counts = None if counter is None else counter(targets)
        return torch.ones(len(outputs), device=self._evaluator.device) if counts is None else counts


def _check_types(network: nn.Module) -> None:
    """Raise `MeasureError` if there is no parameter, or one of a type by which a loss cannot be differentiated well."""
    if not any(is_continuous(weight.dtype) and weight.numel() for weight in network.parameters()):
        raise MeasureError(
            "The network has no parameters, by which a loss could be differentiated. What is a buffer, and should "
            "count, has to be an nn.Parameter."
        )
    for name, weight in network.named_parameters():
        if weight.is_complex():
            raise MeasureError(
                f"The parameter {name!r} is complex, and derivatives are taken here by real numbers alone. Keep its "
                "real and its imaginary part as two parameters."
            )
        if is_continuous(weight.dtype) and weight.dtype not in (torch.float32, torch.float64):
            raise MeasureError(
                f"The parameter {name!r} is in {str(weight.dtype).removeprefix('torch.')}, in which derivatives have "
                "too few digits. Convert the network and the states with .float() or .double()."
            )


def _known(name: str | None, names: Any, what: str) -> str:
    if name is None:
        return str(next(iter(names)))
    if name not in names:
        raise MeasureError(f"The evaluator has no {what} {name!r}. {suggest(str(name), names)}")
    return name
