"""Forward passes of one network, on a private copy: by plain calls, or by the engine along a path."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from numbers import Real
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from linescape.engine import Fast, Worth, operations, processors, threads
from linescape.engine.fast import LIGHT
from linescape.engine.memory import give_back
from linescape.engine.products import bfloat16_products
from linescape.engine.settings import settings_of
from linescape.errors import DataError, LinescapeError, MeasureError, abbreviate, check_type, first_line
from linescape.evaluation import batchnorm, own_loss
from linescape.evaluation.batches import described, first_with_examples, head, map_tensors, to_device
from linescape.evaluation.copies.copying import renewed
from linescape.evaluation.copies.observing import drawing_layers, generators, random_state_kept, seed
from linescape.evaluation.copies.working_copy import WorkingCopy, same_outputs
from linescape.evaluation.forward import Forward, default_forward, default_targets, remarks
from linescape.geometry.merged import Merged
from linescape.geometry.packed import moving_products
from linescape.geometry.paths import Path
from linescape.geometry.state import State
from linescape.geometry.tensors import is_continuous

Precision = Literal["bfloat16"]
_T = TypeVar("_T")

_FEW = 32
"""Examples by which the engine decides how it computes."""

_SEEDS = 8
"""Calls by which a network that draws random numbers is found to be random."""


class Runner:
    """Calls one network with batches.

    Args:
        model: any network; a private copy in eval mode is called, on the model's device.
        forward: (model, batch) -> (outputs, targets).
        precision: what the engine computes in where that is not slower; None is the network's own type.
        memory: bytes that the engine may take besides the copy.
        copy: whether a copy is made; otherwise the network itself is written to.

    Attributes:
        engine: stands in for the copy along a path.
        precision: what the engine computes in; None is the network's own type.
        device: of the copy.
        dtype: of its first tensor of numbers that are not whole, else of its first.
        statistics: names of BatchNorm's running statistics.
        threads: on the CPU, how many are used; None until `choose_threads`, and on a GPU.
    """

    def __init__(
        self, model: nn.Module, forward: Forward, precision: Precision | None, memory: float, copy: bool
    ) -> None:
        check_type(model, nn.Module, "The network", "Give a torch module; states and checkpoints are measured with it.")
        check_type(memory, Real, "memory", "Give a number of bytes.")
        if precision not in (None, *get_args(Precision)):
            raise MeasureError(f"There is no precision {precision!r}. Use 'bfloat16', or None for the network's own.")
        State.from_module(model, copy=False)  # a network without a state, as before its first call, is refused
        self.forward, self._memory = forward, memory
        self.threads: int | None = None
        self._copy = WorkingCopy(model, copy)
        self.precision, self._asked = precision, precision
        self._differentiates = False
        self._takes_fewer = True
        self._set_up()

    def _set_up(self) -> None:
        tensors = [value for value in self.model.state_dict().values() if isinstance(value, Tensor)]
        first = next(iter(tensors), torch.zeros(()))
        self.device = first.device
        weights = sum(value.numel() * value.element_size() for value in tensors)
        if self.device.type == "cpu" and weights > max(self._memory, LIGHT):
            give_back()
        self.dtype = next((value.dtype for value in tensors if is_continuous(value.dtype)), first.dtype)
        self.precision = self._asked if processors.multiplies_bfloat16(self.device) else None
        dtype, own = torch.bfloat16 if self.precision else None, self.forward is not default_forward
        self.engine = Fast(self.model, dtype, self._memory, has_own_code=own)
        self.statistics = batchnorm.statistics(self.model)
        halves = any(value.dtype == torch.bfloat16 for value in tensors)
        self._products = bfloat16_products(self.device) if halves else nullcontext()

    @property
    def model(self) -> nn.Module:
        """The copy, or the network itself where it is walked."""
        return self._copy.network

    def check_fits(self, state: State) -> None:
        """Raise `StateError` if a state is not one of this network."""
        state.check_fits(self._copy.as_given)

    @property
    def may_use_engine(self) -> bool:
        """Whether the engine may stand in for the network.

        Raises:
            MeasureError: it may not, and only the engine computes in the precision that was asked for.
        """
        obstacles = {
            "differentiates when it is called": self._differentiates,
            "needs a new copy at each position": self._copy.makes_new,
            "has to be walked itself": self._copy.in_place,  # and may compute something whenever it is loaded
        }
        reason = next((reason for reason, holds in obstacles.items() if holds), None)
        if reason and self.precision:
            raise MeasureError(f"The network {reason}, which cannot be done in {self.precision}. Leave out precision.")
        return reason is None

    def lent(self) -> AbstractContextManager[None]:
        """While measuring, where the caller's own network is walked: it is put back to the bit at the end.

        Raises:
            MeasureError: eval mode changes its weights, so that no state can be loaded into it.
        """
        return self._copy.lent()

    def load(self, state: State) -> None:
        """Make a new copy, as given, loaded with a state and then put into eval mode, for plain calls.

        Raises:
            StateError: the state is not one of this network.
            RecipeError: it is no state.
        """
        check_type(state, State, "What is to be measured", "Give a State: State.from_module(network), for example.")
        model = self.model
        self._copy.load(state)
        own_loss.inherit(self._copy.called, model)

    def load_anew(self, path: Path, alpha: float) -> None:
        """As `load` with the state at a position, which is never in memory as a whole.

        Raises:
            StateError: a tensor of the network cannot be written to.
        """
        model = self.model
        self._copy.load_anew(path, alpha)
        own_loss.inherit(self._copy.called, model)

    def compare_copies(self, path: Path, batches: Sequence[Any]) -> None:
        """Compare the working copy with new ones on a path, by batches of a few examples each.

        Raises:
            MeasureError: new copies read what earlier calls computed of other weights.
        """
        self._copy.compare(path, lambda: self._outputs(batches))

    def check_loaded(self, batches: Sequence[Any]) -> None:
        """See that the copy that `load` made does not read what earlier calls computed, by a few examples.

        Raises:
            MeasureError: it does.
        """
        self._copy.check(lambda: self._outputs(batches))

    def _outputs(self, batches: Sequence[Any]) -> list[Any]:
        with torch.no_grad(), self.random_state_kept(), self.using_threads():
            return [self.call(batch)[0] for batch in batches]

    def notes_on(self, path: Path) -> list[str]:
        """What a reader of a walk along this path should know, in words."""
        notes = [*self._copy.notes_on(path), *self.engine.notes]
        if self.precision != self._asked:
            own = str(self.dtype).removeprefix("torch.")
            notes.append(
                f"The walk was computed in {own}, not in {self._asked} as asked: this processor has no instructions "
                f"for {self._asked}, in which it would take longer."
            )
        if torch.is_autocast_enabled(self.device.type):
            dtype = str(torch.get_autocast_dtype(self.device.type)).removeprefix("torch.")
            notes.append(f"The walk was inside the caller's torch.autocast, which computes in {dtype} where it can.")
        if not isinstance(path, Merged) and (products := moving_products(path.template, path.moving)):
            notes.append(
                f"Factors of adapters were interpolated, not merged weights: {abbreviate(products, 3)}. A product of "
                "means is not the mean of products. `Merged`, or `probe --merged`, has the line in merged weights."
            )
        return notes

    def start_path(self, path: Path, examples: int | None, worth: Worth) -> None:
        """A path is walked from now on.

        Args:
            path: whose tensors `load_position` writes.
            examples: that are measured at each position, if known.
            worth: which preparation the walk is worth.

        Raises:
            StateError: the path is not one of this network.
        """
        # A walk may go on, with other examples or positions.
        if self.engine.path is not path or worth.exceeds(self.engine.worth):
            ends = (lambda name, end: path.tensor(name, float(end == "end"))) if path.straight else None
            self.engine.start_path(path, path.moving, ends, examples, worth)
        self._copy.path = None

    def load_position(self, path: Path, alpha: float) -> None:
        """Write a path's position into the copy: everything the first time, then what moves."""
        model = self.model
        self._copy.load_position(path, alpha)
        own_loss.inherit(self.model, model)

    def release(self) -> None:
        """Let go of the path that was walked last, and of what the engine keeps for it."""
        self._copy.path = None
        self.engine.start_path(None, frozenset())

    @contextmanager
    def treated(
        self, treatment: str, ends: Mapping[str, Mapping[str, Tensor]], calibration_batches: Callable[[], Iterable[Any]]
    ) -> Iterator[None]:
        """Put a treatment of BatchNorm on the copy, see `linescape.evaluation.batchnorm`, and take it off again.

        Args:
            treatment: its name.
            ends: for ``start`` and ``end``, tensors by name that hold at least the running statistics.
            calibration_batches: gives those of ``recalibrate``; asked only if they are needed.

        Raises:
            StateError: with ``interpolate`` a running variance is below zero, as beyond the ends of a line.
        """

        def calibrate() -> None:
            with self.random_state_kept():
                for number, batch in enumerate(calibration_batches()):
                    with self.refusing(f"batch {number + 1} of the data that recalibrate BatchNorm", batch):
                        self.call(batch)

        path, alpha = self._copy.path, self._copy.alpha
        if treatment == "interpolate" and path is not None and not (path.straight and 0.0 <= alpha <= 1.0):
            batchnorm.check_variances({name: self._copy.tensors[name] for name in path.moving}, alpha)
        with batchnorm.treated(self.model, treatment, ends, calibrate):
            yield

    def treated_statistics(self, calibration_batches: Callable[[], Iterable[Any]]) -> dict[str, Tensor]:
        """The running statistics that ``recalibrate`` measures of the copy as it stands, by name, on the CPU."""
        with torch.no_grad(), self.treated("recalibrate", {}, calibration_batches):
            return {name: self._copy.tensors[name].to("cpu", copy=True) for name in sorted(self.statistics)}

    def update_engine(self, treatment: str) -> None:
        """Tell the engine that the copy holds another position, or is under another treatment of BatchNorm."""
        measured = self.statistics if treatment == "recalibrate" else frozenset()
        fixed = self.statistics if treatment in ("start", "end") else frozenset()
        self.engine.update(treatment, self._copy.alpha, also=measured, but=fixed)

    def warm_up(self, data: Iterable[Iterable[Any]]) -> None:
        """Let the engine decide how it computes, by a few examples of each data set."""
        with self.random_state_kept(), self.using_threads():
            for batches in data:
                if (first := first_with_examples(batches)) is not None:
                    self.call_engine(self.head(first, _FEW)[0])

    def is_changed_by(self, before: Any, batches: Iterable[Any]) -> bool:
        """Whether calls with these batches, after a first one, change what the network's code does.

        As a BigBird that is called with a short text has full attention from then on. A copy on the same memory is
        called, so that the network stays as it is.
        """
        copy = renewed(self.model)
        own_loss.inherit(copy, self.model)
        with torch.no_grad():
            self._forward(copy, self._own(before))
            settled = settings_of(copy), _buffers(copy)
            for batch in batches:
                self._forward(copy, self._own(batch))
        return settled != (settings_of(copy), _buffers(copy))

    def call(self, batch: Any) -> tuple[Any, Any]:
        """(outputs, targets) of a batch, by a plain call of the network."""
        return self._forward(self._copy.called, self._own(batch))

    def _forward(self, model: Any, batch: Any) -> tuple[Any, Any]:
        with self._products:
            return self.forward(model, batch)

    def _own(self, batch: Any) -> Any:
        """A copy of a batch on the network's device, which the network's code may write to."""
        return map_tensors(to_device(batch, self.device), torch.clone)

    def call_engine(self, batch: Any, key: object = None) -> tuple[Any, Any]:
        """(outputs, targets) of a batch by the engine, which may keep results for batches of the same key."""
        self.engine.set_batch(key)
        # The engine writes to no input. A copy would stay in memory where the engine keeps what it computed of it.
        default = self.forward is default_forward
        own = to_device(batch, self.device) if default else self._own(batch)
        outputs, targets = self._forward(self.engine.stand_in, own)
        return outputs, map_tensors(targets, torch.clone)  # which a measure may write to

    def targets(self, batch: Any) -> Any:
        """The targets of a batch; the network is called only where the user's own `forward` makes them."""
        if self.forward is default_forward:
            return default_targets(self.model, to_device(batch, self.device))
        with self.lent(), torch.no_grad(), self.random_state_kept():
            return self.call(batch)[1]

    def head(self, batch: Any, count: int) -> tuple[Any, float]:
        """As `linescape.evaluation.batches.head`; all of a batch where the user's own `forward` reads it, or where the
        network takes no fewer."""
        return head(batch, count) if self.forward is default_forward and self._takes_fewer else (batch, 1.0)

    def first_call(self, few: Any, share: float, batch: Any) -> tuple[Any, float, tuple[Any, Any, int]]:
        """`count_operations` of the first few examples of a batch, a fraction of it, which are returned before.

        All of the batch where the network fails on a few, as on some nodes of a graph, and then from now on.
        """
        try:
            return few, share, self.count_operations(few)
        except LinescapeError:
            raise
        except Exception as error:  # whatever the network's own code raises
            if share == 1.0:
                raise
            try:
                counted = self.count_operations(batch)
            except Exception:
                raise error from None
        self._takes_fewer = False
        return batch, 1.0, counted

    def count_operations(self, batch: Any) -> tuple[Any, Any, int]:
        """(outputs, targets) of a batch, and how many operations a plain call takes. What the call does is observed.

        Raises:
            MeasureError: outputs are random; or the network has to be walked itself and is gone.
        """
        if self.forward is default_forward:
            with self.random_state_kept():  # what labels mean is settled before operations are counted
                self.engine.notes |= dict.fromkeys(remarks(self.model, self._own(batch)))
        observer = self._copy.observer(batch)
        called: list[tuple[Any, Any]] = []
        with torch.no_grad(), self.random_state_kept():
            before = generators(self.device)
            with observer:
                count = operations(lambda: called.append(self._forward(self.model, self._own(batch))))
            drawn = observer.draws or before != generators(self.device)
        if self._copy.depends_on_given(observer):
            self._copy.walk_in_place("a copy of it reads tensors of the network that was given, by a function or hook")
            self._set_up()
            with self.lent():
                return self.count_operations(batch)
        self._copy.learn(observer)
        self._differentiates |= observer.differentiates
        if drawn:
            self._check_random(batch)
        return *called[0], count

    def read_by_measures(self, measure: Callable[[], _T], measures: Mapping[str, Any], given: Any) -> tuple[_T, bool]:
        """Let measures be computed, and observe what they read.

        Args:
            measure: computes them.
            measures: by name.
            given: what they are given, and what the network was given.

        Returns:
            What `measure` returns, and whether the network itself is walked from now on.

        Raises:
            MeasureError: the network has to be walked itself and is gone.
        """
        own = [of for of in measures.values() if isinstance(of, nn.Module)]  # of whose weights remarks tell
        observer = self._copy.observer((given, own))
        with torch.no_grad(), observer:
            found = measure()
        self._copy.learn_of_measures(observer)
        if not self._copy.depends_on_given(observer):
            return found, False
        self._copy.walk_in_place("a measure reads its weights")
        self._set_up()
        return found, True

    def _check_random(self, batch: Any) -> None:
        """Refuse a network whose outputs depend on the random numbers that it draws.

        Raises:
            MeasureError: they do.
        """

        def outputs(number: int) -> Any:
            seed(number)
            return self.call(batch)[0]

        with torch.no_grad(), self.random_state_kept():
            first = outputs(0)
            if not all(same_outputs(first, outputs(number)) for number in range(_SEEDS)):
                drawing = drawing_layers(self.model, lambda: self.call(batch), self.device)
                raise MeasureError(
                    f"The network is random in eval mode: it draws random numbers in {abbreviate(drawing)}, and calls "
                    "with the same examples gave different outputs, so positions could not be compared. Switch this "
                    "off in eval mode, such as by F.dropout(..., training=self.training)."
                )
        self._copy.notes["The network draws random numbers in eval mode; outputs of a few examples stayed."] = None

    @contextmanager
    def refusing(self, which: str, batch: Any) -> Iterator[None]:
        """Turn an error of the network's own code into one that says which examples, as text, it failed on.

        Raises:
            DataError: the network cannot be called with them.
        """
        try:
            yield
        except LinescapeError:
            raise
        except Exception as error:  # whatever the network's own code raises
            if hook := self._failing_hook(error):
                advice = f"This is an error in the hook {hook}: correct or remove it."
            elif "more than 1 value per channel" in str(error):
                advice = "BatchNorm needs two examples to compute a variance: choose batches that leave none of one."
            else:
                advice = "Give it the inputs that it was trained on: size, channels, type and order."
            raise DataError(
                f"The network, a {type(self.model).__name__}, cannot be called with {which} ({described(batch)}): "
                f"{first_line(error)}. {advice}"
            ) from error

    def _failing_hook(self, error: BaseException) -> str | None:
        """The hook of the network in which an error was raised, as text."""
        running = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
        for layer, module in self.model.named_modules():
            for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
                if getattr(hook, "__code__", getattr(type(hook).__call__, "__code__", None)) in running:
                    return f"{getattr(hook, '__qualname__', type(hook).__name__)} of the layer {layer!r}"
        return None

    def choose_threads(self, operations_per_call: float) -> None:
        """Choose the number of threads, for good, by the operations of a batch; on a GPU there is nothing to choose."""
        if self.threads is None and self.device.type == "cpu":
            self.threads = threads.suitable(operations_per_call)

    def using_threads(self) -> AbstractContextManager[None]:
        """The chosen number of threads."""
        return nullcontext() if self.threads is None else threads.using(self.threads)

    def random_state_kept(self) -> AbstractContextManager[None]:
        """Random numbers that are drawn inside leave the caller's generators as they were."""
        return random_state_kept(self.device)


def _buffers(network: nn.Module) -> list[tuple[str, int, int]]:
    """Which tensors the buffers of a network are, and how often they were written to."""
    return [(name, id(of), of._version) for name, of in network.named_buffers() if not of.is_inference()]
