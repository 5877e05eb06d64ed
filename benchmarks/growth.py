"""How the time of a scan grows with alphas, examples, groups and parameters: the slope in a plot of logarithms.

    python -m benchmarks.growth [--rounds 5]

A slope of 1 is time in proportion. Each time is the least of several repeats, as other programs only add to it; the
repeats go around all sizes, so that a busy spell does not fall on one of them alone.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks import ours, pairs, results
from benchmarks.pairs import Pair
from linescape.recipe import MLP, ResNet

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "growth.png"
AT_MOST = 1.05
Sizes = Mapping[int, Callable[[], object]]
"""Size -> a call whose time should be in proportion to it."""


@dataclass(frozen=True)
class Fit:
    """Least seconds by size, and ``seconds = factor * size ** slope`` through their logarithms."""

    seconds: dict[int, float]
    slope: float
    factor: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found: dict[str, Fit] = {}
    for what, make in (("alphas", alphas), ("examples", examples), ("groups", groups), ("parameters", parameters)):
        sizes = make()
        seconds = least(sizes, rounds)
        found[what] = Fit(seconds, *line(seconds))
        said = "; ".join(f"{size}: {taken:.3f} s" for size, taken in seconds.items())
        print(f"{what}: slope {found[what].slope:.3f}; {said}", flush=True)
    against = {what: asdict(fit) for what, fit in found.items()}
    results.write("growth", {"rounds": rounds, "at_most": AT_MOST, "against": against})
    draw(found)


def alphas() -> Sizes:
    """Positions of one whole line."""
    pair = pairs.make("resnet8", ResNet(8, 8), 500, 14)
    return {count: partial(ours.whole_line, pair, count) for count in (16, 32, 64, 128, 256)}


def examples() -> Sizes:
    """Images of one whole line."""
    cases = {count: pairs.make("resnet8", ResNet(8, 8), count, 14) for count in (1000, 2000, 4000, 8000, 16000)}
    return {count: partial(ours.whole_line, pair, 8) for count, pair in cases.items()}


def groups() -> Sizes:
    """Layer-wise lines: the tensors of a deep network, from input to output, shared out evenly among more and more.

    So each number of groups has them at every depth alike, whatever is kept of the layers before.
    """
    pair = pairs.make("deep", MLP((128,) * 47), 500, 14)
    layers = [(f"layers.{n}.weight", f"layers.{n}.bias") for n in range(48)]

    def shared(count: int) -> dict[str, tuple[str, ...]]:
        parts = np.array_split(np.arange(48), count)
        return {str(n): tuple(name for layer in part for name in layers[layer]) for n, part in enumerate(parts)}

    return {count: partial(ours.layer_wise, pair, shared(count), 8) for count in (3, 6, 12, 24, 48)}


def parameters() -> Sizes:
    """Parameters of an MLP with three hidden layers; the width grows with their root."""
    sizes: dict[int, Callable[[], object]] = {}
    for width in (448, 640, 960, 1408, 2048):
        pair = pairs.make(f"wide-{width}", MLP((width,) * 3), 500, 14)
        sizes[_count(pair)] = partial(ours.whole_line, pair, 8)
    return sizes


def least(sizes: Sizes, rounds: int) -> dict[int, float]:
    """The least time of each size; one uncounted call of the smallest first."""
    next(iter(sizes.values()))()
    taken: dict[int, float] = {}
    for _ in range(rounds):
        for size, call in sizes.items():
            begun = time.perf_counter()
            call()
            taken[size] = min(taken.get(size, math.inf), time.perf_counter() - begun)
    return {size: round(seconds, 5) for size, seconds in taken.items()}


def line(seconds: Mapping[int, float]) -> tuple[float, float]:
    """Slope and factor of ``seconds = factor * size ** slope``, by least squares of the logarithms."""
    slope, height = np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)
    return float(slope), float(np.exp(height))


def draw(found: Mapping[str, Fit]) -> None:
    """A panel for each, with the fitted line and time in proportion through the largest size."""
    figure, panels = plt.subplots(1, len(found), figsize=(12, 3.2), layout="constrained")
    for panel, (what, fit) in zip(panels, found.items(), strict=True):
        sizes = np.array(list(fit.seconds), float)
        taken = np.array(list(fit.seconds.values()))
        panel.loglog(sizes, taken[-1] * sizes / sizes[-1], color="0.7", linestyle="--", label="in proportion")
        panel.loglog(sizes, fit.factor * sizes**fit.slope, color="tab:blue", label=f"slope {fit.slope:.2f}")
        panel.loglog(sizes, taken, "o", color="black", label="least of repeats")
        panel.set_xlabel(what)
        panel.set_xticks(sizes, [_short(size) for size in sizes])
        ticks = [digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5)]
        held = [tick for tick in ticks if panel.get_ylim()[0] <= tick <= panel.get_ylim()[1]]
        panel.set_yticks(held, [f"{tick:g}" for tick in held])
        panel.minorticks_off()
        panel.legend(frameon=False, fontsize=8)
    panels[0].set_ylabel("seconds of a scan")
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=120)


def _count(pair: Pair) -> int:
    return sum(parameter.numel() for parameter in pair.end.parameters.values())


def _short(size: float) -> str:
    return f"{size / 1e6:.1f}M" if size >= 1e5 else f"{size:,.0f}"


if __name__ == "__main__":
    main()
