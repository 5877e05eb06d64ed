from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.engine import products
from linescape.evaluation.evaluator import Evaluator
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support.engine import labels, line_of

CPU = torch.device("cpu")


@pytest.fixture
def without_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda _: False)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


CASES: list[tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = [
    (lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1), (drawn(3, 4, 9, 9), drawn(5, 4, 3, 3), drawn(5))),
    (lambda x, w: F.conv1d(x, w, groups=2), (drawn(3, 4, 9), drawn(6, 2, 3))),
    (F.linear, (drawn(7, 11), drawn(5, 11), drawn(5))),
    (F.linear, (drawn(2, 7, 11), drawn(5, 11))),
    (torch.matmul, (drawn(2, 3, 7, 11), drawn(2, 3, 11, 5))),
]


@pytest.mark.parametrize(("function", "given"), CASES, ids=["conv2d", "conv1d", "linear", "without bias", "matmul"])
@pytest.mark.usefixtures("without_instructions")
def test_values_and_gradients_are_those_of_bfloat16(function: Callable[..., Tensor], given: tuple[Tensor, ...]) -> None:
    """Next to the exact ones of rounded numbers, rounded once; and torch's own differ by no more than a last bit."""
    found: dict[str, list[Tensor]] = {}
    for name, kind in (("ours", torch.float32), ("torch", torch.float32), ("exact", torch.float64)):
        inputs = [each.bfloat16().to(kind).requires_grad_() for each in given]
        inside = products.bfloat16_products(CPU) if name == "ours" else nullcontext()
        with inside, torch.autocast("cpu", enabled=name != "exact"):
            output = function(*inputs)
            output.backward(torch.ones_like(output))  # type: ignore[no-untyped-call]
        assert output.dtype == (torch.float64 if name == "exact" else torch.bfloat16)
        found[name] = [output.detach().double(), *(each.grad.double() for each in inputs if each.grad is not None)]
    assert len(found["ours"]) == 1 + len(given)
    for ours, torchs, exact in zip(found["ours"], found["torch"], found["exact"], strict=True):
        size = exact.abs().max()
        torch.testing.assert_close(ours, exact, rtol=2**-8, atol=1e-5 * float(size))
        torch.testing.assert_close(ours, torchs, rtol=2**-6, atol=1e-2 * float(size))


def test_what_is_not_bfloat16_is_left_alone() -> None:
    x, w = drawn(3, 8), drawn(5, 8)
    with products._InFloat32():  # type: ignore[no-untyped-call]
        assert torch.equal(F.linear(x, w), x @ w.T)
        assert (x.bfloat16() + 1).dtype == torch.bfloat16
        assert F.linear(x.double(), w.double()).dtype == torch.float64


def test_processors_with_instructions_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda _: True)
    assert not isinstance(products.bfloat16_products(CPU), products._InFloat32)
    assert not isinstance(products.bfloat16_products(torch.device("meta")), products._InFloat32)


@pytest.mark.parametrize("has_instructions", [False, True])
def test_a_curve_says_in_what_its_products_were_computed(
    has_instructions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda _: has_instructions)
    net = nn.Linear(4, 3).bfloat16().eval()
    images = drawn(6, 4).bfloat16()
    curve = scan(line_of(net, images), Evaluator(net, {"d": (images, labels(6))}), ScanOptions(alphas=2))
    assert curve.provenance["precision"] == ("bfloat16" if has_instructions else "bfloat16, products in float32")
