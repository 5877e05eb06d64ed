"""A network as a point: its parameters and buffers by name.

A `State` is a snapshot: nothing done to it reaches the network that it came from.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from linescape import presentation
from linescape.errors import StateError, abbreviate, check_type, first_line, suggest
from linescape.geometry.left_out import Scalar, unsaved
from linescape.geometry.mismatch import check_alike, with_counters
from linescape.geometry.tensors import alike, chunks, described, identical, is_plain, real, subtract, widened
from linescape.geometry.tensors import is_finite as is_finite
from linescape.geometry.tensors import lerp as lerp
from linescape.geometry.tensors import norm as norm_of

_EXTRA = "_extra_state"
"""The last part of the name under which `torch.nn.Module.get_extra_state` is saved."""


@dataclass(frozen=True, eq=False)
class State(Mapping[str, Tensor]):
    """A network's parameters and buffers by name; as a mapping, first all parameters, then all buffers.

    A tensor that the network uses under several names (tied weights) is stored once, under its first
    name; `tied` maps each further name to that one.

    `opaque` has what else the network's state dict holds: what modules save besides tensors (``_extra_state``), and
    sparse, quantised or wrapped tensors. It cannot be interpolated, so it must be the same at both ends of a line and
    in the network that is walked. What the network does not save, such as buffers with ``persistent=False``, is no part
    of the point; `unsaved` has it where the state is of a network, for comparison, and is None where it is of a state
    dict.
    """

    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    opaque: Mapping[str, object] = field(default_factory=dict)
    unsaved: Mapping[str, Tensor | Scalar] | None = None

    @classmethod
    def from_module(cls, module: nn.Module, copy: bool = True) -> State:
        """A copy of a module's present state, on the module's device; without `copy` its own tensors.

        Raises:
            StateError: it is no module, its own ``state_dict`` does not give its tensors, or they are not initialised
                yet.
        """
        check_module(module)
        try:
            tensors = dict(module.state_dict(keep_vars=True))
        except TypeError as error:
            raise StateError(
                f"The state dict of the network, a {type(module).__name__}, cannot be asked for ({first_line(error)}). "
                "Let its `state_dict` take what that of `nn.Module` takes, or give the network inside of it."
            ) from error
        state = cls.from_state_dict(module, tensors, copy)
        others = unsaved(module)
        if copy:
            others = {
                name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in others.items()
            }
        return replace(state, unsaved=others)

    @classmethod
    def from_state_dict(cls, module: nn.Module, tensors: Mapping[str, object], copy: bool = True) -> State:
        """`tensors` (a state dict), sorted into parameters, buffers, ties and what is opaque as in `module`.

        The module gives names and roles only; its values are not read. BatchNorm's ``num_batches_tracked``, which old
        checkpoints lack, is 0 where it is missing.

        Args:
            module: any network.
            tensors: by name; what is opaque may be missing.
            copy: whether to copy them; otherwise they must not be written to elsewhere.

        Raises:
            StateError: names or shapes are not the module's, tensors that the module ties differ, or the module has
                parameters that are not initialised yet.
        """
        check_module(module)
        if not isinstance(tensors, Mapping):
            raise StateError(
                f"The state dict is a {type(tensors).__name__}. Give what module.state_dict() or torch.load returned."
            )
        slots, opaque_slots = split(module.state_dict(keep_vars=True), "The network")
        tied = tied_names(module)
        given, opaque = split(tensors, "The state dict")
        given = with_counters(with_tied_names(given, tied), slots)
        for name in (*given, *opaque):
            if (name in given and name in opaque_slots) or (name in opaque and name in slots):
                found, wanted = (
                    described(value) if not is_plain(value) else "a plain tensor"
                    for value in (tensors[name], {**slots, **opaque_slots}[name])
                )
                raise StateError(
                    f"{name!r} is {found} in the state dict and {wanted} in the network, so one is not a state of the "
                    "other. Load it with the model that made it."
                )
        unknown = {name: torch.empty(0) for name in opaque if name not in opaque_slots}
        check_alike(slots, {**given, **unknown}, "the network", "the state dict")
        parameters: dict[str, Tensor] = {}
        buffers: dict[str, Tensor] = {}
        for name, slot in slots.items():
            if name in tied:
                owner = tied[name]
                if not identical(given[name], given[owner]):
                    raise StateError(
                        f"{name!r} and {owner!r} are one tensor in the network (tied weights) but differ in the "
                        "state dict, so no network has this state. Save it from a network that ties them, or "
                        "untie them in the model."
                    )
                continue
            role = parameters if isinstance(slot, nn.Parameter) else buffers
            role[name] = given[name].detach().clone() if copy else given[name].detach()
        return cls(parameters, buffers, tied, copied(opaque) if copy else opaque)

    def __repr__(self) -> str:
        count = sum(value.numel() for value in self.parameters.values())
        kinds = dict.fromkeys(f"{value.dtype} on {value.device}".removeprefix("torch.") for value in self.values())
        return f"State({len(self)} tensors, {count:,} parameters: {abbreviate(list(kinds))})"

    def _repr_html_(self) -> str:
        html: str = presentation.report("notebook").of_state(self)
        return html

    def __getitem__(self, name: str) -> Tensor:
        name = self.tied.get(name, name)
        return self.parameters[name] if name in self.parameters else self.buffers[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.parameters
        yield from self.buffers

    def __len__(self) -> int:
        return len(self.parameters) + len(self.buffers)

    def state_dict(self) -> dict[str, Tensor]:
        """A plain state dict, tied names included, as `module.load_state_dict` takes it (tensors shared)."""
        return {**self, **{name: self[owner] for name, owner in self.tied.items()}}

    def load_into(self, module: nn.Module) -> None:
        """Write this state into a module, what is opaque too.

        Raises:
            StateError: names or shapes are not the module's, or it does not take what is opaque.
        """
        self._check_tensors(module)
        # Into the module's own, which has the versions of its layers, and what is opaque where a file leaves that out.
        entries = module.state_dict()
        entries.update({**self.state_dict(), **copied(self.opaque)})
        try:
            module.load_state_dict(entries)
        except Exception as error:  # whatever `set_extra_state` raises
            raise StateError(
                f"{type(module).__name__} does not load this state: {first_line(error)}. Build the network as the one "
                "that the state is of."
            ) from error

    def check_fits(self, module: nn.Module) -> None:
        """Raise `StateError` naming what keeps a path of such states from being written into a module.

        That is tensors that differ in name or shape, and what is opaque and differs, as it is not written.
        """
        opaque = self._check_tensors(module)
        differ = [name for name, value in self.opaque.items() if not alike(value, opaque[name])]
        if differ:
            raise StateError(
                f"The network has other values than the state in {_kinds(differ, self.opaque)}. These are not "
                "interpolated, so all networks on a line must have the same. Measure with the network of one of its "
                "ends."
            )

    def _check_tensors(self, module: nn.Module) -> dict[str, object]:
        """Raise `StateError` if tensors differ in name or shape; returns what is opaque in the module."""
        slots, opaque = split(module.state_dict(), "The network")
        unknown = {name: torch.empty(0) for name in self.opaque if name not in opaque}
        check_alike(slots, {**self.state_dict(), **unknown}, "the network", "the state")
        return opaque

    def replace(self, tensors: Mapping[str, Tensor]) -> State:
        """This state with some tensors replaced, by their first names; unknown names raise `StateError`."""
        for name in tensors:
            if name not in self:
                raise StateError(f"The state has no tensor {name!r}. {suggest(name, self)}")
        return replace(
            self,
            parameters={name: tensors.get(name, value) for name, value in self.parameters.items()},
            buffers={name: tensors.get(name, value) for name, value in self.buffers.items()},
        )

    def to(self, device: torch.device | str) -> State:
        """This state on a device.

        Raises:
            StateError: tensors are on the device ``meta``, so they have no values.
        """
        check_has_values("The network", self)
        return self.replace({name: value.to(device) for name, value in self.items()})


def check_module(module: object) -> None:
    """Raise `StateError` if something is no module."""
    if not isinstance(module, nn.Module):
        raise StateError(
            f"The network is a {type(module).__name__}, not a torch.nn.Module. Give the module; a state dict is read "
            "by State.from_state_dict(module, tensors), a file by linescape.checkpoints.read(path).into(module)."
        )


def split(entries: Mapping[str, object], what: str) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The plain tensors of a state dict, and what is opaque in it.

    Raises:
        StateError: parameters are not initialised yet; `what` is what the message calls the state dict.
    """
    tensors: dict[str, Tensor] = {}
    opaque: dict[str, object] = {}
    for name, value in entries.items():
        # What a module saves besides its tensors is made anew at each call, so writing to it would change nothing.
        if isinstance(value, Tensor) and is_plain(value) and name.rpartition(".")[2] != _EXTRA:
            tensors[name] = value
        else:
            opaque[name] = value
    if lazy := [name for name, value in tensors.items() if is_lazy(value)]:
        raise StateError(
            f"{what} has parameters that are not initialised yet ({abbreviate(lazy)}): those of lazy modules have no "
            "shape before the first call. Call the network once with a batch."
        )
    return tensors, opaque


def copied(opaque: Mapping[str, object]) -> dict[str, object]:
    """A copy of what is opaque in a state dict; what cannot be copied raises `StateError`."""
    try:
        return {name: deepcopy(value) for name, value in opaque.items()}
    except Exception as error:  # whatever copying a user's object raises
        raise StateError(
            f"What the network saves besides its tensors ({abbreviate(list(opaque))}) cannot be copied: "
            f"{first_line(error)}. Leave it out of the state dict."
        ) from error


def _kinds(names: Collection[str], opaque: Mapping[str, object]) -> str:
    return abbreviate([f"{name} ({described(opaque[name])})" for name in names])


def tied_names(module: nn.Module) -> dict[str, str]:
    """Tensors that a network uses under several names (tied weights): each further name -> the first one."""
    first: dict[int, str] = {}
    slots, _ = split(module.state_dict(keep_vars=True), "The network")
    named = [(name, first.setdefault(id(slot), name)) for name, slot in slots.items()]
    return {name: owner for name, owner in named if owner != name}


def with_tied_names(tensors: Mapping[str, Tensor], tied: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors under all names of tied weights; a file may have only one of them (as Hugging Face's safetensors do)."""
    complete = dict(tensors)
    for name, owner in tied.items():
        if name in complete:
            complete.setdefault(owner, complete[name])
    for name, owner in tied.items():
        if owner in complete:
            complete.setdefault(name, complete[owner])
    return complete


def check_pair(start: State, end: State) -> None:
    """Raise `StateError` naming the tensors by which two states differ in name, shape, type, role or opaque parts."""
    for which, state in (("start", start), ("end", end)):
        check_type(state, State, f"The {which}", "Give a State: State.from_module(network), for example.")
    dtypes = check_alike(start, end, "the start", "the end").dtypes
    if dtypes:
        name, (first, last) = next(iter(dtypes.items()))
        raise StateError(
            f"{name!r} is {first} at the start and {last} at the end, so it is unclear which precision the line has. "
            "Convert one of the two networks."
        )
    devices = {name: (start[name].device, value.device) for name, value in end.items()}
    check_has_values("The start", start)
    check_has_values("The end", end)
    if apart := [f"{name} ({first} and {last})" for name, (first, last) in devices.items() if first != last]:
        raise StateError(
            f"The start and the end are on different devices: {abbreviate(apart)}. Put both on one: state.to(...)."
        )
    if dict(start.tied) != dict(end.tied):
        raise StateError(
            f"The start ties {dict(start.tied)} and the end ties {dict(end.tied)}: they are states of different "
            "networks. Load both into the same model."
        )
    both = [name for name in start.opaque if name in end.opaque]
    if differ := [name for name in both if not alike(start.opaque[name], end.opaque[name])]:
        raise StateError(
            f"The start and the end differ in {_kinds(differ, end.opaque)}, which cannot be interpolated: there is no "
            "network between them. Convert sparse and quantised tensors to plain ones, or give both networks the same."
        )


def check_has_values(what: str, state: State) -> None:
    """Raise `StateError` naming the tensors of a state on the device ``meta``; `what` is what a message calls it."""
    if without := [name for name, value in state.items() if value.is_meta]:
        raise StateError(
            f"{what} has tensors on the device 'meta' ({abbreviate(without)}), so they have no values. Load a "
            "checkpoint into the network first, by load_state_dict(..., assign=True) or from_pretrained."
        )


def check_finite(state: State, what: str, names: Collection[str] | None = None) -> None:
    """Raise `StateError` naming the tensors of a state that hold NaN or infinity.

    Args:
        state: of a network.
        what: what a message calls it.
        names: the tensors to look at; all by default.
    """
    chosen = {name: state[name] for name in (state if names is None else names)}
    bad = {
        name: sum(int((~torch.isfinite(real(chunk))).sum()) for (chunk,) in chunks(value))
        for name, value in chosen.items()
        if not is_finite(value)
    }
    if bad:
        listed = abbreviate([f"{name} ({count})" for name, count in bad.items()])
        raise StateError(
            f"{what} holds NaN or infinity in {len(bad)} of {len(state)} tensors: {listed}. Every point of a line "
            "from or to it would be NaN. Its training has diverged or its file is damaged: use an earlier checkpoint. "
            "(Infinities are no problem in a tensor that is equal at both ends, such as a mask.)"
        )


def negative_variances(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of running variances (``running_var``, as of BatchNorm) below zero, as alpha outside [0, 1] can make them.

    No network has such a state: a layer divides by the square root, so that its outputs are NaN.
    """
    return [
        name
        for name, value in tensors.items()
        if name.rpartition(".")[2] == "running_var" and value.dtype.is_floating_point and bool((value < 0).any())
    ]


def difference(end: State, start: State) -> State:
    """``end - start``: the direction of the line. Integers, and what is equal in both, are zero. Half gives float32.

    Raises:
        StateError: the states do not fit together.
    """
    check_pair(start, end)
    return end.replace(
        {
            name: torch.zeros_like(widened(value)) if identical(start[name], value) else subtract(value, start[name])
            for name, value in end.items()
        }
    )


def norm(state: State) -> float:
    """The Euclidean norm of all parameters together, summed in float64. Buffers do not count.

    Of a complex parameter, |z|^2 counts.

    Running statistics of BatchNorm are measurements of the data, not weights (so Lucas et al. 2021,
    arXiv 2104.11044). An empty state has norm 0; NaN gives NaN.
    """
    check_type(state, State, "What has a norm", "Give a State: State.from_module(network), for example.")
    return norm_of(chunk for value in state.parameters.values() for (chunk,) in chunks(value))


def distance(start: State, end: State) -> float:
    """``||end - start||``, over parameters only, in float64: how far a network has moved."""
    return distances(start, end)["all"].total


@dataclass(frozen=True)
class Distance:
    """How far a group of parameters lies from its start.

    Attributes:
        total: Euclidean distance.
        relative: ``total / ||start||`` (Lucas et al. 2021); infinite from a zero start, NaN if both are zero
            or the start is infinite.
        per_parameter: ``total / sqrt(count)``, the root mean square change of one parameter; NaN for none.
        count: number of parameters.
    """

    total: float
    relative: float
    per_parameter: float
    count: int

    @classmethod
    def of(cls, total: float, base: float, count: int) -> Distance:
        """The distance `total` of `count` parameters whose start has the norm `base`."""
        relative = math.nan if math.isinf(base) or not (base or total) else total / base if base else math.inf
        return cls(total, relative, total / math.sqrt(count) if count else math.nan, count)


def distances(start: State, end: State, groups: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, Distance]:
    """The distance from start to end of all parameters (key ``all``) and of each group.

    Raises:
        StateError: the states do not fit together.
    """
    check_pair(start, end)
    result = {}
    for group, names in {"all": tuple(start.parameters), **(groups or {})}.items():
        parameters = [name for name in names if name in start.parameters]
        differ = [name for name in parameters if not identical(start[name], end[name])]  # infinity - infinity is NaN
        total = norm_of(subtract(*both) for name in differ for both in chunks(end[name], start[name]))
        base = norm_of(chunk for name in parameters for (chunk,) in chunks(start[name]))
        count = sum(start[name].numel() for name in parameters)
        result[group] = Distance.of(total, base, count)
    return result
