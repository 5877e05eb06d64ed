"""The layer-wise lines of a ResNet-18 of width 64: stem, eight residual blocks and the last layer, one after another.

    python -m benchmarks.layers [--rounds 5] [--alphas 25] [--images 512]

The plain loop evaluates the whole network at each position, whichever block moves. So it walks one line, at a third of
the positions, and is charged for ten lines at all of them.
"""

from __future__ import annotations

import functools

from benchmarks import contest, ours, pairs, plain, results
from benchmarks.contest import PLAIN, Contender
from linescape.geometry.groups import by_prefix

MIDDLE = "layer2.1"

PART = 3
"""Of so many positions the plain loop walks one, and is charged for all."""


def main() -> None:
    asked = contest.arguments(__doc__)
    pair = pairs.resnet18(asked.images)
    blocks = [f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)]
    groups = by_prefix(pair.network, {"stem": ("conv1", "bn1"), **dict(zip(blocks, blocks, strict=True)), "fc": "fc"})
    contenders: dict[str, Contender] = {}
    for precision in ours.precisions():
        walk = functools.partial(ours.layer_wise, pair, groups, precision=precision)
        contenders[f"linescape {precision}"] = contest.timed(walk)
    with plain.apart(pair) as loop:
        charged = contest.times(contest.sampled(loop, PART), len(groups))
        walks, best = contest.compete({PLAIN: charged, **contenders}, asked.alphas, asked.rounds)
    work = pair.operations * len(pair.inputs) * asked.alphas * len(groups)
    last = {name: rounds[-1] for name, rounds in walks.items()}
    at = 2 * list(groups).index(MIDDLE)
    alphas, losses = plain.loop(pair, 3, moving=groups[MIDDLE])
    middle = contest.Walk([at + alpha for alpha in alphas], list(losses), 0.0)
    result = {
        "network": "ResNet-18 of width 64 with BatchNorm",
        "images": f"{len(pair.inputs)} of {' x '.join(map(str, pair.inputs.shape[1:]))}",
        "lines": list(groups),
        "alphas": asked.alphas,
        "rounds": asked.rounds,
        "best_product_gflop_per_second": contest.rounded(best),
        "contenders": contest.figures(walks, work, best),
        "float32_from_plain_loop": contest.deviation(last["linescape float32"], middle),
    }
    if "linescape bfloat16" in last:
        result["bfloat16_from_float32"] = contest.deviation(last["linescape bfloat16"], last["linescape float32"])
    results.write("layers", result)


if __name__ == "__main__":
    main()
