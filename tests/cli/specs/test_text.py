"""Files of text in words, as tokens of bytes or of a tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from linescape.cli import specs
from linescape.errors import DataError, RecipeError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.state import State
from tests.support import optional
from tests.support.specs import refused, saved, tokenizer


def test_bytes_of_text_are_tokens_and_the_next_is_the_target(tmp_path: Path) -> None:
    text = "".join(chr(97 + i % 26) for i in range(35)) + "é"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt").write_text("x" * 9)
    found = specs.network_and_data("own.py:network", "text:train=a.txt,length=8,test=b.txt", None)
    inputs, targets = found.data["train"]
    tokens = torch.tensor(list(text.encode()))
    assert inputs.shape == targets.shape == (4, 8)
    assert torch.equal(inputs.flatten(), tokens[:32])
    assert torch.equal(targets.flatten(), tokens[1:33])  # every token but the first once
    assert found.data["test"][0].shape == (1, 8)
    assert found.notes == ("Tokens are bytes.",)
    alone = specs.network_and_data("own.py:network", "text:a.txt,length=8", None)
    assert torch.equal(alone.data["test"][0], inputs)


def test_the_tokenizer_is_the_networks_own_or_the_named(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    text = "the cat sat on the mat and the dog ran"
    made = tokenizer(tmp_path / "m", text)
    (tmp_path / "a.txt").write_text(text)
    ids = made(text)["input_ids"]
    for words in ("text:a.txt,length=4", "text:a.txt,length=4,tokenizer=m"):
        found = specs.network_and_data("hf:m", words, None)
        (batch,) = found.data["test"]
        assert batch["input_ids"].flatten().tolist() == ids[:8]
        assert batch["targets"].flatten().tolist() == ids[1:9]
        assert batch["attention_mask"].all()
        assert "Tokens are those of" in found.notes[0]
    of_bytes = specs.network_and_data("hf:m", "text:a.txt,length=4,tokenizer=bytes", None)
    assert of_bytes.data["test"][0]["input_ids"].flatten().tolist() == list(text.encode())[:36]


def test_text_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    transformers = optional.load("transformers")
    saved(tmp_path / "m")
    saved(tmp_path / "few", vocab_size=100)
    (tmp_path / "a.txt").write_text("to be or not to be " * 20)
    refused(DataError, "knows 100", "hf:few", "text:a.txt,length=8")
    refused(DataError, "the network takes 32", "hf:m", "text:a.txt")
    refused(DataError, "less than one block", "hf:m", "text:a.txt,length=1000")
    refused(RecipeError, "no positive whole number", "hf:m", "text:a.txt,length=long")
    refused(DataError, "could not be opened", "hf:m", "text:b.txt")
    refused(RecipeError, "no tokenizer", "hf:m", "text:a.txt,tokenizer=absent")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    refused(DataError, "no text in UTF-8", "hf:m", "text:a.txt")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=300, **sizes)).save_pretrained(tmp_path / "bert")
    (tmp_path / "a.txt").write_text("to be or not to be " * 20)
    refused(RecipeError, "BertForMaskedLM is none", "hf:bert", "text:a.txt,length=8")


def test_a_language_model_of_ones_own_is_called_with_tokens(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "class Small(nn.Sequential):\n    config = {'vocab_size': 2}\n\n"
        "def network():\n    torch.manual_seed(0)\n    return Small(nn.Embedding(256, 4), nn.Linear(4, 256))\n"
    )
    (tmp_path / "a.txt").write_text("to be or not to be " * 20)
    network, data, _ = specs.network_and_data("small.py:network", "text:a.txt,length=10", None)
    found = Evaluator(network, data)(State.from_module(network))["test", "cross_entropy"]
    tokens = torch.tensor(list((b"to be or not to be " * 20)[:371]))
    with torch.no_grad():
        assert found.mean() == pytest.approx(float(torch.nn.functional.cross_entropy(network(tokens[:-1]), tokens[1:])))


def test_tokens_of_a_tokenizer_come_in_batches(tmp_path: Path) -> None:
    text = "the cat sat on the mat and the dog ran " * 40
    ids = tokenizer(tmp_path / "t", text)(text)["input_ids"]
    (tmp_path / "a.txt").write_text(text)
    found = specs.network_and_data("own.py:network", "text:a.txt,length=10,tokenizer=t", None)
    batches = found.data["test"]
    assert [len(inputs) for inputs, _ in batches] == [16, 16, 7]
    assert torch.cat([inputs.flatten() for inputs, _ in batches]).tolist() == ids[:390]
    assert torch.cat([targets.flatten() for _, targets in batches]).tolist() == ids[1:391]
