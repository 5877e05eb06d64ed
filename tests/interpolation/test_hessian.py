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
from linescape.interpolation.sam import sharpness


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


class Quadratic(nn.Module):
    """Whose output for each example is ``w^T H w / 2``."""

    def __init__(self, hessian: Tensor, seed: int) -> None:
        super().__init__()
        self.register_buffer("hessian", hessian)
        self.w = nn.Parameter(seeded(seed, len(hessian)))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.new_ones(len(inputs), 1) * (self.w @ self.get_buffer("hessian") @ self.w) / 2


def output(outputs: Tensor, _: Tensor) -> Tensor:
    return outputs[:, 0]


@pytest.mark.parametrize(
    "spectrum",
    [
        [5.0, 5, 5, *np.linspace(-8, 4, 37)],  # whose third 5 Lanczos leaves out, from one vector
        [2.0] * 40,
        [3.0, 3, *[0.0] * 38],
        [-1.0, -1, -1, *np.linspace(-60, -2, 37)],
    ],
    ids=["three alike", "all alike", "two of low rank", "negative"],
)
def test_eigenvalues_that_are_repeated_are_counted_as_often_as_they_are(spectrum: list[float]) -> None:
    basis = torch.linalg.qr(seeded(0, 40, 40))[0]
    hessian = basis @ torch.diag(torch.tensor(spectrum).double()) @ basis.T
    a, b = (Quadratic((hessian + hessian.T) / 2, seed) for seed in (1, 2))
    evaluator = Evaluator(a, {"train": (torch.zeros(3, 1).double(), torch.zeros(3))}, {"output": output})
    found = curvature(Line(a, b), evaluator, 2, top=4)
    np.testing.assert_allclose(found.eigenvalues[0], np.sort(spectrum)[::-1][:4], atol=1e-8)
    assert found.residuals.max() < 1e-7


class Roots(nn.Module):
    """Square roots of what a layer gives, made positive; they have no derivative at 0."""

    def __init__(self, positive: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.positive = nn.Linear(6, 7).double(), positive

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sqrt(self.positive(self.layer(inputs)))


@pytest.mark.parametrize(("positive", "what"), [(torch.square, "gradient"), (torch.relu, "second derivative")])
def test_derivatives_that_are_not_finite_are_refused(positive: Callable[[Tensor], Tensor], what: str) -> None:
    a, b = Roots(positive), Roots(positive)
    with torch.no_grad():
        a.layer.weight.zero_()
        a.layer.bias.fill_(0.0 if what == "gradient" else -1.0)
    line, evaluator = Line(a, b), Evaluator(a, {"train": DATA}, [cross_entropy])
    with pytest.raises(MeasureError, match=f"the loss is finite and its {what} is not"):
        curvature(line, evaluator, 2)
    if what == "gradient":
        with pytest.raises(MeasureError, match="At alpha = 0 the loss is finite and its gradient is not"):
            sharpness(line, evaluator, 2, radius=0.1)


class Complex(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Parameter(torch.randn(7, 5).to(dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(inputs)).to(self.second.dtype)
        return (hidden @ self.second.T).abs().float()


@pytest.mark.parametrize(
    ("dtype", "says"), [(torch.complex64, "'second' is complex"), (torch.bfloat16, "'second' is in bfloat16")]
)
def test_a_single_parameter_of_another_type_is_refused(dtype: torch.dtype, says: str) -> None:
    a, b = Complex(dtype), Complex(dtype)
    evaluator = Evaluator(a, {"train": (DATA[0].float(), DATA[1])}, [cross_entropy])
    with pytest.raises(MeasureError, match=says):
        curvature(Line(a, b), evaluator, 2)
    with pytest.raises(MeasureError, match=says):
        sharpness(Line(a, b), evaluator, 2, radius=0.1)


def test_without_parameters_nothing_can_be_differentiated() -> None:
    a, b = (nn.BatchNorm1d(7, affine=False) for _ in "ab")
    b.get_buffer("running_mean").add_(1.0)
    evaluator = Evaluator(a, {"train": (torch.randn(5, 7), torch.arange(5))}, [cross_entropy])
    with pytest.raises(MeasureError, match="has no parameters"):
        curvature(Line(a, b), evaluator, 2)


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
