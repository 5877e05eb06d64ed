"""Evaluator: a state gives per-example values, on a private copy of the network.

The caller's network is copied once and never touched: not its weights, mode, gradients, hooks nor random state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from copy import copy as shallow
from copy import deepcopy
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from linescape.engine import Fast, operations, threads
from linescape.errors import DataError, LinescapeError, MeasureError, first_line
from linescape.evaluation import batchnorm
from linescape.evaluation.batches import cut, described, moved, split
from linescape.evaluation.forward import Forward, default_forward, default_targets
from linescape.evaluation.measures import Measure, counted, cross_entropy, error
from linescape.evaluation.per_example import Values, of_batch, positions_of_an_example, scaled
from linescape.evaluation.subsets import Sets, take
from linescape.geometry.paths import Path
from linescape.geometry.state import State

Precision = Literal["bfloat16"]

WORTH = 4e9
"""Operations of a walk from which on taking the network as a graph saves more than the few hundredths of a second that
it costs where the code is plain. Counted and not timed, so that the same walk gives the same bits."""

WORTH_PREPARING = {"cpu": 5e11, "cuda": 2e13}
"""The same where `torch.export` must read the code, which costs seconds: about 10 s of plain calls on two cores."""

_WIDE = 64e6
"""Bytes of a network's outputs that one call may give: a small network is called with many batches at once."""

DIRECT = 32
"""Examples of each data set that are evaluated directly, where all would cost as much as many positions."""


class Evaluator:
    """Measures states of one network on fixed data.

    Args:
        model: any network; a private copy in eval mode is measured, on the model's device.
        data: name (``train``, ``test``) -> ``(inputs, targets)`` tensors, or an iterable of batches that gives the
            same batches in the same order each time (a list, a `DataLoader` without shuffling or augmentation).
        measures: functions (outputs, targets) -> values ``(batch,)``; see `linescape.evaluation.measures`.
        forward: (model, batch) -> (outputs, targets), for batches that `default_forward` does not know; see
            `linescape.evaluation.forward`.
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
        weights: name of the data -> mean number of an example's positions that count, where targets are by position,
            known from the first measurement on; see `linescape.evaluation.measures.by_position`.
        threads: on the CPU, how many are used, found at the first measurement; see `linescape.engine.threads`.

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
        if not isinstance(data, Mapping):
            raise DataError(
                f"The data are a {type(data).__name__}, but results are by the name of the data. Give them a name: "
                '{"test": ...}.'
            )
        if not data:
            raise DataError("There are no data to measure on. Pass for example data={'test': (inputs, targets)}.")
        self._by_position = {name for name, measure in self.measures.items() if getattr(measure, "by_position", False)}
        self._sets = Sets.of(data, batch_size)
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
        self.weights: dict[str, float] = {}
        self._whole = self._sets
        self.threads: int | None = None
        self.precision = precision
        self.engine = Fast(self.model, torch.bfloat16 if precision else None, memory)
        self._fast = fast
        self._pays = False
        self._work: int | None = None
        self._largest = 0.0
        self._slots = dict(self.model.state_dict(keep_vars=True))
        self._statistics = batchnorm.statistics(self.model)
        self._placed: Path | None = None
        self._direct: list[tuple[State, Values]] = []
        self._name = object()

    @property
    def data(self) -> Mapping[str, Iterable[Any]]:
        """Name -> batches."""
        return self._sets.batches

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
        for name in rows:
            self._weigh(name)  # so that all samples of the data have one scale
        found = shallow(self)
        found._sets = self._sets.take(rows)
        found._work, found._wide, found._given, found._direct, found._name = None, {}, {}, [], object()
        if calibration is not None and self._calibrating is not None:
            found._calibrating = take(self._calibrating, calibration, self.batch_size)
        return found

    def begin(self, path: Path, positions: int) -> None:
        """A walk of so many measurements begins.

        Raises:
            StateError: the path is not one of this network.
        """
        path.template.check_fits(self.model)
        work = self.look() * positions
        self._pays = self._fast if self._fast is not None else bool(self.precision) or work > WORTH
        worth_preparing = bool(self._fast) or work > WORTH_PREPARING.get(self.device.type, WORTH_PREPARING["cuda"])
        # A walk may go on, with other examples or positions.
        if self.engine.of is not path or (worth_preparing and not self.engine.may_prepare):
            ends = (lambda name, end: path.tensor(name, float(end == "end"))) if path.straight else None
            self.engine.begin(path, path.moving, ends, self._sets.examples, worth_preparing)
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
            self._moved(treatment)
            return self._measure(self.engine, self._joined(treatment))

    def settle(self, treatment: str, ends: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Let the engine decide how it computes as `measure` would, by a few examples and without a result.

        A walk that goes on does so at its first position: what fits there need not between the ends, where values may
        be infinite.
        """
        if not self._pays or treatment == "batch":
            return
        with torch.inference_mode(), batchnorm.treated(self.model, treatment, ends, lambda: None):
            self._moved(treatment)
            given = self._joined(treatment)
            with self._random_state_kept(), self._fitting_threads():
                for held in given.values():
                    self.forward(self.engine, moved(self._cut(next(iter(held)), DIRECT)[0], self.device))

    def _moved(self, treatment: str) -> None:
        measured = {"recalibrate": self._statistics}.get(treatment, frozenset())
        fixed = self._statistics if treatment in ("start", "end") else frozenset()
        self.engine.moved(treatment, self._alpha, also=measured, but=fixed)

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
                for held in self.data.values() if self._wide else ():
                    first = next(iter(held), None)
                    if first is not None:
                        self.forward(self.engine, moved(self._cut(first, DIRECT)[0], self.device))
            self._given[treatment] = {**self.data, **self._wide} if self.engine.cuts else self.data
        return self._given[treatment]

    def _load(self, state: State) -> None:
        self._placed = None
        state.load_into(self.model)

    def look(self) -> int:
        """Pass a few examples of each data set once; returns the operations that all examples take.

        Raises:
            DataError: the network cannot be called with them, or they are not what a measure takes.
            MeasureError: its outputs cannot be measured.
        """
        if self._work is None:
            self._work = self._looked()
        return self._work

    def _looked(self) -> int:
        work = 0
        for name, held in self.data.items():
            first = next(iter(held), None)
            if first is None:
                continue
            few, share = self._cut(first, 4)
            try:
                outputs, one = self._counted(few)
            except LinescapeError:
                raise
            except Exception as error:  # whatever the network's own code raises
                raise DataError(
                    f"The network, a {type(self.model).__name__}, cannot be called with the first examples of {name!r} "
                    f"({described(few)}): {first_line(error)}. Give it the inputs that it was trained on: size, "
                    "channels, type and order."
                ) from error
            self._largest = max(self._largest, one / share)
            work += round(one / share * (len(held) if isinstance(held, Sized) else 10))
            if name in self._sets.tensors and share < 1.0:
                size = sum(leaf.nbytes for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)) / 4
                several = max(1, int(_WIDE / max(size, 1.0)) // self.batch_size)
                self._wide[name] = split(*self._sets.tensors[name], self.batch_size * several)
        return work

    def _counted(self, batch: Any) -> tuple[Any, int]:
        """What the network gives for a batch, and how many operations that takes."""
        here, outputs = moved(batch, self.device), list[Any]()
        with torch.no_grad(), self._random_state_kept():
            count = operations(lambda: outputs.extend(self.forward(self.model, here)))
            of_batch(self.measures, *outputs)  # what cannot be measured is said at once
        return outputs[0], count

    def _cut(self, batch: Any, count: int) -> tuple[Any, float]:
        """As `batches.cut`; all of a batch where its form is the user's own."""
        return cut(batch, count) if self.forward is default_forward else (batch, 1.0)

    def _measure(self, model: nn.Module, given: Mapping[str, Iterable[Any]], only: int = 0) -> Values:
        found: Values = {}
        with torch.inference_mode(), self._random_state_kept(), self._fitting_threads():
            for data, held in given.items():
                parts: dict[str, list[np.ndarray]] = {name: [] for name in self.measures}
                counts: list[np.ndarray] = []
                for number, batch in enumerate(islice(held, 1) if only else held):
                    some = self._cut(batch, only)[0] if only else batch
                    self.engine.at((self._name, data, number))
                    outputs, targets = self.forward(model, moved(some, self.device))
                    positions = counted(targets) if self._by_position else None
                    if positions is not None:
                        counts.append(positions.cpu().numpy())
                    for name, measured in of_batch(self.measures, outputs, targets).items():
                        parts[name].append(measured)
                if counts and not only and self._sets is self._whole:
                    self._weigh(data, counts)
                for name, pieces in parts.items():
                    found[data, name] = np.concatenate(pieces) if pieces else np.empty(0)
                    if not len(found[data, name]):
                        raise DataError(f"The data {data!r} have no examples, so there is nothing to average over.")
                    if counts and name in self._by_position:
                        self._weigh(data)
                        mean = self.weights[data]
                        found[data, name] = scaled(data, found[data, name], np.concatenate(counts), mean)
        return found

    def _weigh(self, data: str, counts: Sequence[np.ndarray] = ()) -> None:
        """Remember the mean number of positions of all examples of some data, where targets are by position."""
        if data in self.weights or not self._by_position:
            return
        if counts := counts or self._counts(data):
            self.weights[data] = positions_of_an_example(data, counts)

    def _counts(self, data: str) -> list[np.ndarray]:
        """How many positions of all examples count, batch by batch; empty where targets are not by position."""
        found: list[np.ndarray] = []
        for batch in self._whole.batches[data]:
            if self.forward is default_forward:
                targets = default_targets(self.model, batch)
            else:
                with torch.inference_mode(), self._random_state_kept():
                    targets = self.forward(self.model, moved(batch, self.device))[1]
            positions = counted(targets)
            if positions is None:
                return []
            found.append(positions.cpu().numpy())
        return found

    def _fitting_threads(self) -> AbstractContextManager[None]:
        if self.threads is None:
            batch = next(iter(next(iter(self.data.values()))), None)
            if batch is None or self.device.type != "cpu":
                return nullcontext()
            if self._largest > threads.LARGE:
                self.threads = torch.get_num_threads()
                return nullcontext()
            few, share = self._cut(batch, 16)
            batch, few = moved(batch, self.device), moved(few, self.device)
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
                self.forward(self.model, moved(batch, self.device))
