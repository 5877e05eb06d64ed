"""Small networks at several positions of a line at once, by `torch.func.vmap` over stacked weights.

A small network leaves most of a GPU idle. Whether it pays to compute several positions in one call is measured here,
for plain calls: linescape does not do it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from benchmarks import pairs
from benchmarks.gpu import lines
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.steps import Result, Step, Unit
from benchmarks.pairs import Pair
from linescape.recipe import MLP, LeNet, Model

CASES: dict[str, Model] = {"MLP 2 x 200": MLP(), "LeNet": LeNet()}
ONE = "one after another"


def weights(pair: Pair, alphas: Tensor) -> dict[str, Tensor]:
    """The tensors at several positions, stacked ``(positions, ...)``."""
    start, end = pair.start.state_dict(), pair.end.state_dict()
    return {name: torch.stack([torch.lerp(start[name], end[name], a) for a in alphas.tolist()]) for name in end}


def at_once(pair: Pair, alphas: Tensor, count: int) -> Tensor:
    """The outputs at all positions ``(positions, images, classes)``, so many positions a call."""

    def outputs(tensors: dict[str, Tensor]) -> Tensor:
        found: Tensor = functional_call(pair.network, tensors, (pair.inputs,))
        return found

    parts = [vmap(outputs)(weights(pair, part)) for part in torch.split(alphas, count)]
    return torch.cat(parts)


def one_by_one(pair: Pair, alphas: Tensor) -> Tensor:
    """The same by a call for each position."""
    start, end = pair.start.state_dict(), pair.end.state_dict()
    return torch.stack(
        [
            functional_call(pair.network, {n: torch.lerp(start[n], end[n], alpha) for n in end}, (pair.inputs,))
            for alpha in alphas.tolist()
        ]
    )


def compare(settings: Settings, case: str) -> Result:
    """Seconds of each way in turns, peak memory, and how far its outputs are from those one after another."""
    size, device = settings.size, settings.device
    pair = lines.moved(pairs.make(f"gpu-{case.lower().replace(' ', '-')}", CASES[case], size.together_images), device)
    alphas = torch.linspace(0, 1, size.alphas)
    ways: dict[str, Callable[[], Tensor]] = {
        ONE: partial(one_by_one, pair, alphas),
        **{f"{count} at once": partial(at_once, pair, alphas, count) for count in size.at_once},
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    peaks: dict[str, int] = {}
    with torch.no_grad(), lines.arithmetic("float32"):
        expected = one_by_one(pair, alphas)
        apart = {way: float((run() - expected).abs().max() / expected.abs().max()) for way, run in ways.items()}
        for _ in range(size.rounds):
            for way, run in ways.items():
                seconds[way].append(_timed(run, device))
                if device == "cuda":
                    peaks[way] = torch.cuda.max_memory_allocated()
    return {
        "network": case,
        "images": f"{len(pair.inputs)} of {' x '.join(map(str, pair.inputs.shape[1:]))}",
        "alphas": size.alphas,
        "rounds": size.rounds,
        "ways": {
            way: {
                "seconds": round(statistics.median(took), 5),
                "ratio": round(statistics.median(a / b for a, b in zip(seconds[ONE], took, strict=True)), 3),
                "largest_difference": apart[way],
                **({"peak_bytes": peaks[way]} if peaks else {}),
            }
            for way, took in seconds.items()
        },
    }


def _timed(run: Callable[[], Tensor], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _row(result: Result) -> str:
    return ", ".join(f"{way} {held['seconds']:.4f} s ({held['ratio']:.2f} x)" for way, held in result["ways"].items())


def _units(settings: Settings) -> Mapping[str, Unit]:
    return {case: partial(compare, settings, case) for case in CASES}


TOGETHER = Step("together", _units, _row, seconds=60)
