"""Tensors of other kinds than real numbers that move."""

# mypy: disable-error-code="misc, no-untyped-call"

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import linescape as ls
from linescape import checkpoints
from tests.support.situations import (
    ALPHAS,
    Answer,
    Case,
    anew,
    command,
    cross_entropy,
    examples,
    pair,
    saved,
    situation,
    walked,
)


class Fourier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, dtype=torch.complex64))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.head(torch.fft.irfft(torch.fft.rfft(x) * self.w, n=6))


@situation
def complex_parameters(folder: Path) -> Iterator[Case]:
    start, end = pair(Fourier)
    data = examples()
    expected = []
    for alpha in ALPHAS:
        first, last = ({n: t.detach() for n, t in net.state_dict().items()} for net in (start, end))
        at = {name: first[name] + alpha * (last[name] - first[name]) for name in first}
        filtered = torch.fft.irfft(torch.fft.rfft(data[0].double()) * at["w"].to(torch.complex128), n=6)
        logits = filtered @ at["head.weight"].double().T + at["head.bias"].double()
        expected.append(float(F.cross_entropy(logits, data[1])))
    for fast in (None, True):
        yield Case(f"a walk, fast={fast}", lambda fast=fast: walked(start, end, data, fast=fast), expected)
    states = [ls.State.from_module(network) for network in (start, end)]
    squares = [float((b - a).abs().square().sum()) for a, b in zip(start.parameters(), end.parameters(), strict=True)]
    yield Case("distance", lambda: ([ls.distance(*states)], []), [sum(squares) ** 0.5])
    files = [saved(network, folder / f"{i}.pt") for i, network in enumerate((start, end))]

    def average() -> Answer:
        command("average", *files, "-o", folder / "c.pt")
        w = torch.load(folder / "c.pt")["w"]
        return torch.view_as_real(w).flatten().numpy(), []

    middle = torch.view_as_real((start.w.detach() + end.w.detach()) / 2).flatten().numpy()
    yield Case("average", average, middle)
    yield Case("diff", lambda: command("diff", *files), [0.0])


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
        self.mask: Any
        self.register_buffer("mask", torch.full((5, 5), float("-inf")).triu(1))

    def forward(self, x: Any) -> Any:
        return self.head(((self.query(x) @ x.transpose(1, 2) + self.mask).softmax(-1) @ x)[:, -1])


@situation
def infinite_mask(folder: Path) -> Iterator[Case]:
    start, end = pair(Masked)
    inputs, targets = torch.randn(40, 5, 4), examples()[1]
    expected = []
    for alpha in ALPHAS:
        network = Masked()
        ends = zip(start.state_dict().items(), end.state_dict().values(), strict=True)
        network.load_state_dict({n: a if n == "mask" else a + alpha * (b - a) for (n, a), b in ends})
        expected.append(float(F.cross_entropy(network.double()(inputs.double()), targets)))
    yield Case("a walk", lambda: walked(start, end, (inputs, targets)), expected)
    files = [saved(network, folder / f"{i}.pt") for i, network in enumerate((start, end))]
    yield Case("average", lambda: command("average", *files, "-o", folder / "c.pt"), [0.0])
    yield Case("diff", lambda: command("diff", *files), [0.0])


class Extra(nn.Linear):
    extra: Any = None

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        pass


@situation
def extra_state(folder: Path) -> Iterator[Case]:
    data = examples()
    for extra in ({"scale": 1.0}, None, torch.zeros(3, dtype=torch.uint8)):
        Extra.extra = extra
        kind = type(extra).__name__
        start, end = pair(lambda: Extra(6, 3))
        line = [start.weight + a * (end.weight - start.weight) for a in ALPHAS]
        biases = [start.bias + a * (end.bias - start.bias) for a in ALPHAS]
        expected = [float(F.cross_entropy(data[0] @ w.T + b, data[1])) for w, b in zip(line, biases, strict=True)]
        yield Case(f"{kind}: a walk", lambda a=start, b=end: walked(a, b, data), expected)
        file = saved(start, folder / "a.pt")

        def reads(file: Path = file, start: Any = start) -> Answer:
            state = checkpoints.read(file).into(start)
            return state["weight"].detach().flatten().numpy(), []

        yield Case(f"{kind}: a file", reads, start.weight.detach().flatten().numpy())

        def keeps(start: Any = start, kind: str = kind) -> Answer:
            with ls.Keeper(start, folder / f"keep-{kind}") as keeper:
                keeper.step()
            return [float(len(keeper.kept))], []

        yield Case(f"{kind}: Keeper", keeps, [2.0])


@situation
def lazy_modules(folder: Path) -> Iterator[Case]:
    def make() -> nn.Module:
        return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))

    data = examples()
    start, end = pair(make)
    yield Case("a state", lambda: ([float(len(ls.State.from_module(make())))], []), None)
    for network in (start, end):
        network(data[0])
    states = [ls.State.from_module(network) for network in (start, end)]

    def measured() -> Answer:
        curve = ls.scan(ls.Line(*states), ls.Evaluator(make(), {"test": data}), ls.ScanOptions(alphas=ALPHAS))
        return curve["test", "cross_entropy"].mean, curve.provenance["notes"]

    yield Case("a new network for measuring", measured, None)

    def keeps() -> Answer:
        with ls.Keeper(make(), folder / "keep", data={"test": data}) as keeper:
            keeper.step()
        return [float(len(keeper.kept))], []

    yield Case("Keeper", keeps, None)


class Graph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.adjacency: Any
        self.register_buffer("adjacency", torch.eye(40).to_sparse())
        self.head = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.head(torch.sparse.mm(self.adjacency, x))


@situation
def sparse_buffer(folder: Path) -> Iterator[Case]:
    start, end = pair(Graph)
    data = examples()

    def between(alpha: float) -> float:
        weights = [a + alpha * (b - a) for a, b in zip(start.parameters(), end.parameters(), strict=True)]
        return float(F.cross_entropy(F.linear(data[0], *weights), data[1]))

    yield Case("a walk", lambda: walked(start, end, [data]), [between(alpha) for alpha in ALPHAS])
    files = [saved(network, folder / f"{i}.pt") for i, network in enumerate((start, end))]
    yield Case("diff", lambda: command("diff", *files), [0.0])
    yield Case("average", lambda: command("average", *files, "-o", folder / "c.pt"), None)

    def keeps() -> Answer:
        with ls.Keeper(start, folder / "keep") as keeper:
            keeper.step()
        return [float(len(keeper.kept))], []

    yield Case("Keeper", keeps, [2.0])


class Float8(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 6).to(torch.float8_e4m3fn), requires_grad=False)

    def forward(self, x: Any) -> Any:
        return x @ self.w.float().T


@situation
def few_bits(folder: Path) -> Iterator[Case]:
    def int8(w: Tensor) -> dict[str, Tensor]:
        scales = w.abs().amax(1)
        return {"lin.weight": (w / scales[:, None] * 127).round().to(torch.int8), "lin.SCB": scales}

    def gptq(_: Tensor) -> dict[str, Tensor]:
        return {
            "lin.qweight": torch.randint(-(2**31), 2**31 - 1, (4, 8), dtype=torch.int32),
            "lin.scales": torch.rand(1, 8),
        }

    forms: dict[str, Any] = {
        "float8": lambda w: {"w": w.to(torch.float8_e4m3fn), "s": torch.ones(1)},
        "int8": int8,
        "gptq": gptq,
    }
    for name, form in forms.items():
        files = [folder / f"{name}{i}.safetensors" for i in range(2)]
        for file in files:
            save_file(form(torch.randn(8, 8)), file)
        yield Case(f"{name}: diff", lambda files=files: command("diff", *files), [0.0])
        out = folder / f"{name}.safetensors"
        yield Case(f"{name}: average", lambda files=files, out=out: command("average", *files, "-o", out), None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = [torch.quantize_per_tensor(torch.randn(8), 0.1, 0, torch.qint8) for _ in range(2)]
        files = [saved({"w": value}, folder / f"q{i}.pt") for i, value in enumerate(quantised)]
        dynamic = [
            torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(6, 3)), {nn.Linear}, torch.qint8)
            for _ in range(2)
        ]
    yield Case("quantised file: diff", lambda: command("diff", *files), None)
    yield Case("quantised file: average", lambda: command("average", *files, "-o", folder / "q.pt"), None)
    yield Case("quantised networks", lambda: walked(dynamic[0], dynamic[1], examples()), None)
    start, end = pair(Float8)
    data = examples()
    expected = []
    for alpha in ALPHAS:
        w = (start.w.float() + alpha * (end.w.float() - start.w.float())).to(torch.float8_e4m3fn)
        expected.append(float(F.cross_entropy(data[0] @ w.float().T, data[1])))
    yield Case("a walk in float8", lambda: walked(start, end, data), expected)
    first, last = (network.half() for network in pair(lambda: nn.Linear(6, 3)))
    inputs, targets = examples()
    expected = anew(lambda: nn.Linear(6, 3).half(), first, last, cross_entropy(inputs, targets))

    def in_half() -> Answer:
        means, notes = walked(first, last, (inputs.half(), targets))
        return [round(float(mean), 2) for mean in means], notes

    yield Case("a walk in float16", in_half, [round(value, 2) for value in expected])
