"""Padded sequences are measured without most of the padding, where that changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.evaluation import by_length as lengths
from linescape.evaluation import evaluator as of_evaluator
from linescape.evaluation.by_length import shortened
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan

TOKENS, LENGTH, ALPHAS = 20, 24, (0.0, 0.3, 0.7, 1.0)


class Follows(nn.Module):
    """Takes a mean over the tokens with attention, and as much of that over all as `reads` says."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(TOKENS, 8)
        self.head = nn.Linear(8, 3)
        self.reads = nn.Parameter(torch.zeros(()))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        values, weights = torch.tanh(self.embed(input_ids)), attention_mask.unsqueeze(2)
        mean = (values * weights).sum(1) / weights.sum(1)
        out: Tensor = self.head(mean + self.reads * values.mean(1))
        return out


class ByPosition(Follows):
    """The same for each token, with what comes before it."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.embed(input_ids)).cumsum(1) + self.reads)
        return out


class OfOneLength(Follows):
    """Its code takes one length only."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        if input_ids.shape[1] != LENGTH:
            raise RuntimeError("sizes do not match")
        return super().forward(input_ids, attention_mask)


def texts(examples: int = 70, by_position: bool = False, seed: int = 0) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(2, LENGTH // 2, (examples,), generator=generator)
    ends[examples // 3] = LENGTH
    mask = (torch.arange(LENGTH) < ends.unsqueeze(1)).long()
    shape = (examples, LENGTH) if by_position else (examples,)
    labels = torch.randint(0, 3, shape, generator=generator)
    whole = {
        "input_ids": torch.randint(1, TOKENS, (examples, LENGTH), generator=generator) * mask,
        "attention_mask": mask,
        "labels": torch.where(mask > 0, labels, -100) if by_position else labels,
    }
    return [{name: value[at : at + 8] for name, value in whole.items()} for at in range(0, examples, 8)]


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "LEAST", 48)


def ends_of(make: Callable[[], nn.Module], reads: tuple[float, float] = (0.0, 0.0)) -> tuple[nn.Module, Line]:
    states = []
    for seed, of in enumerate(reads):
        torch.manual_seed(seed)
        network = make().eval()
        with torch.no_grad():
            network.get_parameter("reads").fill_(of)
        states.append(State.from_module(network))
    return network, Line(*states)


def compare(network: nn.Module, line: Line, data: dict[str, Any]) -> set[str]:
    """Compare a walk by the engine with plain calls; returns the data that were put into batches by length."""
    options = ScanOptions(alphas=ALPHAS)
    engine, plain = Evaluator(network, data, fast=True), Evaluator(network, data, fast=False)
    curve, expected = scan(line, engine, options), scan(line, plain, options)
    for key, values in expected.values.items():
        np.testing.assert_allclose(curve.values[key], values, rtol=1e-5, atol=1e-6)
    used = set()
    engine.start_path(line, len(ALPHAS))
    for alpha in ALPHAS:
        engine.load_position(line, alpha)
        engine.measure("interpolate", {})
        batches = engine._engine_batches
        places = batches.at_position("interpolate", engine._by_engine)[1]
        used |= {f"{name} {alpha}" for name in places}
    return used


@pytest.mark.parametrize("by_position", [False, True])
def test_values_are_those_of_plain_calls_in_the_order_of_the_data(by_position: bool) -> None:
    network, line = ends_of(ByPosition if by_position else Follows)
    data = {"train": texts(70, by_position), "test": texts(61, by_position, seed=1)}
    assert compare(network, line, data) == {f"{name} {alpha}" for name in data for alpha in ALPHAS}


def test_padding_that_is_read_stays() -> None:
    network, line = ends_of(Follows, (1.0, 1.0))
    assert not compare(network, line, {"test": texts()})


def test_each_position_is_compared_by_itself() -> None:
    """As where a head begins with zeros, so that nothing is read at the start."""
    network, line = ends_of(Follows, (0.0, 1.0))
    assert compare(network, line, {"test": texts()}) == {"test 0.0"}


def test_a_network_of_one_length_is_called_with_that() -> None:
    network, line = ends_of(OfOneLength)
    assert not compare(network, line, {"test": texts()})


def test_a_walk_that_goes_on_gives_the_same_bits() -> None:
    network, line = ends_of(Follows)
    found = []
    for before in ((0.0, 0.3), ()):
        evaluator = Evaluator(network, {"test": texts()}, fast=True)
        evaluator.start_path(line, len(ALPHAS))
        evaluator.load_position(line, 0.0)
        evaluator.warm_up("interpolate", {})
        for alpha in (*before, 0.7):
            evaluator.load_position(line, alpha)
            values = evaluator.measure("interpolate", {})
        found.append(values)
    assert all(np.array_equal(values, found[1][key]) for key, values in found[0].items())


def test_a_forward_of_the_users_is_given_data_as_they_are() -> None:
    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch["input_ids"], batch["attention_mask"]), batch["labels"]

    network, line = ends_of(Follows)
    evaluator = Evaluator(network, {"test": texts()}, fast=True, forward=forward)
    evaluator.start_path(line, 3)
    assert not evaluator._engine_batches._sorted()


def test_each_length_has_to_be_worth_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    network, line = ends_of(Follows)
    data = {"test": texts()}
    monkeypatch.setattr(of_evaluator, "WORTH", 0)
    total = 4 * Evaluator(network, data).count_operations()
    for limit, recording in ((total / 3, False), (total / 5, True)):
        monkeypatch.setattr(of_evaluator, "WORTH_RECORDING", {"cpu": limit, "cuda": limit})
        evaluator = Evaluator(network, data)
        curve = scan(line, evaluator, ScanOptions(alphas=ALPHAS))
        assert evaluator.engine.worth.recording == recording
        assert set(evaluator._engine_batches._sorted()) == {"test"}
        expected = scan(line, Evaluator(network, data, fast=False), ScanOptions(alphas=ALPHAS))
        for key, values in expected.values.items():
            np.testing.assert_allclose(curve.values[key], values, rtol=1e-5, atol=1e-6)


def changed(name: str, change: Callable[[Tensor], Tensor], by_position: bool = False) -> list[dict[str, Tensor]]:
    return [{**batch, name: change(batch[name])} for batch in texts(by_position=by_position)]


@pytest.mark.parametrize(
    "batches",
    [
        pytest.param(changed("attention_mask", lambda mask: mask.flip(1)), id="padded on the left"),
        pytest.param(changed("attention_mask", torch.ones_like), id="no padding"),
        pytest.param(changed("attention_mask", lambda mask: mask[:, 0]), id="a mask without positions"),
        pytest.param(changed("labels", lambda labels: labels.clamp(min=0), True), id="targets of padding"),
        pytest.param(changed("labels", lambda of: of[:, None, None].expand(-1, 2, LENGTH)), id="another axis as long"),
        pytest.param([{**texts()[0]}], id="few"),
        pytest.param([*texts(), {name: value[:, :5] for name, value in texts(8, True)[0].items()}], id="shapes differ"),
        pytest.param([{**batch, "attention_mask": None} for batch in texts()], id="no mask"),
        pytest.param([{**batch, "more": torch.ones(3)} for batch in texts()], id="something else"),
        pytest.param([(torch.ones(8, 3), torch.ones(8))] * 9, id="tuples"),
        pytest.param(iter(texts()), id="not in memory"),
        pytest.param([], id="nothing"),
    ],
)
def test_other_data_are_left_as_they_are(batches: Any) -> None:
    assert not shortened({"test": batches})


def test_batches_hold_every_example_once_with_its_tokens_and_as_many_of_them_as_before() -> None:
    given = texts(200)
    found = shortened({"test": given})["test"]
    assert sorted(found.places) == list(range(200))
    whole = {name: torch.cat([batch[name] for batch in given]) for name in given[0]}
    seen = 0
    for batch in found.batches:
        places = torch.from_numpy(found.places[seen : seen + len(batch["labels"])])
        seen += len(places)
        assert torch.equal(batch["labels"], whole["labels"][places])
        length = batch["input_ids"].shape[1]
        assert torch.equal(batch["input_ids"], whole["input_ids"][places, :length])
        assert not whole["attention_mask"][places, length:].any()
        assert length * len(places) <= 8 * LENGTH + length
    assert len({batch["input_ids"].shape[1] for batch in found.batches}) == lengths.LENGTHS
