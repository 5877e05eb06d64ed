"""Lines of a BERT on texts of many lengths, all padded to the longest, against plain loops.

    python -m benchmarks.padded [--rounds 3] [--alphas 11] [--examples 512] [--layers 4] [--width 256] [--tokens 128]

Lengths are drawn from a log-normal distribution with a median of a fifth of the longest. One plain loop takes batches
as they are, as usual; another cuts each batch to its longest text, as careful code does. All is in one thread and in
this process, and seconds are of the processor, so that whatever else the machine does changes them little.
"""

from __future__ import annotations

import argparse
import copy
import functools
from typing import Any

import torch
import torch.nn.functional as F
from tests.support import optional
from torch import Tensor, nn

from benchmarks import contest, results
from benchmarks.contest import PLAIN, Contender, Losses, Walk
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan

WORDS, CLASSES, BATCH, PART = 4096, 10, 64, 3

Batches = list[dict[str, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    sizes = {"rounds": 3, "alphas": 11, "examples": 512, "layers": 4, "width": 256, "tokens": 128}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    network, line = _pair(asked)
    batches = _batches(asked.examples, asked.tokens)
    shorter = [_cut(batch) for batch in batches]
    ours, cut = "linescape", "plain loop, each batch cut to its longest"
    contenders: dict[str, Contender] = {
        PLAIN: contest.sampled(contest.timed_by_processor(functools.partial(_loop, network, line, batches)), PART),
        cut: contest.sampled(contest.timed_by_processor(functools.partial(_loop, network, line, shorter)), PART),
        ours: contest.timed_by_processor(functools.partial(_linescape, network, line, batches)),
    }
    walks = contest.rotate(contenders, asked.alphas, asked.rounds, warm=[PLAIN, ours])
    operations = Evaluator(network, {"test": batches}, (cross_entropy,)).count_operations()
    attended = sum(int(batch["attention_mask"].sum()) for batch in batches)
    found = {
        "network": f"{type(network).__name__}, {asked.layers} layers, {asked.width} wide",
        "examples": f"{asked.examples} of at most {asked.tokens} tokens, "
        f"{attended / asked.examples / asked.tokens:.0%} of which are no padding",
        "alphas": asked.alphas,
        "rounds": asked.rounds,
        "contenders": contest.figures(walks, operations * asked.alphas, {"float32": float("inf")}),
        "whole_line_from_plain_loop": contest.deviation(walks[ours][-1], Walk(*_loop(network, line, batches, 3), 0.0)),
    }
    results.write("padded", {"cases": {"BERT": found}})


def _pair(asked: argparse.Namespace) -> tuple[nn.Module, Line]:
    library = optional.load("transformers")
    size = {"hidden_size": asked.width, "num_hidden_layers": asked.layers, "num_attention_heads": asked.width // 64}
    config = library.BertConfig(
        vocab_size=WORDS, intermediate_size=4 * asked.width, num_labels=CLASSES, pad_token_id=0, **size
    )
    states = []
    for seed in range(2):
        torch.manual_seed(seed)
        network: nn.Module = library.BertForSequenceClassification(config).eval()
        states.append(State.from_module(network))
    return network, Line(*states)


def _batches(examples: int, tokens: int) -> Batches:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.exp(0.5 * torch.randn(examples, generator=generator)) * tokens / 5
    lengths = drawn.round().long().clamp(3, tokens)
    lengths[0] = tokens
    mask = (torch.arange(tokens) < lengths.unsqueeze(1)).long()
    whole = {
        "input_ids": torch.randint(3, WORDS, (examples, tokens), generator=generator) * mask,
        "attention_mask": mask,
        "labels": torch.randint(0, CLASSES, (examples,), generator=generator),
    }
    return [{name: value[at : at + BATCH] for name, value in whole.items()} for at in range(0, examples, BATCH)]


def _cut(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    longest = int(batch["attention_mask"].sum(1).max())
    return {name: value[:, :longest] if value.ndim > 1 else value for name, value in batch.items()}


def _loop(network: Any, line: Line, batches: Batches, alphas: int) -> tuple[list[float], list[float]]:
    """Interpolate in place, evaluate in eval mode without gradients."""
    network = copy.deepcopy(network)
    slots = network.state_dict()
    positions, losses = torch.linspace(0, 1, alphas).tolist(), []
    with torch.no_grad():
        for alpha in positions:
            for name in line.moving:
                torch.lerp(line.start[name], line.end[name], alpha, out=slots[name])
            total = 0.0
            for batch in batches:
                inputs = {name: value for name, value in batch.items() if name != "labels"}
                total += F.cross_entropy(network(**inputs).logits, batch["labels"], reduction="sum").item()
            losses.append(total / sum(len(batch["labels"]) for batch in batches))
    return positions, losses


def _linescape(network: nn.Module, line: Line, batches: Batches, alphas: int) -> Losses:
    evaluator = Evaluator(network, {"test": batches}, (cross_entropy,))
    curve = scan(line, evaluator, ScanOptions(alphas=alphas, progress=False))
    return curve.alphas.tolist(), curve["test", "cross_entropy"].values.mean(1, dtype="float64").tolist()


if __name__ == "__main__":
    main()
