"""How networks are called and measured, and what surrounds the call, looked for with fresh eyes."""

# mypy: disable-error-code="misc, no-untyped-call, attr-defined, operator, no-any-return"

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import linescape as ls
from tests.support.fresh_networks import both, trained
from tests.support.further_networks import Body, Plain, right
from tests.support.situations import ALPHAS, Answer, Case, anew, cross_entropy, examples, pair, saved, situation, walked


@situation
def torch_settings_of_the_caller(_folder: Path) -> Iterator[Case]:
    start, end = pair(Body)
    data = examples()
    expected = anew(Body, start, end, cross_entropy(*data))

    def inside(enter: Callable[[], Any], **settings: Any) -> Answer:
        with enter():
            return walked(start, end, data, **settings)

    settings: dict[str, Callable[[], Any]] = {
        "inference mode": torch.inference_mode,
        "no gradients": torch.no_grad,
        "the device meta": lambda: torch.device("meta"),
        "deterministic": _Deterministic,
        "float64 by default": _Double,
        "detecting anomalies": torch.autograd.detect_anomaly,
    }
    for name, enter in settings.items():
        for fast in (None, True):
            yield Case(f"{name}, fast={fast}", lambda: inside(enter, fast=fast), expected)
    with torch.inference_mode():
        made = [copy.deepcopy(network) for network in (start, end)]
        for network in made:
            for parameter in list(network.parameters()):
                parameter.data = parameter.data.clone()
    for copied in (True, False):
        yield Case(
            f"networks made in inference mode, copy={copied}",
            lambda: walked(made[0], made[1], data, copy=copied),
            expected if copied else None,
        )


class _Deterministic:
    def __enter__(self) -> None:
        torch.use_deterministic_algorithms(True)

    def __exit__(self, *_: object) -> None:
        torch.use_deterministic_algorithms(False)


class _Double:
    def __enter__(self) -> None:
        torch.set_default_dtype(torch.float64)

    def __exit__(self, *_: object) -> None:
        torch.set_default_dtype(torch.float32)


@situation
def branches_by_weights(_folder: Path) -> Iterator[Case]:
    class Gated(Body):
        """Takes one way or the other by a buffer that moves, which a graph may settle once."""

        def __init__(self, gate: float) -> None:
            super().__init__()
            self.gate: Any
            self.register_buffer("gate", torch.tensor(gate))

        def between(self, x: Any) -> Any:
            return x.tanh() if self.gate > 0.3 else x.relu()

    class Counted(Gated):
        def between(self, x: Any) -> Any:
            return x[:, : int(self.gate * 4) + 1].sum(1, keepdim=True) + x

    class Scaled(Gated):
        def between(self, x: Any) -> Any:
            return x * self.gate.item()

    for kind in (Gated, Counted, Scaled):
        torch.manual_seed(2)
        start, end = kind(0.15), kind(0.87)
        yield from both(kind.__name__, lambda kind=kind: kind(0.1), start, end)


@situation
def several_at_once(_folder: Path) -> Iterator[Case]:
    start, end = pair(Body)
    data = examples()
    expected = anew(Body, start, end, cross_entropy(*data))

    def threads() -> Answer:
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: walked(start, end, data), range(6)))
        return max(answers, key=lambda answer: float(abs(torch.as_tensor(answer[0]) - torch.tensor(expected)).max()))

    yield Case("in threads", threads, expected)

    def nested() -> Answer:
        """A measure that itself measures another line."""
        inner: list[Any] = []

        def nested_loss(outputs: Tensor, targets: Tensor) -> Tensor:
            if not inner:
                inner.append(None)
                inner[0] = walked(end, start, data)
            return F.cross_entropy(outputs, targets, reduction="none")

        return walked(start, end, data, "nested_loss", measures=[nested_loss])

    yield Case("inside of another", nested, expected)


@situation
def outputs_that_change_by_themselves(_folder: Path) -> Iterator[Case]:
    class OwnGenerator(Body):
        def __init__(self) -> None:
            super().__init__()
            self.generator = torch.Generator().manual_seed(0)

        def between(self, x: Any) -> Any:
            return x + torch.randn(x.shape, generator=self.generator, dtype=x.dtype)

    class OwnPython(Body):
        def __init__(self) -> None:
            super().__init__()
            self.random = random.Random(0)

        def between(self, x: Any) -> Any:
            return x * self.random.random()

    class Clock(Body):
        def between(self, x: Any) -> Any:
            return x * (time.perf_counter() % 1)

    counted = [0]

    class Counter(Body):
        def between(self, x: Any) -> Any:
            counted[0] += 1
            return x * (1 + 0.1 * counted[0])

    yield from both("Python's own generator", OwnPython, *pair(OwnPython))  # of which each copy has a new one
    for kind in (OwnGenerator, Clock, Counter):
        for fast in (None, True):
            yield Case(f"{kind.__name__}, fast={fast}", lambda: walked(*pair(kind), examples(), fast=fast), None)


@situation
def ways_to_call(_folder: Path) -> Iterator[Case]:
    class Checkpointed(Body):
        def __init__(self, reentrant: bool) -> None:
            super().__init__()
            self.reentrant = reentrant

        def between(self, x: Any) -> Any:
            return checkpoint(torch.tanh, x, use_reentrant=self.reentrant)

    for reentrant in (True, False):
        yield from right(lambda reentrant=reentrant: Checkpointed(reentrant), f"checkpointed, reentrant={reentrant}")

    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.members = nn.ModuleList(nn.Linear(6, 3) for _ in range(3))

        def forward(self, x: Any) -> Any:
            parameters, buffers = torch.func.stack_module_state(list(self.members))
            base = self.members[0]

            def call(parameters: Any, buffers: Any) -> Any:
                return torch.func.functional_call(base, (parameters, buffers), (x,))

            return torch.vmap(call)(parameters, buffers).mean(0)

    yield from right(Ensemble, "an ensemble by vmap")

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.lift, self.encoder = nn.Linear(1, 8), nn.TransformerEncoder(layer, 2)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            padded = torch.zeros(x.shape, dtype=torch.bool)
            padded[:, 4:] = x[:, 4:] > 0.5
            return self.head(self.encoder(self.lift(x[:, :, None]), src_key_padding_mask=padded)[:, 0])

    yield from right(Attending, "padding in a TransformerEncoder")

    class Second(Body):
        """Answers with a gradient by its weights, as in test-time training."""

        def between(self, x: Any) -> Any:
            with torch.enable_grad():
                w = self.head.weight.detach().clone().requires_grad_()
                step = torch.autograd.grad(F.linear(x.detach(), w).square().mean(), w)[0]
            return x - step.mean() * x

    yield from right(Second, "a step of training inside")
    handles = nn.modules.module
    start, end = pair(Body)
    data = examples()

    def hooked() -> Answer:
        handle = handles.register_module_forward_hook(
            lambda module, _inputs, outputs: outputs * 2 if isinstance(module, nn.Linear) else None
        )
        try:
            return walked(start, end, data, fast=None)
        finally:
            handle.remove()

    def doubled(network: Any) -> Tensor:
        return F.cross_entropy(2 * network.head((2 * network.first(data[0].double())).tanh()), data[1])

    yield Case("hooks of all modules", hooked, anew(Body, start, end, doubled))


@situation
def lines_at_the_edge(_folder: Path) -> Iterator[Case]:
    start, end = pair(Plain)
    data = examples()
    expected = anew(Plain, start, end, cross_entropy(*data))
    line = ls.Line(ls.State.from_module(start), ls.State.from_module(end))

    def at(alphas: Any, given: Any = data, measures: Any = ("cross_entropy",), **options: Any) -> Answer:
        curve = ls.scan(line, ls.Evaluator(start, {"test": given}, measures), ls.ScanOptions(alphas=alphas, **options))
        return next(iter(curve)).mean, curve.provenance["notes"]

    yield Case("one position, to which both ends are added", lambda: at([0.25]), [*expected[:2], expected[3]])
    for alphas in ([1, 0.5, 0, 0.25], [0, 0.5, 0.5, 1], [], [0, float("nan")], 1, 0, -3, "ten"):
        yield Case(f"positions {alphas}", lambda alphas=alphas: at(alphas), None)
    same = ls.Line(ls.State.from_module(start), ls.State.from_module(copy.deepcopy(start)))

    def nowhere() -> Answer:
        curve = ls.scan(same, ls.Evaluator(start, {"test": data}), ls.ScanOptions(alphas=ALPHAS))
        return curve["test", "cross_entropy"].mean, []

    yield Case("between equal networks", nowhere, [expected[0]] * 4)
    gaps = data[0].clone()
    gaps[3] = float("nan")

    def with_gap() -> Answer:
        means = at(ALPHAS, (gaps, data[1]))[0]
        return [float(torch.as_tensor(means).isnan().all())], []

    yield Case("a NaN in the data", with_gap, [1.0])
    kinds: dict[str, Callable[[Any, Any], Any]] = {
        "float16": lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none").half().float(),
        "booleans": lambda outputs, targets: outputs.argmax(1) != targets,
        "integers": lambda outputs, targets: (outputs.argmax(1) != targets).int(),
    }
    wrong = [float((network(data[0]).argmax(1) != data[1]).float().mean()) for network in (start, end)]

    def ends(kind: Any) -> Answer:
        means = at(ALPHAS, measures=[kind])[0]
        return [float(means[0]), float(means[-1])], []

    for name in ("booleans", "integers"):
        yield Case(f"a measure of {name}", lambda name=name: ends(kinds[name]), wrong)
    lists: Callable[[Any, Any], Any] = lambda outputs, targets: [0.0] * len(targets)  # noqa: E731
    yield Case("a measure of lists", lambda: ends(lists), None)
    graph: Callable[[Any, Any], Any] = lambda outputs, targets: outputs.sum(1).requires_grad_()  # noqa: E731
    yield Case(
        "a measure with a gradient", lambda: ends(graph), [float(n(data[0]).sum(1).mean()) for n in (start, end)]
    )
    constant: Callable[[Any, Any], Any] = lambda outputs, targets: torch.ones(len(targets))  # noqa: E731
    until = ls.Until(0.01)
    yield Case("until a constant is known", lambda: at(ALPHAS, measures={"cross_entropy": constant}, until=until),
               [1.0] * 4)  # fmt: skip
    nan: Callable[[Any, Any], Any] = lambda outputs, targets: torch.full((len(targets),), torch.nan)  # noqa: E731

    def not_known() -> Answer:
        means = at(ALPHAS, measures={"cross_entropy": nan}, until=until)[0]
        return [float(torch.as_tensor(means).isnan().all())], []

    yield Case("until NaN is known", not_known, [1.0])


@situation
def checkpoints_of_another_type(folder: Path) -> Iterator[Case]:
    start, end = pair(Plain)
    data = examples()
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        cast = [{name: value.to(dtype) for name, value in net.state_dict().items()} for net in (start, end)]
        networks = pair(Plain)
        for network, tensors in zip(networks, cast, strict=True):
            network.load_state_dict(tensors)
        near = [round(value, 2) for value in anew(Plain, *networks, cross_entropy(*data))]
        files = [saved(tensors, folder / f"{dtype} {i}.pt") for i, tensors in enumerate(cast)]

        def rounded(first: Any, last: Any) -> Answer:
            probe = ls.compare(first, last, data, model=Plain(), options=ls.ScanOptions(alphas=ALPHAS))
            assert any("of different types" in note and "eval mode" not in note for note in probe.notes)
            return [round(float(mean), 2) for mean in probe.curves["whole"]["test", "cross_entropy"].mean], probe.notes

        yield Case(f"state dicts of {dtype}", lambda: rounded(*cast), near)
        yield Case(f"files of {dtype}", lambda: rounded(*files), near)
        yield Case(f"a file of {dtype} and a module", lambda: rounded(files[0], end), None)


@situation
def trained_in_place(_folder: Path) -> Iterator[Case]:
    start = Plain()
    state = start.state_dict()
    before = ls.State.from_module(start)
    first = copy.deepcopy(start)
    trained(start)
    data = examples()
    expected = anew(Plain, first, start, cross_entropy(*data))

    def between(one: Any) -> Answer:
        return ls.compare(one, start, data, options=ls.ScanOptions(alphas=ALPHAS)).curves["whole"][
            "test", "cross_entropy"
        ].mean, []

    yield Case("a state that was kept", lambda: between(before), expected)
    yield Case("a state dict that moved along", lambda: between(state), None)
    yield Case("a shallow copy of it", lambda: between(dict(state)), None)
    yield from both("a copy", Plain, first, start)
