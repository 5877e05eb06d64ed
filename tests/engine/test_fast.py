"""A walk with the engine against one by plain calls, over many kinds of networks, data and lines."""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from linescape import models, recipe
from linescape.engine import operations
from linescape.engine.fast import Fast
from linescape.engine.native import blend, winograd
from linescape.engine.native import build as compiled
from linescape.engine.threads import using
from linescape.evaluation import batchnorm
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy, error, squared_error
from linescape.geometry.paths import Bend, Line, Only, Path, Ray
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import collect, scan, walk
from tests.support import optional

Batch = tuple[Tensor, ...]
ALPHAS = (0.0, 0.4, 1.0)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(count: int, classes: int = 3) -> Tensor:
    return torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(5))


def tokens(*shape: int, kinds: int = 11) -> Tensor:
    return torch.randint(0, kinds, shape, generator=torch.Generator().manual_seed(6))


def state(net: nn.Module, seed: int, call: Callable[[nn.Module], object] = lambda net: None) -> State:
    """Weights of the network's own size, drawn, and running statistics from a few calls."""
    net = copy.deepcopy(net)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for value in net.parameters():
            if value.ndim > 1:
                value.copy_(torch.randn_like(value) * max(float(value.float().std()), 0.1))
            else:
                value.add_(torch.randn_like(value) * 0.2)
        net.train()
        for _ in range(3):
            call(net)
    return State.from_module(net)


def line_of(net: nn.Module, *inputs: Tensor) -> Line:
    few = [x[:24] + (0.1 * x.std() if x.is_floating_point() else 0) for x in inputs]
    return Line(*(state(net, seed, lambda net: net(*few)) for seed in (1, 2)))


def lines(net: nn.Module, whole: Line) -> dict[str, Path]:
    """The whole line, and those of each block alone."""
    blocks = dict.fromkeys(name.split(".")[0] for name in whole.moving)
    alone = {block: Only(whole, [name for name in whole.end if name.split(".")[0] == block]) for block in blocks}
    return {"whole": whole, **alone}


def assert_close(found: Curve, expected: Curve, relative: float = 1e-5) -> None:
    """Means within `relative`, and each example within ten times that."""
    assert found.values.keys() == expected.values.keys()
    for key, values in expected.values.items():
        with np.errstate(invalid="ignore"):
            means = found.values[key].mean(1, dtype=float), values.mean(1, dtype=float)
        np.testing.assert_allclose(*means, relative, err_msg=str(key))
        largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
        np.testing.assert_allclose(found.values[key], values, 10 * relative, 10 * relative * largest, err_msg=str(key))


def compared(path: Path, net: nn.Module, data: Any, relative: float = 1e-5, **options: Any) -> Curve:
    """The curve with the engine, once it is that of plain calls."""
    alphas = options.pop("alphas", ALPHAS)
    plain, fast = (Evaluator(net, {"d": data}, fast=fast, **options) for fast in (False, True))
    found = scan(path, fast, ScanOptions(alphas=alphas))
    assert_close(found, scan(path, plain, ScanOptions(alphas=alphas)), relative)
    return found


def noted(curve: Curve) -> list[str]:
    return [note for note in curve.provenance["notes"] if "as it is" in note]


class Preact(nn.Module):
    """BatchNorm before each convolution; one convolution's result is read by its norm and by the addition."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 8, 3, padding=1, bias=False)
        self.bn1, self.conv1 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn, self.fc = nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        out: Tensor = self.fc(F.relu(self.bn(x)).mean((2, 3)))
        return out


class InPlace(nn.Module):
    """Residual additions and activations that write over their input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.gain = nn.Parameter(torch.ones(6, 1, 1))
        self.relu, self.relu6, self.fc = nn.ReLU(inplace=True), nn.ReLU6(inplace=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(x))
        out += x
        out = self.relu6(out)
        out *= self.gain
        logits: Tensor = self.fc(F.relu_(out).mean((2, 3)))
        return logits


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.inner = nn.Embedding(11, 6), nn.Linear(6, 6)
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(torch.tanh(self.inner(self.embed(x))).mean(1))
        return out


class OneWeight(nn.Module):
    """One convolution twice, a weight that is a view of another, constants in the code, additions of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other, self.fc = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1), nn.Linear(2, 3)
        self.other.weight = nn.Parameter(self.conv.weight.detach())
        self.scale = torch.tensor([0.5, 2.0]).view(1, 2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(torch.relu(self.conv(x) + x.shape[1])) * self.scale + torch.tensor(0.25)
        x = 2 + self.other(x).add(x, alpha=0.5)
        out: Tensor = self.fc(x.view(x.size(0), 2, -1).mean(-1))
        return out


def sequence(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))


def built(model: recipe.Model, side: int = 8, channels: int = 2) -> Callable[[], nn.Module]:
    return lambda: models.build(model, (channels, side, side), 3)


def normed(layer: nn.Module) -> nn.Module:
    found: nn.Module = nn.utils.parametrizations.weight_norm(layer)
    return found


IMAGES, VECTORS, SOUNDS, TEXT = drawn(40, 2, 8, 8), drawn(40, 12), drawn(40, 2, 20), tokens(40, 5)

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "MLP": (built(recipe.MLP((16, 16))), IMAGES),
    "MLP with BatchNorm": (built(recipe.MLP((16, 16), norm="batch")), IMAGES),
    "MLP with LayerNorm": (built(recipe.MLP((16, 16), "tanh", norm="layer")), IMAGES),
    "LeNet": (built(recipe.LeNet(), 28, 1), drawn(40, 1, 28, 28)),
    "ResNet": (built(recipe.ResNet(8, 4)), IMAGES),
    "ResNet with groups": (built(recipe.ResNet(8, 8, norm="group")), IMAGES),
    "ResNet without norm": (built(recipe.ResNet(8, 4, norm="none")), IMAGES),
    "ResNet without skips": (built(recipe.ResNet(8, 4, norm="none", skips=False)), IMAGES),
    "VGG": (built(recipe.VGG(11, 4), 32), drawn(40, 2, 32, 32)),
    "pre-activation": (Preact, IMAGES),
    "in place": (InPlace, IMAGES),
    "tied": (Tied, TEXT),
    "one weight": (OneWeight, IMAGES),
    "bias before BatchNorm": (lambda: sequence(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6)), IMAGES),
    "depthwise": (lambda: sequence(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8)), IMAGES),
    "dilated": (lambda: sequence(nn.Conv2d(2, 6, (3, 2), (2, 1), (1, 2), (1, 2)), nn.BatchNorm2d(6)), IMAGES),
    "same": (lambda: sequence(nn.Conv2d(2, 6, 3, padding="same"), nn.BatchNorm2d(6)), IMAGES),
    "circular": (lambda: sequence(nn.Conv2d(2, 6, 3, padding=1, padding_mode="circular"), nn.BatchNorm2d(6)), IMAGES),
    "transposed": (lambda: sequence(nn.ConvTranspose2d(2, 6, 3, 2), nn.BatchNorm2d(6)), IMAGES),
    "without scale": (lambda: sequence(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6, affine=False)), IMAGES),
    "weight norm": (lambda: sequence(normed(nn.Conv2d(2, 6, 3)), nn.BatchNorm2d(6)), IMAGES),
    "dropout": (lambda: sequence(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.5)), IMAGES),
    "one axis": (
        lambda: nn.Sequential(nn.Conv1d(2, 6, 5), nn.BatchNorm1d(6), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)),
        SOUNDS,
    ),
    "linear before BatchNorm": (
        lambda: nn.Sequential(nn.Linear(12, 6, bias=False), nn.BatchNorm1d(6), nn.Sigmoid(), nn.Linear(6, 3)),
        VECTORS,
    ),
    "linear on sequences before BatchNorm": (
        lambda: nn.Sequential(nn.Linear(20, 2), nn.BatchNorm1d(2), nn.Tanh(), nn.Flatten(), nn.Linear(4, 3)),
        SOUNDS,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_engine_gives_the_curve_of_plain_calls(name: str) -> None:
    build, inputs = NETWORKS[name]
    net = build().eval()
    net(inputs[:2])
    whole = line_of(net, inputs)
    data = {"train": (inputs, labels(40)), "test": (inputs[30:39], labels(9))}
    plain, fast = (Evaluator(net, data, batch_size=16, fast=fast) for fast in (False, True))
    for where, path in lines(net, whole).items():
        expected, found = (
            scan(path, ev, ScanOptions(alphas=ALPHAS, batchnorm=batchnorm.TREATMENTS)) for ev in (plain, fast)
        )
        assert not noted(found), where
        assert fast.engine.cuts, where
        assert_close(found, expected)


class Padded(nn.Module):
    """Looks at the sides of its images and holds its parts by a list, which `torch.export` alone can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 6, 3, stride=2), nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 3)
        self.parts = ["conv", "bn"]

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 2 == 0 and x.mean((2, 3)).ndim == 2:
            x = F.pad(x, (0, 1, 0, 1))
        for part in self.parts:
            x = getattr(self, part)(x)
        out: Tensor = self.fc(F.relu6(x).mean((2, 3)))
        return out


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (Padded, IMAGES),
        pytest.param(built(recipe.EfficientNetLite(), 32), drawn(8, 2, 32, 32), marks=pytest.mark.slow),
    ],
)
def test_networks_that_only_export_can_read_are_graphs_too(build: Callable[[], nn.Module], inputs: Tensor) -> None:
    torch.manual_seed(0)
    net = build().eval()
    whole = line_of(net, inputs)
    plain, fast = (Evaluator(net, {"train": (inputs, labels(len(inputs)))}, fast=fast) for fast in (False, True))
    for path in (whole, Only(whole, [name for name in whole.end if name.startswith(("fc", "bn", "stage7", "head"))])):
        expected, found = (
            scan(path, ev, ScanOptions(alphas=2, batchnorm=batchnorm.TREATMENTS)) for ev in (plain, fast)
        )
        assert not noted(found)
        assert_close(found, expected, 1e-5 if build is Padded else 1e-4)  # one pixel a map at the end, of 8 images


def wide(side: int, examples: int = 6) -> tuple[nn.Module, Tensor]:
    """Convolutions of many channels, one with bias and ReLU, one with an addition, on small images."""

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.fc = nn.Conv2d(2, 256, 1), nn.Linear(256, 3)
            self.conv1, self.bn1 = nn.Conv2d(256, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256)
            self.conv2 = nn.Conv2d(256, 256, 3, padding=1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            out: Tensor = self.fc(F.relu(x + self.conv2(F.relu(self.bn1(self.conv1(x))))).mean((2, 3)))
            return out

    torch.manual_seed(0)
    return Wide().eval(), drawn(examples, 2, side, side)


needs_compiler = pytest.mark.skipif(not compiled.kernels(), reason="no compiler, or not for this machine's CPU")


@pytest.fixture
def transformed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The outputs of each weight that is put into Winograd's form, as that happens."""
    transform, calls = winograd.transformed, list[int]()

    def counted(weight: Tensor, into: Tensor) -> Tensor:
        calls.append(len(weight))
        return transform(weight, into)

    monkeypatch.setattr(winograd, "transformed", counted)
    return calls


@needs_compiler
@pytest.mark.parametrize("precision", [None, "bfloat16"])
@pytest.mark.parametrize(("side", "examples", "winograds"), [(8, 48, 2), (6, 48, 2), (5, 48, 0), (8, 6, 0)])
def test_wide_convolutions_are_done_by_winograd_where_that_pays(
    side: int, examples: int, winograds: int, precision: Any, transformed: list[int]
) -> None:
    net, inputs = wide(side, examples)
    whole, data = line_of(net, inputs), (inputs, labels(examples))
    relative = 0.05 if precision else 1e-5
    for path in (whole, lines(net, whole)["conv1"]):
        plain, fast = (
            Evaluator(net, {"d": data}, [cross_entropy], fast=fast, precision=precision if fast else None)
            for fast in (False, True)
        )
        assert_close(scan(path, fast, ScanOptions(alphas=2)), scan(path, plain, ScanOptions(alphas=2)), relative)
        if path is whole:
            assert len(transformed) == 2 * winograds  # once at each position, though batches are several


@needs_compiler
@pytest.mark.parametrize(("weights", "winograds"), [(2.5, 2), (1.5, 1), (0.5, 0)])
def test_weights_in_another_form_take_no_more_memory_than_allowed(
    weights: float, winograds: int, transformed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linescape.engine.fast.LIGHT", 1e9)
    net, inputs = wide(8, 48)
    compared(line_of(net, inputs), net, (inputs, labels(48)), alphas=2, memory=weights * 36 * 256 * 256 * 4)
    assert len(transformed) == 2 * winograds


def test_without_a_compiler_convolutions_are_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled.kernels.cache_clear()
    monkeypatch.setattr(compiled, "compiler", lambda: None)
    try:
        assert not compiled.kernels()
        net, inputs = wide(8, 48)
        compared(line_of(net, inputs), net, (inputs, labels(48)), alphas=2)
    finally:
        compiled.kernels.cache_clear()


@pytest.fixture
def own_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A folder in which the library is not there yet; the process's own library is as before afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled.kernels.cache_clear()
    yield tmp_path
    compiled.kernels.cache_clear()


@needs_compiler
def test_the_library_is_compiled_once_and_again_where_it_was_spoiled(own_cache: pathlib.Path) -> None:
    assert compiled.kernels()
    (kept,) = (own_cache / "linescape" / "compiled").iterdir()
    whole = kept.read_bytes()
    for spoiled in (b"no library", b""):
        kept.unlink()  # the process has it loaded, so it is not written to
        kept.write_bytes(spoiled)
        compiled.kernels.cache_clear()
        assert compiled.kernels()
        assert kept.read_bytes() == whole
    written = kept.stat().st_mtime_ns
    compiled.kernels.cache_clear()
    assert compiled.kernels()
    assert kept.stat().st_mtime_ns == written


@needs_compiler
def test_where_nothing_can_be_kept_the_library_is_made_for_the_process(own_cache: pathlib.Path) -> None:
    (own_cache / "linescape").write_text("a file")
    assert compiled.kernels()


@needs_compiler
def test_a_compiler_that_fails_is_no_error(own_cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    assert not compiled.kernels()
    assert not list(own_cache.rglob("*.so"))


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [(32, 32), (64, 32), (256, 256), (512, 256), (48, 96)])
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 4), (2, 5, 13), (40, 7, 1)])
@pytest.mark.parametrize(("bias", "other", "relu"), [(False, False, False), (True, False, True), (True, True, True)])
def test_winograd_is_a_convolution(
    dtype: torch.dtype, channels: tuple[int, int], shape: tuple[int, int, int], bias: bool, other: bool, relu: bool
) -> None:
    (inputs, outputs), (examples, height, width) = channels, shape
    x, weight = drawn(examples, inputs, height, width).to(dtype), drawn(outputs, inputs, 3, 3, seed=1)
    added = drawn(outputs, seed=2) if bias else None
    beside = drawn(examples, outputs, height, width, seed=3).to(dtype) if other else None
    exact = F.conv2d(x.double(), weight.double(), None if added is None else added.double(), padding=1)
    exact = exact if beside is None else exact + beside
    exact = exact.relu() if relu else exact
    form = winograd.transformed(weight, torch.empty(36 * outputs * inputs))
    results = list[Tensor]()
    for threads in (1, 2):
        with using(threads):
            forms = (x, x.contiguous(memory_format=torch.channels_last))
            results += [winograd.convolution(laid_out, form, added, beside, relu) for laid_out in forms]
            winograd.convolution(x + 1, form, added, beside, relu)  # which writes elsewhere
    assert all(torch.equal(found, results[0]) for found in results)
    far = 5e-6 if dtype == torch.float32 else 2e-3
    assert float((results[0] - exact).norm() / exact.norm()) < far


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("affine", [None, False, True])
@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_results_of_two_ends_are_mixed(dtype: torch.dtype, affine: bool | None, other: bool, relu: bool) -> None:
    start, end, beside = (drawn(3, 32, 5, 7, seed=seed).to(dtype) for seed in (1, 2, 3))
    expected = torch.lerp(start.double(), end.double(), 0.3)
    norm: tuple[Any, ...] = ()
    if affine is not None:
        mean, var = drawn(32, seed=4), drawn(32, seed=5) ** 2
        weight, bias = (drawn(32, seed=6), drawn(32, seed=7)) if affine else (None, None)
        norm = (weight, bias, mean, var, 1e-5)
        scale, shift = (drawn(32, seed=6), drawn(32, seed=7)) if affine else (torch.ones(32), torch.zeros(32))
        mean_of, var_of, scale_of, shift_of = (each.double()[:, None, None] for each in (mean, var, scale, shift))
        expected = (expected - mean_of) / (var_of + 1e-5).sqrt() * scale_of + shift_of
    expected = expected + beside if other else expected
    expected = expected.relu() if relu else expected
    found = blend.mixed(start, end, blend.factors(0.3, 32, *norm), beside if other else None, relu)
    assert found.dtype == dtype
    far = 1e-6 if dtype == torch.float32 else 3e-3
    assert float((found - expected).norm() / expected.norm()) < far
    one = blend.mixed(start, end, blend.factors(1.0, 32), None, relu=False)
    assert torch.equal(one, end)


@needs_compiler
def test_winograd_keeps_what_is_not_finite_and_rounds_as_torch_does() -> None:
    x = torch.zeros(1, 32, 4, 4, dtype=torch.bfloat16)
    form = winograd.transformed(torch.zeros(32, 32, 3, 3), torch.empty(36 * 32 * 32))
    bias = torch.tensor([float("nan"), float("inf"), -float("inf"), 3.4e38, 1 + 2**-8, 1 + 3 * 2**-8, -0.1, 0.0])
    bias = bias.repeat(4)
    for relu in (False, True):
        found = winograd.convolution(x, form, bias, None, relu)[0, :, 0, 0]
        expected = bias.bfloat16().relu() if relu else bias.bfloat16()
        assert torch.equal(found.isnan(), expected.isnan())
        assert torch.equal(found.nan_to_num(7.0), expected.nan_to_num(7.0))


def small() -> tuple[nn.Module, Line, Batch]:
    torch.manual_seed(0)
    net = Preact().eval()
    return net, line_of(net, IMAGES), (IMAGES, labels(40))


def kept_bytes(engine: Fast) -> int:
    """Of all tensors that are kept now."""
    tensors = [
        value
        for plan in engine._plans.values()
        if plan is not None
        for values in plan.kept.values()
        for value in values.values()
        if isinstance(value, Tensor)
    ]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


WIDE: Callable[[], nn.Module] = lambda: wide(8)[0]  # noqa: E731


@pytest.mark.parametrize("build", [Preact, InPlace, WIDE])
def test_keeping_changes_no_bit(build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = build().eval()
    keeping, forgetting = (Evaluator(net, {"d": (IMAGES, labels(len(IMAGES)))}, fast=True) for _ in range(2))
    begin, engine, most = forgetting.engine.begin, forgetting.engine, 0

    def nothing_left(*given: Any) -> None:
        begin(*given)
        engine._left = 0

    monkeypatch.setattr(engine, "begin", nothing_left)
    for path in lines(net, line_of(net, IMAGES)).values():
        expected, found = (
            scan(path, ev, ScanOptions(alphas=ALPHAS, batchnorm=("interpolate", "start")))
            for ev in (forgetting, keeping)
        )
        assert not kept_bytes(engine)
        assert all(np.array_equal(found.values[key], values) for key, values in expected.values.items())
        most = max(most, kept_bytes(keeping.engine))
    assert most > 2e4


@pytest.mark.parametrize("memory", [0.0, 5e4, 1e6])
def test_no_more_is_kept_than_allowed(memory: float) -> None:
    net, whole, data = small()
    evaluators = [Evaluator(net, {"d": data}, fast=True, memory=m) for m in (2e9, memory)]
    for path in (
        whole,
        Only(whole, ["fc.weight"]),
        Only(whole, [n for n in whole.end if n.startswith(("conv2", "bn2"))]),
    ):
        curves = [
            scan(path, evaluator, ScanOptions(alphas=3, batchnorm=("interpolate", "end"))) for evaluator in evaluators
        ]
        assert_close(curves[1], curves[0])
        assert kept_bytes(evaluators[1].engine) <= memory


class Head(nn.Module):
    """Two linear layers with something between; the forms that follow differ in how they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 8), nn.Linear(8, 3)

    def between(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Any:
        return self.fc2(self.between(torch.tanh(self.fc1(x))))


class Branching(Head):
    def between(self, x: Tensor) -> Tensor:
        return x.relu() if x.sum() > 0 else x


class Centred(Head):
    def between(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Norms(Head):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(8, track_running_stats=False)

    def between(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(x)
        return out


class Silent(Head):
    """At the start of a line its outputs are all 0, whatever acts on what."""

    def between(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) * self.fc2.bias.abs().sum()


class Random(Head):
    def between(self, x: Tensor) -> Tensor:
        return x + 1e-6 * torch.randn_like(x)


class RandomConstant(Head):
    def between(self, x: Tensor) -> Tensor:
        return x * (1 + 1e-6 * torch.rand(8))


class Counting(Head):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))

    def between(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


class Remembering(Head):
    last: Any = None

    def between(self, x: Tensor) -> Tensor:
        self.last = x
        return x


class Collecting(Head):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def between(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.seen[-1]


class Hooked(Head):
    def __init__(self) -> None:
        super().__init__()
        self.fc1.register_forward_hook(lambda layer, inputs, output: output * 2)


class Pairs(Head):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), "and a word"


class Sized(Head):
    """Does something else for few examples."""

    def between(self, x: Tensor) -> Tensor:
        return x if x.shape[0] > 9 else 3 * x


AS_THEY_ARE = [
    Branching, Centred, Norms, Silent, Random, RandomConstant, Counting, Remembering, Collecting, Hooked, Pairs, Sized
]  # fmt: skip


def first_of(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    found = model(batch[0])
    return found[0] if isinstance(found, tuple) else found, batch[1]


@pytest.mark.parametrize("build", AS_THEY_ARE)
def test_networks_that_are_no_graph_are_called_as_they_are(build: type[Head]) -> None:
    torch.manual_seed(0)
    net = build().eval()
    whole = line_of(net, VECTORS)
    if build is Silent:
        zeros = {name: torch.zeros_like(value) for name, value in whole.start.items() if name.startswith("fc2")}
        whole = Line(whole.start.replace(zeros), whole.end)
    data = (VECTORS, labels(40))
    for path in (whole, Only(whole, [name for name in whole.end if name.startswith("fc2")])):
        found = compared(path, net, data, batch_size=16, forward=first_of)
        assert len(noted(found)) == 1
    # Without `forward` the data may be joined to larger batches where the network allows it.
    if build is not Pairs:
        compared(whole, net, data, batch_size=16)


def test_the_note_is_there_only_where_export_was_tried() -> None:
    net = Branching().eval()
    whole = line_of(net, VECTORS)
    evaluator = Evaluator(net, {"d": (VECTORS, labels(40))})
    evaluator._fast = None
    assert not noted(scan(whole, evaluator, ScanOptions(alphas=3)))


class Answer(NamedTuple):
    logits: Tensor
    hidden: Tensor


@dataclass
class Reply:
    logits: Tensor


class Forms(Head):
    """Gives its logits in the form that it is asked for."""

    def __init__(self, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Tensor) -> Any:
        return self.form(super().forward(x))


@pytest.mark.parametrize(
    ("form", "graph"),
    [
        (lambda x: {"logits": x, "twice": 2 * x}, True),
        (lambda x: Answer(x, x), True),
        (lambda x: Reply(x), False),
        (lambda x: (x, None), False),
        (lambda x: (x, x.shape[0]), False),
    ],
    ids=["dictionary", "named tuple", "dataclass", "tuple with None", "tuple with a number"],
)
def test_outputs_may_have_any_form(form: Callable[[Tensor], Any], graph: bool) -> None:
    def pick(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        found = model(batch[0])
        return found["logits"] if isinstance(found, dict) else getattr(found, "logits", found[0]), batch[1]

    def pick_reply(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        return model(batch[0]).logits, batch[1]

    net = Forms(form).eval()
    whole = State.from_module(Head()), State.from_module(Head())
    forward = pick_reply if isinstance(form(torch.zeros(1)), Reply) else pick
    found = compared(Line(*whole), net, (VECTORS, labels(40)), forward=forward)
    assert bool(noted(found)) != graph


def test_forward_may_call_twice_or_a_part_or_a_layer_by_its_number() -> None:
    def twice(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        return model(batch[0]) + model(batch[0].flip(1)), batch[1]

    def halves(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        return torch.cat([model(half) for half in batch[0].chunk(2)]), batch[1]

    def part(model: Any, batch: Any) -> tuple[Any, Any]:
        hidden = model[0](batch[0]).tanh()
        return model(batch[0]) + model[2](hidden), batch[1]

    def by_mode(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        return model(batch[0]) * (2 if model.training else 1), batch[1]

    net = nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3)).eval()
    whole = line_of(net, VECTORS)
    for forward in (twice, halves, part, by_mode):
        for path in lines(net, whole).values():
            assert not noted(compared(path, net, (VECTORS, labels(40)), forward=forward, batch_size=16))


def test_one_evaluator_measures_several_data_sets_of_one_size() -> None:
    net, whole, (inputs, targets) = small()
    data = {"a": (inputs, targets), "b": (inputs.flip(0), targets.flip(0))}
    tail = Only(whole, [name for name in whole.end if name.startswith("fc")])
    curve = scan(tail, Evaluator(net, data, fast=True), ScanOptions(alphas=3))
    assert np.allclose(curve["a", "cross_entropy"].values, curve["b", "cross_entropy"].values[:, ::-1], rtol=1e-4)


def test_batches_may_be_of_one_example_or_uneven() -> None:
    net = nn.Sequential(nn.Linear(12, 70), nn.BatchNorm1d(70), nn.ReLU(), nn.Linear(70, 3)).eval()
    whole = line_of(net, VECTORS)
    for sizes in ([1] * 3, [2, 1, 3], [9, 1], [16, 16, 8]):
        batches, at = [], 0
        for size in sizes:
            batches.append((VECTORS[at : at + size], labels(40)[at : at + size]))
            at += size
        compared(Only(whole, ["3.weight"]), net, batches)
    for size in (1, 3, 39):
        compared(Only(whole, ["0.weight", "3.bias"]), net, (VECTORS, labels(40)), batch_size=size)


class Masked(nn.Module):
    """An encoder of sequences with a padding mask, called by names in another order than its arguments."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.embed, self.encoder = nn.Embedding(11, 8), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.fc = nn.Linear(8, 3)

    def forward(self, words: Tensor, mask: Tensor | None = None) -> Tensor:
        padding = None if mask is None else mask == 0
        x = self.encoder(self.embed(words), src_key_padding_mask=padding)
        if mask is not None:
            x = x * mask.unsqueeze(-1)
        out: Tensor = self.fc(x.mean(1))
        return out


def masked(count: int, length: int) -> dict[str, Tensor]:
    lengths = torch.arange(count) % length + 1
    return {
        "mask": (torch.arange(length) < lengths.unsqueeze(1)).long(),
        "words": tokens(count, length),
        "labels": labels(count),
    }


def test_an_encoder_with_padding_masks_is_a_graph_for_each_length() -> None:
    torch.manual_seed(0)
    net = Masked().eval()
    whole = line_of(net, TEXT)
    batches = [masked(12, 5), masked(7, 5), masked(9, 6)]
    plain, fast = (Evaluator(net, {"d": batches}, fast=fast) for fast in (False, True))
    for path in (whole, Only(whole, ["fc.weight", "fc.bias"])):
        found = scan(path, fast, ScanOptions(alphas=ALPHAS))
        assert_close(found, scan(path, plain, ScanOptions(alphas=ALPHAS)))
        assert not noted(found)
    assert kept_bytes(fast.engine) < 40 * 8 * 4 * 3  # what the classifier reads, not the encoder's insides


def test_of_many_lengths_a_few_are_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linescape.engine.fast._KINDS", 0)
    torch.manual_seed(0)
    net = Masked().eval()
    whole = line_of(net, TEXT)
    found = compared(whole, net, [masked(5, 3), masked(5, 4)], alphas=2)
    assert "more than 0 ways" in noted(found)[0]


class Writer(nn.Module):
    """A small causal language model, its embedding tied with its head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(11, 16), nn.Embedding(8, 16)
        self.blocks = nn.ModuleList(nn.ModuleDict(self.block()) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 11, bias=False)
        self.head.weight = self.embed.weight

    @staticmethod
    def block() -> dict[str, nn.Module]:
        return {
            "norm1": nn.LayerNorm(16), "attend": nn.Linear(16, 48), "mix": nn.Linear(16, 16),
            "norm2": nn.LayerNorm(16), "up": nn.Linear(16, 32), "down": nn.Linear(32, 16), "drop": nn.Dropout(0.1),
        }  # fmt: skip

    def forward(self, words: Tensor) -> Tensor:
        count, length = words.shape
        x = self.embed(words) + self.places(torch.arange(length, device=words.device))
        for block in self.blocks:
            parts: Any = block
            three = parts["attend"](parts["norm1"](x)).view(count, length, 3, 2, 8).permute(2, 0, 3, 1, 4)
            read = F.scaled_dot_product_attention(three[0], three[1], three[2], is_causal=True)
            x = x + parts["drop"](parts["mix"](read.transpose(1, 2).reshape(count, length, 16)))
            x = x + parts["drop"](parts["down"](F.gelu(parts["up"](parts["norm2"](x)))))
        out: Tensor = self.head(self.norm(x))
        return out


def surprise(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.transpose(1, 2).float(), targets, reduction="none").mean(1)


def test_a_language_model_is_a_graph_and_its_lower_layers_are_kept() -> None:
    torch.manual_seed(0)
    net = Writer().eval()
    words = tokens(20, 6)
    whole = line_of(net, words)
    data = {"d": (words, words.roll(-1, 1))}
    plain, fast = (Evaluator(net, data, [surprise], batch_size=8, fast=fast) for fast in (False, True))
    last = [name for name in whole.end if name.startswith("blocks.1")]
    for path in (whole, Only(whole, last), Only(whole, ["norm.weight"]), Only(whole, ["head.weight"])):
        found = scan(path, fast, ScanOptions(alphas=ALPHAS))
        assert not noted(found)
        assert_close(found, scan(path, plain, ScanOptions(alphas=ALPHAS)))
        if path is not whole and "norm.weight" in path.moving:
            assert kept_bytes(fast.engine) >= 20 * 6 * 16 * 4
    assert kept_bytes(fast.engine) < 20 * 6 * 16  # tied, the head moves the embedding too: only places are kept


@pytest.mark.parametrize("kind", ["Bert", "GPT2", "Llama"])
def test_models_of_transformers(kind: str) -> None:
    transformers = optional.load("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    short = {"n_embd": 16, "n_layer": 2, "n_head": 2}
    config = getattr(transformers, f"{kind}Config")(vocab_size=11, **(short if kind == "GPT2" else sizes))
    name = (
        "BertForSequenceClassification" if kind == "Bert" else f"{kind}{'LMHead' if kind == 'GPT2' else 'ForCausalLM'}"
    )
    name = "GPT2LMHeadModel" if kind == "GPT2" else name
    torch.manual_seed(0)
    net = getattr(transformers, name)(config).eval()
    words = tokens(9, 6)
    targets = labels(9, 2) if kind == "Bert" else words.roll(-1, 1)
    batches = [{"input_ids": words, "attention_mask": torch.ones(9, 6, dtype=torch.long), "labels": targets}]
    whole = Line(state(net, 1), state(net, 2))
    measure = cross_entropy if kind == "Bert" else surprise
    for path in (whole, Only(whole, [list(whole.end)[-1]])):
        compared(path, net, batches, measures=[measure])


def test_bfloat16_is_near_and_says_how_far_it_is() -> None:
    net, whole, data = small()
    for model in (net, Head(), Branching()):
        given = data if model is net else (VECTORS, labels(40))
        path = whole if model is net else Line(State.from_module(Head()), State.from_module(Head()))
        exact = scan(path, Evaluator(model, {"d": given}, fast=False), ScanOptions(alphas=ALPHAS))
        found = scan(path, Evaluator(model, {"d": given}, precision="bfloat16"), ScanOptions(alphas=ALPHAS))
        np.testing.assert_allclose(found["cross_entropy"].mean, exact["cross_entropy"].mean, rtol=0.05)
        assert not np.array_equal(found["cross_entropy"].values, exact["cross_entropy"].values)
        assert found.provenance["precision"] == "bfloat16"
        assert 0 < found.provenance["deviation_from_full_precision"]["d/cross_entropy"]["mean"] < 0.1


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-10), (torch.bfloat16, 0.02)])
def test_other_types_are_computed_in_themselves(dtype: torch.dtype, relative: float) -> None:
    net, whole, (inputs, targets) = small()
    net, inputs = net.to(dtype), inputs.to(dtype)
    ends = [
        State.from_module(net).replace({n: v.to(State.from_module(net)[n].dtype) for n, v in s.items()})
        for s in (whole.start, whole.end)
    ]
    for path in (Line(*ends), Only(Line(*ends), ["fc.weight", "conv1.weight"])):
        found = compared(path, net, (inputs, targets), relative, measures=[cross_entropy])
        assert found.provenance["dtype"] == str(dtype).removeprefix("torch.")
        assert not noted(found)


def test_states_may_have_another_type_than_the_network() -> None:
    net, whole, (inputs, targets) = small()
    compared(Only(whole, ["fc.weight"]), copy.deepcopy(net).double(), (inputs.double(), targets))


@pytest.mark.parametrize(
    ("net", "inputs"),
    [
        (models.build(recipe.ResNet(8, 4), (2, 8, 8), 3), IMAGES),
        (models.build(recipe.MLP(), (2, 8, 8), 3), IMAGES),
        (Writer(), TEXT),
        (Masked(), TEXT),
        (nn.ConvTranspose2d(2, 6, 3, 2, groups=2), IMAGES),
        (nn.Conv1d(2, 6, 3, groups=2), SOUNDS),
    ],
    ids=["ResNet", "MLP", "language model", "encoder", "transposed", "groups"],
)
def test_operations_are_those_of_torchs_counter(net: nn.Module, inputs: Tensor) -> None:
    net.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(inputs)
    # Torch's counter leaves out attention on the CPU: 2 layers, 2 heads of 8, 5 words.
    attention = 2 * 4 * 40 * 2 * 5 * 5 * 8 if isinstance(net, Writer) else 0
    with torch.no_grad():
        assert operations(lambda: net(inputs)) == counter.get_total_flops() + attention


class Switched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, twice: bool = False, scale: float = 1.0) -> Tensor:
        hidden = self.first(x).relu()
        out: Tensor = self.second(hidden * 2 if twice else hidden) * scale
        return out


def test_arguments_that_are_no_tensors_are_part_of_the_graph() -> None:
    net = Switched()
    line, data = line_of(net, drawn(40, 6)), [(drawn(40, 6), labels(40))]
    for twice, scale in ((True, 1.0), (False, 0.5)):
        curves = []
        for fast in (True, False):
            evaluator = Evaluator(
                net,
                {"test": data},
                forward=lambda model, batch, t=twice, s=scale: (model(x=batch[0], twice=t, scale=s), batch[1]),  # type: ignore[misc]
                fast=fast,
            )
            curves.append(scan(line, evaluator, ScanOptions(alphas=ALPHAS)))
        assert curves[0].provenance["notes"] == curves[1].provenance["notes"]
        found, expected = (curve["test", "cross_entropy"].values for curve in curves)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_heavy_network_is_walked_with_its_weights_as_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    net = models.build(recipe.ResNet(depth=8, width=8), (3, 16, 16), 3)
    line, data = line_of(net, drawn(40, 3, 16, 16)), (drawn(40, 3, 16, 16), labels(40))
    monkeypatch.setattr("linescape.engine.fast.LIGHT", 1e4)
    weights = sum(value.nbytes for value in net.state_dict().values())
    for path in (line, Only(line, ["fc.weight", "fc.bias"])):
        curve = scan(path, Evaluator(net, {"test": data}, fast=True, memory=weights - 1), ScanOptions(alphas=ALPHAS))
        assert "so no faster form of them was made beside" in curve.provenance["notes"][0]
        plain = scan(path, Evaluator(net, {"test": data}, fast=False), ScanOptions(alphas=ALPHAS))
        found, expected = (each["test", "cross_entropy"].values for each in (curve, plain))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_a_copy_the_network_itself_is_the_working_copy() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    line, data = line_of(net, drawn(20, 4)), (drawn(20, 4), labels(20))
    expected = scan(line, Evaluator(net, {"test": data}), ScanOptions(alphas=ALPHAS))
    evaluator = Evaluator(net, {"test": data}, copy=False)
    assert evaluator.model is net
    found = scan(line, evaluator, ScanOptions(alphas=ALPHAS))
    assert np.array_equal(found["test", "cross_entropy"].values, expected["test", "cross_entropy"].values)
    assert all(torch.equal(value, line.end[name]) for name, value in net.state_dict().items())


def test_the_callers_network_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    net = InPlace().train()
    seen: list[Any] = []
    net.bn1.register_forward_hook(lambda layer, inputs, output: seen.append(type(output)))
    before, random = {n: v.clone() for n, v in net.state_dict().items()}, torch.get_rng_state()
    attributes = {layer: dict(vars(layer)) for layer in net.modules()}
    whole = Line(State.from_module(net), State.from_module(InPlace()))
    random = torch.get_rng_state()
    evaluator = Evaluator(net, {"train": (IMAGES, labels(40))}, fast=True)
    scan(whole, evaluator, ScanOptions(alphas=3, batchnorm=("interpolate", "recalibrate")))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(dict(vars(layer)) == held for layer, held in attributes.items())
    assert torch.equal(torch.get_rng_state(), random)
    assert set(seen) == {Tensor}


def test_other_paths_and_positions_beyond_the_ends() -> None:
    net, whole, data = small()
    third = state(net, 3, lambda net: net(IMAGES[:24]))
    bend = Bend([whole.start, third, whole.end])
    ray = Ray(whole.start, {n: 0.1 * v for n, v in third.items() if n in third.parameters})
    alphas = (-0.5, 0.0, 0.3, 0.5, 0.8, 1.0, 1.7)
    for path in (
        bend,
        ray,
        Only(bend, ["fc.weight", "conv1.weight"]),
        Only(ray, ["fc.bias"]),
        Only(whole, ["fc.weight"]),
    ):
        compared(path, net, data, alphas=alphas, batch_size=16)
    compared(whole, net, data, alphas=(-0.2, 0.0, 1.0, 1.1))
    compared(Only(whole, ["fc.weight", "fc.bias"], fixed=third), net, data, alphas=alphas)


@pytest.mark.parametrize("block", ["", "fc1", "fc2"])
def test_what_overflows_is_the_same(block: str) -> None:
    net = Head()
    start = State.from_module(net)
    start = start.replace({"fc1.weight": start["fc1.weight"].abs()})  # sums overflow in whatever order
    huge = {
        "fc1.weight": start["fc1.weight"],
        "fc2.weight": torch.full((3, 8), 1e38),
        "fc2.bias": torch.full((3,), 3e38),
    }
    path: Path = Line(start, start.replace(huge))
    if block:
        huge["fc1.weight"] = torch.full((8, 12), 3e38)
        wide = start.replace({name: value for name, value in huge.items() if name.startswith(block)})
        path = Only(Line(start, wide), [name for name in start if name.startswith(block)])
    with np.errstate(all="ignore"):
        found = compared(path, net, (VECTORS.abs() + 1.2, labels(40)), measures=[cross_entropy, squared_error, error])
    if block != "fc1":
        assert not np.isfinite(found["squared_error"].values).all()


def test_a_walk_goes_on_where_it_was_cut_and_an_evaluator_walks_again() -> None:
    net, whole, (inputs, targets) = small()
    data = {"d": (inputs, targets)}
    one = Evaluator(net, data, fast=True)
    expected = scan(whole, one, ScanOptions(alphas=ALPHAS))
    for path in lines(net, whole).values():
        scan(path, one, ScanOptions(alphas=3))
    assert np.array_equal(scan(whole, one, ScanOptions(alphas=ALPHAS))["error"].values, expected["error"].values)
    two = Evaluator(net, data, fast=True)
    points = list(walk(whole, two, ScanOptions(alphas=ALPHAS), done=(0.0,)))
    points += walk(whole, one, ScanOptions(alphas=ALPHAS), done=(0.4, 1.0))
    found = collect(points, whole, two)
    assert np.array_equal(found["cross_entropy"].values, expected["cross_entropy"].values)


def test_direct_evaluation_between_points_changes_nothing() -> None:
    net, whole, (inputs, targets) = small()
    for path in (whole, Only(whole, ["fc.weight"])):
        evaluator = Evaluator(net, {"d": (inputs, targets)}, fast=True)
        expected = scan(path, evaluator, ScanOptions(alphas=ALPHAS))
        points = []
        for point in walk(path, evaluator, ScanOptions(alphas=ALPHAS)):
            points.append(point)
            evaluator(whole.at(0.7))
        assert np.array_equal(collect(points, path, evaluator)["error"].values, expected["error"].values)


def test_a_short_walk_keeps_no_later_one_from_its_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    net = InPlace().eval()
    whole = line_of(net, IMAGES)
    evaluator = Evaluator(net, {"d": (IMAGES, labels(40))})
    monkeypatch.setattr("linescape.evaluation.evaluator.WORTH", 0)
    scan(whole, evaluator, ScanOptions(alphas=2))
    assert not evaluator.engine.cuts
    monkeypatch.setattr("linescape.evaluation.evaluator.WORTH_PREPARING", {"cpu": 0, "cuda": 0})
    assert not noted(scan(whole, evaluator, ScanOptions(alphas=2)))
    assert evaluator.engine.cuts


def test_a_sample_is_measured_and_nothing_else() -> None:
    net, whole, data = small()
    rows = np.arange(0, 40, 2)
    evaluators = [Evaluator(net, {"d": data}, fast=fast, batch_size=8).sample({"d": rows}) for fast in (False, True)]
    expected, found = (scan(whole, evaluator, ScanOptions(alphas=3)) for evaluator in evaluators)
    assert found["cross_entropy"].values.shape == (3, 20)
    assert_close(found, expected)
