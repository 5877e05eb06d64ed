"""Evaluator: a state gives per-example values, on a private copy of the network.

The caller's network is copied once and never touched: not its weights, mode, gradients, hooks nor random state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from linescape import batchnorm, sampling, threads
from linescape.errors import DataError, MeasureError
from linescape.measure import Measure, cross_entropy, error
from linescape.paths import Path
from linescape.space import State

Forward = Callable[[nn.Module, Any], tuple[Any, Any]]
Values = dict[tuple[str, str], np.ndarray]
"""(data, measure) -> values ``(examples,)``."""


def default_forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """(outputs, targets) of a batch: ``(*inputs, targets)``, or a dictionary with ``labels`` beside keyword inputs.

    Outputs with an attribute ``logits`` (as Hugging Face models give) are replaced by it.

    Raises:
        DataError: the batch is neither.
    """
    if isinstance(batch, Mapping):
        label = next((name for name in ("labels", "label", "targets", "target") if name in batch), None)
        if label is None:
            raise DataError(
                f"The batch is a dictionary with keys {sorted(batch)}, none of which names the targets. Call them "
                "'labels', or pass `forward=lambda model, batch: (outputs, targets)`."
            )
        outputs = model(**{name: value for name, value in batch.items() if name != label})
        return getattr(outputs, "logits", outputs), batch[label]
    if isinstance(batch, Sequence) and len(batch) >= 2:
        outputs = model(*batch[:-1])
        return getattr(outputs, "logits", outputs), batch[-1]
    raise DataError(
        f"A batch is a {type(batch).__name__}, from which inputs and targets cannot be told apart. Yield (inputs, "
        "targets), or pass `forward=lambda model, batch: (outputs, targets)`."
    )


class Evaluator:
    """Measures states of one network on fixed data.

    Args:
        model: any network; a private copy in eval mode is measured, on the model's device.
        data: name (``train``, ``test``) -> ``(inputs, targets)`` tensors, or an iterable of batches that gives the
            same batches in the same order each time (a list, a `DataLoader` without shuffling or augmentation).
        measures: functions (outputs, targets) -> values ``(batch,)``; see `linescape.measure`.
        forward: (model, batch) -> (outputs, targets), for batches that `default_forward` does not know.
        batch_size: examples in a batch, where data are given as tensors.
        calibration: name of the data that ``recalibrate`` passes through the network; its order should be mixed.

    Attributes:
        threads: on the CPU, how many are used, found at the first measurement; see `linescape.threads`.

    Raises:
        DataError: data are empty, can be read only once, or are shuffled.
        MeasureError: two measures have one name.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Mapping[str, Any],
        measures: Sequence[Measure] = (cross_entropy, error),
        forward: Forward = default_forward,
        batch_size: int = 250,
        calibration: str = "train",
    ) -> None:
        self.measures = {getattr(measure, "__name__", type(measure).__name__): measure for measure in measures}
        if len(self.measures) != len(measures) or not measures:
            raise MeasureError(
                f"The measures are named {[getattr(m, '__name__', type(m).__name__) for m in measures]}; each needs a "
                "name of its own, and there must be one. Use `def` functions rather than lambdas."
            )
        if not data:
            raise DataError("There are no data to measure on. Pass for example data={'test': (inputs, targets)}.")
        self.data = {name: _batches(name, given, batch_size) for name, given in data.items()}
        self.forward = forward
        self.batch_size = batch_size
        self.calibration = calibration
        self._calibrating = self.data.get(calibration)
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        first = next((tensor for tensor in self.model.state_dict().values()), torch.zeros(()))
        self.device = first.device
        self.dtype = first.dtype
        self.threads: int | None = None
        self._slots = dict(self.model.state_dict(keep_vars=True))

    def __call__(self, state: State) -> Values:
        """Direct evaluation of a state, apart from any path, on a network of its own.

        Raises:
            StateError: the state is not one of this network.
            DataError, MeasureError: data or outputs do not fit.
        """
        fresh = copy.deepcopy(self.model)
        state.load_into(fresh)
        return self._measure(fresh)

    def sample(self, rows: Mapping[str, np.ndarray], calibration: np.ndarray | None = None) -> Evaluator:
        """An evaluator of some of the examples, which shares this one's working copy of the network.

        Args:
            rows: name of the data -> places of the wanted examples in it ``(n,)``, rising; data not named are left out.
            calibration: the examples that ``recalibrate`` passes, by their places; all of them by default.

        Raises:
            DataError: the examples of a batch cannot be told apart, or there are fewer.
        """
        found = copy.copy(self)
        found.data = {name: sampling.take(self.data[name], chosen, self.batch_size) for name, chosen in rows.items()}
        if calibration is not None and self._calibrating is not None:
            found._calibrating = sampling.take(self._calibrating, calibration, self.batch_size)
        return found

    def place(self, path: Path, alpha: float, names: Iterable[str]) -> None:
        """Write the named tensors of a path's position into the working copy."""
        with torch.inference_mode():
            for name in names:
                self._slots[name].copy_(path.tensor(name, alpha))

    def measure(self, treatment: str, ends: Mapping[str, State]) -> Values:
        """Per-example values of the working copy as it stands, under one treatment of BatchNorm."""
        with torch.inference_mode(), batchnorm.treated(self.model, treatment, ends, self._calibrate):
            return self._measure(self.model)

    def _measure(self, model: nn.Module) -> Values:
        found: Values = {}
        with torch.inference_mode(), self._random_state_kept(), self._fitting_threads(model):
            for data, batches in self.data.items():
                parts: dict[str, list[np.ndarray]] = {name: [] for name in self.measures}
                for batch in batches:
                    outputs, targets = self.forward(model, _move(batch, self.device))
                    sizes = {}
                    for name, measure in self.measures.items():
                        values = measure(outputs, targets)
                        if not isinstance(values, Tensor) or values.ndim != 1:
                            raise MeasureError(
                                f"The measure {name!r} returned {_shape(values)}; it must return one value an example, "
                                "shape (batch,), so that intervals can be computed. Leave out its mean or sum."
                            )
                        sizes[name] = len(values)
                        parts[name].append(_numpy(values))
                    if len(set(sizes.values())) > 1:
                        raise MeasureError(f"The measures disagree on the number of examples in a batch: {sizes}.")
                for name, pieces in parts.items():
                    found[data, name] = np.concatenate(pieces) if pieces else np.empty(0)
                    if not len(found[data, name]):
                        raise DataError(f"The data {data!r} have no examples, so there is nothing to average over.")
        return found

    def _fitting_threads(self, model: nn.Module) -> AbstractContextManager[None]:
        if self.threads is None:
            batch = next(iter(next(iter(self.data.values()))), None)
            if batch is None or self.device.type != "cpu":
                return nullcontext()
            moved = _move(batch, self.device)
            self.threads = threads.fitting(lambda: self.forward(model, moved))
        return threads.using(self.threads)

    def _random_state_kept(self) -> AbstractContextManager[None]:
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])

    def _calibrate(self) -> None:
        if self._calibrating is None:
            raise DataError(
                f"Recalibrating BatchNorm needs the data {self.calibration!r}, but there are only {sorted(self.data)}. "
                "Add training data, or name others with `calibration=`."
            )
        with self._random_state_kept():
            for batch in self._calibrating:
                self.forward(self.model, _move(batch, self.device))


def _batches(name: str, given: Any, size: int) -> Iterable[Any]:
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in given):
        inputs, targets = (torch.as_tensor(part) for part in given)
        if len(inputs) != len(targets):
            raise DataError(f"The data {name!r} have {len(inputs)} inputs but {len(targets)} targets; each needs one.")
        if not len(inputs):
            raise DataError(f"The data {name!r} have no examples, so there is nothing to average over.")
        return list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))
    if isinstance(given, DataLoader) and isinstance(given.sampler, RandomSampler):
        raise DataError(
            f"The data {name!r} are a DataLoader with shuffle=True, so examples would change places between alphas and "
            "nothing could be compared. Build it with shuffle=False, and without random augmentation."
        )
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Tensor | np.ndarray):
        raise DataError(
            f"The data {name!r} are a {type(given).__name__}. Give (inputs, targets) tensors or an iterable of batches."
        )
    if iter(given) is given:
        raise DataError(
            f"The data {name!r} can be read only once (a {type(given).__name__}), but every alpha reads them. Pass "
            "list(...) of it, or an object that starts anew each time."
        )
    return given


def _move(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: _move(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        return [_move(value, device) for value in batch]
    return batch


def _numpy(values: Tensor) -> np.ndarray:
    wide = values.double() if values.dtype == torch.float64 else values.float()
    return np.asarray(wide.cpu().numpy())


def _shape(values: Any) -> str:
    return f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
