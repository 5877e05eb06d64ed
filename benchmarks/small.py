"""Whole lines of small networks, where what is not arithmetic weighs most: linescape against the plain loop.

python -m benchmarks.small [--rounds 5] [--alphas 25] [--images 10000]
"""

from __future__ import annotations

import functools

from benchmarks import contest, ours, pairs, plain, results
from benchmarks.contest import PLAIN, Contender
from linescape.recipe import MLP, LeNet, Model, ResNet

CASES: dict[str, tuple[str, Model, int]] = {
    "MLP 2 x 200, 28 x 28": ("mlp", MLP(), 28),
    "LeNet, 28 x 28": ("lenet", LeNet(), 28),
    "ResNet-8 of width 8, 14 x 14": ("resnet8", ResNet(8, 8), 14),
}


def main() -> None:
    asked = contest.arguments(__doc__, images=10_000)
    cases: dict[str, object] = {}
    for case, (name, spec, size) in CASES.items():
        print(case, flush=True)
        pair = pairs.make(name, spec, asked.images, size)
        contenders: dict[str, Contender] = {}
        for precision in ours.precisions():
            walk = functools.partial(ours.whole_line, pair, precision=precision)
            contenders[f"linescape {precision}"] = contest.timed(walk)
        with plain.apart(pair) as loop:
            walks, best = contest.compete({PLAIN: loop, **contenders}, asked.alphas, asked.rounds)
        work = pair.operations * len(pair.inputs) * asked.alphas
        last = {contender: rounds[-1] for contender, rounds in walks.items()}
        found: dict[str, object] = {
            "best_product_gflop_per_second": contest.rounded(best),
            "contenders": contest.figures(walks, work, best),
            "float32_from_plain_loop": contest.deviation(last["linescape float32"], last[PLAIN]),
        }
        if "linescape bfloat16" in last:
            found["bfloat16_from_float32"] = contest.deviation(last["linescape bfloat16"], last["linescape float32"])
        cases[case] = found
    result = {
        "images": asked.images,
        "alphas": asked.alphas,
        "rounds": asked.rounds,
        "cases": cases,
    }
    results.write("small", result)


if __name__ == "__main__":
    main()
