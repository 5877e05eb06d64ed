"""Evaluator: a state gives per-example values, on a private copy of the network.

The caller's network is copied once and never touched: not its weights, mode, gradients, hooks nor random state. A
`DataView` holds the data and a `Runner` calls the network. This module decides what is measured, and when the engine is
worth its cost.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from linescape.engine import Fast, Worth
from linescape.engine.replay import FEWEST
from linescape.errors import DataError
from linescape.evaluation import remarks, tried
from linescape.evaluation.batches import first_with_examples, length, smallest_batch
from linescape.evaluation.engine_batches import EngineBatches
from linescape.evaluation.forward import Forward, default_forward
from linescape.evaluation.measures import Measure, cross_entropy, error
from linescape.evaluation.named import by_name
from linescape.evaluation.on_device import OnDevice
from linescape.evaluation.passes import Passes
from linescape.evaluation.per_example import Values
from linescape.evaluation.repeated import Repeated
from linescape.evaluation.runner import Precision, Runner
from linescape.evaluation.subsets import check_independent
from linescape.evaluation.view import DataView
from linescape.geometry.paths import Path
from linescape.geometry.state import State

WORTH = 4e9
"""Operations of a walk above which the network is taken as a graph, which costs a few hundredths of a second where
`torch.fx` can trace it. Counted and not timed, so that the same walk gives the same bits."""

WORTH_COMPILING = 5e10
"""The same where kernels have to be compiled, which takes a second or two once on a machine."""

WORTH_RECORDING = {"cpu": 5e11, "cuda": 2e13}
"""The same where calls have to be recorded, which may cost seconds."""

DIRECT = 32
"""Examples of each data set that are evaluated directly, where all would cost as much as many positions."""


class _SpotCheck(NamedTuple):
    """Direct evaluation of an end by a few examples, and what a result should say of their outputs."""

    end: State
    values: Values
    remarks: list[str]


class Evaluator:
    """Measures states of one network on fixed data.

    Args:
        model: any network; a private copy in eval mode is measured, on the model's device.
        data: name (``train``, ``test``) -> ``(inputs, targets)`` tensors, a data set of torch, or an iterable of
            batches that gives the same batches in the same order each time (a list, a `DataLoader` without shuffling or
            augmentation). They are compared from pass to pass, and must not be written to.
        measures: functions (outputs, targets) -> values ``(batch,)``, or names of those in
            `linescape.evaluation.measures`; in a list, or in a dictionary under names of one's own.
        forward: (model, batch) -> (outputs, targets), for batches that `default_forward` does not know; see
            `linescape.evaluation.forward`.
        batch_size: examples in a batch, where data are given as tensors. The treatments ``batch`` and ``recalibrate``
            depend on it; otherwise batches may be split or joined to suit the cache, or padded texts put together by
            length, see `linescape.evaluation.by_length`.
        calibration: name of the data that ``recalibrate`` passes through the network; their order should be random.
        precision: what a walk computes in: None is the network's own type. With ``bfloat16``, positions are still
            computed in the type of the ends, then rounded; the deviation from full precision is measured and recorded
            in every curve. A processor without instructions for it would take longer, so there the network's own type
            is used, and a note says so. Direct evaluation is in full precision.
        fast: whether a walk takes the network as a graph (`linescape.engine`). By default it does where that saves more
            time than it costs: hundredths of a second with `torch.fx`, several calls where they are recorded.
        memory: bytes that a walk may use in addition to the working copy: for activations that do not depend on moving
            weights, and for weights in a faster layout. Networks with larger weights are walked without the latter.
        copy: whether to copy the network. Without a copy the network itself is written to and afterwards holds whatever
            was measured last; for networks too large to be in memory twice. A network that cannot be copied, or whose
            copy reads the network's own tensors, is walked itself, then put back as it was, and the result says so.

    Attributes:
        measures: name -> function.
        acting: names of the measures by which the examples of a batch act on each other, once that is known.

    Raises:
        DataError: data are empty, can be read only once, or are shuffled.
        MeasureError: a measure is unknown, or two have one name.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Mapping[str, Any],
        measures: Sequence[Measure | str] | Mapping[str, Measure | str] = (cross_entropy, error),
        forward: Forward = default_forward,
        batch_size: int = 250,
        calibration: str = "train",
        precision: Precision | None = None,
        fast: bool | None = None,
        memory: float = 2e9,
        copy: bool = True,
    ) -> None:
        named = by_name(measures)
        view = DataView.of(data, batch_size, calibration)
        runner = Runner(model, forward, precision, memory, copy)
        self._set_up(named, view, runner, fast)

    def _set_up(self, measures: dict[str, Measure], view: DataView, runner: Runner, fast: bool | None) -> None:
        self.measures, self._view, self._runner, self._fast = measures, view, runner, fast
        self._passes = Passes(measures, view, runner)
        self._on_device = OnDevice(runner.device)  # for walks alone: before each, data are compared with what they were
        self._operations: int | None = None
        self._uses_engine = False
        by_position = len(self._passes.counting) == len(measures)
        self._engine_batches = EngineBatches(view, runner, self._passes.by_engine, by_position)
        self._spot_checks: list[_SpotCheck] = []
        self._independent: set[str] = set()  # names of data whose examples do not act on each other
        self._is_checked = False  # whether a new copy was seen not to read what earlier ones computed
        self._few: list[Any] = []  # examples of each data set, by which the working copy is checked
        self.acting: dict[str, None] = {}
        self._by_example = True  # whether none does

    def __repr__(self) -> str:
        data, measures = ", ".join(self.data), ", ".join(self.measures)
        return f"Evaluator({type(self.model).__name__} on {self.device}; data: {data}; measures: {measures})"

    @property
    def data(self) -> Mapping[str, Iterable[Any]]:
        """Name -> batches."""
        return self._view.batches

    @property
    def batch_size(self) -> int:
        """Examples in a batch, where data were given as tensors."""
        return self._view.batch_size

    @property
    def calibration(self) -> str:
        """Name of the data that ``recalibrate`` passes through the network."""
        return self._view.calibration

    @property
    def weights(self) -> dict[str, float]:
        """Name of the data -> mean number of an example's positions that count, where targets are by position.

        Known from the first measurement on; see `linescape.evaluation.measures.by_position`.
        """
        return {
            data: mean
            for (data, measure), mean in self._view.mean_positions.items()
            if "weight" not in self._passes.counting[measure].keywords
        }

    @property
    def model(self) -> nn.Module:
        """The working copy of the network."""
        return self._runner.model

    @property
    def engine(self) -> Fast:
        """What stands in for the working copy along a path."""
        return self._runner.engine

    @property
    def forward(self) -> Forward:
        """What is called with the working copy and a batch."""
        return self._runner.forward

    @property
    def device(self) -> torch.device:
        """Where the working copy is."""
        return self._runner.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the working copy."""
        return self._runner.dtype

    @property
    def precision(self) -> Precision | None:
        """What a walk computes in; None is `dtype`."""
        return self._runner.precision

    def notes(self, path: Path) -> list[str]:
        """What a reader of a walk along this path should know of the network and of what was done, in words."""
        of_settings = [remark for measure in self.measures.values() for remark in remarks.of_settings(measure)]
        start, end = (self._checked(path.at(alpha)) for alpha in (0.0, 1.0))
        of_outputs = [remark for remark in start.remarks if remark in end.remarks] if start and end else []
        of_settings += [*tried.remark(self.acting), *self._passes.said.values()]
        return [*self._runner.notes_on(path), *self._view.remarks(), *of_settings, *of_outputs]

    def lent(self) -> AbstractContextManager[None]:
        """While measuring, where the caller's own network is walked: it is put back to the bit at the end.

        Raises:
            DataError, MeasureError: as `count_operations`, which finds out where it is.
        """
        self.count_operations()
        return self._runner.lent()

    @property
    def threads(self) -> int | None:
        """How many threads are used on the CPU, by `linescape.engine.threads`; None on a GPU. It may be set.

        Raises:
            DataError, MeasureError: as `count_operations`.
        """
        if self._runner.threads is None:
            self.count_operations()
        return self._runner.threads

    @threads.setter
    def threads(self, count: int | None) -> None:
        self._runner.threads = count

    def __call__(self, state: State) -> Values:
        """Direct evaluation of a state, apart from any path, by plain calls of a copy made for it.

        Raises:
            StateError: the state is not one of this network.
            DataError, MeasureError: data or outputs do not fit.
        """
        with self.lent():
            self._runner.load(state)
            if not self._is_checked:
                self._runner.check_loaded(self._few)
                self._is_checked = True
            return self._passes.values(self.data)

    def spot_check(self, path: Path, alpha: float) -> Values:
        """Direct evaluation of a position, as by a call, of the first examples of each data set only.

        The last two ends are remembered, by their tensors: layer-wise lines of one network all have the same end.

        Raises:
            StateError: the path is not one of this network.
            DataError, MeasureError: data or outputs do not fit.
        """
        self._runner.check_fits(path.template)
        end = path.at(alpha) if alpha in (0.0, 1.0) else None  # which are in memory anyway, unlike a state between them
        if end is not None and (check := self._checked(end)):
            return check.values
        said: list[str] = []
        with self.lent():
            self._runner.load_anew(path, alpha)
            values = self._passes.values(self.data, first=DIRECT, said=said)
        if end is not None:
            self._spot_checks = [*self._spot_checks[-1:], _SpotCheck(end, values, said)]
        return values

    def _checked(self, end: State) -> _SpotCheck | None:
        checks = (check for check in self._spot_checks if all(check.end[name] is end[name] for name in end))
        return next(checks, None)

    def measuring(self, measures: Mapping[str, Measure]) -> Evaluator:
        """An evaluator with other measures, which shares this one's data and working copy of the network."""
        other = Evaluator.__new__(Evaluator)
        other._set_up(dict(measures), self._view, self._runner, self._fast)
        return other

    def sample(self, rows: Mapping[str, np.ndarray], calibration: np.ndarray | None = None) -> Evaluator:
        """An evaluator of some of the examples, which shares this one's working copy of the network.

        Args:
            rows: name of the data -> places of the wanted examples in it ``(n,)``, rising; data not named are left out.
            calibration: the examples that ``recalibrate`` passes, by their places; all of them by default.

        Raises:
            DataError: examples act on each other, or cannot be told apart; there are fewer; or data were written to.
            MeasureError: outputs cannot be measured.
        """
        # So that all samples use the threads that suit all examples, and a DataLoader does not draw from the caller's.
        self._view.check_unchanged()
        close = 0.1 if self.dtype in (torch.float16, torch.bfloat16) else 1e-3
        with self.lent(), self._runner.random_state_kept():
            for name in rows.keys() - self._independent if self._view.is_whole else ():
                check_independent(name, first_with_examples(self.data[name]), self._passes.of_batch, close)
                self._independent.add(name)
            for name in rows if self._passes.counting else ():
                self._view.count_positions(name, self._runner.targets, self._passes.counting)
            view = self._view.sample(rows, calibration)
        sampled = Evaluator.__new__(Evaluator)
        sampled._set_up(self.measures, view, self._runner, self._fast)
        return sampled

    def count_operations(self) -> int:
        """Pass a few examples of each data set once; returns the operations that all examples take.

        Raises:
            DataError: the network cannot be called with them, or they are not what a measure takes.
            MeasureError: its outputs cannot be measured.
        """
        if self._operations is None:
            with self._runner.lent():
                self._operations = self._counted()
        return self._operations

    def try_treatments(self, treatments: Iterable[str]) -> None:
        """Pass the smallest batches as BatchNorm's treatments will, which `count_operations` does not.

        Raises:
            DataError: there are no data to recalibrate with, or a batch is too small to compute a variance of.
        """
        smallest: list[Any] = []
        if "recalibrate" in treatments and self._runner.statistics:
            smallest.append(smallest_batch(self._calibration_batches()))
        if "batch" in treatments and self._runner.statistics:
            smallest.extend(map(smallest_batch, self.data.values()))
        with torch.no_grad(), self.lent(), self._runner.treated("batch", {}, tuple):
            for batch in smallest:
                with self._runner.random_state_kept(), self._runner.refusing("the smallest batch", batch):
                    self._runner.call(batch)

    def start_path(self, path: Path, positions: int) -> None:
        """A walk of so many measurements begins.

        Raises:
            StateError: the path is not one of this network.
            DataError, MeasureError: as `count_operations`.
        """
        self._runner.check_fits(path.template)
        self._view.check_unchanged()
        self._on_device.begin()
        total = self.count_operations() * positions
        self._runner.compare_copies(path, self._few)
        wanted = self._fast if self._fast is not None else bool(self.precision) or total > WORTH
        self._uses_engine = self._runner.may_use_engine and wanted
        compiling = bool(self._fast) or total > WORTH_COMPILING
        graphs = self._engine_batches.begin() if self._uses_engine else 1
        limit = graphs * WORTH_RECORDING.get(self.device.type, WORTH_RECORDING["cuda"])
        recording = bool(self._fast) or total > limit
        worth = Worth(compiling, recording, replaying=recording and positions >= FEWEST)
        self._runner.start_path(path, self._view.examples, worth)

    def release(self) -> None:
        """Let go of the states that were measured last, which are held until the next walk otherwise."""
        self._spot_checks = []
        self._runner.release()

    def load_position(self, path: Path, alpha: float) -> None:
        """Write a path's position into the working copy: everything the first time, then what moves."""
        self._runner.load_position(path, alpha)

    def measure(
        self, treatment: str, ends: Mapping[str, Mapping[str, Tensor]], plainly: Values | None = None
    ) -> Values:
        """Per-example values of the working copy as it stands, under one treatment of BatchNorm.

        Args:
            treatment: its name.
            ends: for ``start`` and ``end``, at least the running statistics there.
            plainly: where the engine gives the values, those of the first batches by plain calls are added to it.

        Raises:
            DataError: there are no data to recalibrate with.
            DataError, MeasureError: data or outputs do not fit.
        """
        read = self._on_device.read
        with torch.no_grad(), self._runner.treated(treatment, ends, lambda: read(self._calibration_batches())):
            if not self._uses_engine or treatment == "batch":  # whose results depend on how batches are cut
                return self._passes.values(self.data, read=read)
            self._runner.update_engine(treatment)
            batches, places = self._engine_batches.at_position(treatment)
            if plainly is not None:
                plainly.update(self._passes.values(self.data, first=sys.maxsize))  # in which examples may act on others
            return self._passes.values(batches, engine=True, read=read, places=places)

    def warm_up(self, treatment: str, ends: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Let the engine decide how it computes as `measure` would, by a few examples and without a result.

        A walk that goes on does so at its first position: what fits there need not between the ends, where values may
        be infinite.
        """
        if not self._uses_engine or treatment == "batch":
            return
        with torch.no_grad(), self._runner.treated(treatment, ends, tuple):
            self._runner.update_engine(treatment)
            self._engine_batches.warm_up(treatment)

    def recalibrated(self, path: Path, alpha: float) -> dict[str, Tensor]:
        """The running statistics that ``recalibrate`` measures at a position of a path, by name, on the CPU.

        Raises:
            StateError: the path is not one of this network.
            DataError: there are no data of the name `calibration`.
        """
        self._runner.check_fits(path.template)
        with self.lent():
            self._runner.compare_copies(path, self._few)
            self._runner.load_position(path, alpha)
            return self._runner.treated_statistics(self._calibration_batches)

    def _calibration_batches(self) -> Iterable[Any]:
        if self._view.calibration_batches is None:
            raise DataError(
                f"Recalibrating BatchNorm needs the data {self.calibration!r}, but there are only {sorted(self.data)}. "
                "Add training data, or name others with `calibration=`."
            )
        return self._view.calibration_batches

    def _counted(self) -> int:
        total, of_largest_batch = 0, 0.0
        self._few = []
        for name, batches in self.data.items():
            with self._runner.random_state_kept():
                first = first_with_examples(batches)
                if isinstance(batches, Repeated):  # which compares: what is random is found before the first walk
                    first = first_with_examples(batches)
            if first is None:
                continue
            few, share = self._runner.head(first, 4)
            with self._runner.refusing(f"the first examples of {name!r}", few):
                few, share, (outputs, targets, operations) = self._runner.first_call(few, share, first)
            if self._tried(few, outputs, targets):
                with self._runner.lent():
                    return self._counted()
            self._few.append(few)
            of_largest_batch = max(of_largest_batch, operations / share)
            total += round(operations / share * (length(batches) or 10))
            if name in self._view.tensors and share < 1.0 and self._by_example:
                leaves = (leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor))
                self._engine_batches.join(name, sum(leaf.nbytes for leaf in leaves) / 4)
        self._runner.choose_threads(of_largest_batch)
        return total

    def _tried(self, few: Any, outputs: Any, targets: Any) -> bool:
        """Try the measures on a few examples; whether the network itself is walked from now on, as they read it.

        Raises:
            MeasureError: they cannot be measured, or not repeated.
        """
        few_of, apart = (self.measures, outputs, targets), self._runner.random_state_kept
        values, read = self._runner.read_by_measures(
            lambda: tried.check_repeatable(*few_of, apart), self.measures, (few, outputs, targets)
        )
        acting, known = tried.by_batch(*few_of, values, apart)
        self.acting |= dict.fromkeys(acting)
        self._by_example &= known and not acting
        return read
