"""Evaluator: a state gives per-example values, on a private copy of the network.

The caller's network is copied once and never touched: not its weights, mode, gradients, hooks nor random state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from copy import copy as shallow
from copy import deepcopy
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, RandomSampler

from linescape import batchnorm, sampling, threads
from linescape.engine import Fast, operations
from linescape.errors import DataError, MeasureError
from linescape.measure import Measure, cross_entropy, error
from linescape.paths import Path
from linescape.space import State

Forward = Callable[[nn.Module, Any], tuple[Any, Any]]
Values = dict[tuple[str, str], np.ndarray]
"""(data, measure) -> values ``(examples,)``."""

Precision = Literal["bfloat16"]

WORTH = 4e9
"""Operations of a walk from which on taking the network as a graph saves more than the few hundredths of a second that
it costs where the code is plain. Counted and not timed, so that the same walk gives the same bits."""

WORTH_EXPORT = {"cpu": 5e11, "cuda": 2e13}
"""The same where `torch.export` must read the code, which costs seconds: about 10 s of plain calls on two cores."""

_WIDE = 64e6
"""Bytes of a network's outputs that one call may give: a small network is called with many batches at once."""

DIRECT = 32
"""Examples of each data set that are evaluated directly, where all would cost as much as many positions."""


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
        batch_size: examples in a batch, where data are given as tensors: what ``batch`` and ``recalibrate`` see as one
            batch. Otherwise batches are passed through the network in parts that fit the cache.
        calibration: name of the data that ``recalibrate`` passes through the network; its order should be mixed.
        precision: what a walk computes in: None is the network's own type. With ``bfloat16``, positions are still
            computed in the type of the ends, then rounded; how far results are from those in full precision is measured
            and recorded in every curve. Direct evaluation is in full precision.
        fast: whether a walk takes the network as a graph (`linescape.engine`): by default where that saves more than it
            costs, hundredths of a second where code is plain, and seconds where `torch.export` must read it.
        memory: bytes that a walk may take beside the working copy: activations of parts of the network that do not
            move, and weights in a faster order. A network with larger weights is walked without the latter.
        copy: whether the working copy is one; without, it is the network itself, which then holds whatever was measured
            last. For a network of which memory has no room for two.

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
        precision: Precision | None = None,
        fast: bool | None = None,
        memory: float = 2e9,
        copy: bool = True,
    ) -> None:
        self.measures = {getattr(measure, "__name__", type(measure).__name__): measure for measure in measures}
        if len(self.measures) != len(measures) or not measures:
            raise MeasureError(
                f"The measures are named {[getattr(m, '__name__', type(m).__name__) for m in measures]}; each needs a "
                "name of its own, and there must be one. Use `def` functions rather than lambdas."
            )
        if not data:
            raise DataError("There are no data to measure on. Pass for example data={'test': (inputs, targets)}.")
        self._tensors = {name: found for name, given in data.items() if (found := _tensors(name, given)) is not None}
        self.data = {
            name: _split(*self._tensors[name], batch_size) if name in self._tensors else _batches(name, given)
            for name, given in data.items()
        }
        self._wide: dict[str, list[Any]] = {}
        self._given: dict[str, Mapping[str, Iterable[Any]]] = {}
        self.forward = forward
        self.batch_size = batch_size
        self.calibration = calibration
        self._calibrating = self.data.get(calibration)
        self.model = (deepcopy(model) if copy else model).eval().requires_grad_(False)
        first = next((tensor for tensor in self.model.state_dict().values()), torch.zeros(()))
        self.device = first.device
        self.dtype = first.dtype
        self.threads: int | None = None
        self.precision = precision
        self.engine = Fast(self.model, torch.bfloat16 if precision else None, memory)
        self._fast = fast
        self._pays = False
        self._work: int | None = None
        self._slots = dict(self.model.state_dict(keep_vars=True))
        self._statistics = batchnorm.statistics(self.model)
        self._placed: Path | None = None
        self._direct: list[tuple[State, Values]] = []
        self._name = object()

    def __call__(self, state: State) -> Values:
        """Direct evaluation of a state, apart from any path, by plain calls of the network.

        Raises:
            StateError: the state is not one of this network.
            DataError, MeasureError: data or outputs do not fit.
        """
        self._load(state)
        return self._measure(self.model, self.data)

    def first(self, state: State) -> Values:
        """Direct evaluation, as by a call, of the first examples of each data set only.

        The last two states are remembered, by their tensors: layer-wise lines of one network all have the same end.
        """
        for known, values in self._direct:
            if all(known[name] is value for name, value in state.items()):
                return values
        self._load(state)
        values = self._measure(self.model, self.data, DIRECT)
        self._direct = [*self._direct[-1:], (state, values)]
        return values

    def sample(self, rows: Mapping[str, np.ndarray], calibration: np.ndarray | None = None) -> Evaluator:
        """An evaluator of some of the examples, which shares this one's working copy of the network.

        Args:
            rows: name of the data -> places of the wanted examples in it ``(n,)``, rising; data not named are left out.
            calibration: the examples that ``recalibrate`` passes, by their places; all of them by default.

        Raises:
            DataError: the examples of a batch cannot be told apart, or there are fewer.
        """
        found = shallow(self)
        found._tensors = {
            name: (self._tensors[name][0][chosen], self._tensors[name][1][chosen])
            for name, chosen in rows.items()
            if name in self._tensors
        }
        found.data = {
            name: _split(*found._tensors[name], self.batch_size)
            if name in found._tensors
            else sampling.take(self.data[name], chosen, self.batch_size)
            for name, chosen in rows.items()
        }
        found._work, found._wide, found._given, found._direct, found._name = None, {}, {}, [], object()
        if calibration is not None and self._calibrating is not None:
            found._calibrating = sampling.take(self._calibrating, calibration, self.batch_size)
        return found

    def begin(self, path: Path, positions: int) -> None:
        """A walk of so many measurements begins.

        Raises:
            StateError: the path is not one of this network.
        """
        path.template.check_fits(self.model)
        if self._work is None:
            self._look()
        work = (self._work or 0) * positions
        self._pays = self._fast if self._fast is not None else bool(self.precision) or work > WORTH
        worth_export = bool(self._fast) or work > WORTH_EXPORT.get(self.device.type, WORTH_EXPORT["cuda"])
        # A walk may go on, with other examples or positions.
        if self.engine.of is not path or (worth_export and not self.engine.may_export):
            ends = (lambda name, end: path.tensor(name, float(end == "end"))) if path.straight else None
            self.engine.begin(path, path.moving, ends, self._examples(), worth_export)
        self._given = {}
        self._placed, self._alpha = None, 0.0

    def forget(self) -> None:
        """Let go of the states that were measured last, which are held until the next walk otherwise."""
        self._placed, self._direct = None, []
        self.engine.begin(None, frozenset())

    def place(self, path: Path, alpha: float) -> None:
        """Write a path's position into the working copy: everything the first time, then what moves."""
        names = path.moving if self._placed is path else path.template
        with torch.inference_mode():
            for name in names:
                path.write(name, alpha, self._slots[name])
        self._placed, self._alpha = path, alpha

    def measure(self, treatment: str, ends: Mapping[str, Mapping[str, Tensor]]) -> Values:
        """Per-example values of the working copy as it stands, under one treatment of BatchNorm.

        `ends` holds at least the running statistics at the path's ``start`` and ``end``.
        """
        with torch.inference_mode(), batchnorm.treated(self.model, treatment, ends, self._calibrate):
            if not self._pays or treatment == "batch":  # whose results depend on how batches are cut
                return self._measure(self.model, self.data)
            measured = {"recalibrate": self._statistics}.get(treatment, frozenset())
            fixed = self._statistics if treatment in ("start", "end") else frozenset()
            self.engine.moved(treatment, self._alpha, also=measured, but=fixed)
            return self._measure(self.engine, self._joined(treatment))

    def recalibrated(self, path: Path, alpha: float) -> dict[str, Tensor]:
        """The running statistics that ``recalibrate`` measures at a position of a path, by name, on the CPU.

        Raises:
            StateError: the path is not one of this network.
            DataError: there are no data of the name `calibration`.
        """
        path.template.check_fits(self.model)
        self.place(path, alpha)
        with torch.no_grad(), batchnorm.treated(self.model, "recalibrate", {}, self._calibrate):
            return {name: self._slots[name].to("cpu", copy=True) for name in sorted(self._statistics)}

    def _joined(self, treatment: str) -> Mapping[str, Iterable[Any]]:
        """Data with many batches as one, where the engine has found that this changes nothing; tried once a walk."""
        if treatment not in self._given:
            with self._random_state_kept():
                for batches in self.data.values() if self._wide else ():
                    first = next(iter(batches), None)
                    if first is not None:
                        self.forward(self.engine, _move(self._cut(first, DIRECT)[0], self.device))
            self._given[treatment] = {**self.data, **self._wide} if self.engine.cuts else self.data
        return self._given[treatment]

    def _load(self, state: State) -> None:
        self._placed = None
        state.load_into(self.model)

    def _look(self) -> None:
        """Pass a few examples, to see how much work all are and how large their outputs."""
        self._work = 0
        for name, batches in self.data.items():
            first = next(iter(batches), None)
            if first is None:
                continue
            few, share = self._cut(first, 4)
            outputs, one = self._counted(few)
            self._work += round(one / share * (len(batches) if isinstance(batches, Sized) else 10))
            if name in self._tensors and share < 1.0:
                size = sum(leaf.nbytes for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)) / 4
                several = max(1, int(_WIDE / max(size, 1.0)) // self.batch_size)
                self._wide[name] = _split(*self._tensors[name], self.batch_size * several)

    def _counted(self, batch: Any) -> tuple[Any, int]:
        """What the network gives for a batch, and how many operations that takes."""
        moved, outputs = _move(batch, self.device), list[Any]()
        with torch.no_grad(), self._random_state_kept():
            count = operations(lambda: outputs.append(self.forward(self.model, moved)[0]))
        return outputs, count

    def _examples(self) -> int | None:
        """In all data together; None where batches are of the user's own making."""
        if set(self._tensors) != set(self.data):
            return None
        return sum(len(targets) for _, targets in self._tensors.values())

    def _cut(self, batch: Any, count: int) -> tuple[Any, float]:
        """The first examples of a batch, and which share they are; all of it where its form is the user's own."""
        tensors = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
        rows = {len(tensor) if tensor.ndim else 0 for tensor in tensors}
        if self.forward is not default_forward or len(rows) != 1 or max(rows) <= count:
            return batch, 1.0
        few = pytree.tree_map(lambda leaf: leaf[:count] if isinstance(leaf, Tensor) else leaf, batch)
        return few, count / max(rows)

    def _measure(self, model: nn.Module, given: Mapping[str, Iterable[Any]], only: int = 0) -> Values:
        found: Values = {}
        with torch.inference_mode(), self._random_state_kept(), self._fitting_threads():
            for data, batches in given.items():
                parts: dict[str, list[np.ndarray]] = {name: [] for name in self.measures}
                for number, whole in enumerate(islice(batches, 1) if only else batches):
                    batch = self._cut(whole, only)[0] if only else whole
                    self.engine.at((self._name, data, number))
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

    def _fitting_threads(self) -> AbstractContextManager[None]:
        if self.threads is None:
            batch = next(iter(next(iter(self.data.values()))), None)
            if batch is None or self.device.type != "cpu":
                return nullcontext()
            few, share = self._cut(batch, 16)
            batch, few = _move(batch, self.device), _move(few, self.device)
            self.threads = threads.fitting(
                lambda: self.forward(self.model, batch), lambda: self.forward(self.model, few), share
            )
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


def _tensors(name: str, given: Any) -> tuple[Tensor, Tensor] | None:
    """Inputs and targets, where data are given as such."""
    if not (isinstance(given, tuple) and len(given) == 2 and all(isinstance(p, Tensor | np.ndarray) for p in given)):
        return None
    inputs, targets = (torch.as_tensor(part) for part in given)
    if len(inputs) != len(targets):
        raise DataError(f"The data {name!r} have {len(inputs)} inputs but {len(targets)} targets; each needs one.")
    if not len(inputs):
        raise DataError(f"The data {name!r} have no examples, so there is nothing to average over.")
    return inputs, targets


def _split(inputs: Tensor, targets: Tensor, size: int) -> list[Any]:
    return list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))


def _batches(name: str, given: Any) -> Iterable[Any]:
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
