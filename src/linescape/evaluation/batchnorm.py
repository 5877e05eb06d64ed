"""What BatchNorm's running statistics are along a path: a visible choice, recorded in every result.

- ``interpolate``: they move with the weights, so both ends are exact (Vlaar & Frankle 2022; the default).
- ``recalibrate``: recomputed at every alpha, as the cumulative average over the calibration batches (Lucas et al. 2021;
  Jordan et al. 2022, arXiv 2211.08403).
- ``start``, ``end``: those of the path at alpha = 0, or at alpha = 1, everywhere.
- ``batch``: those of the batch that is measured, so the result depends on the batch size.

Interpolated statistics need not fit the interpolated weights: activations can collapse or explode between the
ends. Where that matters, measure both ``recalibrate`` and ``interpolate``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from linescape.errors import MeasureError, StateError, abbreviate, suggest
from linescape.geometry.state import negative_variances

TREATMENTS = ("interpolate", "recalibrate", "start", "end", "batch")


def check_treatments(treatments: tuple[str, ...]) -> None:
    """Raise `MeasureError` if there are none, one is unknown, or one is named twice."""
    if not treatments or len(set(treatments)) != len(treatments):
        raise MeasureError(f"The BatchNorm treatments {treatments} are empty or repeat one. Name each once.")
    for treatment in treatments:
        if treatment not in TREATMENTS:
            raise MeasureError(f"There is no BatchNorm treatment {treatment!r}. {suggest(treatment, TREATMENTS)}")


def layers(module: nn.Module) -> dict[str, _BatchNorm]:
    """The layers with running statistics, by name. BatchNorm without them always uses its batch and is left out."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }


def statistics(module: nn.Module) -> frozenset[str]:
    """Names of the running statistics."""
    return frozenset(
        f"{name}.{buffer}" if name else buffer
        for name, layer in layers(module).items()
        for buffer, _ in layer.named_buffers()
    )


def untreated(module: nn.Module) -> list[str]:
    """Names of running statistics that no treatment changes: those of InstanceNorm, and of layers of the user's own."""
    treated = statistics(module)
    return [
        name
        for name, _ in module.named_buffers()
        if name not in treated and name.rpartition(".")[2] in ("running_mean", "running_var", "running_std")
    ]


def check_variances(tensors: Mapping[str, Tensor], alpha: float) -> None:
    """Raise `StateError` naming the running variances below zero among some tensors, which have no square root."""
    if bad := negative_variances(tensors):
        raise StateError(
            f"At alpha = {alpha:g} running variances of BatchNorm are below zero ({abbreviate(bad)}), as can happen "
            "beyond the ends of a line. Use batchnorm='recalibrate', 'start' or 'end', or positions from 0 to 1."
        )


@contextmanager
def treated(
    module: nn.Module, treatment: str, ends: Mapping[str, Mapping[str, Tensor]], calibrate: Callable[[], None]
) -> Iterator[None]:
    """Apply a treatment to a module in eval mode, and undo it at the end.

    Args:
        module: the network, with the path's statistics in place.
        treatment: one of `TREATMENTS`.
        ends: for ``start`` and ``end``, tensors by name that hold at least the running statistics.
        calibrate: for ``recalibrate``, passes the calibration batches through the network once.
    """
    norms = layers(module)
    if treatment == "interpolate" or not norms:
        yield
        return
    before = [(buffer, buffer.clone()) for layer in norms.values() for buffer in layer.buffers(recurse=False)]
    momenta = {name: layer.momentum for name, layer in norms.items()}
    modes = {name: layer.training for name, layer in norms.items()}  # set below as `train()` may be another's
    try:
        if treatment == "recalibrate":
            for layer in norms.values():
                layer.reset_running_stats()
                layer.momentum = None  # cumulative average: each calibration batch counts alike
                layer.training = True
            calibrate()
            for name, layer in norms.items():
                layer.training = modes[name]
        elif treatment == "batch":
            for layer in norms.values():
                layer.training = True
        else:
            for name, layer in norms.items():
                for last, buffer in layer.named_buffers(recurse=False):
                    buffer.copy_(ends[treatment][f"{name}.{last}" if name else last])
        yield
    finally:
        for name, layer in norms.items():
            layer.momentum, layer.training = momenta[name], modes[name]
        for buffer, value in before:
            buffer.copy_(value)
