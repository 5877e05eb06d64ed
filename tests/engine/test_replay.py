"""Positions that are replayed give the bits of those that are computed operation by operation, or are not replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from linescape.engine import fast, rewrite
from linescape.engine.partition import Part
from linescape.engine.replay import Captured, Captures, CudaCapturer, Replayed
from linescape.evaluation import batchnorm
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Bend, Line, Only, Path
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support.engine import drawn, labels, line_of, lines, surprise, tokens
from tests.support.engine_networks import NETWORKS, Writer
from tests.support.replaying import Emulator

FEWEST, POSITIONS = 4, 5


class Capturer(list[Emulator]):
    """Those that were made, one for each plan."""

    def __init__(self, made: Callable[[], Emulator] = Emulator) -> None:
        super().__init__()
        self.make = made

    def on(self, _: torch.device) -> Emulator:
        self.append(self.make())
        return self[-1]

    @property
    def replays(self) -> int:
        return sum(sum(each.replays) for each in self)


def images() -> tuple[nn.Module, Line, tuple[Tensor, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolutions = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)
        net = nn.Sequential(*convolutions, nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)).eval()
    inputs = drawn(40, 2, 8, 8)
    return net, line_of(net, inputs), (inputs, labels(40))


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr("linescape.evaluation.evaluator.FEWEST", FEWEST)


@pytest.fixture
def capturers(monkeypatch: pytest.MonkeyPatch) -> Capturer:
    made = Capturer()
    monkeypatch.setattr(fast, "capturer_on", made.on)
    return made


def curve(path: Path, net: nn.Module, data: Any, alphas: int = POSITIONS, **options: Any) -> Curve:
    treatments = options.pop("batchnorm", "interpolate")
    evaluator = Evaluator(net, data if isinstance(data, dict) else {"d": data}, fast=True, **options)
    return scan(path, evaluator, ScanOptions(alphas=alphas, batchnorm=treatments, progress=False))


def same(path: Path, net: nn.Module, data: Any, **options: Any) -> Curve:
    """The curve with captures, once it is to the bit that without."""
    found = curve(path, net, data, **options)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fast, "capturer_on", lambda _: None)
        expected = curve(path, net, data, **options)
    for key, values in expected.values.items():
        assert np.array_equal(found.values[key], values, equal_nan=True), key
    return found


def noted(found: Curve) -> list[str]:
    return [note for note in found.provenance["notes"] if "one by one" in note]


@pytest.mark.parametrize("name", ["MLP", "LSTM", "LeNet", "ResNet", "pre-activation", "in place", "tied", "one weight"])
def test_replays_give_the_curve_of_single_operations(name: str, capturers: Capturer) -> None:
    make, inputs = NETWORKS[name]
    net = make().eval()
    whole = line_of(net, inputs)
    paths = lines(net, whole)
    for where in [*paths][:1] + [*paths][1::3]:
        found = same(paths[where], net, (inputs, labels(len(inputs))))
        assert not noted(found)
        if where == "whole":
            assert capturers.replays >= POSITIONS - 1
    assert capturers.replays >= 2 * (POSITIONS - 1)


@pytest.mark.parametrize("treatment", batchnorm.TREATMENTS)
def test_every_treatment_of_batchnorm_is_replayed(treatment: str, capturers: Capturer) -> None:
    net, path, (inputs, targets) = images()
    data = {"train": (inputs, targets), "test": (inputs[30:39], targets[30:39])}
    same(path, net, data, batchnorm=treatment, batch_size=16)
    assert (capturers.replays > 0) == (treatment != "batch")  # which calls the network itself


def test_several_treatments_in_one_walk(capturers: Capturer) -> None:
    net, path, data = images()
    same(path, net, {"train": data}, batchnorm=batchnorm.TREATMENTS, batch_size=16)
    assert len(capturers) == 4


def test_a_last_smaller_batch_has_a_capture_of_its_own(capturers: Capturer) -> None:
    net, path, (inputs, targets) = images()
    batches = [(inputs[at : at + 16], targets[at : at + 16]) for at in (0, 16, 32)]
    found = same(path, net, batches)
    assert not noted(found)
    (capturer,) = capturers
    assert capturer.replays == [POSITIONS - 1, 2 * (POSITIONS - 1), POSITIONS - 1]  # weights, 16 images, 8 images


def test_what_is_kept_of_each_batch_is_copied_to_its_capture(capturers: Capturer) -> None:
    net, whole, (inputs, targets) = images()
    for names in (["2.weight", "2.bias"], ["4.weight"]):
        path = Only(whole, names)
        found = same(path, net, [(inputs[at : at + 10], targets[at : at + 10]) for at in (0, 10, 20, 30)])
        assert not noted(found)
    assert capturers.replays


def test_half_precision_is_mixed_as_without_captures(capturers: Capturer) -> None:
    net, whole, data = images()
    same(Only(whole, ["2.weight", "2.bias"]), net, data, precision="bfloat16")
    same(whole, net, data, precision="bfloat16")
    assert capturers.replays


def test_transformers_and_calls_of_several_kinds(capturers: Capturer) -> None:
    net = Writer().eval()
    text = tokens(12, 7)
    path = line_of(net, text)
    batches = [(text, text), (text[:5], text[:5]), (text[:, :4], text[:, :4])]
    for line in (path, Only(path, [name for name in path.moving if name.startswith(list(net._modules)[1])])):
        before = capturers.replays
        assert not noted(same(line, net, batches, measures=(surprise,)))
        assert capturers.replays > before


def test_a_forward_of_the_users_own(capturers: Capturer) -> None:
    net, path, data = images()

    def twice(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        first = model(batch[0])
        first.mul_(0.5)  # which is this code's own from now on
        return first + model(batch[0] * 2.0), batch[1]

    same(path, net, data, forward=twice)
    assert capturers.replays


def test_curved_paths_are_replayed_too(capturers: Capturer) -> None:
    net, path, data = images()
    same(Bend([path.start, path.at(0.3), path.end], [0.0, 0.6, 1.0]), net, data)
    assert capturers.replays


# -- what is not replayed -----------------------------------------------------------------------------------------


def test_short_walks_are_not_captured(capturers: Capturer) -> None:
    net, path, data = images()
    curve(path, net, data, alphas=FEWEST - 1)
    assert not capturers


class Baked(Emulator):
    """Writes a copy of its weights into the capture."""

    def capture(self, function: Callable[[], tuple[Tensor, ...]]) -> Captured:
        made = super().capture(function)
        for number, (func, args, kwargs, results) in enumerate(self.tapes[-1].operations):
            copied = pytree.tree_map_only(nn.Parameter, lambda value: value.detach().clone(), (args, kwargs))
            self.tapes[-1].operations[number] = (func, *copied, results)
        return made


class OfFirstInputs(Emulator):
    """Does not read the inputs anew."""

    def capture(self, function: Callable[[], tuple[Tensor, ...]]) -> Captured:
        made = super().capture(function)
        copied = [
            (f, *pytree.tree_map_only(Tensor, torch.clone, (a, k)), r) for f, a, k, r in self.tapes[-1].operations[:1]
        ]
        self.tapes[-1].operations[:1] = copied
        return made


class Refusing(Emulator):
    """Cannot capture."""

    def capture(self, function: Callable[[], tuple[Tensor, ...]]) -> Captured:
        raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (Baked, "did not give the same numbers"),
        (OfFirstInputs, "did not give the same numbers"),
        (Refusing, r"cannot be captured (CUDA error: operation not permitted)"),
    ],
)
def test_capturesthat_are_wrong_are_found_and_said(
    made: Callable[[], Emulator], reason: str, capturers: Capturer
) -> None:
    capturers.make = made
    net, path, (inputs, targets) = images()
    batches = [(inputs[at : at + 20], targets[at : at + 20]) for at in (0, 20)]
    (note,) = noted(same(path, net, batches))
    assert reason in note


def test_a_number_of_the_first_time_is_found() -> None:
    """As alpha would be, if the captured part contained it."""
    weight = torch.ones(3)
    values: dict[str, Any] = {"w": weight, rewrite.ALPHA: 0.0}
    notes: list[str] = []
    shared = Captures(Emulator(), lambda _: True, notes.append)
    replayed = Replayed(Part(cast(Any, lambda w: (w * values[rewrite.ALPHA],)), ("w",), ("result",)), shared)
    with torch.no_grad():
        for alpha in (0.0, 0.25, 0.5, 0.75):
            values[rewrite.ALPHA] = alpha
            replayed.run(values)
            assert torch.equal(values["result"], weight * alpha)
    assert shared.stopped
    assert "same numbers" in notes[0]


def test_a_weight_whose_memory_is_replaced_is_not_read_where_it_was() -> None:
    weight, notes = nn.Parameter(torch.ones(3), requires_grad=False), list[str]()
    values: dict[str, Any] = {"w": weight, rewrite.ALPHA: 0.0}
    shared = Captures(Emulator(), lambda _: True, notes.append)
    replayed = Replayed(Part(cast(Any, lambda w: (w * 2.0,)), ("w",), ("result",)), shared)
    with torch.no_grad():
        for alpha in (0.0, 0.2, 0.4, 0.6, 0.8):
            values[rewrite.ALPHA] = alpha
            if alpha == 0.6:
                weight.data = torch.full((3,), 7.0)
            else:
                weight.fill_(alpha)
            replayed.run(values)
            assert torch.equal(values["result"], weight * 2.0), alpha
    assert "lies elsewhere" in notes[0]


def test_a_capture_whose_results_never_change_is_not_trusted() -> None:
    values: dict[str, Any] = {"w": torch.ones(3), rewrite.ALPHA: 0.0}
    shared = Captures(Emulator(), lambda _: True, pytest.fail)
    replayed = Replayed(Part(cast(Any, lambda w: (w * 2.0,)), ("w",), ("result",)), shared)
    with torch.no_grad():
        for alpha in (0.0, 0.2, 0.4):
            values[rewrite.ALPHA] = alpha
            replayed.run(values)
    assert shared.stopped


def test_capturestake_no_more_memory_than_is_left(capturers: Capturer) -> None:
    def large() -> Emulator:
        made = Emulator()
        made.size = 10**9
        return made

    net, path, data = images()
    capturers.make = large
    found = same(path, net, data, memory=1e8)
    assert not noted(found)
    assert capturers.replays == 0


def test_batches_of_many_lengths_have_few_captures(capturers: Capturer) -> None:
    net, path, (inputs, targets) = images()
    batches = [(inputs[:length], targets[:length]) for length in range(4, 14)]
    same(path, net, batches)
    (capturer,) = capturers
    assert len(capturer.tapes) == 5  # of the weights, and of four lengths


def test_a_read_of_a_value_cannot_be_captured() -> None:
    with pytest.raises(RuntimeError, match="not permitted"):
        Emulator().capture(lambda: (torch.ones(3) * float(torch.ones(())),))


def test_nothing_is_captured_inside_autocast_or_where_gradients_are_wanted() -> None:
    capturer = Emulator()
    values: dict[str, Any] = {"w": torch.ones(3), rewrite.ALPHA: 0.0}
    replayed = Replayed(
        Part(cast(Any, lambda w: (w * 2.0,)), ("w",), ("result",)), Captures(capturer, lambda _: True, pytest.fail)
    )
    replayed.run(values)
    values[rewrite.ALPHA] = 0.5
    with torch.enable_grad():
        replayed.run(values)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        replayed.run(values)
    with torch.inference_mode():
        replayed.run(values)
    assert not capturer.tapes
    with torch.no_grad():
        replayed.run(values)
    assert len(capturer.tapes) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [None, "bfloat16"])
def test_cuda_graphs_give_the_bits_of_single_operations(precision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net, line, (inputs, targets) = images()
    net, data = net.to("cuda"), [(inputs[:25].to("cuda"), targets[:25].to("cuda")), (inputs[25:], targets[25:])]
    whole = Line(line.start.to("cuda"), line.end.to("cuda"))
    made: list[CudaCapturer] = []

    def capturer(device: torch.device) -> CudaCapturer:
        made.append(CudaCapturer(device))
        return made[-1]

    monkeypatch.setattr(fast, "capturer_on", capturer)
    for path in (whole, Only(whole, ["2.weight", "2.bias"])):
        assert not noted(same(path, net, data, precision=precision))
        assert made[-1]._pool is not None


@pytest.mark.gpu
def test_what_a_cuda_graph_cannot_hold_is_an_error_that_leaves_the_gpu_usable() -> None:
    capturer, value = CudaCapturer(torch.device("cuda:0")), torch.ones(3, device="cuda")
    stream = torch.cuda.current_stream()
    with torch.no_grad():
        with pytest.raises(RuntimeError):
            capturer.capture(lambda: (value * float(value.sum()),))
        assert torch.cuda.current_stream() == stream
        captured = CudaCapturer(torch.device("cuda:0")).capture(lambda: (value * 2.0,))
        value.fill_(4.0)
        captured.replay()
        assert captured.outputs[0].tolist() == [8.0, 8.0, 8.0]
