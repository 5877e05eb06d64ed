"""Batches are moved to a device once. The device of these tests is the CPU, where what was moved is written down."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.weak import WeakTensorKeyDictionary

from linescape.errors import DataError
from linescape.evaluation import batches, on_device
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.on_device import OnDevice
from linescape.evaluation.repeated import Repeated
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan, walk

CPU = torch.device("cpu")


class Device:
    """A device that is the CPU; a tensor is on it once it was moved there."""

    def __init__(self) -> None:
        self.there: Any = WeakTensorKeyDictionary()
        self.moves: list[weakref.ref[Tensor]] = []

    def moved(self, tensor: Tensor, _: torch.device) -> Tensor:
        if tensor in self.there:
            return tensor
        new = tensor.clone()
        self.there[new] = True
        self.moves.append(weakref.ref(new))
        return new


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    monkeypatch.setattr(batches, "moved", made.moved)
    monkeypatch.setattr(on_device, "free_bytes", lambda _: 1 << 30)
    return made


def examples(count: int = 30) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(count, 4, generator=random), torch.randint(0, 3, (count,), generator=random)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).eval()


def line(net: nn.Module) -> Line:
    start = State.from_module(net)
    return Line(start, start.replace({name: 1.2 * start[name] + 0.1 for name in start.parameters}))


def kinds() -> dict[str, Any]:
    x, y = examples()
    as_list = [(x[:12], y[:12]), (x[12:24], y[12:24]), (x[24:], y[24:])]
    return {"tensors": (x, y), "list": as_list, "anew": DataLoader(TensorDataset(x, y), 12)}


def moves_of_positions(evaluator: Evaluator, path: Line, device: Device, **options: Any) -> list[int]:
    """How many tensors were moved at each of four positions."""
    counts, before = [], len(device.moves)
    for _ in walk(path, evaluator, ScanOptions(alphas=4, progress=False, **options)):
        counts.append(len(device.moves) - before)
        before = len(device.moves)
    return counts


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", ["tensors", "list", "anew"])
def test_no_batch_is_moved_twice(kind: str, fast: bool, device: Device) -> None:
    net = network()
    evaluator = Evaluator(net, {"d": kinds()[kind]}, fast=fast, batch_size=12)
    path = line(net)
    first, *others = moves_of_positions(evaluator, path, device)
    assert first
    assert others == [0, 0, 0]
    assert moves_of_positions(evaluator, Line(path.end, path.start), device)[1:] == [0, 0, 0]


def test_batches_that_recalibrate_are_moved_once_too(device: Device) -> None:
    given = {"train": kinds()["anew"], "test": kinds()["list"]}
    evaluator = Evaluator(network(), given)
    options = {"batchnorm": ("interpolate", "recalibrate", "batch")}
    assert moves_of_positions(evaluator, line(network()), device, **options)[1:] == [0, 0, 0]


@pytest.mark.parametrize("kind", ["tensors", "list", "anew"])
def test_curves_are_the_same_and_forward_may_write_to_its_batch(kind: str, device: Device) -> None:
    def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        batch[0].mul_(2.0)
        batch[1].add_(0)
        return model(batch[0]), batch[1]

    def curve(given: Any) -> Curve:
        evaluator = Evaluator(network(), {"d": given}, forward=forward, batch_size=12)
        return scan(line(network()), evaluator, ScanOptions(alphas=4, progress=False))

    found = curve(kinds()[kind])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(on_device, "free_bytes", lambda _: 0)
        expected = curve(kinds()[kind])
    assert np.array_equal(found["d", "cross_entropy"].values, expected["d", "cross_entropy"].values)


def test_data_that_were_written_to_are_found_by_the_next_walk(device: Device) -> None:
    x, y = examples()
    evaluator = Evaluator(network(), {"d": (x, y)})
    scan(line(network()), evaluator, ScanOptions(alphas=3, progress=False))
    x.numpy()[:] += 1.0  # of which torch's counter of versions knows nothing
    with pytest.raises(DataError, match="were written to"):
        scan(line(network()), evaluator, ScanOptions(alphas=3, progress=False))


def test_direct_evaluation_reads_the_data_as_they_are_now(device: Device) -> None:
    x, y = examples()
    evaluator, path = Evaluator(network(), {"d": (x, y)}), line(network())
    scan(path, evaluator, ScanOptions(alphas=3, progress=False))
    x.numpy()[:] += 1.0
    found = evaluator(path.end)["d", "cross_entropy"]
    expected = Evaluator(network(), {"d": (x.clone(), y)})(path.end)["d", "cross_entropy"]
    assert np.array_equal(found, expected)


def test_data_that_change_while_a_walk_goes_on(device: Device) -> None:
    x, y = examples()
    data = [(x, y)]
    kept = OnDevice(CPU)
    kept.begin()
    first = list(kept.read(data))
    x.add_(1.0)
    ((again, _),) = kept.read(data)
    assert torch.equal(again, x)
    data[0] = (x.clone(), y)
    assert next(iter(kept.read(data)))[0] is not again
    assert not torch.equal(first[0][0], x)


def test_data_made_anew_are_still_compared(device: Device) -> None:
    class Changing:
        def __init__(self) -> None:
            self.reads = 0

        def __iter__(self) -> Iterator[Any]:
            self.reads += 1
            yield examples()[0] + (self.reads > 2), examples()[1]

    kept, data = OnDevice(CPU), Repeated("d", Changing())
    kept.begin()
    assert len({id(tensor) for _ in range(2) for tensor in next(iter(kept.read(data)))}) == 2
    with pytest.raises(DataError, match="is not what it was"):
        list(kept.read(data))


def test_no_more_is_kept_than_a_quarter_of_what_is_free(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    data = kinds()["list"]
    of_one = sum(tensor.nbytes for tensor in data[0])
    free = 4 * of_one
    monkeypatch.setattr(on_device, "free_bytes", lambda _: free)
    kept = OnDevice(CPU)
    kept.begin()
    list(kept.read(data))
    assert len(device.moves) == 6
    list(kept.read(data))
    assert len(device.moves) == 10  # the first batch has stayed
    free = 0
    kept.begin()
    list(kept.read(data))
    assert not any(tensor() is not None for tensor in device.moves)


def test_what_is_kept_goes_with_the_evaluator(device: Device) -> None:
    evaluator = Evaluator(network(), {"d": kinds()["list"]}, fast=False)
    scan(line(network()), evaluator, ScanOptions(alphas=3, progress=False))
    assert sum(tensor() is not None for tensor in device.moves) == 6
    del evaluator
    assert not any(tensor() is not None for tensor in device.moves)


def test_batches_of_any_nesting_keep_their_form(device: Device) -> None:
    sequences = pack_sequence([torch.ones(3, 2), torch.ones(2, 2)])
    batch = {"x": [torch.ones(2), "text"], "packed": sequences, "n": 3}
    kept = OnDevice(CPU)
    kept.begin()
    for _ in range(2):
        (found,) = kept.read([batch])
        assert found["x"][1] == "text"
        assert found["n"] == 3
        assert torch.equal(found["packed"].data, sequences.data)
        assert torch.equal(found["packed"].batch_sizes, sequences.batch_sizes)


def test_sparse_tensors_are_moved_where_they_are_used(device: Device) -> None:
    kept, batch = OnDevice(CPU), (torch.eye(3).to_sparse(), torch.ones(3))
    kept.begin()
    assert next(iter(kept.read([batch]))) is batch


def test_nothing_is_kept_on_a_device_whose_free_memory_is_unknown() -> None:
    assert on_device.free_bytes(CPU) == 0
    batch = examples()
    kept = OnDevice(CPU)
    kept.begin()
    assert next(iter(kept.read([batch]))) is batch
