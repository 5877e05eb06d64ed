"""A walk by linescape against the plain loop that everybody writes, on the same networks, in one run.

    make bench

Each figure is a ratio of times in one run, the median of rounds in rotated order, since machines are noisy. Results go
to benchmarks/results/. The plain loop: interpolate the state dict, load it, evaluate in eval mode without gradients.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from linescape import data, models
from linescape.evaluate import Evaluator
from linescape.paths import Line
from linescape.recipe import MLP, Data, Model, Random, ResNet
from linescape.scan import scan
from linescape.space import State

ROUNDS = 5
ALPHAS = 25
CASES: dict[str, tuple[Model, Data, int]] = {
    "ResNet-8, width 8, 14 x 14": (ResNet(8, 8), Data(size=14), 2000),
    "ResNet-18, width 16, 28 x 28": (ResNet(18, 16), Data(), 256),
    "MLP 2 x 200, 28 x 28": (MLP(), Data(), 2000),
}


def plain(network: torch.nn.Module, start: State, end: State, inputs: torch.Tensor, targets: torch.Tensor) -> None:
    a, b = start.dict(), end.dict()
    for alpha in torch.linspace(0, 1, ALPHAS).tolist():
        network.load_state_dict({n: torch.lerp(a[n], b[n], alpha) if a[n].is_floating_point() else b[n] for n in a})
        with torch.no_grad():
            for x, y in zip(torch.split(inputs, 128), torch.split(targets, 128), strict=True):
                outputs = network(x)
                F.cross_entropy(outputs, y)
                (outputs.argmax(1) != y).sum()


def main() -> None:
    report: dict[str, object] = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__}
    report |= {"threads": torch.get_num_threads(), "alphas": ALPHAS, "rounds": ROUNDS}
    for name, (spec, wanted, examples) in CASES.items():
        dataset = data.load(wanted)
        networks = [models.draw(spec, dataset.shape, dataset.classes, Random(), seed).eval() for seed in (0, 1)]
        start, end = map(State.of, networks)
        inputs, targets = dataset.normalise(dataset.test.inputs[:examples]), dataset.test.targets[:examples]
        line, evaluator = Line(start, end), Evaluator(networks[0], {"test": (inputs, targets)})
        ways: dict[str, Callable[[], object]] = {
            "plain": lambda: plain(networks[0], start, end, inputs, targets),  # noqa: B023 - called in this round
            "scan": lambda: scan(line, evaluator, ALPHAS, progress=False),  # noqa: B023
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for round_ in range(ROUNDS + 1):
            for way in sorted(ways, reverse=bool(round_ % 2)):
                begun = time.perf_counter()
                ways[way]()
                times[way].append(time.perf_counter() - begun)
        seconds = {way: statistics.median(taken[1:]) for way, taken in times.items()}  # the first round warms up
        ratio = seconds["plain"] / seconds["scan"]
        report[name] = {"ratio": round(ratio, 3), **{way: round(taken, 4) for way, taken in seconds.items()}}
        print(f"{name}: {ratio:.2f} x the plain loop ({seconds['plain']:.3f} s and {seconds['scan']:.3f} s)")
    out = Path(__file__).parent / "results"
    out.mkdir(exist_ok=True)
    (out / "lines.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
