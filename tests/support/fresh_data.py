"""Data, measures and models of libraries that nobody has reported yet, looked for with fresh eyes."""

# mypy: disable-error-code="misc, no-untyped-call, attr-defined, operator, no-any-return"

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import linescape as ls
from tests.support.further_networks import Body, Plain
from tests.support.situations import ALPHAS, Answer, Case, anew, cross_entropy, examples, pair, situation, walked

FEW = ls.ScanOptions(alphas=ALPHAS)


def compared(start: Any, end: Any, data: Any, measure: str = "cross_entropy", **settings: Any) -> Answer:
    probe = ls.compare(start, end, data, options=FEW, **settings)
    name = "test" if not isinstance(data, dict) else next(iter(data))
    return probe.curves["whole"][name, measure].mean, [*probe.notes, *probe.curves["whole"].provenance["notes"]]


@situation
def batches_that_act_as_a_whole(_folder: Path) -> Iterator[Case]:
    def of_batch() -> Any:
        return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3))

    start, end = pair(of_batch)
    inputs, targets = examples(count=60)

    def batch_by_batch(network: Any) -> Tensor:
        parts = zip(inputs.double().split(20), targets.split(20), strict=True)
        return torch.stack([F.cross_entropy(network(x), y) for x, y in parts]).mean()

    expected = anew(of_batch, start, end, batch_by_batch)
    for fast in (None, True):
        yield Case(
            f"no running statistics, fast={fast}",
            lambda: walked(start, end, (inputs, targets), fast=fast, batch_size=20),
            expected,
        )

    class Contrast(Body):
        def forward(self, x: Any) -> Any:
            z = F.normalize(self.first(x), dim=1)
            return z @ z.t() * 3

    first, last = pair(Contrast)
    own = torch.arange(60)

    def each_with_each(outputs: Tensor, targets: Tensor) -> Tensor:
        others = outputs.masked_fill(torch.eye(len(outputs), dtype=torch.bool), -1e9)
        return F.cross_entropy(others, targets % len(outputs), reduction="none")

    def contrast(network: Any) -> Tensor:
        parts = zip(inputs.double().split(20), own.split(20), strict=True)
        return torch.cat([each_with_each(network(x), y.flip(0)) for x, y in parts]).mean()

    settings: dict[str, Any] = {"measures": [each_with_each], "batch_size": 20}
    expected = anew(Contrast, first, last, contrast)
    flipped = torch.cat([part.flip(0) for part in own.split(20)])
    for fast in (None, True):
        yield Case(
            f"a contrastive loss, fast={fast}",
            lambda: walked(first, last, (inputs, flipped), "each_with_each", fast=fast, **settings),
            expected,
        )

    def synchronised() -> Any:
        return nn.Sequential(nn.Linear(6, 5), nn.SyncBatchNorm(5), nn.Linear(5, 3))

    def recalibrated(network: Any) -> Tensor:
        x, y = examples()
        hidden = network[0](x.double())
        network[1].running_mean.copy_(hidden.mean(0))
        network[1].running_var.copy_(hidden.var(0))
        return F.cross_entropy(network(x.double()), y)

    sync = pair(synchronised)
    line = ls.Line(*map(ls.State.from_module, sync))

    def treated() -> Answer:
        options = ls.ScanOptions(alphas=ALPHAS, batchnorm="recalibrate")
        curve = ls.scan(line, ls.Evaluator(sync[0], {"test": examples(), "train": examples()}), options)
        return curve["test", "cross_entropy", "recalibrate"].mean, []

    yield Case("SyncBatchNorm, recalibrated", treated, anew(synchronised, *sync, recalibrated))


@situation
def measures_with_a_state(_folder: Path) -> Iterator[Case]:
    start, end = pair(Body)
    data = examples()
    smoothed = nn.CrossEntropyLoss(label_smoothing=0.2, reduction="none")
    expected = anew(Body, start, end, lambda net: smoothed(net(data[0].double()), data[1]).mean())
    yield Case(
        "label smoothing", lambda: walked(start, end, data, "smoothed", measures={"smoothed": smoothed}), expected
    )
    meaned = nn.CrossEntropyLoss(label_smoothing=0.2)
    yield Case("a mean over the batch", lambda: walked(start, end, data, "mean", measures={"mean": meaned}), None)

    class Running(nn.Module):
        """Divides by a running mean of itself, as reward and curriculum losses do."""

        def __init__(self) -> None:
            super().__init__()
            self.scale: Any
            self.register_buffer("scale", torch.ones(()))

        def forward(self, outputs: Any, targets: Any) -> Any:
            losses = F.cross_entropy(outputs, targets, reduction="none")
            self.scale.mul_(0.9).add_(0.1 * losses.mean().detach())
            return losses / self.scale

    yield Case("a running scale", lambda: walked(start, end, data, "run", measures={"run": Running()}), None)

    class Drawn(nn.Module):
        def forward(self, outputs: Any, targets: Any) -> Any:
            return F.cross_entropy(outputs + torch.randn_like(outputs), targets, reduction="none")

    yield Case("a random measure", lambda: walked(start, end, data, "drawn", measures={"drawn": Drawn()}), None)

    class Margin(nn.Module):
        """ArcFace and centre loss: the classes' weights are those of the loss, of which each network has its own."""

        def __init__(self) -> None:
            super().__init__()
            self.centres = nn.Parameter(torch.randn(3, 3))

        def forward(self, outputs: Any, targets: Any) -> Any:
            return (outputs - self.centres[targets]).square().sum(1)

    margin = Margin()

    def noted() -> Answer:
        notes = walked(start, end, data, "margin", measures={"margin": margin})[1]
        return [float(any("centres" in note for note in notes))], notes

    yield Case("a loss with weights of its own is noted", noted, [1.0])
    focal = lambda outputs, targets: (1 - outputs.softmax(1).gather(1, targets[:, None])[:, 0]) ** 2  # noqa: E731
    expected = anew(Body, start, end, lambda net: focal(net(data[0].double()), data[1]).mean())
    yield Case("a lambda", lambda: walked(start, end, data, "measure_1", measures=[focal]), expected)
    dollars = {"loss in $": "cross_entropy", "a_$b^{c": "error", "<b>&": "cross_entropy", "x/y": "error"}

    def drawn() -> Answer:
        probe = ls.compare(start, end, {"test": data}, measures=dollars, options=FEW)
        probe.plot().figure.canvas.draw()
        probe.curves["whole"].plot().figure.canvas.draw()
        return [float(len(probe._repr_html_()) > 0)], []

    yield Case("names with the marks of formulas are drawn", drawn, [1.0])


@situation
def examples_at_the_edge(_folder: Path) -> Iterator[Case]:
    start, end = pair(Body)
    inputs, targets = examples()
    plain = anew(Body, start, end, cross_entropy(inputs, targets))
    empty = [(inputs, targets), (inputs[:0], targets[:0])]
    yield Case("an empty last batch", lambda: walked(start, end, empty), plain)
    yield Case("an empty first batch", lambda: walked(start, end, empty[::-1]), plain)
    one = torch.zeros_like(targets)
    yield Case(
        "one class", lambda: walked(start, end, (inputs, one)), anew(Body, start, end, cross_entropy(inputs, one))
    )
    yield Case(
        "one example",
        lambda: compared(start, end, (inputs[:1], targets[:1])),
        anew(Body, start, end, cross_entropy(inputs[:1], targets[:1])),
    )
    huge = inputs * 1e30
    yield Case(
        "huge logits",
        lambda: walked(start, end, (huge, targets)),
        anew(Body, start, end, cross_entropy(huge, targets)),
    )
    yield Case("half precision in float32", lambda: walked(start, end, (inputs.half(), targets)), None)
    yield Case("float64 in float32", lambda: walked(start, end, (inputs.double(), targets)), None)
    yield Case("a list of inputs and targets", lambda: compared(start, end, [inputs, targets]), None)
    yield Case("a dictionary of inputs and targets", lambda: compared(start, end, {"x": inputs, "y": targets}), None)
    yield Case("lists of numbers", lambda: compared(start, end, (inputs.tolist(), targets.tolist())), None)
    yield Case("targets as a column", lambda: walked(start, end, (inputs, targets[:, None])), None)
    yield Case("targets of -100 alone", lambda: walked(start, end, (inputs, torch.full_like(targets, -100))), None)
    arrays = inputs.numpy().astype(">f4"), targets.numpy()
    yield Case("bytes in another order", lambda: walked(start, end, arrays), None)
    yield Case("read-only arrays", lambda: walked(start, end, _read_only(inputs, targets)), plain)
    nested = torch.nested.nested_tensor([inputs[0], inputs[1]])
    yield Case("nested tensors", lambda: walked(start, end, (nested, targets[:2])), None)


def _read_only(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    arrays = tuple(tensor.numpy().copy() for tensor in tensors)
    for array in arrays:
        array.flags.writeable = False
    return arrays


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(12, 5), nn.Linear(5, 12)

    def forward(self, x: Any) -> Any:
        return self.head(self.table(x).cumsum(1).tanh())


@situation
def tokens_and_ragged_batches(_folder: Path) -> Iterator[Case]:
    start, end = pair(Tokens)
    generator = torch.Generator().manual_seed(3)
    lengths = (4, 7, 2)
    batches = []
    for rows, length in zip((3, 5, 2), lengths, strict=True):
        tokens = torch.randint(0, 12, (rows, length), generator=generator)
        targets = tokens.roll(-1, 1).clone()
        targets[:, -1] = -100
        batches.append((tokens, targets))
    batches[1][1][2] = -100  # an example of which nothing counts
    batches[2][1].fill_(-100)  # and a batch

    def loss(network: Any) -> Tensor:
        losses = [F.cross_entropy(network(x).flatten(0, 1), y.flatten(), reduction="none") for x, y in batches]
        return torch.cat(losses).sum() / sum(int((y != -100).sum()) for _, y in batches)

    expected = anew(Tokens, start, end, loss)
    for fast in (None, True):
        yield Case(
            f"of three lengths, one all -100, fast={fast}", lambda: walked(start, end, batches, fast=fast), expected
        )
    yield Case("the same, by compare", lambda: compared(start, end, batches), expected)
    weighted = torch.rand(12, generator=generator)

    def of_weights(network: Any) -> Tensor:
        logits = torch.cat([network(x).flatten(0, 1) for x, _ in batches])
        return F.cross_entropy(logits, torch.cat([y.flatten() for _, y in batches]), weight=weighted.double())

    yield Case(
        "the same, with weights of classes",
        lambda: walked(start, end, batches, measures=[partial(ls.cross_entropy, weight=weighted)]),
        anew(Tokens, start, end, of_weights),
    )
    ragged = [(list(x), y) for x, y in batches]
    yield Case(
        "lists of rows, stacked by forward",
        lambda: walked(start, end, ragged, forward=lambda net, batch: (net(torch.stack(batch[0])), batch[1])),
        expected,
    )


class Rows(Dataset[Any]):
    """A data set whose items are dictionaries, as at Hugging Face."""

    def __init__(self, drawn: Callable[[], float] | None = None) -> None:
        self.inputs, self.targets = examples()
        self.drawn = drawn

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        noise = 0.0 if self.drawn is None else self.drawn()
        return {"x": self.inputs[index] + noise, "labels": self.targets[index]}


class Streamed(IterableDataset[Any]):
    def __init__(self, exhausts: bool) -> None:
        self.rows: Any = list(zip(*examples(), strict=True))
        self.source = iter(self.rows) if exhausts else None

    def __iter__(self) -> Iterator[Any]:
        yield from self.rows if self.source is None else self.source


@situation
def loaders(_folder: Path) -> Iterator[Case]:
    class Named(Body):
        def forward(self, x: Any) -> Any:
            return super().forward(x)

    start, end = pair(Named)
    expected = anew(Named, start, end, cross_entropy(*examples()))
    yield Case("dictionaries", lambda: compared(start, end, DataLoader(Rows(), 16)), expected)
    yield Case("two workers", lambda: compared(start, end, DataLoader(Rows(), 16, num_workers=2)), expected)
    yield Case("a data set itself", lambda: compared(start, end, Rows()), expected)
    noisy: dict[str, Callable[[], float]] = {
        "torch": lambda: float(torch.randn(())),
        "NumPy": lambda: float(np.random.rand()),  # noqa: NPY002 - as many data sets do
    }
    for name, drawn in noisy.items():
        for workers in (0, 2):
            loader = DataLoader(Rows(drawn), 16, num_workers=workers)
            yield Case(f"noise of {name}, {workers} workers", lambda: compared(start, end, loader), None)
    seeded = DataLoader(Rows(noisy["torch"]), 16, num_workers=2, generator=torch.Generator().manual_seed(0))
    yield Case("noise under a generator", lambda: compared(start, end, seeded), None)
    yield Case("a stream that is exhausted", lambda: compared(start, end, DataLoader(Streamed(True), 16)), None)
    yield Case("a stream that is not", lambda: compared(start, end, DataLoader(Streamed(False), 16)), expected)
    yield Case("a generator", lambda: compared(start, end, (batch for batch in [examples()])), None)
    yield Case("a function of batches", lambda: compared(start, end, lambda: [examples()]), None)
    yield Case("map", lambda: compared(start, end, map(tuple, [examples()])), None)
    shuffled = DataLoader(TensorDataset(*examples()), 16, shuffle=True)
    yield Case("shuffled", lambda: compared(start, end, shuffled), None)
    single = DataLoader(TensorDataset(*examples()), batch_size=None)
    yield Case("without batches", lambda: compared(start, end, single), None)


@situation
def compare_as_people_call_it(folder: Path) -> Iterator[Case]:
    start, end = pair(Plain)
    data = examples()
    expected = anew(Plain, start, end, cross_entropy(*data))
    torch.save(start.state_dict(), folder / "a [b] é\n.pt")
    torch.save({"model": end.state_dict(), "epoch": 3}, folder / "b.ckpt")
    files = folder / "a [b] é\n.pt", str(folder / "b.ckpt")
    yield Case("two files", lambda: compared(*files, data, model=Plain()), expected)
    yield Case("a file and a module", lambda: compared(files[0], end, data), expected)
    yield Case("two files and no module", lambda: compared(*files, data), None)
    states = start.state_dict(), ls.State.from_module(end)
    yield Case("a state dict and a State", lambda: compared(*states, data, model=Plain()), expected)
    eager = [torch.compile(copy.deepcopy(network), backend="eager") for network in (start, end)]
    yield Case("compiled networks", lambda: compared(eager[0], eager[1], data), expected)
    wrapped = nn.DataParallel(start)
    yield Case("one in DataParallel", lambda: compared(wrapped, end, data), expected)
    yield Case("one network twice", lambda: compared(start, start, data), None)
    yield Case("its own state dict", lambda: compared(start.state_dict(), start, data), None)
    yield Case("a copy of itself", lambda: compared(start, copy.deepcopy(start), data), [expected[0]] * 4)
    yield Case("an optimizer", lambda: compared(torch.optim.SGD(start.parameters()), end, data), None)
    yield Case("half of one type", lambda: compared(copy.deepcopy(start).half(), end, data), None)
    yield Case("on the device meta", lambda: compared(Plain().to("meta"), end, data), None)
    partly = Plain()
    partly.head = nn.Linear(5, 3, device="meta")
    yield Case("partly on the device meta", lambda: compared(partly, end, data), None)
    yield Case("another class of the same shapes", lambda: compared(start, Relu(), data), None)
    quiet = ls.ScanOptions(alphas=3)
    probe = ls.compare(start, end, data, options=quiet)
    for name, number in (("NaN", float("nan")), ("infinity", float("inf"))):
        curve = copy.deepcopy(probe)
        for series in curve.curves["whole"]:
            series.values[1] = number

        def drawn(curve: Any = curve) -> Answer:
            curve.plot().figure.canvas.draw()
            return [float(len(curve._repr_html_()) > 0 and len(curve.frame()) > 0)], []

        yield Case(f"a plot of {name}", drawn, [1.0])


class Relu(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).relu())
