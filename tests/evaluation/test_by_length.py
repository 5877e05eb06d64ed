"""Padded sequences are measured without most of the padding, where that changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.errors import DataError
from linescape.evaluation import by_length as lengths
from linescape.evaluation import evaluator as of_evaluator
from linescape.evaluation.by_length import shortened
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import Measure, cross_entropy, error
from linescape.evaluation.runner import Runner
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan

TOKENS, LENGTH, ALPHAS = 20, 24, (0.0, 0.3, 0.7, 1.0)
KINDS = [torch.float32, *[torch.int64] * 8]


class PreTrainedModel(nn.Module):
    """By this name a network is known to be one of transformers."""


class Follows(PreTrainedModel):
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


class Reaches(Follows):
    """A convolution before the mean, which reads the padding next to the end of a text, or nothing there."""

    def __init__(self) -> None:
        super().__init__()
        self.reach = nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        values, weights = torch.tanh(self.embed(input_ids)), attention_mask.unsqueeze(2)
        values = self.reach(values.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.head((values * weights).sum(1) / weights.sum(1) + self.reads)
        return out


class ReadsTheLastToken(Follows):
    """The last one that is not padding, whatever the mask says; as causal networks of Hugging Face that classify."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        last = (torch.arange(input_ids.shape[1]) * (input_ids != 0)).argmax(1)
        out: Tensor = self.head(self.embed(input_ids.gather(1, last.unsqueeze(1))).squeeze(1) + self.reads)
        return out


class ChangedForGood(Follows):
    """A short text changes what it does with longer ones from then on, as that of a BigBird."""

    wide = True

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.wide = self.wide and input_ids.shape[1] > LENGTH // 2
        long = attention_mask.sum(1, keepdim=True) > LENGTH // 4
        out = super().forward(input_ids, attention_mask)
        return out if self.wide else out + long.to(out.dtype)


class Softly(Follows):
    """A mean over the tokens with attention, or over all where there is none."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        values = torch.tanh(self.embed(input_ids))
        weights = torch.zeros(attention_mask.shape).masked_fill(attention_mask == 0, -1e30).softmax(1)
        out: Tensor = self.head((values * weights.unsqueeze(2)).sum(1) + self.reads)
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


def compare(
    network: nn.Module, line: Line, data: dict[str, Any], measures: Sequence[Measure] = (cross_entropy, error)
) -> set[str]:
    """Compare a walk by the engine with plain calls; returns the data that were put into batches by length."""
    options = ScanOptions(alphas=ALPHAS)
    engine, plain = (Evaluator(network, data, measures, fast=fast) for fast in (True, False))
    curve, expected = scan(line, engine, options), scan(line, plain, options)
    for key, values in expected.values.items():
        np.testing.assert_allclose(curve.values[key], values, rtol=1e-5, atol=1e-6)
    used = set()
    engine.start_path(line, len(ALPHAS))
    for alpha in ALPHAS:
        engine.load_position(line, alpha)
        engine.measure("interpolate", {})
        batches = engine._engine_batches
        places = batches.at_position("interpolate")[1]
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


@pytest.mark.parametrize("measures", [(cross_entropy, error), (error,)])
@pytest.mark.parametrize("reads", [0.0, 0.1])
def test_padding_that_only_some_examples_read_stays(measures: Sequence[Measure], reads: float) -> None:
    """The longest of each length lose all their padding; and few errors are the same although outputs are not."""
    network, line = ends_of(Follows if reads else Reaches, (reads, reads))
    assert not compare(network, line, {"test": texts(90)}, measures)


def test_what_follows_the_attention_of_some_texts_stays() -> None:
    network, line = ends_of(ReadsTheLastToken)
    batches = texts()
    assert compare(network, line, {"test": batches})
    for batch in batches[3:]:
        batch["input_ids"][::3, LENGTH - 2] = 7
    assert not compare(network, line, {"test": batches})


def test_a_text_without_attention_stays_whole() -> None:
    """Others that are as short come before it, so that it is none of the few."""
    network, line = ends_of(Softly)
    batches = texts()
    for batch in batches[:4]:
        batch["attention_mask"][:, 1:] = 0
        batch["input_ids"][:, 1:] = 0
    for batch in batches[6:]:
        batch["attention_mask"][::2] = 0
        batch["input_ids"][::2, : LENGTH // 2] = 3
    assert compare(network, line, {"test": batches}) == {f"test {alpha}" for alpha in ALPHAS}


def test_a_network_that_short_texts_change_for_good_is_not_given_them() -> None:
    network, line = ends_of(ChangedForGood)
    batches = texts()
    batches[2]["attention_mask"][:, : LENGTH // 3] = 1
    assert not compare(network, line, {"test": batches})


def share_of_all(outputs: Tensor, targets: Tensor) -> Tensor:
    wrong = (outputs.argmax(2) != targets) & (targets >= 0)
    return wrong.sum(1) / targets.shape[1]


def test_a_measure_of_ones_own_is_given_all_positions() -> None:
    """That it does not read those without a target is not known; here the few have none, and so no other value."""
    network, line = ends_of(ByPosition)
    batches = texts(by_position=True)
    for batch in batches:
        batch["labels"][batch["attention_mask"].sum(1) % 2 == 0] = -100
    assert not compare(network, line, {"test": batches}, [share_of_all])


def test_a_measure_of_ones_own_is_given_other_outputs_by_length() -> None:
    def distance(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.gather(1, targets.unsqueeze(1)).squeeze(1)

    network, line = ends_of(Follows)
    assert compare(network, line, {"test": texts()}, [distance]) == {f"test {alpha}" for alpha in ALPHAS}


def test_labels_that_are_the_tokens_of_a_few_examples_are_no_error() -> None:
    """As where a text is corrected, and the few have no mistake; all others have."""
    network, line = ends_of(ByPosition)
    batches = texts(by_position=True)
    for batch in batches:
        batch["input_ids"] %= 3
        ends = batch["attention_mask"].sum(1)
        wrong = torch.where(batch["attention_mask"] > 0, (batch["input_ids"] + 1) % 3, -100)
        right = torch.where(batch["attention_mask"] > 0, batch["input_ids"], -100)
        batch["labels"] = torch.where((ends > 3).unsqueeze(1), wrong, right)
    compare(network, line, {"test": batches})


def test_outputs_that_are_no_numbers_show_nothing() -> None:
    network, line = ends_of(Follows, (float("nan"), float("nan")))
    evaluator = Evaluator(network, {"test": texts()}, fast=True)
    evaluator.start_path(line, len(ALPHAS))
    evaluator.load_position(line, 0.5)
    evaluator.measure("interpolate", {})
    assert not evaluator._engine_batches.at_position("interpolate")[1]


def test_a_walk_that_goes_on_calls_a_network_of_one_length_with_that() -> None:
    network, line = ends_of(OfOneLength)
    evaluator = Evaluator(network, {"test": texts()}, fast=True)
    evaluator.start_path(line, len(ALPHAS))
    evaluator.load_position(line, 0.0)
    evaluator.warm_up("interpolate", {})
    assert not evaluator._engine_batches.at_position("interpolate")[1]


def test_results_of_the_few_are_kept_too() -> None:
    """Where only the last layer moves, comparing them would cost more than the walk."""
    network, line = ends_of(Follows)
    head = Only(line, ["head.weight", "head.bias"])
    evaluator = Evaluator(network, {"test": texts()}, fast=True)
    evaluator.start_path(head, len(ALPHAS))
    kept = []
    for alpha in ALPHAS:
        evaluator.load_position(head, alpha)
        evaluator.measure("interpolate", {})
        kept.append(sum(len(plan.kept) for plan in evaluator.engine._plans.values() if plan))
    by = evaluator._engine_batches._sorted()["test"]
    assert kept == [len(by.batches) + len(by.shorter) + 1] * len(ALPHAS)


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


def test_other_networks_and_a_forward_of_the_users_are_given_data_as_they_are() -> None:
    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch["input_ids"], batch["attention_mask"]), batch["labels"]

    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Follows()

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            out: Tensor = self.inner(input_ids, attention_mask)
            return out

    network, line = ends_of(Follows)
    evaluator = Evaluator(network, {"test": texts()}, fast=True, forward=forward)
    evaluator.start_path(line, 3)
    assert not evaluator._engine_batches._sorted()
    of_ones_own = Other()
    evaluator = Evaluator(of_ones_own, {"test": texts()}, fast=True)
    evaluator.start_path(Line(State.from_module(of_ones_own), State.from_module(of_ones_own)), 3)
    assert not evaluator._engine_batches._sorted()


def test_calls_that_change_a_network_are_found_on_a_copy() -> None:
    long, short = ({name: value[:2, :length] for name, value in texts(8, True)[0].items()} for length in (LENGTH, 5))
    for make, changes in ((Follows, False), (ChangedForGood, True)):
        network, _ = ends_of(make)
        runner = Evaluator(network, {"test": texts()})._runner
        assert runner.is_changed_by(long, [short]) == changes
        assert runner.model.get_parameter("reads").item() == 0.0
        assert getattr(runner.model, "wide", True)


def test_values_that_may_depend_on_positions_need_all_of_them() -> None:
    by = shortened({"test": texts(by_position=True)})["test"]

    def call(batch: Any) -> lengths.Called:
        values = {"own": np.zeros(len(batch["labels"]))}
        return lengths.Called(values, [torch.ones(*batch["labels"].shape, 3)], [batch["labels"]])

    assert by.agrees(call, (1e-4, 2e-5), by_position=True)
    assert not by.agrees(call, (1e-4, 2e-5), by_position=False)


def refused(_: Runner, batch: Any) -> Any:
    raise DataError(f"labels of {len(batch)}")


@pytest.mark.parametrize(("method", "found"), [("targets", refused), ("is_changed_by", lambda *_: True)])
def test_what_a_trial_finds_counts(method: str, found: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    network, line = ends_of(Follows)
    assert compare(network, line, {"test": texts()})
    monkeypatch.setattr(Runner, method, found)
    assert not compare(network, line, {"test": texts()})


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


def with_more_tokens(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    batch["input_ids"][1, -1] = 7
    return batch


@pytest.mark.parametrize(
    "batches",
    [
        pytest.param(changed("attention_mask", lambda mask: mask.flip(1)), id="padded on the left"),
        pytest.param(changed("attention_mask", torch.ones_like), id="no padding"),
        pytest.param(changed("attention_mask", lambda mask: mask[:, 0]), id="a mask without positions"),
        pytest.param(changed("labels", lambda labels: labels.clamp(min=0), True), id="targets of padding"),
        pytest.param(changed("labels", lambda of: of[:, None, None].expand(-1, 2, LENGTH)), id="another axis as long"),
        pytest.param([*texts()[:5], with_more_tokens(texts()[5]), *texts()[6:]], id="tokens after the attention"),
        pytest.param([{**texts()[0]}], id="few"),
        pytest.param(
            [{**of, "attention_mask": of["attention_mask"].to(kind)} for of, kind in zip(texts(), KINDS, strict=False)],
            id="types differ",
        ),
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
    found = shortened({"test": tuple(given)})["test"]
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
