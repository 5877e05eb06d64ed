"""Lines of transformers: a causal language model, a BERT and a ViT, whole and layer by layer, against the plain loop.

    python -m benchmarks.transformers [--only causal BERT ViT] [--rounds 3] [--alphas 25] [--examples 64]
        [--layers 12] [--width 768] [--tokens 256]

The layer-wise lines are ten: the embedding, eight blocks at even distances, the head. The plain loop evaluates the
whole network whichever block moves: it walks one line, and is charged for ten. It is sampled at a third of the
positions. All is in one thread and in this process, and seconds are of the processor, so that whatever else the machine
does changes them little.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tests.support import optional
from torch import Tensor, nn

from benchmarks import contest, ours, plain, results
from benchmarks.contest import PLAIN, Contender, Walk
from benchmarks.pairs import Pair
from linescape.geometry.groups import by_prefix
from linescape.geometry.state import State

WORDS, CLASSES, BLOCKS, PART = 4096, 10, 8, 3


class Logits(nn.Module):
    """A network of transformers, called with its inputs alone; gives its logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` or ``(batch, tokens, words)``."""
        logits: Tensor = self.network(inputs).logits
        return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=list(CASES), nargs="*", default=list(CASES))
    for name, value in {"rounds": 3, "alphas": 25, "examples": 64, "layers": 12, "width": 768, "tokens": 256}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.only:
        print(name, flush=True)
        found = _measured(name, asked)
        results.write("transformers", {"cases": {**(results.read("transformers") or {}).get("cases", {}), name: found}})


def _measured(name: str, asked: argparse.Namespace) -> dict[str, object]:
    pair = _pair(name, asked)
    groups = _groups(pair.network, name, asked.layers)
    whole, layer_wise = "linescape, whole line", f"linescape, {len(groups)} layer-wise lines"
    contenders: dict[str, Contender] = {
        PLAIN: contest.sampled(contest.timed_by_processor(functools.partial(plain.loop, pair)), PART),
        whole: contest.timed_by_processor(functools.partial(ours.whole_line, pair)),
        layer_wise: contest.timed_by_processor(functools.partial(ours.layer_wise, pair, groups)),
    }
    walks = contest.rotate(contenders, asked.alphas, asked.rounds, warm=[PLAIN, whole])
    figures = contest.figures(walks, pair.operations * len(pair.inputs) * asked.alphas, {"float32": float("inf")})
    for key in ("ratio", "ratio_lowest", "ratio_highest", "gflop_per_second"):
        figures[layer_wise][key] = round(float(figures[layer_wise][key]) * len(groups), 3)  # type: ignore[arg-type]
    exact = plain.loop(pair, 3)
    there = Walk(list(exact[0]), list(exact[1]), 0.0)
    kind = type(pair.network.network).__name__
    return {
        "network": f"{kind}, {asked.layers} layers, {asked.width} wide",
        "examples": f"{len(pair.inputs)} of {' x '.join(map(str, pair.inputs.shape[1:]))}",
        "alphas": asked.alphas,
        "rounds": asked.rounds,
        "contenders": figures,
        "whole_line_from_plain_loop": contest.deviation(walks[whole][-1], there),
    }


def _pair(name: str, asked: argparse.Namespace) -> Pair:
    transformers = optional.load("transformers")
    size = {"hidden_size": asked.width, "num_hidden_layers": asked.layers, "num_attention_heads": asked.width // 64}
    network = Logits(CASES[name](transformers, size)).eval()
    states = []
    for seed in range(2):
        torch.manual_seed(seed)
        for value in network.parameters():
            if value.ndim > 1:
                value.data.normal_(0.0, value[0].numel() ** -0.5)
        states.append(State.from_module(network))
    if name == "ViT":
        inputs, targets = torch.randn(asked.examples, 3, 224, 224), torch.randint(0, CLASSES, (asked.examples,))
    else:
        words = torch.randint(3, WORDS, (asked.examples, asked.tokens + 1))
        inputs = words[:, :-1].contiguous()
        targets = words[:, 1:].contiguous() if name == "causal" else words[:, 0] % CLASSES
    return Pair(network, states[0], states[1], inputs, targets, Path())


def _groups(network: nn.Module, name: str, layers: int) -> dict[str, tuple[str, ...]]:
    names = list(dict(network.named_parameters()))
    stem = next(n.split(".layer")[0] for n in names if ".layers." in n or ".layer." in n)
    blocks = "layers" if any(".layers." in n for n in names) else "layer"
    chosen = sorted({number * layers // BLOCKS for number in range(BLOCKS)})
    first, last = EDGES[name]
    return by_prefix(
        network, {"embedding": first, **{f"block {n}": f"{stem}.{blocks}.{n}" for n in chosen}, "head": last}
    )


CASES: dict[str, Callable[[Any, dict[str, int]], nn.Module]] = {
    "causal": lambda library, size: library.LlamaForCausalLM(
        library.LlamaConfig(vocab_size=WORDS, intermediate_size=8 * size["hidden_size"] // 3, **size)
    ),
    "BERT": lambda library, size: library.BertForSequenceClassification(
        library.BertConfig(
            vocab_size=WORDS, intermediate_size=4 * size["hidden_size"], num_labels=CLASSES, pad_token_id=0, **size
        )
    ),
    "ViT": lambda library, size: library.ViTForImageClassification(
        library.ViTConfig(intermediate_size=4 * size["hidden_size"], num_labels=CLASSES, **size)
    ),
}
EDGES = {
    "causal": ("network.model.embed_tokens", "network.lm_head"),
    "BERT": ("network.bert.embeddings", "network.classifier"),
    "ViT": ("network.vit.embeddings", "network.classifier"),
}


if __name__ == "__main__":
    main()
