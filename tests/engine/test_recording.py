"""Calls as graphs by recordings of them: what is recorded is right, and what cannot be is refused."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.engine.graph import NotExportable
from linescape.engine.tracing import trace_recordings
from linescape.errors import MeasureError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Only
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support import optional
from tests.support.engine import ALPHAS, assert_close, compared, labels, line_of, noted, tokens
from tests.support.engine_networks import VECTORS, Head


class Given(Head):
    """What is between the layers is given. `by_name` calls it so that it is recorded, not traced."""

    def __init__(self, between: Callable[[Given, Tensor], Tensor]) -> None:
        super().__init__()
        self.given = between
        self.scale = torch.full((8,), 1.5)

    def between(self, x: Tensor) -> Tensor:
        return self.given(self, x)


def by_name(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    return model(x=batch[0]), batch[1]


def written(net: Given, x: Tensor) -> Tensor:
    y = x * 2
    y[:, 1] = x[:, 0]
    y += x
    y.clamp_(max=0.5)
    return y


def by_another_name(net: Given, x: Tensor) -> Tensor:
    y = x * 2
    y[:, 0].mul_(3)
    return y


def set_data(net: Given, x: Tensor) -> Tensor:
    y = torch.zeros(8)
    y.data = torch.ones(8)
    return x * y


def in_numpy(net: Given, x: Tensor) -> Tensor:
    return x * torch.from_numpy(np.tanh(net.fc2.bias.detach().numpy())).sum()


def doubled(x: Tensor) -> Tensor:
    return x * 2 + 1


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    SCRIPTED = torch.jit.script(doubled)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


def in_half(net: Given, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return (x @ x.new_ones(8, 8)).float() + x


def of_many(net: Given, x: Tensor) -> Tensor:
    return x * 2 if len(x) > 9 else x


def scaled_by_number(net: Given, x: Tensor) -> Tensor:
    return x / len(x)


def attended(net: Given, x: Tensor) -> Tensor:
    two = x.view(-1, 2, 4)
    return F.scaled_dot_product_attention(two, two, two, is_causal=True).flatten(1)


def operators(net: Given, x: Tensor) -> Tensor:
    y = x + 1
    y **= 2
    y = y**3 + 2**y - (1 - y) / (1 / (y + 10)) + y // 0.3 + (y % 2) - (5 % (y + 9)) + (~(y > 0)).float() + abs(-y)
    return (y + 7 // (y + 20)).tanh()


RECORDED: dict[str, Callable[[Given, Tensor], Tensor]] = {
    "operators": operators,
    "writes to its values": written,
    "holds tensors": lambda net, x: x * net.scale,
    "sizes": lambda net, x: x.reshape(2 * len(x), 4).neg().reshape(len(x), 8) + torch.arange(len(x)).view(-1, 1) * 0,
    "pieces": lambda net, x: torch.cat([piece.neg() for piece in x.T]).view(8, -1).T + x.max(1).values[:, None],
    "attributes": lambda net, x: x.T.mT.real * 2,
    "reads constants": lambda net, x: x * 2 if torch.arange(len(x)).max() >= 0 else x,
    "its own function": lambda net, x: Doubled.apply(x),  # type: ignore[no-untyped-call]
    "an empty cache": lambda net, x: torch.cat([torch.tensor([]), x], -1) * 2,
    "whole attention": attended,
}

REFUSED: dict[str, tuple[Callable[[Given, Tensor], Tensor], str]] = {
    "reads its values": (lambda net, x: x.relu() if x.sum() > 0 else x, "depend on values"),
    "reads its weights": (lambda net, x: x * net.fc2.bias.max().item(), "depend on values"),
    "lists its weights": (lambda net, x: x * sum(net.fc2.bias.tolist()), "reads the values"),
    "in numpy": (in_numpy, "reads the values"),
    "shapes by values": (lambda net, x: x + x[x > 0].sum() / (x > 0).sum(), "depend on values"),
    "writes to weights": (lambda net, x: x * net.fc2.bias.abs_().sum(), "writes to a tensor of the network"),
    "reads what it wrote": (by_another_name, "by another name"),
    "sets data": (set_data, "sets data"),
    "compiled code": (lambda net, x: SCRIPTED(x), "cannot be watched"),
    "in half precision": (in_half, "autocast"),
    "number of examples": (of_many, "another number of examples"),
    "by their number": (scaled_by_number, "act on each other"),
    "elsewhere": (lambda net, x: x * VECTORS[0, :8], "neither it nor the call holds"),
}


def on_lines(net: nn.Module, data: Any, forward: Any = None) -> list[str]:
    """Why the network was called as it is, on the whole line and on a late one, whose curves are right."""
    whole = line_of(net, VECTORS)
    late = Only(whole, [name for name in whole.end if name.startswith("fc2")])
    return [note for path in (whole, late) for note in noted(compared(path, net, data, forward=forward, batch_size=16))]


@pytest.mark.parametrize("between", RECORDED.values(), ids=RECORDED)
def test_what_a_call_does_is_recorded(between: Callable[[Given, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    assert on_lines(Given(between).eval(), [(VECTORS[:17], labels(17)), (VECTORS[17:], labels(23))], by_name) == []


@pytest.mark.parametrize(("between", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_a_recording_could_not_repeat_is_refused(between: Callable[[Given, Tensor], Tensor], reason: str) -> None:
    torch.manual_seed(0)
    net = Given(between).eval()
    with pytest.raises(NotExportable, match=reason):
        trace_recordings(copy.deepcopy(net), (), {"x": VECTORS})
    on_lines(net, [(VECTORS, labels(40))], by_name)  # is right, as plain calls are


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_few_examples_are_no_obstacle(count: int) -> None:
    torch.manual_seed(0)
    net = Given(RECORDED["sizes"]).eval()
    assert on_lines(net, [(VECTORS[:count], labels(count)), (VECTORS[4:11], labels(7))], by_name) == []


class Doubling(nn.Module):
    """Lets what is among the examples of a batch decide on all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc = nn.Embedding(11, 8), nn.Linear(8, 3)

    def forward(self, words: Tensor) -> Tensor:
        x = self.embed(words).mean(1)
        out: Tensor = self.fc(x * 2 if (words == 7).any() else x)
        return out


def test_batches_that_are_asked_something_are_not_joined() -> None:
    torch.manual_seed(0)
    net = Doubling().eval()
    words = tokens(40, 3, kinds=7)
    words[20] = 7
    assert noted(compared(line_of(net, words), net, (words, labels(40)), batch_size=8)) == []


class Hiding(nn.Module):
    """Asks whether its mask hides anything, as attention of transformers does, and returns a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc = nn.Embedding(11, 8), nn.Linear(8, 3)

    def forward(self, words: Tensor, mask: Tensor) -> Any:
        x = torch.tanh(self.embed(words))
        if not mask.all():
            x = x * mask.unsqueeze(-1)
        return {"logits": self.fc(x.mean(1)), "cache": {x.shape[1]}, "length": x.shape[1], "none": None}


def of_hiding(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    return model(batch["words"], mask=batch["mask"])["logits"], batch["labels"]


def test_each_answer_that_inputs_give_has_its_graph() -> None:
    torch.manual_seed(0)
    net = Hiding().eval()
    words, whole = tokens(24, 5), torch.ones(24, 5, dtype=torch.bool)
    cut = whole.clone()
    cut[20:, 3:] = False  # the first examples hide nothing, as in a batch that is
    batches = [{"words": words, "mask": mask, "labels": labels(24)} for mask in (whole, cut, whole, cut)]
    path = line_of(net, words, whole)
    plain, fast = (Evaluator(net, {"d": batches}, forward=of_hiding, fast=fast) for fast in (False, True))
    for moving in (path, Only(path, ["fc.weight", "fc.bias"])):
        found = scan(moving, fast, ScanOptions(alphas=ALPHAS))
        assert_close(found, scan(moving, plain, ScanOptions(alphas=ALPHAS)))
        assert noted(found) == []
    assert len(fast.engine._graphs) == 2


def test_what_a_graph_leaves_out_is_not_read_in_silence() -> None:
    torch.manual_seed(0)
    net = Hiding().eval()
    batch = {"words": tokens(6, 5), "mask": torch.ones(6, 5, dtype=torch.bool), "labels": labels(6)}

    def with_cache(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        given = model(batch["words"], batch["mask"])
        return given["logits"] * len(given["cache"]), batch["labels"]

    evaluator = Evaluator(net, {"d": [batch]}, forward=with_cache, fast=True)
    with pytest.raises(MeasureError, match="fast=False"):
        scan(line_of(net, batch["words"], batch["mask"]), evaluator, ScanOptions(alphas=2))


def _tiny(name: str) -> nn.Module:
    transformers = optional.load("transformers")
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 31}
    gated = {**size, "intermediate_size": 24, "num_key_value_heads": 1}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    settings: dict[str, dict[str, Any]] = {
        "Llama": gated,
        "Mistral": {**gated, "sliding_window": 3},
        "Qwen2": gated,
        "Gemma": {**gated, "head_dim": 8},
        "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 31},
        "GPTNeoX": {**size, "intermediate_size": 24},
        "OPT": {**size, "ffn_dim": 24, "word_embed_proj_dim": 16, "max_position_embeddings": 32},
        "Bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2, "vocab_size": 31},
    }
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**ends, **settings[name]})
    head = {"GPT2": "GPT2LMHeadModel"}.get(name, f"{name}ForCausalLM")
    net: nn.Module = getattr(transformers, head)(config)
    assert config.use_cache
    return net.eval()


OTHERS = ("Mistral", "Qwen2", "Gemma", "GPT2", "GPTNeoX", "OPT", "Bloom")


@pytest.mark.parametrize("name", ["Llama", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_causal_models_with_their_caches_are_graphs(name: str) -> None:
    net = _tiny(name)
    words = tokens(10, 7, kinds=31)
    mask = torch.ones_like(words)
    mask[3:6, 5:] = 0
    whole = line_of(net, words)
    last = Only(whole, [n for n in whole.end if ".1." in n])
    of_padding = torch.where(mask == 1, words, -100)
    data = [
        {"input_ids": words, "labels": words.clone()},
        {"input_ids": words, "attention_mask": mask, "labels": of_padding},
    ]
    for path in (whole, last):
        assert noted(compared(path, net, data)) == []
