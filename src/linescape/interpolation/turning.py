"""Gauss length: by how much the direction in which the logits move turns along a line.

For one example with logits z(alpha): velocity ``v = dz/dalpha``, direction ``n = v / |v|``, and the length
``integral of |dn/dalpha| dalpha``, in radians. Source: Lucas et al. 2021 (arXiv 2104.11044). It is 0 where the logits
move straight, at any speed.

Both derivatives are exact, by forward-mode differentiation in float64. Where the network has kinks (ReLU, max pooling)
the direction jumps as a kink is passed, and derivatives do not see jumps: as in the source, only what turns between
the kinks counts. The angles between velocities at successive positions count jumps too.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from linescape import tensor_file
from linescape.errors import AlphaError, MeasureError, StateError, abbreviate, check_type, first_line
from linescape.evaluation.batches import cuts
from linescape.geometry.paths import Path
from linescape.geometry.state import State, check_pair
from linescape.geometry.tensors import is_continuous
from linescape.interpolation.options import grid
from linescape.shape.intervals import Estimate

STILL = 1e-12
"""Logits slower than this share of their example's greatest speed or size stand still, as far as float64 can tell."""

_FORMAT = "linescape-turning-1"

_STEP = 1e-7
"""Of the difference quotients that derivatives are compared with: so short that few examples pass a kink within it."""


@dataclass(frozen=True, eq=False, repr=False)
class GaussLength:
    """The result of `gauss_length`.

    Attributes:
        alphas: positions ``(n,)``, rising.
        elements: how fast the direction of the logits turns, ``|dn/dalpha|`` in radians for each unit of alpha,
            ``(n, examples)``; 0 where the logits stand still and have no direction; NaN where they are not finite.
        still: whether the logits stand still, ``(n, examples)``: their speed is at most `STILL` of the example's
            greatest speed, or of the largest norm of its logits, as where only the length of a normalised weight moves.
        speeds: ``|dz/dalpha|``, logits for each unit of alpha, ``(n, examples)``.
        turns: angles between the velocities at successive positions, in radians, ``(n - 1, examples)``; 0 where the
            logits stand still at one of the two; NaN where a velocity is not finite.
    """

    alphas: np.ndarray
    elements: np.ndarray
    still: np.ndarray
    speeds: np.ndarray
    turns: np.ndarray

    def __repr__(self) -> str:
        return f"<GaussLength of {len(self.lengths)} examples at {len(self.alphas)} positions: {self.mean().value:.4g}>"

    @cached_property
    def lengths(self) -> np.ndarray:
        """The Gauss length of each example in radians ``(examples,)``, by the trapezoid rule."""
        return self._integral(self.elements)

    @cached_property
    def path_lengths(self) -> np.ndarray:
        """How long the way of each example's logits is ``(examples,)``, by the trapezoid rule."""
        return self._integral(self.speeds)

    @cached_property
    def angles(self) -> np.ndarray:
        """The sum of `turns` of each example in radians ``(examples,)``.

        Jumps at kinks count. It is at most how much the direction turns in all, and nears that on finer grids.
        """
        return np.asarray(self.turns.sum(axis=0))

    def _integral(self, values: np.ndarray) -> np.ndarray:
        # numpy.trapezoid is not in numpy 1.26
        return np.asarray(np.diff(self.alphas) @ (values[1:] + values[:-1]) / 2)

    def mean(self, level: float = 0.95) -> Estimate:
        """The mean over examples and its t interval: what other examples would give for the same two networks.

        The interval is NaN for fewer than two examples or where a length is not finite.
        """
        from scipy import stats  # which takes a while

        count = len(self.lengths)
        centre = float(self.lengths.mean())
        if count < 2 or not math.isfinite(centre):
            return Estimate(centre, math.nan, math.nan, level)
        error = float(self.lengths.std(ddof=1)) / math.sqrt(count)
        reach = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
        return Estimate(centre, centre - reach, centre + reach, level)

    def to_bytes(self) -> bytes:
        """All of it as a safetensors file."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return tensor_file.encode_sealed(tensor_file.from_arrays(arrays), {"format": _FORMAT})

    @classmethod
    def from_bytes(cls, content: bytes) -> GaussLength:
        """What `to_bytes` made.

        Raises:
            LookupError, TypeError, ValueError: it is damaged or something else.
        """
        tensors, note = tensor_file.decode_sealed(content)
        if note["format"] != _FORMAT:
            raise ValueError("it is no Gauss length")
        return cls(**{field.name: tensors[field.name].numpy() for field in fields(cls)})


def gauss_length(
    path: Path, network: nn.Module, inputs: Tensor, alphas: int | Sequence[float] = 50, batch: int = 100
) -> GaussLength:
    """Measure how the logits of each example turn along a straight line, in eval mode, in float64 on the CPU.

    BatchNorm is interpolated: its running statistics move with the line, and so have derivatives. Lucas et al. estimate
    them anew at each position and hold them fixed as they differentiate, which gives other numbers.

    Args:
        path: a straight one, such as ``Line(start, end)``, or `Only` some tensors of it.
        network: a module of this kind, of which a copy is used; it is called with `inputs`, and its outputs (or their
            attribute ``logits``) are ``(examples, classes)``.
        inputs: ``(examples, ...)``.
        alphas: positions, as of `ScanOptions`. Compare with twice as many: the trapezoid rule needs a fine grid.
        batch: examples differentiated at once, which bounds the memory.

    Raises:
        RecipeError: an argument is of another type.
        StateError: the path is bent, or is none of this network.
        AlphaError: `alphas` are no positions, or leave [0, 1].
        MeasureError: the outputs are no logits, are random, depend on the other examples, or have no exact
            derivatives (the network detaches them, or computes with an operation that torch cannot differentiate
            forward twice).
    """
    positions = _positions(path, network, inputs, alphas, batch)
    module = _prepared(network)
    inputs = inputs.detach().cpu()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    parts = [inputs[part] for part in cuts(len(inputs), batch)]
    _check(module, network, path, parts[0])
    speeds, elements, sizes = np.empty((3, len(positions), len(inputs)))
    turns = np.empty((len(positions) - 1, len(inputs)))
    before: Tensor | None = None
    for row, alpha in enumerate(positions):
        logits = _logits(module, path, alpha)
        derivatives = [_derivatives(partial(logits, part), alpha) for part in parts]
        found = [_element(*pair) for pair in derivatives]
        speeds[row], elements[row] = (np.concatenate([pair[i].numpy() for pair in found]) for i in (0, 1))
        velocities = torch.cat([velocity for velocity, _ in derivatives])
        if before is not None:
            turns[row - 1] = _angles(before, velocities).numpy()
        before = velocities
        sizes[row] = _sizes(logits, parts, alpha)
    still = speeds <= STILL * np.maximum(speeds, sizes).max(axis=0)
    turns[still[1:] | still[:-1]] = 0.0
    return GaussLength(np.array(positions), np.where(still, 0.0, elements), still, speeds, turns)


def logit_positions(path: Path, network: nn.Module, inputs: Tensor, alphas: int | Sequence[float] = 50) -> np.ndarray:
    """Where the logits of each example are along a line, in eval mode and float64 on the CPU.

    Args:
        path, network, inputs, alphas: as of `gauss_length`, which checks that they can be measured.

    Returns:
        Logits ``(n, examples, classes)``.

    Raises:
        MeasureError: the network cannot be copied, or has statistics of its batch.
    """
    module = _prepared(network)
    inputs = inputs.detach().cpu()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    with torch.no_grad():
        found = [
            _logits(module, path, alpha)(inputs, torch.tensor(alpha, dtype=torch.float64)) for alpha in grid(alphas)
        ]
    return torch.stack(found).numpy()


def _prepared(network: nn.Module) -> nn.Module:
    """A copy in float64 and eval mode whose norms are plain operations.

    In torch 2.13 the derivatives of BatchNorm's statistics are left out, and LayerNorm's second derivatives are wrong.
    """
    module = _copied(network).cpu().double().eval()
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm):
            if layer.running_mean is None:
                raise MeasureError(
                    f"{name!r} has no running statistics, so the logits of an example depend on the others of its "
                    "batch and it has no path of its own. Use BatchNorm with track_running_stats=True."
                )
            if type(layer).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward):  # a subclass may do else
                layer.forward = partial(_normalised, layer)  # type: ignore[method-assign]
        elif type(layer).forward is nn.LayerNorm.forward:
            layer.forward = partial(_layer_normalised, layer)
    return module


def _copied(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except Exception as error:  # of torch, where a tensor was computed, or of the user's own code
        raise MeasureError(
            f"This {type(network).__name__} cannot be copied ({first_line(error)}), and Gauss length is measured on a "
            "copy, so that the network stays as it is. Remove what cannot be copied, such as a tensor that was "
            "computed with gradients and kept as an attribute (keep it detached), or give a new network of this kind."
        ) from error


def _normalised(layer: _BatchNorm, inputs: Tensor) -> Tensor:
    """BatchNorm in eval mode, out of plain operations."""
    shape = (1, -1) + (1,) * (inputs.ndim - 2)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    outputs = (inputs - layer.running_mean.view(shape)) * torch.rsqrt(layer.running_var + layer.eps).view(shape)
    return outputs * layer.weight.view(shape) + layer.bias.view(shape) if layer.affine else outputs


def _layer_normalised(layer: nn.LayerNorm, inputs: Tensor) -> Tensor:
    """LayerNorm out of plain operations."""
    axes = tuple(range(-len(layer.normalized_shape), 0))
    centred = inputs - inputs.mean(axes, keepdim=True)
    outputs = centred * torch.rsqrt((centred**2).mean(axes, keepdim=True) + layer.eps)
    outputs = outputs if layer.weight is None else outputs * layer.weight
    return outputs if layer.bias is None else outputs + layer.bias


def _logits(module: nn.Module, path: Path, near: float) -> Callable[[Tensor, Tensor], Tensor]:
    """(inputs, alpha) -> logits, with alpha a tensor; what is no continuous number is that of the position `near`."""
    start, end, fixed = {}, {}, {}
    for name in path.template:
        if name in path.moving and is_continuous(path.template[name].dtype):
            start[name], end[name] = (_wide(path.tensor(name, at)) for at in (0.0, 1.0))
        else:
            fixed[name] = _wide(path.tensor(name, near))

    def logits(inputs: Tensor, alpha: Tensor) -> Tensor:
        moved = {name: (1 - alpha) * start[name] + alpha * end[name] for name in start}
        with _plain_attention():
            outputs = functional_call(module, {**fixed, **moved}, (inputs,))
        outputs = getattr(outputs, "logits", outputs)
        if not isinstance(outputs, Tensor):
            raise MeasureError(
                f"The network returns a {type(outputs).__name__}, and Gauss length is that of logits (examples, "
                "classes). Wrap the network in a module that returns them alone."
            )
        return outputs

    return logits


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention out of operations that torch can differentiate forward, where it has others for inference."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _wide(tensor: Tensor) -> Tensor:
    """On the CPU, numbers that are not whole in twice 32 bits or more."""
    if not is_continuous(tensor.dtype):
        return tensor.cpu()
    return tensor.cpu().to(torch.complex128 if tensor.is_complex() else torch.float64)


def _derivatives(logits: Callable[[Tensor], Tensor], alpha: float) -> tuple[Tensor, Tensor]:
    """First and second derivative of the logits with respect to alpha, each ``(examples, classes)``."""
    position = torch.tensor(alpha, dtype=torch.float64)
    one = torch.ones_like(position)

    def velocity(at: Tensor) -> Tensor:
        return jvp(logits, (at,), (one,))[1]  # type: ignore[no-any-return]

    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)  # by torch, of its own code
        first, second = jvp(velocity, (position,), (one,))[:2]
    return first, second


def _sizes(logits: Callable[[Tensor, Tensor], Tensor], parts: Sequence[Tensor], alpha: float) -> np.ndarray:
    """The norm of the logits of each example."""
    with torch.no_grad():
        found = [logits(part, torch.tensor(alpha, dtype=torch.float64)).norm(dim=1) for part in parts]
    return torch.cat(found).numpy()


def _element(velocity: Tensor, acceleration: Tensor) -> tuple[Tensor, Tensor]:
    """Speed and length element of each example; the latter is NaN at speed 0."""
    speed = velocity.norm(dim=1)
    direction = velocity / speed[:, None]
    across = acceleration - (direction * acceleration).sum(1, keepdim=True) * direction
    return speed, across.norm(dim=1) / speed


def _angles(before: Tensor, after: Tensor) -> Tensor:
    """The angle between two velocities of each example, in radians; NaN at speed 0."""
    first, second = (velocity / velocity.norm(dim=1, keepdim=True) for velocity in (before, after))
    return 2 * torch.atan2((first - second).norm(dim=1), (first + second).norm(dim=1))  # precise at small angles


def _positions(
    path: Path, network: nn.Module, inputs: Tensor, alphas: int | Sequence[float], batch: int
) -> Sequence[float]:
    """The positions to measure, once the arguments of `gauss_length` are known to be of their types and to fit."""
    check_type(path, Path, "The path", "Give a path between two networks, such as Line(start, end).")
    check_type(network, nn.Module, "The network", "Give the module that the path is of.")
    check_type(inputs, Tensor, "inputs", "Give a tensor with a row for each example.")
    check_type(batch, int, "batch", "Give the number of examples differentiated at once, such as 100.")
    if not path.straight:
        raise StateError(
            f"This {type(path).__name__} is not straight, and Gauss length takes the derivatives of the straight line "
            "between the ends: they would be those of another path. Give Line(start, end), without spectral norm."
        )
    positions = grid(alphas)
    if positions[0] < 0 or positions[-1] > 1:
        raise AlphaError(
            f"The positions reach from {positions[0]} to {positions[-1]}. Gauss length is that of the way between both "
            "ends: give positions from 0 to 1."
        )
    if not inputs.ndim or not len(inputs) or batch < 1:
        raise MeasureError(
            f"There are {len(inputs) if inputs.ndim else 0} examples in batches of {batch}: nothing can be measured. "
            "Give at least one example, and batches of at least one."
        )
    check_pair(State.from_module(network, copy=False), path.template)
    if path.unsaved:
        raise StateError(
            f"The ends differ in what no state dict holds ({abbreviate(path.unsaved)}), and it is unknown how that "
            "changes along the line. Keep it in buffers, or make it the same in both networks."
        )
    return positions


def _check(module: nn.Module, network: nn.Module, path: Path, inputs: Tensor) -> None:
    """The outputs are logits, those of a plain call, and their derivatives are what difference quotients are.

    At one position and for most examples: those few that pass a kink within the quotient's step have another quotient,
    rightly.
    """
    alpha = 0.4142  # no position of a usual grid, nor a symmetric one
    logits = partial(_logits(module, path, alpha), inputs)
    with torch.no_grad():
        try:
            outputs = logits(_at(alpha))
        except RuntimeError as error:  # of torch, where forward has a type of its own
            raise MeasureError(
                f"The network cannot be called in float64, in which Gauss length is measured: {first_line(error)}. Let "
                "its forward follow the type of its weights, in place of calls such as .float() and .bfloat16()."
            ) from error
        alone = partial(_logits(module, path, alpha), inputs[:1])
        _check_outputs(outputs, lambda: alone(_at(alpha)), len(inputs))
        _check_plain_call(outputs, network, path, alpha, inputs)
        _check_derivatives(logits, outputs, alpha)


def _at(alpha: float) -> Tensor:
    return torch.tensor(alpha, dtype=torch.float64)


def _check_outputs(outputs: Tensor, alone: Callable[[], Tensor], examples: int) -> None:
    """They are logits of so many examples, the first of which has the same ones `alone`."""
    if outputs.ndim != 2 or len(outputs) != examples or outputs.shape[1] < 2:
        raise MeasureError(
            f"The outputs of {examples} examples have shape {tuple(outputs.shape)}. Gauss length is that of "
            "logits (examples, classes), with two classes or more: a single number has no direction that could "
            "turn. Wrap the network in a module that returns such logits."
        )
    if not torch.allclose(alone(), outputs[:1], rtol=1e-8, atol=1e-10, equal_nan=True):
        raise MeasureError(
            "The logits of an example are others when it is measured alone, so they are random or depend on the "
            "other examples of the batch, and an example has no path of its own. Give a network that answers for "
            "each example by itself in eval mode."
        )


def _check_plain_call(outputs: Tensor, network: nn.Module, path: Path, alpha: float, inputs: Tensor) -> None:
    """They are those of a copy of the network that has loaded the position."""
    plain = _copied(network).cpu()
    path.at(alpha).load_into(plain)
    called = plain.double().eval()(inputs)
    called = getattr(called, "logits", called)
    unlike = float(((called - outputs).norm(dim=1) / outputs.norm(dim=1)).nanmedian())
    if unlike > 1e-2:  # the position was rounded to the network's own precision
        raise MeasureError(
            f"At alpha = {alpha} the logits are off by {unlike:.1e} of their size from those of a plain call. The "
            "network computes with something else than the tensors of its state dict, as where eval() merges "
            "adapters. Merge them first, and give the merged networks."
        )


def _check_derivatives(logits: Callable[[Tensor], Tensor], outputs: Tensor, alpha: float) -> None:
    """Both derivatives of the logits are what they change by around a position, where they are `outputs`."""
    try:
        exact = _derivatives(logits, alpha)
        nearby = [(logits(_at(a)), _derivatives(logits, a)[0]) for a in (alpha - _STEP, alpha + _STEP)]
    except (RuntimeError, NotImplementedError) as error:
        raise MeasureError(
            f"torch cannot differentiate this network forward twice: {first_line(error)}. Replace the operation "
            "that it names by plain ones."
        ) from error
    scale = 0.01 * outputs.norm(dim=1) + exact[0].norm(dim=1) + exact[1].norm(dim=1)  # the first: of rounding
    for which, derivative, before, after in zip(("first", "second"), exact, *nearby, strict=True):
        off = ((after - before) / (2 * _STEP) - derivative).norm(dim=1)
        share = float((off / scale).nanmedian())
        if share > 1e-4:
            raise MeasureError(
                f"The {which} derivative of the logits is not what they change by: it is off by {share:.1e} of "
                "both derivatives' size for half of the examples. The network computes with something that torch "
                "does not differentiate (detach, no_grad, statistics of torch.batch_norm), so its "
                "Gauss length would be wrong. Write that part in plain operations on the network's tensors."
            )
