"""A contest: each contender walks the same line once a round, and the order rotates from round to round.

Machines are noisy, and the noise comes and goes over seconds. So a figure is a ratio inside one round, where both saw
much the same machine, and the median of these ratios over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks import machine


@dataclass(frozen=True)
class Walk:
    """What a contender found, and how long it took.

    Attributes:
        alphas: the positions it measured.
        losses: its mean loss at each.
        seconds: for all of them together.
    """

    alphas: list[float]
    losses: list[float]
    seconds: float


Losses = tuple[Sequence[float], Sequence[float]]
"""Positions and mean losses."""

Contender = Callable[[int], Walk]
"""Walks a line in so many positions."""

Rounds = Mapping[str, Sequence[Walk]]
"""The walks of each contender, one a round."""

PLAIN = "plain loop"


def timed(walk: Callable[[int], Losses]) -> Contender:
    """A contender of this process, timed from outside."""

    def contender(alphas: int) -> Walk:
        begun = time.perf_counter()
        positions, losses = walk(alphas)
        seconds = time.perf_counter() - begun
        return Walk([float(position) for position in positions], [float(loss) for loss in losses], seconds)

    return contender


def timed_by_processor(walk: Callable[[int], Losses]) -> Contender:
    """As `timed`, in seconds of the processor, of which other programs take none."""

    def contender(alphas: int) -> Walk:
        begun = time.process_time()
        positions, losses = walk(alphas)
        return Walk(list(positions), list(losses), time.process_time() - begun)

    return contender


def times(contender: Contender, lines: int) -> Contender:
    """A contender that walks one line and is charged for several that cost the same."""

    def charged(alphas: int) -> Walk:
        walk = contender(alphas)
        return replace(walk, seconds=lines * walk.seconds)

    return charged


def sampled(contender: Contender, part: int) -> Contender:
    """A contender that walks every so-manieth position and is charged for all."""

    def charged(alphas: int) -> Walk:
        few = max(2, round(alphas / part))
        walk = contender(few)
        return replace(walk, seconds=walk.seconds * alphas / few)

    return charged


def compete(contenders: Mapping[str, Contender], alphas: int, rounds: int) -> tuple[Rounds, dict[str, float]]:
    """The rounds, and the best matrix products seen before and after them, in GFLOP/s by number format."""
    before = machine.best_products()
    walks = rotate(contenders, alphas, rounds)
    after = machine.best_products()
    return walks, {dtype: max(before[dtype], after[dtype]) for dtype in before}


def rotate(contenders: Mapping[str, Contender], alphas: int, rounds: int, warm: Sequence[str] | None = None) -> Rounds:
    """All contenders in turn, in rotated order; a short walk before warms each (or those named) up, not counted."""
    names = list(contenders)
    for name in names if warm is None else warm:
        contenders[name](2)
    walks: dict[str, list[Walk]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            walks[name].append(contenders[name](alphas))
        print(f"  round {number + 1} of {rounds}:", *(f"{n} {walks[n][-1].seconds:.2f} s;" for n in names), flush=True)
    return walks


def figures(walks: Rounds, work: float, best: Mapping[str, float]) -> dict[str, dict[str, object]]:
    """Seconds, ratio to the plain loop and GFLOP/s of each contender (JSON-able).

    Args:
        walks: from `compete`.
        work: operations of the plain loop in a round, as `Pair.operations` counts them. A contender that gets away with
            fewer is credited with all of them, so its share of the best product may pass 1.
        best: from `compete`.
    """
    found: dict[str, dict[str, object]] = {}
    for name, rounds in walks.items():
        seconds = [walk.seconds for walk in rounds]
        ratios = [plain.seconds / taken for plain, taken in zip(walks[PLAIN], seconds, strict=True)]
        reached = work / statistics.median(seconds) / 1e9
        # Without instructions for bfloat16 linescape computes in float32 where bfloat16 is asked for.
        ceiling = max(best.values()) if name.endswith("bfloat16") else best["float32"]
        found[name] = {
            "ratio": round(statistics.median(ratios), 3),
            "ratio_lowest": round(min(ratios), 3),
            "ratio_highest": round(max(ratios), 3),
            "seconds": round(statistics.median(seconds), 4),
            "seconds_of_rounds": [round(taken, 4) for taken in seconds],
            "gflop_per_second": round(reached, 1),
            "share_of_best_product": round(reached / ceiling, 3),
        }
    return found


def rounded(best: Mapping[str, float]) -> dict[str, float]:
    """The best products as results show them."""
    return {dtype: round(value, 1) for dtype, value in best.items()}


def deviation(walk: Walk, other: Walk) -> float:
    """The largest relative deviation of the mean loss from another walk's, over the alphas that both measured."""
    reference = dict(zip(other.alphas, other.losses, strict=True))
    pairs = [
        (loss, reference[alpha]) for alpha, loss in zip(walk.alphas, walk.losses, strict=True) if alpha in reference
    ]
    return max(abs(loss - true) / abs(true) for loss, true in pairs)


def arguments(description: str | None, alphas: int = 25, images: int = 512) -> argparse.Namespace:
    """What every contest lets its caller choose."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alphas", type=int, default=alphas)
    parser.add_argument("--images", type=int, default=images)
    return parser.parse_args()
