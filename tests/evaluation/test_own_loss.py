"""Labels of Hugging Face models, small and random: against the models' own loss in float64."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from linescape.engine import Fast
from linescape.errors import DataError, MeasureError
from linescape.evaluation import own_loss
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.forward import default_forward, default_targets
from linescape.evaluation.measures import Measure, binary_cross_entropy, cross_entropy, squared_error
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support import optional

WORDS = 40
ENCODER = {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
ENCODER |= {"intermediate_size": 32, "max_position_embeddings": 32}
TWO_STACKS = {"vocab_size": WORDS, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "pad_token_id": 1}
TWO_STACKS |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
TWO_STACKS |= {"max_position_embeddings": 32, "decoder_start_token_id": 2}
T5 = {"vocab_size": WORDS, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
T5 |= {"decoder_start_token_id": 0}
GPT2 = {"vocab_size": WORDS, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
MASKED_OUT = -100


def made(kind: str, config: dict[str, Any], seed: int = 0) -> nn.Module:
    transformers = optional.load("transformers")
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(getattr(transformers, f"{_config(kind)}Config")(**config, use_cache=False))
    network: nn.Module = model.double().eval()
    for parameter in network.parameters():  # far from the start, at which all classes are alike
        parameter.data += torch.randn_like(parameter) * 0.2
    return network


def _config(kind: str) -> str:
    return next(
        name
        for name in ("XLNet", "GPT2", "BertGeneration", "Bert", "Bart", "MBart", "T5", "Whisper", "OPT")
        if kind.startswith(name)
    )


def words(seed: int = 0, count: int = 6, length: int = 8) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, WORDS, (count, length), generator=random)
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def next_words(tokens: Tensor) -> Tensor:
    """Labels that the user has shifted."""
    return torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], MASKED_OUT)], 1)


def own(network: Any, batch: dict[str, Any]) -> float:
    with torch.no_grad():
        return float(network(**batch).loss)


def measured(network: nn.Module, batch: dict[str, Any], measure: Measure = cross_entropy) -> float:
    values = Evaluator(network, {"d": [batch]}, [measure])(State.from_module(network))
    return float(values["d", measure.__name__].mean())


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("GPT2LMHeadModel", GPT2),
        ("BertLMHeadModel", ENCODER | {"is_decoder": True}),
        ("OPTForCausalLM", {**ENCODER, "word_embed_proj_dim": 16, "ffn_dim": 32}),
    ],
)
def test_labels_that_a_model_shifts(kind: str, config: dict[str, Any]) -> None:
    network, batch = made(kind, config), words()
    labels = batch["input_ids"].clone()
    labels[:, :2] = labels[2:, 6:] = MASKED_OUT
    for given in (batch["input_ids"], labels):
        whole = {**batch, "labels": given}
        assert measured(network, whole) == pytest.approx(own(network, whole), rel=1e-6)
        assert default_targets(network, whole).shape == (6, 7)


@pytest.mark.filterwarnings("ignore:The `use_cache` argument is deprecated")  # XLNet's own, of transformers 4
@pytest.mark.parametrize("kind", ["BartForCausalLM", "MBartForCausalLM", "XLNetLMHeadModel"])
def test_labels_that_a_model_does_not_shift_whatever_its_name(kind: str) -> None:
    xlnet = {"vocab_size": WORDS, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}
    network, batch = made(kind, xlnet if kind.startswith("XLNet") else TWO_STACKS), words()
    whole = {**batch, "labels": next_words(batch["input_ids"])}
    assert measured(network, whole) == pytest.approx(own(network, whole), rel=1e-6)
    assert default_targets(network, whole).shape == (6, 8)
    with pytest.raises(DataError, match="repeating its input"):
        measured(network, {**batch, "labels": batch["input_ids"]})


@pytest.mark.parametrize(
    ("kind", "config"), [("T5ForConditionalGeneration", T5), ("BartForConditionalGeneration", TWO_STACKS)]
)
def test_decoders_get_their_inputs_from_the_labels(kind: str, config: dict[str, Any]) -> None:
    network, batch = made(kind, config), words()
    labels = words(1)["input_ids"]
    labels[1, 5:] = MASKED_OUT
    for given in (labels, batch["input_ids"]):  # to restore a text is not to repeat it
        whole = {**batch, "labels": given}
        assert measured(network, whole) == pytest.approx(own(network, whole), rel=1e-6)
    # Given decoder inputs are used as they are.
    whole = {**batch, "labels": labels, "decoder_input_ids": words(2)["input_ids"]}
    assert measured(network, whole) == pytest.approx(own(network, whole), rel=1e-6)


def test_a_decoder_that_hears() -> None:
    config = {**TWO_STACKS, "num_mel_bins": 4, "max_source_positions": 8, "max_target_positions": 32}
    network = made("WhisperForConditionalGeneration", config | {"eos_token_id": 2, "bos_token_id": 2})
    batch = {"input_features": torch.randn(6, 4, 16).double(), "labels": words()["input_ids"]}
    assert measured(network, batch) == pytest.approx(own(network, batch), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Version v4.12.0")  # its own, where it is given labels
def test_a_pair_that_masks_its_decoder_by_the_labels() -> None:
    transformers = optional.load("transformers")
    if transformers.__version__ < "5":
        pytest.skip("its masks overflow in float64")
    torch.manual_seed(0)
    encoder = transformers.BertModel(transformers.BertConfig(**ENCODER))
    both = ENCODER | {"is_decoder": True, "add_cross_attention": True}
    network = transformers.EncoderDecoderModel(
        encoder=encoder, decoder=transformers.BertLMHeadModel(transformers.BertConfig(**both))
    )
    network.config.decoder_start_token_id = network.config.pad_token_id = 0
    network.double().eval()
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter) * 0.2
    labels = words(1)["input_ids"]
    labels[:, 4:] = MASKED_OUT
    whole = {**words(), "labels": labels}
    assert measured(network, whole) == pytest.approx(own(network, whole), rel=1e-6)


def test_a_line_between_two_encoder_decoders() -> None:
    start, end = (made("T5ForConditionalGeneration", T5, seed) for seed in (0, 1))
    batches = [{**words(i, count), "labels": words(i + 5, count)["input_ids"]} for i, count in ((0, 6), (1, 3))]
    expected = [sum(own(network, batch) * len(batch["labels"]) for batch in batches) / 9 for network in (start, end)]
    line = Line(State.from_module(start), State.from_module(end))
    for fast in (True, False):
        curve = scan(line, Evaluator(start, {"d": batches}, fast=fast), ScanOptions(alphas=3))
        assert curve["cross_entropy"].mean[[0, -1]].tolist() == pytest.approx(expected, rel=1e-6)


def classifier(**config: Any) -> Any:
    return made("BertForSequenceClassification", ENCODER | config)


def test_classes_tags_and_hidden_words() -> None:
    random, batch = torch.Generator().manual_seed(3), words()
    hidden = batch["input_ids"].masked_fill(torch.rand(6, 8, generator=random) > 0.3, MASKED_OUT)
    for network, labels in (
        (classifier(), torch.tensor([0, 1, 1, 0, 1, 1])),
        (made("BertForTokenClassification", ENCODER | {"num_labels": 3}), batch["input_ids"] % 3),
        (made("BertForMaskedLM", ENCODER), hidden),
        (made("BertForNextSentencePrediction", ENCODER), torch.tensor([0, 1, 1, 0, 1, 1])),
    ):
        whole = {**batch, "labels": labels}
        assert measured(network, whole) == pytest.approx(own(network, whole), rel=1e-6)
        assert measured(network, {**batch, "label": labels.int()}) == pytest.approx(own(network, whole), rel=1e-6)


def test_a_regression_is_measured_by_its_squared_error() -> None:
    network, whole = classifier(num_labels=1), {**words(), "labels": torch.randn(6).double()}
    with pytest.raises(MeasureError, match="squared_error"):
        measured(network, whole)
    assert measured(network, whole, squared_error) == pytest.approx(own(network, whole), rel=1e-6)
    assert network.config.problem_type == "regression"  # the caller's own call just now
    other = classifier(num_labels=1)
    evaluator = Evaluator(other, {"d": [whole]}, [squared_error], copy=False)
    evaluator(State.from_module(other))
    assert other.config.problem_type is None
    assert "The network's own loss of its labels is the squared error." in evaluator.engine.notes


def test_several_labels_are_measured_by_their_binary_cross_entropy() -> None:
    network = classifier(num_labels=3, problem_type="multi_label_classification")
    batch = words()
    labels = (torch.rand(6, 3, generator=torch.Generator().manual_seed(0)) > 0.5).double()
    whole = {**batch, "labels": labels}
    with pytest.raises(MeasureError, match="binary_cross_entropy"):
        measured(network, whole)
    assert measured(network, whole, binary_cross_entropy) == pytest.approx(own(network, whole), rel=1e-6)
    # One label each could also be probabilities of classes, which the result says that they are not.
    evaluator = Evaluator(network, {"d": [{**batch, "labels": torch.eye(3).repeat(2, 1).double()}]})
    evaluator(State.from_module(network))
    assert "The network's own loss of its labels is the binary cross entropy." in evaluator.engine.notes


def test_columns_that_a_model_does_not_take_are_left_out() -> None:
    transformers = optional.load("transformers")

    class Strict(transformers.BertForSequenceClassification):  # type: ignore[misc, name-defined]
        def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Any:
            return super().forward(input_ids, attention_mask, labels=labels)

    torch.manual_seed(0)
    strict, free = Strict(transformers.BertConfig(**ENCODER)).double().eval(), classifier()
    batch = {**words(), "labels": torch.tensor([0, 1, 1, 0, 1, 1])}
    whole = {**batch, "idx": torch.arange(6), "sentence": ["a"] * 6}
    any_name = "kwargs" in inspect.signature(free.forward).parameters  # since transformers 5
    for network, left_out in ((strict, ["idx", "sentence"]), (free, ["idx", "sentence"][any_name:])):
        evaluator = Evaluator(network, {"d": [whole]})
        values = evaluator(State.from_module(network))["d", "cross_entropy"]
        assert float(values.mean()) == pytest.approx(own(network, batch), rel=1e-6)
        assert [note for note in evaluator.engine.notes if "column" in note] == [
            f"The network takes no {name!r}: this column was left out." for name in left_out
        ]


def test_answers_of_two_outputs_are_refused() -> None:
    network, batch = made("BertForQuestionAnswering", ENCODER), words()
    positions = {"start_positions": torch.zeros(6).long(), "end_positions": torch.ones(6).long()}
    with pytest.raises(DataError, match=r"'start_positions' and 'end_positions', pass `forward="):
        measured(network, {**batch, **positions})

    def both(model: nn.Module, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        outputs = model(given["input_ids"])
        logits = torch.stack([outputs.start_logits, outputs.end_logits], 1)
        return logits, torch.stack([given["start_positions"], given["end_positions"]], 1)

    values = Evaluator(network, {"d": [{**batch, **positions}]}, [cross_entropy], both)(State.from_module(network))
    assert values["d", "cross_entropy"].mean() == pytest.approx(own(network, {**batch, **positions}), rel=1e-6)


class Own(nn.Module):
    """A language model that is not of Hugging Face but has a loss of its labels."""

    def __init__(self, shift: bool = False, factor: float = 1.0, alike: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.shift, self.factor = nn.Embedding(9, 9), shift, factor
        if alike:
            nn.init.zeros_(self.embed.weight)
        self.calls = 0

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Any:
        self.calls += 1
        logits, loss = self.embed(tokens), None
        if labels is not None:
            used, wanted = (logits[:, :-1], labels[:, 1:]) if self.shift else (logits, labels)
            loss = self.factor * nn.functional.cross_entropy(used.flatten(0, 1), wanted.flatten())
        return type("Output", (), {"logits": logits, "loss": loss})()


TOKENS = torch.randint(0, 9, (5, 7), generator=torch.Generator().manual_seed(0))
UNCOUNTED = torch.full_like(TOKENS, MASKED_OUT)


@pytest.mark.parametrize("labels", [TOKENS, UNCOUNTED], ids=["labels", "none that counts"])
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("shift", [True, False])
def test_any_network_with_a_loss_is_asked_once(shift: bool, alike: bool, labels: Tensor) -> None:
    network = Own(shift, alike=alike)
    batch = {"tokens": TOKENS, "labels": labels}
    assert own_loss.place(network, {"tokens": TOKENS}, labels) == ("next" if shift else "same")
    calls = network.calls
    outputs, targets = default_forward(Fast(network).stand_in, batch)
    assert network.calls == calls + 1
    assert outputs.shape[:2] == targets.shape == ((5, 6) if shift else (5, 7))


class Around(nn.Module):
    """Passes everything on, as what adds adapters to a network does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.network(*inputs, **named)


class Without(nn.Module):
    """Takes any name and has no loss; does not know what labels are if it passes names on."""

    def __init__(self, passes_on: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.passes_on = nn.Embedding(9, 9), passes_on

    def forward(self, input_ids: Tensor, **named: Any) -> Tensor:
        return self.logits(input_ids, **named) if self.passes_on else self.logits(input_ids)

    def logits(self, input_ids: Tensor) -> Tensor:
        outputs: Tensor = self.embed(input_ids)
        return outputs


@pytest.mark.parametrize("counted", [7, 3])
@pytest.mark.parametrize(
    "wrapped",
    [Around, lambda network: Around(Around(network)), nn.DataParallel, lambda n: torch.compile(n, backend="eager")],
    ids=["around", "twice", "parallel", "compiled"],
)
def test_what_wraps_a_network_does_not_hide_its_loss(wrapped: Any, counted: int) -> None:
    labels = TOKENS.clone()
    labels[:, : 7 - counted] = MASKED_OUT
    for shift in (True, False):
        network = Own(shift)
        expected = network(TOKENS, labels).loss.item()
        batch = {"tokens": TOKENS, "labels": labels}
        assert measured(wrapped(network), batch) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("passes_on", [True, False])
def test_labels_are_at_their_outputs_where_a_network_that_takes_any_name_has_no_loss(passes_on: bool) -> None:
    network = Without(passes_on)
    labels = TOKENS.roll(-1, 1)
    expected = nn.functional.cross_entropy(network(TOKENS).flatten(0, 1), labels.flatten()).item()
    assert measured(network, {"input_ids": TOKENS, "labels": labels}) == pytest.approx(expected, rel=1e-6)
    few = UNCOUNTED.clone()
    few[:, 5:] = TOKENS[:, 5:]
    for repeated in (TOKENS, few):
        with pytest.raises(DataError, match="measured at repeating its input"):
            default_forward(network, {"input_ids": TOKENS, "labels": repeated})


def test_a_loss_that_is_not_known_is_refused() -> None:
    batch = {"tokens": TOKENS, "labels": TOKENS}
    with pytest.raises(
        DataError, match=r"own loss of the network, a Own, is .*at its output.*output before.*'targets'"
    ):
        default_forward(Own(factor=1.3), batch)
    assert default_forward(Own(factor=1.3), {"tokens": TOKENS, "targets": TOKENS})[1] is TOKENS
    network = Own()
    nn.init.constant_(network.embed.weight, math.nan)
    with pytest.raises(DataError, match="it is not known how it uses its labels"):
        default_forward(network, batch)


def test_labels_out_of_range_are_named_before_the_network_fails_on_them() -> None:
    with pytest.raises(DataError, match="Labels run from 0 to 12, but the network has 9 outputs"):
        default_forward(Own(), {"tokens": TOKENS, "labels": torch.arange(5).unsqueeze(1).expand(5, 7) * 3})
