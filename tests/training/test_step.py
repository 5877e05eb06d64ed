"""The step, and as much of its way on a GPU as a CPU can go."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from linescape import models
from linescape.data import Mixed, mix
from linescape.engine import with_winograd
from linescape.engine.native import build
from linescape.errors import RecipeError
from linescape.recipe import MLP, Model, Optimizer, ResNet
from linescape.training import step as module
from linescape.training.step import Step, seeded

SGD = Optimizer("sgd", weight_decay=5e-4)
OPTIMIZERS = [
    SGD,
    replace(SGD, momentum=0.0),
    Optimizer("adam", lr=0.01),
    Optimizer("adamw", lr=0.01, weight_decay=0.1),
]


SMALL = ResNet(8, 8)  # narrower, its gradients are not computed with channels last on every processor


def network(spec: Model = SMALL) -> nn.Module:
    with seeded(1):
        made: nn.Module = models.build(spec, (3, 8, 8), 4)
    return made.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload, no-any-return]


def batches(*sizes: int) -> list[Mixed]:
    random = torch.Generator().manual_seed(2)
    given = [(torch.randn(n, 3, 8, 8, generator=random), torch.randint(4, (n,), generator=random)) for n in sizes]
    return [mix(x.contiguous(memory_format=torch.channels_last), y, 0.0, 0) for x, y in given]


def held(step: Step) -> dict[str, Tensor]:
    """Network and optimizer, copied."""
    found = {name: value.clone() for name, value in step.module.state_dict().items()}
    for number, slots in step.optimizer.state_dict()["state"].items():
        found |= {f"{number}/{name}": value.clone() for name, value in slots.items() if isinstance(value, Tensor)}
    return found


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return set(left) == set(right) and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["momentum", "plain", "adam", "adamw"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_captured_step_has_the_bits_of_an_eager_one(
    optimizer: Optimizer, precision: Literal["float32", "bfloat16"]
) -> None:
    spec = replace(optimizer, precision=precision)
    pieces, once = Step(network(), spec, "cpu", 4), Step(network(), spec, "cpu", 4)
    for batch in batches(16, 16, 9, 16):
        assert torch.equal(pieces.eager_step(batch), once.captured_step(batch))
        assert same(held(pieces), held(once))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["momentum", "plain", "adam", "adamw"])
@pytest.mark.parametrize("way", [Step.eager_step, Step.captured_step])
def test_a_lost_loss_moves_nothing(optimizer: Optimizer, way: Callable[[Step, Mixed], Tensor]) -> None:
    step = Step(network(MLP((8,))), optimizer, "cpu", 4)
    first, second = batches(16, 16)
    step.eager_step(first)
    before = held(step)
    met = way(step, second._replace(inputs=second.inputs * torch.nan))
    assert met[0].isnan()
    assert met[1] == 16
    assert same(held(step), before)


@pytest.mark.skipif(not build.kernels(), reason="no compiler, or not for this machine's CPU")
@pytest.mark.parametrize("bias", [False, True])
def test_winograd_has_the_gradients_of_a_convolution(bias: bool) -> None:
    random = torch.Generator().manual_seed(3)
    plain = nn.Conv2d(64, 32, 3, padding=1, bias=bias)
    fast = copy.deepcopy(plain)
    with_winograd(fast)
    given = torch.randn(5, 64, 7, 8, generator=random)
    back = torch.randn(5, 32, 7, 8, generator=random)
    found = list[list[Tensor]]()
    for layer, dtype in ((fast, torch.float32), (plain.double(), torch.float64)):
        x = given.to(dtype, copy=True).requires_grad_()
        out = layer(x)
        out.backward(back.to(dtype))
        found.append([out.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())])  # type: ignore[list-item]
    for mine, exact in zip(*found, strict=True):
        assert float((mine - exact).norm() / exact.norm()) < 3e-6
    assert not torch.equal(found[0][0], nn.functional.conv2d(given, fast.weight, fast.bias, padding=1))


def trained(optimizer: Optimizer) -> dict[str, Tensor]:
    step = Step(network(ResNet(8, 32)), optimizer, "cpu", 2)
    for number, batch in enumerate(batches(16, 16)):
        step(batch, 0.1, number)
    return held(step)


def test_a_compiler_changes_no_bit_unless_the_recipe_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    here = trained(SGD)
    monkeypatch.setattr(build, "kernels", lambda: None)
    assert same(trained(SGD), here)


@pytest.mark.skipif(not build.kernels(), reason="no compiler, or not for this machine's CPU")
def test_native_convolutions_are_used_where_the_recipe_asks_for_them() -> None:
    plain, native = trained(SGD), trained(replace(SGD, native=True))
    assert not same(plain, native)
    assert torch.allclose(plain["conv1.weight"], native["conv1.weight"], atol=1e-4)


def test_native_convolutions_that_are_not_there_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    native = replace(SGD, native=True)
    with pytest.raises(RecipeError, match=r"native=True\), but it is to run on meta.*give the recipe native=False"):
        Step(network(ResNet(8, 32)), native, "meta", 1)
    monkeypatch.setattr(build, "kernels", lambda: None)
    with pytest.raises(RecipeError, match="cannot be compiled on this machine"):
        Step(network(ResNet(8, 32)), native, "cpu", 1)
    narrow = ResNet(8, 4)  # no layer is wide enough
    assert same(held(Step(network(narrow), native, "cpu", 1)), held(Step(network(narrow), SGD, "cpu", 1)))


@pytest.mark.skipif(not build.kernels(), reason="no compiler, or not for this machine's CPU")
def test_only_convolutions_that_suit_are_done_by_winograd() -> None:
    given = torch.randn(2, 32, 8, 8, generator=torch.Generator().manual_seed(3))
    for layer in (
        nn.Conv2d(32, 32, 3, padding=1, stride=2),
        nn.Conv2d(32, 32, 3, padding=1, groups=2),
        nn.Conv2d(32, 32, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(32, 32, 3),
        nn.Conv2d(32, 32, 1),
        nn.Conv2d(32, 16, 3, padding=1),
    ):
        expected = layer(given)
        with_winograd(layer)
        assert torch.equal(layer(given), expected)
    layer = nn.Conv2d(32, 32, 3, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(given)
        with_winograd(layer)
        assert torch.equal(layer(given), expected)


def test_bfloat16_gives_nearly_the_gradients_of_float32() -> None:
    (batch,) = batches(64)  # and a smooth network: a ReLU near 0 that switches changes a gradient by all of it
    found = []
    for precision in ("float32", "bfloat16"):
        step = Step(network(MLP((32,), "tanh")), replace(SGD, precision=precision), "cpu", 1)
        step.eager_step(batch)
        found.append(torch.cat([p.grad.flatten() for p in step.module.parameters() if p.grad is not None]))
    assert {gradient.dtype for gradient in found} == {torch.float32}
    away = float((found[0] - found[1]).norm() / found[0].norm())
    assert 0 < away < 0.01


class Graph:
    """In place of a CUDA graph: what was recorded is done again at each replay, on the tensors that it read."""

    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


@contextmanager
def recording(graph: Graph) -> Iterator[None]:
    yield


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[Step], Step]:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)

    def record(self: module._CapturedStep, step: Step, batch: Mixed) -> None:
        # A real recording does nothing yet; here it would do a step, which is taken back.
        network, optimizer = copy.deepcopy(step.module.state_dict()), copy.deepcopy(step.optimizer.state_dict())
        init(self, step, batch)
        step.module.load_state_dict(network)
        step.optimizer.load_state_dict(optimizer)
        self.step = step  # type: ignore[attr-defined]

    def call(self: module._CapturedStep, batch: Mixed) -> Tensor:
        replay(self, batch)
        return self.step.captured_step(Mixed(self.inputs, self.targets, self.targets, 1.0))  # type: ignore[attr-defined, no-any-return]

    init, replay = module._CapturedStep.__init__, module._CapturedStep.__call__
    monkeypatch.setattr(module._CapturedStep, "__init__", record)
    monkeypatch.setattr(module._CapturedStep, "__call__", call)

    def enable(step: Step) -> Step:
        step.captures = True
        return step

    return enable


def test_whole_batches_are_replayed_after_a_few_steps(as_on_a_gpu: Callable[[Step], Step]) -> None:
    plain, gpu = Step(network(), SGD, "cpu", 9), as_on_a_gpu(Step(network(), SGD, "cpu", 9))
    given = batches(16, 16, 16, 16, 9, 16, 16)
    given[5] = mix(given[5].inputs, given[5].targets, 1.0, 3)
    for at, batch in enumerate(given):
        assert torch.equal(plain(batch, 0.1 / (at + 1), at), gpu(batch, 0.1 / (at + 1), at))
        assert same(held(plain), held(gpu))
    assert gpu.captured is not None
    assert gpu.captured.graph.replays == 2  # type: ignore[attr-defined] # the fourth and the last; one is short, one mixed
    assert gpu.eager_steps == 5


def test_without_a_graph_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nat a line of torch")

    monkeypatch.setattr(module._CapturedStep, "__init__", fails)
    plain, step = Step(network(), SGD, "cpu", 6), Step(network(), SGD, "cpu", 6)
    step.captures = True
    given = batches(*[16] * 6)
    with pytest.warns(UserWarning, match=r"so steps are eager, which is slower: operation not permitted.*capturing$"):
        met = [step(batch, 0.1, 0) for batch in given]
    assert torch.equal(torch.stack(met), torch.stack([plain(batch, 0.1, 0) for batch in given]))
    assert same(held(plain), held(step))


def test_without_a_compiler_it_goes_on() -> None:
    class Uncompilable(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise ImportError("no Triton")

    plain, step = Step(network(), SGD, "cpu", 2), Step(network(), SGD, "cpu", 2)
    step.forward = Uncompilable()
    with pytest.warns(
        UserWarning, match="could not be compiled, so it is trained as it is, which is slower: no Triton"
    ):
        met = [step(batch, 0.1, 0) for batch in batches(16, 16)]
    assert torch.equal(torch.stack(met), torch.stack([plain(batch, 0.1, 0) for batch in batches(16, 16)]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_the_compiled_network_trains_alike() -> None:
    plain, step = Step(network(), SGD, "cpu", 3), Step(network(), SGD, "cpu", 3)
    step.forward = torch.compile(step.module, dynamic=False)
    for batch in batches(16, 16, 9):
        assert torch.allclose(plain(batch, 0.1, 0), step(batch, 0.1, 0), rtol=1e-3)
    assert step.forward is not step.module
    left, right = held(plain), held(step)
    assert set(left) == set(right)
    assert all(torch.allclose(left[name], right[name], rtol=1e-2, atol=1e-3) for name in left)


def test_products_are_in_tf32_unless_the_caller_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_float32_matmul_precision()
    with module._fast_products(torch.device("cuda")):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before

    def mixed() -> str:  # as torch does where both of its ways to set this were used
        raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: pytest.fail("it was changed"))
    with module._fast_products(torch.device("cuda")):
        pass


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["momentum", "plain", "adam", "adamw"])
def test_a_gpu_trains_alike(optimizer: Optimizer) -> None:
    plain, step = Step(network(), optimizer, "cpu", 8), Step(network().cuda(), optimizer, "cuda", 8)
    for at, batch in enumerate(batches(*[16] * 6, 9, 16)):
        there = Mixed(batch.inputs.cuda(), batch.targets.cuda(), batch.partners.cuda(), 1.0)
        assert torch.allclose(plain(batch, 0.01, at), step(there, 0.01, at).cpu(), rtol=0.02)
    assert step.captured is not None


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_a_gpu_trains_alike_with_the_network_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_COMPILING", 1)
    plain, step = Step(network(), SGD, "cpu", 8), Step(network().cuda(), SGD, "cuda", 8)
    for at, batch in enumerate(batches(*[16] * 6, 9, 16)):
        there = Mixed(batch.inputs.cuda(), batch.targets.cuda(), batch.partners.cuda(), 1.0)
        assert torch.allclose(plain(batch, 0.01, at), step(there, 0.01, at).cpu(), rtol=0.02)
    assert step.forward is not step.module
    assert step.captured is not None
