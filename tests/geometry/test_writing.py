"""Positions that are written for many tensors at once, against those that are written one by one: to the bit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from linescape.engine.flops import DispatchObserver
from linescape.geometry import writing
from linescape.geometry.homogeneous import Homogeneous
from linescape.geometry.paths import Bend, Line, Only, Path, Ray
from linescape.geometry.slerp import Slerp
from linescape.geometry.state import State, difference
from linescape.geometry.writing import Writer

ALPHAS = (0.0, 0.1, 0.5, 0.7, 1.0, 1.3, -0.2)
MOVING = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.float8_e5m2)
COUNTS = (torch.int64, torch.uint8, torch.bool, torch.uint16)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(autouse=True)
def _together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ONE_BY_ONE", frozenset())


class Calls(DispatchObserver):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[func._schema.name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


def drawn(seed: int) -> State:
    random = torch.Generator().manual_seed(seed)
    held: dict[str, Tensor] = {}
    for dtype in MOVING:
        for number, shape in enumerate([(3, 4), (5,), (2, 4, 3, 3)]):
            value = torch.randn(shape, generator=random, dtype=torch.complex128 if dtype.is_complex else torch.float64)
            held[f"{dtype}.{number}".replace(".", "_")] = value.to(dtype)
    for dtype in COUNTS:
        held[f"{dtype}".replace(".", "_")] = torch.randint(0, 2, (7,), generator=random).to(dtype)
    held["flat"] = torch.randn(2, 4, 3, 3, generator=random).to(memory_format=torch.channels_last)
    held["overflows"] = torch.full((3,), (-1) ** seed * 0.9 * torch.finfo(torch.float16).max, dtype=torch.float16)
    held["empty"] = torch.empty(0, 3)
    held["stays"] = torch.ones(3)
    return State(held)


def bits(value: Tensor) -> Tensor:
    return value.contiguous().view(torch.uint8) if value.numel() else value


def assert_same(path: Path) -> None:
    """Both ways write the same bits at every position."""
    into = {name: torch.empty_like(path.template[name]) for name in path.moving}
    one_by_one = {name: torch.empty_like(value) for name, value in into.items()}
    writer = Writer(path, into)
    for alpha in ALPHAS:
        writer(alpha)
        for name, value in one_by_one.items():
            path.write(name, alpha, value)
            assert torch.equal(bits(into[name]), bits(value)), (name, alpha)


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_of_all_types_are_what_they_are_one_by_one(device: str) -> None:
    start, end = (drawn(seed).to(device) for seed in (1, 2))
    line = Line(start, end)
    names = sorted(line.moving)
    numbers = {name: value for name, value in difference(end, start).items() if value.is_floating_point()}
    for path in (line, Only(line, names[::2]), Bend([start, end]), Ray(start, numbers)):
        assert_same(path)


@pytest.mark.parametrize("device", DEVICES)
def test_paths_on_which_only_some_tensors_are_on_a_line(device: str) -> None:
    def network(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3), nn.BatchNorm1d(3)).to(device)

    start, end = network(1), network(2)
    assert_same(Slerp(start, end))
    assert_same(Homogeneous(start, end, {"0.bias": 1, "1.bias": 2}))


def test_many_tensors_take_two_operations() -> None:
    ends = [State({str(number): torch.full((3,), float(number + seed)) for number in range(40)}) for seed in (1, 2)]
    into = {name: torch.empty(3) for name in ends[0]}
    writer, calls = Writer(Line(*ends), into), Calls()
    with calls:
        writer(0.5)
        writer(1.0)
    assert calls.names == {"_foreach_lerp": 1, "_foreach_copy_": 2}
    assert torch.equal(into["7"], ends[1]["7"])


def test_groups_are_bounded_and_large_tensors_are_written_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_LARGE", 40)
    monkeypatch.setattr(writing, "_TOGETHER", 100)
    sizes = {"large": 11, **{str(number): 8 for number in range(7)}}
    ends = [State({name: torch.full((size,), seed) for name, size in sizes.items()}) for seed in (1.0, 2.0)]
    into = {name: torch.empty(size) for name, size in sizes.items()}
    writer, calls = Writer(Line(*ends), into), Calls()
    with calls:
        writer(0.25)
    assert calls.names == {"_foreach_lerp": 3, "_foreach_copy_": 3, "lerp": 1}  # three of 32 bytes each
    assert all(bool((value == 1.25).all()) for value in into.values())


def test_tensors_that_share_memory_are_interpolated_once() -> None:
    ends = [State({"all": torch.arange(6.0) * seed, "first": torch.arange(3.0) * seed}) for seed in (1, 3)]
    memory = torch.empty(6)
    Writer(Line(*ends), {"all": memory, "first": memory[:3]})(0.5)
    assert torch.equal(memory, torch.arange(6.0) * 2)


def test_states_of_another_type_than_the_network_are_converted() -> None:
    ends = [State({"w": torch.full((3,), value)}) for value in (1.0, 2.0)]
    into = {"w": torch.empty(3, dtype=torch.float64)}
    Writer(Line(*ends), into)(0.1)
    assert torch.equal(into["w"], torch.full((3,), 1.1).double())
