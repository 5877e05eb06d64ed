"""Lines whose values are known, measured on this machine; `linescape doctor` shows them.

What is expected comes from a formula in Python's own numbers, or from plain calls in float64, so that nothing is
compared with itself.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linescape import models, recipe, shape
from linescape.engine.native import build, winograd
from linescape.evaluation.batchnorm import TREATMENTS
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.runner import Precision
from linescape.geometry.paths import Line
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan

ALPHAS = tuple(k / 8 for k in range(9))
"""Positions at which lines are compared: floating point holds them exactly."""

_FEW = (0.0, 0.5, 0.75, 1.0)
"""The same of networks that take longer."""

_X = (-1.5, -0.25, 0.5, 2.0)
"""Inputs of the networks with one input; the training data are other ones."""

_TRAIN = (-2.0, 0.0, 0.5, 1.0, 4.0)


@dataclass(frozen=True)
class Check:
    """One number with a known answer.

    Attributes:
        what: what was computed, in a few words.
        found: the number here; of several, the one that is furthest from what is expected.
        expected: the number as it should be.
        allowed: how far they may be apart by rounding.
    """

    what: str
    found: float
    expected: float
    allowed: float

    @property
    def is_ok(self) -> bool:
        """Whether the number is as expected; NaN never is."""
        return abs(self.found - self.expected) <= self.allowed


def checks(device: str = "cpu") -> Iterator[Check]:
    """Compute the cases with known answers one after the other, in a few seconds.

    Global random numbers are left alone. A device without float64 (``mps``) is compared in float32.

    Args:
        device: where lines are measured, by its name in torch.
    """
    exact = torch.float32 if torch.device(device).type == "mps" else torch.float64
    allowed = 1e-4 if exact == torch.float32 else 1e-10
    yield from _statistics()
    for case in (_quadratic, _powers, _two_classes):
        yield _furthest(str(case.__doc__), *case(device, exact), allowed)
    for treatment in TREATMENTS:
        yield _furthest(f"BatchNorm, statistics {treatment}", *_batchnorm(treatment, device, exact), allowed)
    yield from _convolutions(device, exact)
    if build.kernels() is not None:
        yield from _kernels()


def _furthest(what: str, found: Sequence[float], expected: Sequence[float], allowed: float) -> Check:
    pairs = list(zip(map(float, found), map(float, expected), strict=True))
    return Check(
        what, *max(pairs, key=lambda pair: (not math.isfinite(pair[0]), abs(pair[0] - pair[1]), pair[1])), allowed
    )


def _statistics() -> Iterator[Check]:
    """Of the losses 2, 1, 3, 0.5 at equal distances, by hand: each definition gives another barrier."""
    by_hand = {"min_delta": 2.0, "barrier_above_chord": 2.0, "barrier_above_mean": 1.75, "barrier_above_max_end": 1.0}
    for name, expected in by_hand.items():
        found = getattr(shape, name)([0, 1 / 3, 2 / 3, 1], [2.0, 1.0, 3.0, 0.5])
        yield Check(f"{name} of 2, 1, 3, 0.5", float(found), expected, 1e-12)


def _lines(
    ends: Sequence[nn.Module], inputs: Tensor, targets: Tensor, measure: str, batchnorm: str = "interpolate"
) -> list[float]:
    """The mean of a measure at each of `ALPHAS`, on the device and in the type of the networks."""
    start, end = ends
    like = next(end.parameters())
    train = torch.tensor(_TRAIN)[:, None] if inputs.shape[1:] == (1,) else inputs
    data = {
        "test": (inputs.to(like), targets.to(like.device)),
        "train": (train.to(like), targets[:1].to(like.device).expand(len(train), *targets.shape[1:])),
    }
    curve = scan(Line(start, end), Evaluator(end, data, [measure]), ScanOptions(alphas=ALPHAS, batchnorm=batchnorm))
    return [float(value) for value in curve["test", measure].mean]


def _filled(
    make: Callable[[], nn.Module], values: dict[str, list[float]], device: str, dtype: torch.dtype
) -> nn.Module:
    """A network with tensors of these values, in eval mode."""
    with torch.random.fork_rng(devices=[]):  # its own initial values are drawn
        network = make().to(device, dtype).eval()
    state = network.state_dict()
    filled = {name: torch.tensor(value).reshape(state[name].shape) for name, value in values.items()}
    network.load_state_dict({**state, **filled})
    return network


def _quadratic(device: str, dtype: torch.dtype) -> tuple[list[float], list[float]]:
    """(x θ(α) - y)², a quadratic"""
    first, last, x, y = (1.0, -2.0, 0.5), (-1.0, 0.25, 3.0), (0.75, 1.5, -2.0), 0.125
    ends = [_filled(lambda: nn.Linear(3, 1, bias=False), {"weight": [*end]}, device, dtype) for end in (first, last)]
    found = _lines(ends, torch.tensor([x, x]), torch.tensor([[y], [y]], dtype=dtype), "squared_error")
    between = ([(1 - a) * u + a * v for u, v in zip(first, last, strict=True)] for a in ALPHAS)
    return found, [(math.fsum(w * each for w, each in zip(theta, x, strict=True)) - y) ** 2 for theta in between]


def _powers(device: str, dtype: torch.dtype) -> tuple[list[float], list[float]]:
    """(α⁴ x)², a chain of weights"""
    weights = [{f"{index}.weight": [value] for index in range(4)} for value in (0.0, 1.0)]
    ends = [_filled(_chain, tensors, device, dtype) for tensors in weights]
    found = _lines(ends, torch.tensor(_X)[:, None], torch.zeros(len(_X), 1, dtype=dtype), "squared_error")
    return found, [math.fsum((a**4 * x) ** 2 for x in _X) / len(_X) for a in ALPHAS]


def _chain() -> nn.Module:
    return nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(4)))


def _two_classes(device: str, dtype: torch.dtype) -> tuple[list[float], list[float]]:
    """ln(1 + exp(-w(α) x)), two classes"""
    first, last = -3.0, 5.0
    ends = [_filled(lambda: nn.Linear(1, 2, bias=False), {"weight": [0.0, w]}, device, dtype) for w in (first, last)]
    found = _lines(ends, torch.tensor(_X)[:, None], torch.ones(len(_X), dtype=torch.long), "cross_entropy")
    weights = [(1 - a) * first + a * last for a in ALPHAS]
    return found, [math.fsum(math.log1p(math.exp(-w * x)) for x in _X) / len(_X) for w in weights]


def _batchnorm(treatment: str, device: str, dtype: torch.dtype) -> tuple[list[float], list[float]]:
    """g(α) (w(α) x - mean) / sqrt(variance + eps) + b(α), squared; the statistics of both ends are unlike the data's"""
    ends = (
        {"0.weight": -1.0, "1.weight": 1.0, "1.bias": 0.5, "1.running_mean": 0.25, "1.running_var": 2.0},
        {"0.weight": 3.0, "1.weight": 2.0, "1.bias": -1.0, "1.running_mean": -1.0, "1.running_var": 0.5},
    )
    networks = [_filled(_normed, {name: [value] for name, value in tensors.items()}, device, dtype) for tensors in ends]
    zeros = torch.zeros(len(_X), 1, dtype=dtype)
    found = _lines(networks, torch.tensor(_X)[:, None], zeros, "squared_error", treatment)
    expected = []
    for a in ALPHAS:
        w, g, b, mean, variance = ((1 - a) * ends[0][name] + a * ends[1][name] for name in ends[0])
        if treatment in ("start", "end"):
            mean, variance = (ends[treatment == "end"][f"1.running_{name}"] for name in ("mean", "var"))
        elif treatment != "interpolate":
            seen = _TRAIN if treatment == "recalibrate" else _X
            mean = w * math.fsum(seen) / len(seen)
            squares = math.fsum((w * x - mean) ** 2 for x in seen)
            variance = squares / (len(seen) - (treatment == "recalibrate"))  # running ones are unbiased
        outputs = (g * (w * x - mean) / math.sqrt(variance + 1e-5) + b for x in _X)
        expected.append(math.fsum(y * y for y in outputs) / len(_X))
    return found, expected


def _normed() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))


def _convolutions(device: str, exact: torch.dtype) -> Iterator[Check]:
    """A residual network as walks compute it, against plain calls; and the line from a network to itself."""
    images, labels = torch.randn(8, 3, 16, 16, generator=_generator()).to(device), (torch.arange(8) % 10).to(device)
    start, end, between = (_residual(seed, device) for seed in (0, 1, 1))
    between = between.to(exact)
    plain = []
    for a in _FEW:
        ends = zip(start.state_dict().values(), end.state_dict().values(), strict=True)
        for tensor, (first, last) in zip(between.state_dict().values(), ends, strict=True):
            tensor.copy_((1 - a) * first.to(exact) + a * last.to(exact))
        with torch.no_grad():
            plain.append(float(F.cross_entropy(between(images.to(exact)), labels)))
    options, data = ScanOptions(alphas=_FEW), {"test": (images, labels)}
    cases: tuple[tuple[Precision | None, float], ...] = ((None, 1e-4), ("bfloat16", 0.05))
    for precision, allowed in cases:
        evaluator = Evaluator(end, data, ["cross_entropy"], precision=precision, fast=True)
        if evaluator.precision == precision:  # else the processor has no instructions for it, and it is never used
            found = scan(Line(start, end), evaluator, options)["test", "cross_entropy"].mean.tolist()
            what = f"ResNet-8, {precision or 'float32'}, by plain calls"
            yield _furthest(what, found, plain, allowed * max(plain))
    same = scan(Line(copy.deepcopy(end), end), Evaluator(end, data, ["cross_entropy"]), options)
    found = same["test", "cross_entropy"].mean.tolist()
    yield _furthest("from a network to itself: flat", found, [found[-1]] * len(found), 1e-5)


def _residual(seed: int, device: str) -> nn.Module:
    """A network of 3x3 convolutions that are wide enough for the compiled kernels; its losses are far from chance."""
    network = models.draw(recipe.ResNet(depth=8, width=32), (3, 16, 16), 10, recipe.Random(scale=1.5), seed)
    return network.to(device).eval()


def _kernels() -> Iterator[Check]:
    """The compiled kernels against torch's convolution in float64, by the largest deviation relative to the norm."""
    lanes, panel = build.lanes(), build.panel()
    generator = _generator()
    x, weight = (
        torch.randn(shape, generator=generator) for shape in ((8, 4 * lanes, 16, 16), (2 * panel, 4 * lanes, 3, 3))
    )
    other = torch.randn(8, 2 * panel, 16, 16, generator=generator)
    room = torch.empty(36 * weight.shape[0] * weight.shape[1])
    found = winograd.convolution(x, winograd.transformed(weight, room), None, None, relu=False)
    exact = weight.double().requires_grad_()
    expected = F.conv2d(x.double(), exact, padding=1)
    (of_weight,) = torch.autograd.grad(expected, exact, other.double())
    for what, ours, theirs in (
        ("convolution", found, expected),
        ("gradient", winograd.gradient(x, other), of_weight),
    ):
        yield Check(
            f"compiled {what}, relative error", float(((ours - theirs).norm() / theirs.norm()).detach()), 0.0, 1e-5
        )


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
