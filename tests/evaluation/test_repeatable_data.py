"""Data that change, fail or are cut badly are found before they give a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler, WeightedRandomSampler

from linescape.errors import DataError, MeasureError
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan

INPUTS = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3
ROWS: Any = list(zip(INPUTS, LABELS, strict=True))


def losses(given: Any, make: Callable[[], nn.Module] = lambda: nn.Linear(6, 3), **settings: Any) -> np.ndarray:
    torch.manual_seed(0)
    start, end = make(), make()
    line = Line(State.from_module(start), State.from_module(end))
    options = ScanOptions(alphas=5, batchnorm=settings.pop("batchnorm", ("interpolate",)))
    evaluator = Evaluator(start, given if isinstance(given, dict) else {"test": given}, **settings)
    return np.asarray(next(iter(scan(line, evaluator, options))).values)


class Augmented(Dataset[Any]):
    """Draws from torch's generator, of which every pass begins with the same state."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return INPUTS[index] + 0.1 * torch.randn(6), LABELS[index]


@pytest.mark.parametrize(
    "loader",
    [
        lambda: DataLoader(Augmented(), 10),
        lambda: DataLoader(ROWS, 10, sampler=SubsetRandomSampler(range(40))),
        lambda: DataLoader(ROWS, 10, sampler=WeightedRandomSampler([1.0] * 40, 40)),
    ],
)
def test_data_that_depend_on_the_random_state_are_refused(loader: Callable[[], Any]) -> None:
    with pytest.raises(DataError, match="is not what it was|random"):
        losses(loader())
    assert losses(list(loader())).shape == (5, 40)  # drawn once


def test_data_that_change_after_their_first_batch_are_found() -> None:
    class Later:
        generator = np.random.default_rng(0)

        def __iter__(self) -> Iterator[Any]:
            yield INPUTS[:20], LABELS[:20]
            yield INPUTS[20:] + float(self.generator.normal()), LABELS[20:]

    with pytest.raises(DataError, match="Batch 2 of the data 'test' is not what it was"):
        losses(Later())


def test_data_that_grow_are_found() -> None:
    class Growing:
        passes = 0

        def __iter__(self) -> Iterator[Any]:
            self.passes += 1
            for _ in range(1 + self.passes // 4):
                yield INPUTS, LABELS

    with pytest.raises(DataError, match="more batches than"):
        losses(Growing())


def test_a_batch_that_fails_is_named() -> None:
    class Broken:
        def __iter__(self) -> Iterator[Any]:
            yield INPUTS, LABELS
            raise OSError("a picture is cut short")

    with pytest.raises(DataError, match=r"data 'test' failed when their batch 2 was read, with OSError: a picture"):
        losses(Broken())
    with pytest.raises(DataError, match="batch 2 of 'test'"):
        losses([(INPUTS, LABELS), (INPUTS[:, :4], LABELS)])


def test_targets_that_are_others_in_a_later_walk_are_weighed_anew() -> None:
    tokens, targets = torch.randint(0, 9, (20, 7)), torch.randint(0, 9, (20, 7))
    network = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9))
    evaluator = Evaluator(network, {"test": (tokens, targets)})
    state = State.from_module(network)
    evaluator(state)
    targets[:, 3:] = -100
    expected = F.cross_entropy(network(tokens).flatten(0, 1), targets.flatten()).item()
    assert evaluator(state)["test", "cross_entropy"].mean() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_outputs_of_a_softmax_are_refused_in_small_batches(size: int) -> None:
    with pytest.raises(MeasureError, match="outputs are probabilities"):
        losses(DataLoader(ROWS, size), lambda: nn.Sequential(nn.Linear(6, 3), nn.Softmax(1)))


def test_a_measure_gives_one_value_for_each_example() -> None:
    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets).reshape(1)

    def chosen(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets)[targets > 0]

    for measure in (mean, chosen):
        with pytest.raises(MeasureError, match="one value an example"):
            losses((INPUTS, LABELS), measures=[measure])


@pytest.mark.parametrize("treatment", ["recalibrate", "batch"])
def test_a_rest_of_one_example_is_in_the_batch_before(treatment: str) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

    data = {"test": (INPUTS[:31], LABELS[:31]), "train": (INPUTS[:31], LABELS[:31])}
    assert np.isfinite(losses(data, make, batch_size=10, batchnorm=(treatment,))).all()


class Hidden(nn.Module):
    """A language model whose loss cannot be asked for, as inside a wrapper."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return self.body(input_ids) * attention_mask[..., None]


def test_labels_that_repeat_the_tokens_are_refused_though_most_are_ignored() -> None:
    tokens = torch.randint(0, 9, (6, 8))
    labels = tokens.clone()
    labels[:, :6] = -100  # the prompt
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}
    with pytest.raises(DataError, match="repeating its input"):
        losses([batch], Hidden)


def test_the_loss_of_a_wrapped_network_is_asked_for() -> None:
    class Shifting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Hidden()

        def forward(self, **inputs: Any) -> Any:
            labels = inputs.pop("labels", None)
            logits = self.inner(**inputs)
            if labels is None:
                return logits
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            return type("Output", (), {"loss": loss, "logits": logits})()

    tokens = torch.randint(0, 9, (6, 8), generator=torch.Generator().manual_seed(1))
    labels = tokens.clone()
    labels[:, :5] = -100
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}
    torch.manual_seed(0)
    expected = Shifting()(**batch).loss.item()
    assert losses([batch], Shifting)[0].mean() == pytest.approx(expected, rel=1e-4)
