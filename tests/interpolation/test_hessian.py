"""Eigenvalues and trace of Hessians along a path, against dense derivatives of torch and closed forms in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.errors import MeasureError, RecipeError
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy, error, squared_error
from linescape.geometry.paths import Line
from linescape.interpolation.hessian import curvature


def seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


DATA = seeded(3, 40, 6), torch.arange(40) % 7


def network(seed: int) -> nn.Module:
    """Of 199 parameters."""
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, 7)).double()
    made(seeded(seed, 50, 6))
    return made.eval()


def linear(seed: int, inputs: int = 5) -> nn.Module:
    layer = nn.Linear(inputs, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(seeded(seed, 1, inputs))
    return layer


def dense(made: nn.Module, loss: Callable[[dict[str, Tensor]], Tensor]) -> np.ndarray:
    """The Hessian by torch's own dense derivatives ``(parameters, parameters)``."""
    weights = dict(made.named_parameters())
    flat = torch.cat([weight.detach().flatten() for weight in weights.values()])

    def of_flat(values: Tensor) -> Tensor:
        parts = torch.split(values, [weight.numel() for weight in weights.values()])
        return loss({name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)})

    found: Any = torch.autograd.functional.hessian(of_flat, flat)  # type: ignore[no-untyped-call]
    return np.asarray(found.numpy())


@pytest.mark.parametrize(
    ("alpha", "treatment"), [(1.0, "interpolate"), (0.4, "batch"), (0.4, "end"), (0.4, "recalibrate")]
)
def test_agreement_with_dense_derivatives_at_200_parameters(alpha: float, treatment: str) -> None:
    a, b = network(0), network(1)
    line, evaluator = Line(a, b), Evaluator(a, {"train": DATA}, batch_size=25)
    alphas = sorted({0.0, alpha, 1.0})
    place = alphas.index(alpha)
    found = curvature(line, evaluator, alphas, top=3, vectors=200, batchnorm=treatment)
    assert found.provenance["batchnorm"] == treatment
    assert found.provenance["parameters"] == 199
    between = network(2)
    line.at(alpha).load_into(between)
    if treatment in ("end", "recalibrate"):
        statistics = b.state_dict() if treatment == "end" else evaluator.recalibrated(line, alpha)
        for name in ("1.running_mean", "1.running_var"):
            between.get_buffer(name).copy_(statistics[name])
    between.train(treatment == "batch")

    def loss(weights: dict[str, Tensor]) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for inputs, targets in zip(*(torch.split(part, 25) for part in DATA), strict=True):
            outputs = torch.func.functional_call(between, weights, (inputs,))
            total = total + F.cross_entropy(outputs, targets, reduction="sum")
        return total / 40

    hessian = dense(between, loss)
    expected = np.linalg.eigvalsh(hessian)[::-1][:3]
    np.testing.assert_allclose(found.eigenvalues[place], expected, rtol=1e-6)
    np.testing.assert_allclose(found.trace[place], np.trace(hessian), rtol=1e-6)
    assert not found.trace_half_width.any()
    assert (found.residuals < 1e-6).all()


def test_a_linear_model_with_squared_error_has_the_same_known_hessian_everywhere() -> None:
    inputs, targets = seeded(1, 30, 5), seeded(2, 30, 1)
    a, b = linear(0), linear(1)
    before = {name: value.clone() for name, value in a.state_dict().items()}
    evaluator = Evaluator(a, {"train": (inputs, targets)}, [squared_error], batch_size=7)
    found = curvature(Line(a, b), evaluator, 3, top=2, vectors=5)
    hessian = 2 * (inputs.T @ inputs / 30).numpy()
    for place, alpha in enumerate((0.0, 0.5, 1.0)):
        weight = torch.lerp(a.weight, b.weight, alpha).detach()  # type: ignore[arg-type]
        residual = inputs @ weight.T - targets
        np.testing.assert_allclose(found.eigenvalues[place], np.linalg.eigvalsh(hessian)[::-1][:2], rtol=1e-8)
        np.testing.assert_allclose(found.trace[place], np.trace(hessian), rtol=1e-12)
        np.testing.assert_allclose(found.loss[place], residual.square().mean(), rtol=1e-6)
        np.testing.assert_allclose(found.gradient[place], (2 * inputs.T @ residual / 30).norm(), rtol=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in a.state_dict().items())
    assert a.weight.grad is None


@pytest.mark.parametrize("inputs", [1, 40])
def test_a_loss_that_is_linear_has_no_curvature_and_one_weight_has_one_eigenvalue(inputs: int) -> None:
    a, b = linear(0, inputs), linear(1, inputs)
    data = {"train": (seeded(1, 30, inputs), seeded(2, 30, 1))}

    def product(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs * targets).sum(1)

    found = curvature(Line(a, b), Evaluator(a, data, [product]), 2)
    assert not found.eigenvalues.any()
    assert not found.residuals.any()
    assert not found.trace.any()
    if inputs == 1:
        bent = curvature(Line(a, b), Evaluator(a, data, [squared_error]), 2)
        np.testing.assert_allclose(bent.eigenvalues, 2 * float(data["train"][0].square().mean()), rtol=1e-12)


def test_the_estimated_trace_is_exact_for_a_diagonal() -> None:
    a, b = linear(0, 40), linear(1, 40)
    diagonal, targets = torch.diag(torch.arange(1.0, 41.0)).double(), seeded(2, 40, 1)
    found = curvature(Line(a, b), Evaluator(a, {"train": (diagonal, targets)}, [squared_error]), 2)
    expected = 2 * np.square(np.arange(1, 41)).sum() / 40
    np.testing.assert_allclose(found.trace, expected, rtol=1e-9)  # v' D v is the trace for each v of +1 and -1
    assert (found.trace_half_width < 1e-9 * expected).all()


def test_intervals_of_estimated_traces_cover_them() -> None:
    a, b = linear(0, 40), linear(1, 40)
    line, targets = Line(a, b), seeded(2, 40, 1)
    inputs = seeded(4, 40, 40)
    expected = 2 * float(inputs.square().sum()) / 40
    evaluator = Evaluator(a, {"train": (inputs, targets)}, [squared_error])
    covered, state = [], torch.random.get_rng_state()
    for seed in range(20):
        found = curvature(line, evaluator, 2, vectors=8, seed=seed)
        assert found.trace[0] == found.trace[1]  # the same vectors at all positions
        covered.append(abs(found.trace[0] - expected) <= found.trace_half_width[0])
    assert sum(covered) >= 16  # of 20, at 95 %: fewer has a probability of 0.003
    assert torch.equal(state, torch.random.get_rng_state())


class Tokens(nn.Module):
    """Of tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embedding(tokens)))  # type: ignore[no-any-return]


def test_of_tokens_each_that_counts_weighs_the_same_and_tied_weights_are_one() -> None:
    torch.manual_seed(0)
    a, b = Tokens().double(), Tokens().double()
    tokens = torch.randint(5, (6, 4))
    targets = torch.randint(5, (6, 4)).where(torch.rand(6, 4) < 0.6, -100)
    evaluator = Evaluator(a, {"train": (tokens, targets)}, [cross_entropy], batch_size=4)
    found = curvature(Line(a, b), evaluator, 2, vectors=15)
    for place, made in enumerate((a, b)):

        def loss(weights: dict[str, Tensor], made: nn.Module = made) -> Tensor:
            outputs = torch.func.functional_call(made, weights, (tokens,))
            return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())

        hessian = dense(made, loss)
        np.testing.assert_allclose(found.eigenvalues[place, 0], np.linalg.eigvalsh(hessian)[-1], rtol=1e-6)
        np.testing.assert_allclose(found.trace[place], np.trace(hessian), rtol=1e-6)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(inputs).mean(1))  # type: ignore[no-any-return]


def test_attention_in_float32_agrees_with_float64() -> None:
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        a, b = (Attention().eval().to(dtype) for _ in range(2))
        data = seeded(1, 20, 3, 6).to(dtype), torch.arange(20) % 3
        found.append(curvature(Line(a, b), Evaluator(a, {"train": data}), 2, top=1, vectors=4))
    np.testing.assert_allclose(found[0].eigenvalues, found[1].eigenvalues, rtol=1e-4)
    np.testing.assert_allclose(found[0].trace, found[1].trace, rtol=1e-3)


def test_what_cannot_be_measured_is_refused() -> None:
    a, b = network(0), network(1)
    line, evaluator = Line(a, b), Evaluator(a, {"train": DATA}, [error, cross_entropy])
    with pytest.raises(MeasureError, match="'error' has no gradient"):
        curvature(line, evaluator, 2)
    with pytest.raises(MeasureError, match="has no data 'trian'. Did you mean 'train'"):
        curvature(line, evaluator, 2, data="trian")
    with pytest.raises(RecipeError, match="top is 199. The network has 199 parameters: give an integer from 1 to 198"):
        curvature(line, evaluator, 2, top=199)
    with pytest.raises(RecipeError, match="vectors is 1. An interval needs some"):
        curvature(line, evaluator, 2, vectors=1)
    half, other = network(0).half(), network(1).half()
    with pytest.raises(MeasureError, match=r"in float16, in which derivatives have too few digits"):
        curvature(Line(half, other), Evaluator(half, {"train": (DATA[0].half(), DATA[1])}), 2)
