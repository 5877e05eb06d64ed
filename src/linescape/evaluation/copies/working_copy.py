"""The private copy of a network that is given one state after another, and whether it answers as the network does.

A copy whose weights are replaced need not answer as the network would with them: `eval()` may change weights (a LoRA
that is merged), results may be kept from before, and functions may refer to the caller's network. So what a call reads
is observed, and the copy's outputs are compared with those of new copies, each of which is loaded and then put into
eval mode. Where they differ, a new copy is made at every position. Where copies do not depend on their own weights, or
there are none, the caller's network is walked itself and put back.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from linescape.errors import MeasureError, StateError, abbreviate, first_line
from linescape.evaluation.contents import memory_of
from linescape.evaluation.copies.copying import independent, refers_to, renewed
from linescape.evaluation.copies.lending import put_back
from linescape.evaluation.copies.observing import CallObserver, Result, addresses
from linescape.geometry.left_out import differing, unregistered, unsaved
from linescape.geometry.mismatch import is_counter
from linescape.geometry.paths import Path
from linescape.geometry.state import State
from linescape.geometry.tensors import identical, in_float64, is_continuous, real
from linescape.geometry.writing import Writer

COMPARED = (0.0, 0.5, 1.0)
"""Positions at which the copy is compared with new ones."""

_ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 0.01, torch.bfloat16: 0.05}
"""Largest difference between two calls of the same network, relative to the largest value: memory may lie otherwise."""

_UNREGISTERED, _GIVEN = "unregistered ", "given "
"""Before the names of tensors that the state dict does not hold, and of those of the network that was given."""


class WorkingCopy:
    """A network that is given one state after another.

    Args:
        model: the network as given, of which a copy is used.
        copy: whether a copy is made; otherwise the network itself is written to.

    Attributes:
        network: the copy, in eval mode.
        called: what is to be called: `network`, or a new copy that `load` made.
        tensors: of `network`, by name; tied ones under each name. Those that it has no more in eval mode are in the
            same memory as they were.
        alpha: the position on `path`.
        notes: what a reader of results should know of the network, in words.
        makes_new: whether each position gets a new copy.
        in_place: whether the network that was given is walked itself, and put back after each measurement.
    """

    def __init__(self, model: nn.Module, copy: bool) -> None:
        self.notes: dict[str, None] = {}
        self.makes_new = False
        self._given = weakref.ref(model)
        self._given_tensors = [(name, weakref.ref(tensor)) for name, tensor in _tensors(model)] if copy else []
        self._unsaved = unsaved(model)
        self._template: nn.Module | None = None  # as given, never called; it shares its tensors with the copy
        self.in_place = self._lent = False
        self._read: set[str] = set()
        self._results: dict[int, Result] = {}  # of calls, as far as something keeps them
        self._used: list[list[Tensor]] = []  # tensors of earlier copies, while what was computed of them is kept
        self._compared: frozenset[str] = frozenset()
        try:
            self._template = independent(model) if copy else renewed(model)
            network = renewed(self._template) if copy else model
            reason = ""
            if copy and not _addresses(model).isdisjoint(_addresses(network)):
                reason = "a copy of it shares tensors with it"
            elif copy and refers_to(network, model):
                reason = "a copy of it refers to it, by a function or a weak reference"
        except Exception as error:  # whatever a network's own parts raise
            self._template, network = None, model
            reason = f"it cannot be copied ({first_line(error)})" if copy else ""
        if reason:
            self.walk_in_place(reason)
        else:
            self._use(network.eval())

    def _use(self, network: nn.Module) -> None:
        self.network = self.called = network
        self.tensors: dict[str, Any] = {
            **self.as_given.state_dict(keep_vars=True),
            **network.state_dict(keep_vars=True),
        }
        self.path = None
        self.alpha = 0.0

    @property
    def path(self) -> Path | None:
        """On which `network` is; None where it holds something else."""
        return self._path

    @path.setter
    def path(self, path: Path | None) -> None:
        self._path = path
        if path is None:
            self._writer: Writer | None = None  # which holds both ends

    @property
    def as_given(self) -> nn.Module:
        """The copy that is never called; or `network`, where that is walked in place.

        A call may change the names of tensors, as of an AWD-LSTM's weights.
        """
        return self.network if self._template is None else self._template

    def walk_in_place(self, reason: str) -> None:
        """Use the network that was given, and put it back after each measurement.

        Raises:
            MeasureError: it does not exist any more.
        """
        given = self._given()
        if given is None:
            raise MeasureError(f"The network has to be walked itself, as {reason}, but it is gone. Keep it.")
        self.notes[f"The network itself was walked and then put back as it was: {reason}."] = None
        self._template, self.in_place = None, True
        self._use(given)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """While measuring, where the network that was given is walked itself: it is put back to the bit at the end.

        Raises:
            MeasureError: eval mode changes its weights, so that no state can be loaded into it.
        """
        if not self.in_place or self._lent:
            yield
            return
        try:
            with put_back(self.network):
                self._lent, self.path = True, None
                before = {name: tensor.detach().clone() for name, tensor in _tensors(self.network)}
                self.network.train().eval()
                changed = [name for name, tensor in _tensors(self.network) if not identical(tensor, before[name])]
                if changed:
                    raise MeasureError(
                        f"Train and eval mode change weights of the network ({abbreviate(changed)}), and it cannot be "
                        "walked on copies, so it is unknown which weights a position has. Turn them into plain "
                        "weights first (merge or unload adapters)."
                    )
                yield
        finally:
            self._lent, self.path = False, None
            torch.clear_autocast_cache()

    def load(self, state: State) -> None:
        """Make `called` a new copy of the network as given, loaded with a state and then put into eval mode.

        Raises:
            StateError: the state is not one of this network.
        """
        self.path = None
        self._results = {at: result for at, result in self._results.items() if result.is_kept()}
        if self._results:  # perhaps under the number of their tensor, `id`, which is that of another once this is gone
            self._used.append(list(self.called.parameters()))
        self.called = self.network.train() if self._template is None else renewed(self._template)
        state.load_into(self.called)
        self.called.eval()
        torch.clear_autocast_cache()  # of the weights as they were, which lasts as long as the caller's autocast

    def load_anew(self, path: Path, alpha: float) -> None:
        """As `load` with the state at a position, which is never in memory as a whole: the copies share theirs.

        Raises:
            StateError: a tensor of the network cannot be written to.
        """
        self.path = None
        for name in path.template:
            self._write(path, name, alpha)
        self.load(State.from_state_dict(self.as_given, self.tensors, copy=False))

    def load_position(self, path: Path, alpha: float) -> None:
        """Write a path's position into the copy: everything the first time, then what moves.

        Raises:
            StateError: a tensor of the network cannot be written to.
            MeasureError: torch keeps computed weights, so that those of this position would not be used.
        """
        if parametrize._cache_enabled:
            raise MeasureError(
                "The walk is inside torch.nn.utils.parametrize.cached(), which keeps the weights of one position for "
                "all others. Walk outside of it."
            )
        if self.makes_new or self.in_place:
            self.load_anew(path, alpha)
            self._use(self.called)
        else:
            self._write_all(path, alpha)
            self.called = self.network
            torch.clear_autocast_cache()
        self.path, self.alpha = path, alpha

    def _write_all(self, path: Path, alpha: float) -> None:
        if self.path is not path:
            self.path = None
            for name in path.template:
                self._write(path, name, alpha)
            self._writer = Writer(path, {name: self.tensors[name] for name in path.moving})
            return
        try:
            if self._writer is not None:
                with torch.no_grad():
                    self._writer(alpha)
                return
        except RuntimeError:  # one cannot be written to, which is then named, or not together with others
            self._writer = None
        for name in path.moving:
            self._write(path, name, alpha)

    def _write(self, path: Path, name: str, alpha: float) -> None:
        try:
            with torch.no_grad():
                path.write(name, alpha, self.tensors[name])
        except RuntimeError as error:
            raise StateError(
                f"{name!r} of the network cannot be written to ({first_line(error)}), so the network cannot take the "
                "states of the line. Make it a tensor with memory of its own (`contiguous()`)."
            ) from error

    def compare(self, path: Path, outputs: Callable[[], Any]) -> None:
        """Compare the copy with new ones at three positions of a path, unless this was done for the same tensors.

        Args:
            path: to be walked.
            outputs: calls `called` with a few examples.

        Raises:
            MeasureError: new copies read what earlier calls computed of other weights.
        """
        if path.moving <= self._compared:
            return
        self._compared |= path.moving
        types = {f"{value.dtype} and {self.tensors[name].dtype}": value for name, value in path.template.items()}
        apart = [both for both, value in types.items() if both != f"{value.dtype} and {value.dtype}"]
        if apart and self._template is not None:
            self._make_new(
                "the line and the network are of different types, so positions are rounded to the narrower "
                f"({abbreviate(apart)}). Convert one of them"
            )
        walked = []
        for alpha in () if self._template is None or self.makes_new else COMPARED:
            self.load_position(path, alpha)  # one after another, so that what the copy keeps from before shows
            walked.append(outputs())
        read: set[str] = set()
        for number, alpha in enumerate(COMPARED):
            self.load_anew(path, alpha)
            loaded = self.called.state_dict(keep_vars=True)
            if walked and not all(
                name in loaded and identical(loaded[name], path.tensor(name, alpha)) for name in path.template
            ):
                self._make_new("eval mode changes its weights")
                walked = []
            of_new, read_by_new = self._observed(outputs, path.moving)
            read |= read_by_new
            if walked and not same_outputs(walked[number], of_new):
                self._make_new("after another state it gives other outputs than a new copy")
                walked = []
        kept = sorted((path.moving & self._read) - read) if read and not self.makes_new else []
        if kept:
            self.notes[
                f"New copies of the network did not read {abbreviate(kept)}, which its first call read. What it "
                "computes of them may be kept outside of it, as by its class, and then is that of another position."
            ] = None
        del walked, of_new
        if self._is_kept_outside():
            gc.collect()  # of copies that hold themselves
            if self._is_kept_outside():
                self.notes[
                    "What the network computes of its weights is kept outside of it. New copies did not read it, but "
                    "it would be found if it is kept under the number of a tensor (`id`) that is gone: clear it "
                    "between lines."
                ] = None

    def _is_kept_outside(self) -> bool:
        """Whether anything but the copies holds what calls computed."""
        torch.clear_autocast_cache()
        own = _memory_of(self.network) | _memory_of(self.called)
        return any(result.is_kept() for address, result in self._results.items() if address not in own)

    def check(self, outputs: Callable[[], Any]) -> None:
        """See that `called`, a new copy that `load` made, does not read what earlier calls computed of weights.

        Raises:
            MeasureError: it does.
        """
        self._observed(outputs)

    def _observed(self, outputs: Callable[[], Any], moving: Collection[str] = ()) -> tuple[Any, set[str]]:
        """What `called` gives, and names of the tensors that it reads."""
        loaded = self.called.state_dict(keep_vars=True)
        observer = CallObserver({n: value for n, value in loaded.items() if isinstance(value, Tensor)}, self._results)
        with observer:
            found = outputs()
        self._results |= observer.results
        if names := observer.reread & {*dict(self.called.named_parameters()), *moving}:
            raise MeasureError(
                f"What the network computed of {abbreviate(sorted(names))} in one call is kept outside of it, as by "
                "its class or in a global dictionary, and read again with other weights, so positions cannot be told "
                "apart. Keep it in the network (self...), of which copies are made, or nowhere in eval mode."
            )
        return found, observer.read

    def _make_new(self, reason: str) -> None:
        self.notes[f"A new copy of the network was made at every position, which is slower: {reason}."] = None
        self.makes_new = True

    def observer(self, batch: Any) -> CallObserver:
        """What observes a call with a batch: the copy's tensors, those not in its state dict, the given network's."""
        given = () if self.in_place else self._given_tensors
        named = {
            **{name: tensor for name, tensor in self.tensors.items() if isinstance(tensor, Tensor)},
            **{f"{_UNREGISTERED}{name}": tensor for name, tensor in unregistered(self.network).items()},
            **{f"{_GIVEN}{name}": tensor for name, reference in given if (tensor := reference()) is not None},
        }
        return CallObserver(named, self._results, _memory_of(self.network).union(memory_of(batch)))

    def depends_on_given(self, observer: CallObserver) -> bool:
        """Whether a call of the copy read tensors of the network that was given."""
        return any(name.startswith(_GIVEN) for name in observer.read)

    def learn(self, observer: CallObserver) -> None:
        """Take note of what a call of the copy read and wrote."""
        self._read |= observer.read
        self._results |= observer.results
        foreign = {what for result in observer.foreign.values() if result.is_kept() for what in result.of}
        if foreign and not any(isinstance(layer, torch.jit.ScriptModule) for layer in self.network.modules()):
            self.notes[
                f"The network reads tensors that neither it nor the batch holds ({abbreviate(sorted(foreign))}), so "
                "these are the same at all positions. That is right for constants, not for what depends on weights."
            ] = None
        unheld = sorted(n.removeprefix(_UNREGISTERED) for n in observer.read if n.startswith(_UNREGISTERED))
        if unheld:
            self.notes[
                f"The network reads tensors that its state dict does not hold, so they stay as given: "
                f"{abbreviate(unheld)}. Register their modules (nn.ModuleList) to move them."
            ] = None
        if self._template is not None and self.network.state_dict().keys() != self.tensors.keys():
            self._make_new("eval mode or a call changes the names of its tensors")
        if written := sorted(observer.written & self.tensors.keys()):
            reason = f"it writes to its own tensors when it is called ({abbreviate(written)})"
            if self._template is not None:
                self._make_new(reason)
            else:
                self.notes[f"Results may depend on the order of calls: {reason}."] = None

    def learn_of_measures(self, observer: CallObserver) -> None:
        """Take note of what measures read besides outputs and targets."""
        foreign = {what for result in observer.foreign.values() if result.is_weight for what in result.of}
        if foreign:
            self.notes[
                f"A measure reads weights that are not those of the network that is walked "
                f"({abbreviate(sorted(foreign))}), so they are the same at all positions. If they are meant to move, "
                "let `forward` return what the measure needs of the network that it is given."
            ] = None

    def notes_on(self, path: Path) -> list[str]:
        """What a reader of a walk along this path should know, in words."""
        notes = list(self.notes)
        names = dict.fromkeys(path.unsaved)
        if path.template.unsaved is not None:
            names |= dict.fromkeys(differing(path.template.unsaved, self._unsaved))
        if names:
            notes.append(
                f"The networks differ in what their state dicts do not hold ({abbreviate(names)}). That does not move: "
                "it is as in the network that was given for measuring."
            )
        switches = sorted(
            name
            for name in path.moving & self._read
            if not is_continuous(path.template[name].dtype) and not is_counter(name)
        )
        if switches:
            notes.append(
                f"{abbreviate(switches)} are no numbers on a line (integers, or true and false): they are the start's "
                "at alpha = 0 and the end's at all other positions, so the curve may jump there."
            )
        if path.spectral:
            notes.append(
                "Between the ends, which keep their own, the singular vectors of spectral norm are those of the "
                "interpolated weight."
            )
        known = {name for name, value in path.template.items() if is_continuous(value.dtype)} - path.spectral
        unread = sorted(known - self._read) if self._read and not self.makes_new else []
        if unread:
            moving = sum(name in path.moving for name in unread)
            notes.append(
                f"No call with a few examples read {len(unread)} of the {len(known)} tensors, of which {moving} move "
                f"({abbreviate(unread)}), so the curve may not depend on them."
            )
        return notes


def same_outputs(left: Any, right: Any) -> bool:
    """Whether two calls gave the same numbers, each up to the rounding of a call that is repeated."""
    ones, others = list(_leaves(left)), list(_leaves(right))
    return len(ones) == len(others) and all(map(_same, ones, others))


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    tolerance = _ROUNDING.get(real(one).dtype, 0.0)
    sizes = real(other).abs().nan_to_num()
    # Relative to a common value too, as one near zero may be a difference of others. A few may be huge, as masks are.
    common = tolerance * float(in_float64(sizes).median()) if tolerance and sizes.numel() else 0.0
    return torch.allclose(real(one), real(other), tolerance, common, equal_nan=True)


def _leaves(outputs: Any) -> Iterator[Tensor]:
    for leaf in pytree.tree_leaves(outputs):
        if isinstance(leaf, Tensor):
            yield leaf
        elif hasattr(leaf, "__dict__"):
            yield from _leaves(vars(leaf))


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()
    yield from unregistered(network).items()


def _addresses(network: nn.Module) -> set[int]:
    return {address for _, tensor in _tensors(network) for address in addresses(tensor)}


def _memory_of(network: nn.Module) -> set[int]:
    """Where all tensors are that the attributes of a network's layers hold."""
    attributes = (item for layer in network.modules() for item in vars(layer).items())
    return {*memory_of([value for name, value in attributes if name != "_modules"])}
