"""The whole line of a ResNet-18 of width 64, by linescape, by the plain loop, and by public tools.

    python -m benchmarks.lines [--rounds 5] [--alphas 25] [--images 512]

Timed is all that a user waits for once data and networks are loaded: linescape draws the line, builds its evaluator and
checks both ends inside the time. What each contender reports at the ends stands beside the truth, in float64.
"""

from __future__ import annotations

import functools

import torch

from benchmarks import contest, ours, pairs, plain, results
from benchmarks.contest import PLAIN, Contender, Losses, Walk
from benchmarks.pairs import Pair
from benchmarks.peers import hire, resnet

PART = 5
"""Of so many positions the peers walk one, and are charged for all: they cost the same at each."""


def main() -> None:
    asked = contest.arguments(__doc__)
    pair = pairs.resnet18(asked.images)
    _check_copy(pair)
    contenders: dict[str, Contender] = {}
    for precision in ours.precisions():
        line = functools.partial(ours.whole_line, pair, precision=precision)
        contenders[f"linescape {precision}"] = contest.timed(line)
    with plain.apart(pair) as loop, hire.hired(pair.folder) as (peers, missing):
        peers = {name: contest.sampled(peer, PART) for name, peer in peers.items()}
        walks, best = contest.compete({PLAIN: loop, **contenders, **peers}, asked.alphas, asked.rounds)
    work = pair.operations * len(pair.inputs) * asked.alphas
    figures = contest.figures(walks, work, best)
    last = {name: rounds[-1] for name, rounds in walks.items()}
    true = plain.truth(pair, _checked(last, asked.alphas))
    for name, walk in last.items():
        figures[name] |= _ends(walk, true)
    ours_last = last["linescape float32"]
    result = {
        "network": "ResNet-18 of width 64 with BatchNorm",
        "images": f"{len(pair.inputs)} of {' x '.join(map(str, pair.inputs.shape[1:]))}",
        "alphas": asked.alphas,
        "rounds": asked.rounds,
        "best_product_gflop_per_second": contest.rounded(best),
        "contenders": figures,
        "left_out": missing,
        "checked_in_float64_at": list(true[0]),
        "float32_from_float64": contest.deviation(ours_last, _walk(true)),
        "plain_loop_from_float64": contest.deviation(last[PLAIN], _walk(true)),
    }
    if "linescape bfloat16" in last:
        result["bfloat16_from_float32"] = contest.deviation(last["linescape bfloat16"], ours_last)
    results.write("lines", result)
    for name, figure in figures.items():
        print(f"{name}: {figure['ratio']} x the plain loop, {figure['gflop_per_second']} GFLOP/s")


def _check_copy(pair: Pair) -> None:
    """The network that the peers are given is the same as ours."""
    with torch.inference_mode():
        mine, theirs = (network(pair.inputs[:8]) for network in (pair.network, resnet.of_state(pair.end.state_dict())))
    assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-5), "benchmarks/peers/resnet.py is another network"


def _checked(walks: dict[str, Walk], alphas: int) -> list[float]:
    """Some positions of the grid, and the first and last of every contender."""
    grid = walks[PLAIN].alphas
    quarters = [grid[round(part * (alphas - 1) / 4)] for part in range(5)]
    return sorted({*quarters, *(walk.alphas[end] for walk in walks.values() for end in (0, -1))})


def _ends(walk: Walk, true: Losses) -> dict[str, object]:
    known = dict(zip(*true, strict=True))
    return {
        name: {"alpha": walk.alphas[end], "reported": walk.losses[end], "true": known[walk.alphas[end]]}
        for name, end in (("first", 0), ("last", -1))
    }


def _walk(losses: Losses) -> Walk:
    return Walk(list(losses[0]), list(losses[1]), 0.0)


if __name__ == "__main__":
    main()
