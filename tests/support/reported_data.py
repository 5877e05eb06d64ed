"""Data, targets and losses of many forms."""

# mypy: disable-error-code="misc, no-untyped-call"

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, IterableDataset

import linescape as ls
from tests.support.optional import load
from tests.support.situations import Answer, Case, anew, cross_entropy, examples, pair, situation, walked


def at_ends(start: Any, end: Any, given: Any, measure: str = "cross_entropy", **settings: Any) -> Answer:
    values, notes = walked(start, end, given, measure, **settings)
    return [float(values[0]), float(values[-1])], notes


@situation
def float_targets(_folder: Path) -> Iterator[Case]:
    inputs = examples()[0]
    kinds = {
        "one logit": (1, (inputs[:, :1] > 0).float()),
        "several labels": (4, (torch.rand(40, 4) > 0.5).float()),
        "regression of one": (1, torch.randn(40, 1)),
        "regression of three": (3, torch.randn(40, 3)),
        "no label": (3, torch.zeros(40, 3)),
    }
    for name, (outputs, targets) in kinds.items():
        start, end = pair(lambda outputs=outputs: nn.Linear(6, outputs))
        yield Case(f"{name}, default", lambda a=start, b=end, y=targets: walked(a, b, (inputs, y)), None)
        if bool(((targets == 0) | (targets == 1)).all()):
            losses = [float(F.binary_cross_entropy_with_logits(net(inputs), targets)) for net in (start, end)]
            settings: dict[str, Any] = {
                "measure": "binary_cross_entropy",
                "measures": [ls.binary_cross_entropy],
            }
        else:
            losses = [float((net(inputs) - targets).square().sum(1).mean()) for net in (start, end)]
            settings = {"measure": "squared_error", "measures": [ls.squared_error]}
        yield Case(name, lambda a=start, b=end, y=targets, s=settings: at_ends(a, b, (inputs, y), **s), losses)


@situation
def class_axes(_folder: Path) -> Iterator[Case]:
    for classes, positions in ((5, 5), (5, 9)):
        start, end = pair(lambda classes=classes: nn.Conv1d(4, classes, 1))
        inputs, targets = torch.randn(30, 4, positions), torch.randint(0, classes, (30, positions))
        losses = [float(F.cross_entropy(net(inputs), targets)) for net in (start, end)]
        yield Case(
            f"{classes} classes, {positions} positions",
            lambda a=start, b=end, d=(inputs, targets): at_ends(a, b, d),
            losses if classes != positions else None,
        )
        yield Case(
            f"{classes} classes, {positions} positions, axis given",
            lambda a=start, b=end, d=(inputs, targets): at_ends(
                a, b, d, measures=[partial(ls.cross_entropy, class_axis=1)]
            ),
            losses,
        )
    start, end = pair(lambda: nn.Conv3d(2, 3, 1))
    voxels = torch.randn(6, 2, 4, 4, 4), torch.randint(0, 3, (6, 4, 4, 4))
    losses = [float(F.cross_entropy(net(voxels[0]), voxels[1])) for net in (start, end)]
    yield Case("volumes", lambda: at_ends(start, end, voxels), losses)
    first, last = pair(lambda: nn.Conv2d(2, 3, 1))
    inputs, targets = torch.randn(6, 2, 4, 4), torch.randint(0, 3, (6, 4, 4))
    targets[:, 0] = 255
    yield Case("pixels of 255", lambda: at_ends(first, last, (inputs, targets)), None)
    yield Case(
        "pixels of 255, ignored",
        lambda: at_ends(first, last, (inputs, targets), measures=[partial(ls.cross_entropy, ignore_index=255)]),
        [float(F.cross_entropy(net(inputs), targets, ignore_index=255)) for net in (first, last)],
    )
    one, other = pair(lambda: nn.Conv2d(2, 1, 1))
    masks = (torch.rand(6, 1, 4, 4) > 0.5).float()
    yield Case("binary masks", lambda: at_ends(one, other, (inputs, masks)), None)
    yield Case("binary masks of whole numbers", lambda: at_ends(one, other, (inputs, masks[:, 0].long())), None)
    yield Case(
        "binary masks, by their loss",
        lambda: at_ends(one, other, (inputs, masks), "binary_cross_entropy", measures=[ls.binary_cross_entropy]),
        [float(F.binary_cross_entropy_with_logits(net(inputs), masks)) for net in (one, other)],
    )
    for kind in (torch.int32, torch.uint8, torch.int16, torch.bool):
        start, end = pair(lambda: nn.Linear(6, 2))
        data = examples(classes=2)
        expected = [float(F.cross_entropy(net(data[0]), data[1])) for net in (start, end)]
        yield Case(f"labels {kind}", lambda a=start, b=end, k=kind, d=data: at_ends(a, b, (d[0], d[1].to(k))), expected)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.GRU(3, 5), nn.Linear(5, 2)

    def forward(self, packed: Any) -> Any:
        return self.head(self.cells(packed)[1][0])


Named = namedtuple("Named", "tokens lengths target")


@situation
def batches_of_other_kinds(_folder: Path) -> Iterator[Case]:
    start, end = pair(Recurrent)
    sequences = [torch.randn(n, 3) for n in (4, 2, 5, 3, 1, 6)]
    targets = torch.randint(0, 2, (6,))
    packed = [(pack_sequence(sequences[i : i + 3], enforce_sorted=False), targets[i : i + 3]) for i in (0, 3)]
    losses = [
        float(torch.cat([F.cross_entropy(net(p), t, reduction="none") for p, t in packed]).mean())
        for net in (start, end)
    ]
    yield Case("packed sequences", lambda: at_ends(start, end, packed), losses)
    first, last = pair(lambda: nn.Linear(3, 2))
    named = [Named(torch.randn(4, 3), torch.ones(4), torch.randint(0, 2, (4,)))]
    yield Case(
        "named tuples",
        lambda: at_ends(first, last, named, forward=lambda net, batch: (net(batch.tokens), batch.target)),
        [float(F.cross_entropy(net(named[0].tokens), named[0].target)) for net in (first, last)],
    )


@situation
def iterable_data_sets(_folder: Path) -> Iterator[Case]:
    inputs, targets = examples()

    class Streamed(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield from zip(inputs, targets, strict=True)

    start, end = pair(lambda: nn.Linear(6, 3))
    expected = anew(lambda: nn.Linear(6, 3), start, end, cross_entropy(inputs, targets))
    yield Case("a loader without a length", lambda: walked(start, end, DataLoader(Streamed(), 16)), expected)


def _language_models() -> Iterator[tuple[str, Any, Any]]:
    bert: dict[str, Any] = {
        "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 64,
    }  # fmt: skip
    bart = {
        "vocab_size": 50, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 32,
        "pad_token_id": 1,
    }  # fmt: skip
    gpt = {"vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
    yield "GPT2LMHeadModel", "GPT2Config", gpt
    yield "OpenAIGPTLMHeadModel", "OpenAIGPTConfig", gpt
    yield "BertLMHeadModel", "BertConfig", {**bert, "is_decoder": True}
    yield "LlamaForCausalLM", "LlamaConfig", {**bert, "num_key_value_heads": 2}
    yield "BartForCausalLM", "BartConfig", bart
    yield "PegasusForCausalLM", "PegasusConfig", bart
    yield "XLNetLMHeadModel", "XLNetConfig", {"vocab_size": 50, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}
    yield "XLMWithLMHeadModel", "XLMConfig", {"vocab_size": 50, "emb_dim": 16, "n_layers": 1, "n_heads": 2}
    yield "BertForMaskedLM", "BertConfig", bert
    yield "BartForConditionalGeneration", "BartConfig", bart
    yield (
        "T5ForConditionalGeneration",
        "T5Config",
        {
            "vocab_size": 50,
            "d_model": 16,
            "d_kv": 8,
            "d_ff": 32,
            "num_layers": 1,
            "num_heads": 2,
            "decoder_start_token_id": 0,
        },
    )


UNCLEAR = ("BartForCausalLM", "PegasusForCausalLM", "XLNetLMHeadModel", "XLMWithLMHeadModel", "BertForMaskedLM")
"""Of these it is not known whether labels that are their tokens are to be shifted."""


@situation
def hugging_face_models(_folder: Path) -> Iterator[Case]:
    transformers = load("transformers")
    transformers.logging.set_verbosity_error()
    tokens = torch.randint(3, 50, (6, 8), generator=torch.Generator().manual_seed(0))
    hidden = tokens.masked_fill(torch.rand(tokens.shape, generator=torch.Generator().manual_seed(1)) > 0.4, -100)
    for name, config, settings in _language_models():
        torch.manual_seed(0)
        network = getattr(transformers, name)(getattr(transformers, config)(**settings, use_cache=False)).eval()
        for labelled, labels in (("its tokens", tokens), ("some of its tokens", hidden), ("others", tokens.flip(0))):
            batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}
            with torch.no_grad():
                own = float(network(**batch).loss)

            def asked(network: Any = network, batch: Any = batch) -> Answer:
                evaluator = ls.Evaluator(network, {"test": [batch]}, measures=[ls.cross_entropy])
                value = evaluator(ls.State.from_module(network))["test", "cross_entropy"].mean()
                return [float(value)], []

            refused = labels is tokens and name in UNCLEAR
            yield Case(f"{name}, labels are {labelled}", asked, [own], "refused" if refused else "right")


@situation
def hugging_face_heads(_folder: Path) -> Iterator[Case]:
    tr = load("transformers")
    tr.logging.set_verbosity_error()
    bert: dict[str, Any] = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    tokens = torch.randint(3, 50, (6, 8), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    yes = torch.tensor([0, 1, 1, 0, 1, 0])
    several = {"num_labels": 3, "problem_type": "multi_label_classification"}
    heads: dict[str, tuple[Any, dict[str, Any], dict[str, Any], Any]] = {
        "classes": (tr.BertForSequenceClassification, {}, {"labels": yes}, ls.cross_entropy),
        "other columns": (
            tr.BertForSequenceClassification, {}, {"labels": yes, "sentence": ["a"] * 6}, ls.cross_entropy
        ),
        "regression": (tr.BertForSequenceClassification, {"num_labels": 1}, {"labels": yes.float()}, ls.squared_error),
        "several labels": (
            tr.BertForSequenceClassification, several, {"labels": torch.ones(6, 3).tril()}, ls.binary_cross_entropy
        ),
        "tokens": (
            tr.BertForTokenClassification, {"num_labels": 3}, {"labels": tokens % 3}, ls.cross_entropy
        ),
        "answers": (
            tr.BertForQuestionAnswering, {}, {"start_positions": yes, "end_positions": yes + 1}, ls.cross_entropy
        ),
    }  # fmt: skip
    for name, (kind, settings, labels, measure) in heads.items():
        torch.manual_seed(0)
        network = kind(tr.BertConfig(**bert, **settings)).eval()
        batch = {**inputs, **labels}
        with torch.no_grad():
            own = float(network(**{key: value for key, value in batch.items() if key != "sentence"}).loss)
        for used in dict.fromkeys((ls.cross_entropy, measure)):

            def asked(network: Any = network, batch: Any = batch, used: Any = used) -> Answer:
                values = ls.Evaluator(network, {"test": [batch]}, measures=[used])(ls.State.from_module(network))
                return [float(next(iter(values.values())).mean())], []

            right = used is measure and name != "answers"
            yield Case(f"{name}, {used.__name__}", asked, [own] if right else None)
