"""Which output belongs to which target."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from linescape.engine import Fast
from linescape.errors import DataError
from linescape.evaluation.forward import default_forward, default_targets

TOKENS = torch.tensor([[1, 2, 3, 4], [4, 3, 2, 2]])


class Words(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return torch.nn.functional.one_hot(input_ids, 5) * 9.0


class MyForCausalLM(Words):
    """Named as Hugging Face names them, without a loss of its own."""


class Trained(Words):
    """Has a loss that shifts its labels, whatever its name."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> Any:
        logits = super().forward(input_ids)
        loss = None if labels is None else F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return SimpleNamespace(logits=logits, loss=loss)


def test_labels_that_a_model_compares_with_the_output_before_are_shifted() -> None:
    batch = {"input_ids": TOKENS, "attention_mask": TOKENS > 0, "labels": TOKENS}
    for model in (Trained(), Fast(Trained()).stand_in):
        outputs, targets = default_forward(model, batch)
        assert torch.equal(outputs.argmax(2), TOKENS[:, :-1])
        assert torch.equal(targets, TOKENS[:, 1:])
        assert torch.equal(default_targets(model, batch), targets)


def test_targets_stand_at_their_outputs() -> None:
    for model in (Words(), MyForCausalLM()):
        for batch in ((TOKENS[:, :-1], TOKENS[:, 1:]), {"input_ids": TOKENS[:, :-1], "targets": TOKENS[:, 1:]}):
            outputs, targets = default_forward(model, batch)
            assert torch.equal(outputs.argmax(2), TOKENS[:, :-1])
            assert torch.equal(targets, TOKENS[:, 1:])


def test_a_model_is_not_measured_at_repeating_its_input() -> None:
    hidden = TOKENS.clone()
    hidden[0, 0] = -100
    for labels in (TOKENS, hidden):
        for model in (Words(), MyForCausalLM()):
            with pytest.raises(DataError, match=rf"a {type(model).__name__} is not known to shift.*tokens\[:, :-1\]"):
                default_forward(model, {"input_ids": TOKENS, "labels": labels})
    masked = torch.full_like(TOKENS, -100)
    masked[0, 1], masked[1, 0] = TOKENS[0, 1], TOKENS[1, 0]
    seen = TOKENS.clone()
    seen[0, 1] = (TOKENS[0, 1] + 1) % 2  # a masked language model sees another token at most of these places
    assert torch.equal(default_forward(Words(), {"input_ids": seen, "labels": masked})[1], masked)
    with pytest.raises(DataError, match="measured at repeating its input"):
        default_forward(Words(), {"input_ids": TOKENS, "labels": masked})


def test_labels_of_a_sequence_are_left_alone() -> None:
    batch: dict[str, Any] = {"input_ids": TOKENS, "labels": torch.tensor([0, 1])}
    for model in (Words(), MyForCausalLM()):
        outputs, targets = default_forward(model, batch)
        assert outputs.shape == (2, 4, 5)
        assert targets.tolist() == [0, 1]


class Last(NamedTuple):
    input_ids: Tensor
    label: Tensor


class First(NamedTuple):
    label: Tensor
    input_ids: Tensor


class Weighted(NamedTuple):
    input_ids: Tensor
    attention_mask: Tensor
    label: Tensor
    weight: Tensor


def test_named_tuples_are_read_by_place_unless_their_names_say_otherwise() -> None:
    outputs, targets = default_forward(Words(), Last(TOKENS, TOKENS[:, 0]))
    assert torch.equal(outputs.argmax(2), TOKENS)
    assert torch.equal(targets, default_targets(Words(), Last(TOKENS, TOKENS[:, 0])))
    for batch in (First(TOKENS[:, 0], TOKENS), Weighted(TOKENS, TOKENS > 0, TOKENS[:, 0], torch.ones(2))):
        with pytest.raises(DataError, match=r"'label' seems to be the targets, but is not the last"):
            default_forward(Words(), batch)


def test_what_has_no_targets_is_refused() -> None:
    packed = pack_sequence([TOKENS[0], TOKENS[1]])
    for batch in (packed, TOKENS, "text", (TOKENS,), SimpleNamespace(x=1)):
        with pytest.raises(DataError, match="cannot be told apart"):
            default_targets(Words(), batch)
    with pytest.raises(DataError, match=r"keys \['input_ids'\], none of which"):
        default_forward(Words(), {"input_ids": TOKENS})
