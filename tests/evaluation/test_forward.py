"""Which output belongs to which target."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from linescape.engine import Fast
from linescape.errors import DataError
from linescape.evaluation.forward import default_forward, default_targets, predicts_next

TOKENS = torch.tensor([[1, 2, 3, 4], [4, 3, 2, 2]])


class Words(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return torch.nn.functional.one_hot(input_ids, 5).float()


class MyForCausalLM(Words):
    """Named as Hugging Face names them."""


def test_labels_of_a_causal_model_are_those_of_the_next_position() -> None:
    batch = {"input_ids": TOKENS, "attention_mask": TOKENS > 0, "labels": TOKENS}
    for model in (MyForCausalLM(), Fast(MyForCausalLM())):
        outputs, targets = default_forward(model, batch)
        assert torch.equal(outputs.argmax(2), TOKENS[:, :-1])
        assert torch.equal(targets, TOKENS[:, 1:])
        assert torch.equal(default_targets(model, batch), targets)
        assert predicts_next(model)


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
        with pytest.raises(DataError, match=r"a Words is not known to shift.*tokens\[:, :-1\]"):
            default_forward(Words(), {"input_ids": TOKENS, "labels": labels})
    masked = torch.full_like(TOKENS, -100)
    masked[0, 1] = TOKENS[0, 1]  # a masked language model keeps some of the hidden tokens
    assert torch.equal(default_forward(Words(), {"input_ids": TOKENS, "labels": masked})[1], masked)


def test_labels_of_a_sequence_are_left_alone() -> None:
    batch: dict[str, Any] = {"input_ids": TOKENS, "labels": torch.tensor([0, 1])}
    for model in (Words(), MyForCausalLM()):
        outputs, targets = default_forward(model, batch)
        assert outputs.shape == (2, 4, 5)
        assert targets.tolist() == [0, 1]
