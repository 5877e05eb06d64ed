"""A network as a point: its parameters and buffers by name.

A `State` is a snapshot: nothing done to it reaches the network that it came from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from linescape.errors import StateError, abbreviate, suggest
from linescape.geometry.left_out import Scalar, unsaved
from linescape.geometry.mismatch import check_alike

_HALF = (torch.float16, torch.bfloat16)
_CHUNK = 1 << 15
"""Elements per chunk where a temporary as large as a tensor might not fit: few enough for the cache and one thread."""


@dataclass(frozen=True, eq=False)
class State(Mapping[str, Tensor]):
    """A network's parameters and buffers by name; as a mapping, first all parameters, then all buffers.

    A tensor that the network uses under several names (tied weights) is stored once, under its first
    name; `tied` maps each further name to that one. What the network does not save, such as buffers with
    ``persistent=False``, is no part of the point; `unsaved` has it where the state is of a network, for comparison, and
    is None where it is of a state dict.
    """

    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    unsaved: Mapping[str, Tensor | Scalar] | None = None

    @classmethod
    def from_module(cls, module: nn.Module, copy: bool = True) -> State:
        """A copy of a module's present state, on the module's device; without `copy` its own tensors."""
        state = cls.from_state_dict(module, dict(module.state_dict(keep_vars=False)), copy)
        others = unsaved(module)
        if copy:
            others = {
                name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in others.items()
            }
        return replace(state, unsaved=others)

    @classmethod
    def from_state_dict(cls, module: nn.Module, tensors: Mapping[str, Tensor], copy: bool = True) -> State:
        """`tensors` (a state dict), sorted into parameters, buffers and ties as in `module`.

        The module gives names and roles only; its values are not read.

        Args:
            module: any network.
            tensors: by name.
            copy: whether to copy them; otherwise they must not be written to elsewhere.

        Raises:
            StateError: names or shapes are not the module's, or tensors that the module ties differ.
        """
        expected = module.state_dict(keep_vars=True)
        tied = tied_names(module)
        tensors = with_tied_names(tensors, tied)
        check_alike(expected, tensors, "the network", "the state dict")
        parameters: dict[str, Tensor] = {}
        buffers: dict[str, Tensor] = {}
        for name, slot in expected.items():
            if name in tied:
                owner = tied[name]
                if not identical(tensors[name], tensors[owner]):
                    raise StateError(
                        f"{name!r} and {owner!r} are one tensor in the network (tied weights) but differ in the "
                        "state dict, so no network has this state. Save it from a network that ties them, or "
                        "untie them in the model."
                    )
                continue
            role = parameters if isinstance(slot, nn.Parameter) else buffers
            role[name] = tensors[name].detach().clone() if copy else tensors[name].detach()
        return cls(parameters, buffers, tied)

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
        """Write this state into a module.

        Raises:
            StateError: names or shapes are not the module's.
        """
        self.check_fits(module)
        module.load_state_dict(self.state_dict())

    def check_fits(self, module: nn.Module) -> None:
        """Raise `StateError` naming the tensors by which this state and a module's differ in name or shape."""
        check_alike(module.state_dict(), self.state_dict(), "the network", "the state")

    def replace(self, tensors: Mapping[str, Tensor]) -> State:
        """This state with some tensors replaced, by their first names; unknown names raise `StateError`."""
        for name in tensors:
            if name not in self:
                raise StateError(f"The state has no tensor {name!r}. {suggest(name, self)}")
        return State(
            {name: tensors.get(name, value) for name, value in self.parameters.items()},
            {name: tensors.get(name, value) for name, value in self.buffers.items()},
            self.tied,
            self.unsaved,
        )

    def to(self, device: torch.device | str) -> State:
        """This state on a device."""
        return self.replace({name: value.to(device) for name, value in self.items()})


def tied_names(module: nn.Module) -> dict[str, str]:
    """Tensors that a network uses under several names (tied weights): each further name -> the first one."""
    first: dict[int, str] = {}
    named = [(name, first.setdefault(id(slot), name)) for name, slot in module.state_dict(keep_vars=True).items()]
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


def lerp(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    """``(1 - alpha) * start + alpha * end``, bit-exact at both ends and wherever start equals end.

    Source: Goodfellow, Vinyals & Saxe 2015 (arXiv 1412.6544), section 3. `alpha` may leave [0, 1].
    Half precision is computed in float32 and rounded once. Integer and boolean tensors do not
    move: they are the start's at alpha = 0, else the end's. NaN and infinity pass through.
    """
    if alpha == 0.0:
        return start.clone()
    if alpha == 1.0 or not end.dtype.is_floating_point:
        return end.clone()
    return torch.lerp(start, end, alpha)  # half precision is widened and rounded inside; a test holds this


def check_pair(start: State, end: State) -> None:
    """Raise `StateError` naming the tensors by which two states differ in name, shape, dtype or role."""
    dtypes = check_alike(start, end, "the start", "the end").dtypes
    if dtypes:
        name, (first, last) = next(iter(dtypes.items()))
        raise StateError(
            f"{name!r} is {first} at the start and {last} at the end, so it is unclear which precision the line has. "
            "Convert one of the two networks."
        )
    if dict(start.tied) != dict(end.tied):
        raise StateError(
            f"The start ties {dict(start.tied)} and the end ties {dict(end.tied)}: they are states of different "
            "networks. Load both into the same model."
        )


def identical(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors have the same shape and values, where NaN counts as equal to NaN."""
    if left is right or torch.equal(left, right):
        return True
    comparable = left.shape == right.shape and (left.is_floating_point() or left.is_complex())
    return comparable and torch.allclose(left, right, rtol=0.0, atol=0.0, equal_nan=True)


def is_finite(value: Tensor) -> bool:
    """Whether a tensor contains neither NaN nor infinity; takes no memory, and little time."""
    if not value.dtype.is_floating_point or not value.numel():
        return True
    return all(bool(extreme.isfinite()) for extreme in torch.aminmax(value))  # NaN is both


def check_finite(state: State, what: str) -> None:
    """Raise `StateError` naming the tensors of a state that hold NaN or infinity."""
    bad = {
        name: sum(int((~torch.isfinite(chunk)).sum()) for (chunk,) in _chunks(value))
        for name, value in state.items()
        if not is_finite(value)
    }
    if bad:
        listed = abbreviate([f"{name} ({count})" for name, count in bad.items()])
        raise StateError(
            f"{what} holds NaN or infinity in {len(bad)} of {len(state)} tensors: {listed}. Every point of a line "
            "from or to it would be NaN. Its training has diverged or its file is damaged: use an earlier checkpoint."
        )


def difference(end: State, start: State) -> State:
    """``end - start``: the direction of the line. Integer tensors are zero. Half precision gives float32.

    Raises:
        StateError: the states do not fit together.
    """
    check_pair(start, end)
    return end.replace({name: _subtract(end[name], start[name]) for name in end})


def norm(state: State) -> float:
    """The Euclidean norm of all parameters together, summed in float64. Buffers do not count.

    Running statistics of BatchNorm are measurements of the data, not weights (so Lucas et al. 2021,
    arXiv 2104.11044). An empty state has norm 0; NaN gives NaN.
    """
    return _norm(chunk for value in state.parameters.values() for (chunk,) in _chunks(value))


def distance(start: State, end: State) -> float:
    """``||end - start||``, over parameters only, in float64: how far a network has moved."""
    return distances(start, end)["all"].total


@dataclass(frozen=True)
class Distance:
    """How far a group of parameters lies from its start.

    Attributes:
        total: Euclidean distance.
        relative: ``total / ||start||`` (Lucas et al. 2021); infinite from a zero start, NaN if both are zero.
        per_parameter: ``total / sqrt(count)``, the root mean square change of one parameter; NaN for none.
        count: number of parameters.
    """

    total: float
    relative: float
    per_parameter: float
    count: int


def distances(start: State, end: State, groups: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, Distance]:
    """The distance from start to end of all parameters (key ``all``) and of each group.

    Raises:
        StateError: the states do not fit together.
    """
    check_pair(start, end)
    result = {}
    for group, names in {"all": tuple(start.parameters), **(groups or {})}.items():
        parameters = [name for name in names if name in start.parameters]
        total = _norm(_subtract(*chunks) for name in parameters for chunks in _chunks(end[name], start[name]))
        base = _norm(chunk for name in parameters for (chunk,) in _chunks(start[name]))
        count = sum(start[name].numel() for name in parameters)
        result[group] = Distance(
            total=total,
            relative=total / base if base else (math.inf if total else math.nan),
            per_parameter=total / math.sqrt(count) if count else math.nan,
            count=count,
        )
    return result


def _subtract(end: Tensor, start: Tensor) -> Tensor:
    if not end.dtype.is_floating_point:
        return torch.zeros_like(end)
    return end.float() - start.float() if end.dtype in _HALF else end - start


def _norm(tensors: Iterator[Tensor]) -> float:
    return math.sqrt(sum(float(value.detach().double().square().sum()) for value in tensors))


def _chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of one shape in chunks, so that temporaries stay small."""
    return zip(*(torch.split(tensor.detach().reshape(-1), _CHUNK) for tensor in tensors), strict=True)
