"""Networks, images and tokenizers that the command line names, and what it makes of the words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from linescape.cli import specs
from linescape.errors import LinescapeError
from tests.support import optional

OWN = """
from dataclasses import dataclass

import torch
from torch import nn

RUNS = []

@dataclass
class Size:
    inputs: int = 5

def network():
    RUNS.append(1)
    return nn.Linear(Size().inputs, 3)

def data():
    return {"train": (torch.randn(8, 5), torch.arange(8) % 3), "test": [(torch.randn(4, 5), torch.arange(4) % 3)]}

def one():
    return torch.randn(4, 5), torch.arange(4) % 3

def generator():
    return (batch for batch in [one()])

number = 3
"""


DATA = "own.py:data"


def network(text: str) -> nn.Module:
    return specs.network_and_data(text, DATA, None).network


def refused(kind: type[LinescapeError], said: str, model: str | None = "own.py:network", data: str = DATA) -> None:
    with pytest.raises(kind, match=said):
        specs.network_and_data(model, data, None)


def saved(folder: Path, **changed: Any) -> Any:
    """A small causal model of Hugging Face, saved."""
    transformers = optional.load("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.LlamaConfig(**{"vocab_size": 300, "max_position_embeddings": 32, **sizes, **changed})
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return model


def draw(folder: Path, count: int, size: tuple[int, int], mode: str = "RGB", kind: str = "png") -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(str(folder)))
    for number in range(count):
        shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number}.{kind}")


def tokenizer(folder: Path, words: str) -> Any:
    transformers = optional.load("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {
        word: number for number, word in enumerate(["<pad>", "<eos>", "<unk>", *dict.fromkeys(words.split())])
    }
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>"
    )
    made.save_pretrained(folder)
    return made
