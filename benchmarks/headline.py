"""Time to an answer: is there a barrier between networks of two seeds, by `compare` and by the loop that one writes.

    python -m benchmarks.headline [--only ResNet-18 ViT] [--rounds 1] [--data fashion-mnist] [--images 10000]

`compare` chooses positions among 101 and draws examples until the barrier is known to 0.05 nats, with 95 %. The plain
loop evaluates all images at all 101 positions; it is timed at two of them, and charged for all. All is in one thread
and in this process, and seconds are of the processor, so that whatever else the machine does changes them little. The
verdict is compared with that of all images at 11 equally spaced positions. The images are test images of
Fashion-MNIST, 28 x 28 in three channels (`linescape data get fashion-mnist`), or ``--data fashion-mini``, the embedded
2,000. How many are drawn follows from how much their losses vary, not from how many there are: the more, the higher the
ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from tests.support import optional
from torch import nn

from benchmarks import pairs, plain, results
from benchmarks.pairs import Pair
from benchmarks.transformers import Logits
from linescape import models
from linescape.checkpoints.comparing import compare
from linescape.data import load
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.probing import Probe
from linescape.recipe import Data, Random

POSITIONS, TIMED, CHECKED, WITHIN = 101, 2, 11, 0.05
STEPS, BATCH = 160, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=list(CASES), nargs="*", default=list(CASES))
    for name, value in {"rounds": 1, "images": 10_000}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--data", default="fashion-mnist")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.only:
        found = measured(two_seeds(name, asked.data, asked.images), asked.rounds)
        print(f"{name}: {found['ratio']} x the plain loop; {found['verdict']}", flush=True)
        results.write("headline", {"cases": {**(results.read("headline") or {}).get("cases", {}), name: found}})


def measured(pair: Pair, rounds: int) -> dict[str, object]:
    """How long an answer takes each way, in seconds of the processor, and what the answers are (JSON-able)."""
    chosen = ScanOptions(adaptive=True, until=WITHIN, progress=False)
    loops, ours = [], []
    probe = None
    for _ in range(rounds):
        loop, _losses = _timed(lambda: plain.loop(pair, TIMED))
        loops.append(loop * POSITIONS / TIMED)
        seconds, probe = _timed(lambda: answer(pair, chosen))
        ours.append(seconds)
    assert probe is not None
    curve = probe.curves["whole"]
    told, whole = (p.summary() for p in (probe, answer(pair, ScanOptions(alphas=CHECKED, progress=False))))
    ratios = [loop / own for loop, own in zip(loops, ours, strict=True)]
    return {
        "images": len(pair.inputs),
        "rounds": rounds,
        "ratio": round(statistics.median(ratios), 1),
        "ratio_lowest": round(min(ratios), 1),
        "ratio_highest": round(max(ratios), 1),
        "plain_seconds": round(statistics.median(loops), 1),
        "seconds": round(statistics.median(ours), 2),
        "positions": len(curve.alphas),
        "images_measured": curve["test", "cross_entropy"].values.shape[1],
        "verdict": told.lines[0].loss.verdict.kind,
        "barrier": _interval(told),
        "verdict_of_all": whole.lines[0].loss.verdict.kind,
        "barrier_of_all": _interval(whole),
    }


def answer(pair: Pair, options: ScanOptions) -> Probe:
    """All that a user waits for: from two networks and data to a verdict."""
    data = (pair.inputs, pair.targets)
    return compare(pair.start, pair.end, data, model=pair.network, measures=["cross_entropy"], options=options)


def two_seeds(name: str, data: str, images: int) -> Pair:
    """Two networks that were drawn and trained with two seeds."""
    dataset = load(Data(data))
    prepare: Callable[[Any], Any] = dataset.normalise
    if name == "ResNet-18":
        prepare = pairs.in_colour(dataset, 28)
    inputs = prepare(dataset.train.inputs)
    states = []
    for seed in (0, 1):
        network = CASES[name](tuple(inputs.shape[1:]), dataset.classes, seed)
        pairs.train(network, inputs, dataset.train.targets, STEPS, RATES[name], seed)
        states.append(State.from_module(network.eval()))
    test = prepare(dataset.test.inputs[:images])
    return Pair(network, states[0], states[1], test, dataset.test.targets[:images], pairs.MADE)


def _resnet(form: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    return models.draw(pairs.RESNET18, form, classes, Random(), seed)


def _vit(form: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    library = optional.load("transformers")
    sizes = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
    torch.manual_seed(seed)
    return Logits(
        library.ViTForImageClassification(
            library.ViTConfig(num_channels=form[0], image_size=form[1], patch_size=7, num_labels=classes, **sizes)
        )
    )


T = TypeVar("T")

CASES: dict[str, Callable[[tuple[int, ...], int, int], nn.Module]] = {"ResNet-18": _resnet, "ViT": _vit}
RATES = {"ResNet-18": 0.02, "ViT": 0.005}


def _timed(do: Callable[[], T]) -> tuple[float, T]:
    begun = time.process_time()
    found = do()
    return time.process_time() - begun, found


def _interval(told: Any) -> list[float]:
    height = told.lines[0].loss.verdict.heights["barrier_above_chord"]
    return [round(value, 4) for value in (height.value, height.low, height.high)]


if __name__ == "__main__":
    main()
