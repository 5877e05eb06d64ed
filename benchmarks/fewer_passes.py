"""`scan(..., adaptive=True)` against the grid of 101 positions on all examples, on lines of finished trainings.

    python -m benchmarks.fewer_passes --store RUNS --scale mini --cache FOLDER [--lines base/0/whole ...]

Reads the ends of each line from a store of the study `vlaar2022`, walks the line at 101 positions on all test examples
(kept in --cache, for these walks are what takes long), then adaptively, and compares barrier above the chord and
min Delta. A line is arm/run/label, with @treatment behind it where BatchNorm is not interpolated. Results go to
benchmarks/results/fewer_passes-SCALE.json.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch

from benchmarks import results
from linescape import models, shape, studies
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.groups import by_block, by_convolution, choose
from linescape.geometry.paths import Line, Only
from linescape.geometry.paths import Path as Walk
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from linescape.recipe import Random
from linescape.studies import job, states
from linescape.studies.store import Store

GRID = 101
LOSS_STATISTICS = ("barrier_above_chord", "min_delta")
LINES = {
    "mini": (
        "base/0/whole",
        "base/0/stem",
        "base/0/to another start",
        "base/0/whole@batch",
        "base/0/whole@end",
        "adversarial/0/whole",
        "adversarial/2/whole",
        "adversarial/1/whole@start",
        "barrier-restart/0/whole",
        "barrier-restart/1/whole",
        "data-20/2/whole",
        "data-50/0/layer1",
        "no-augmentation/0/stem",
        "label-noise-20/0/whole",
        "no-weight-decay/1/whole",
        "no-weight-decay/2/whole",
        "weight-decay-5e-5/1/whole",
        "weight-decay-1e-4/1/whole@end",
        "weight-decay-5e-3/0/whole",
        "lr-0.02/0/whole",
        "adam/0/whole",
        "depth-14/0/whole",
        "width-4/0/whole",
        "no-norm/0/whole",
        "no-skips/1/whole",
        "vgg/2/whole",
        "partial-1/2/whole",
        "partial-2/2/whole",
        "half-pretrained/0/whole",
        "mlp-images/0/whole",
        "mlp-images/0/start to start",
        "mlp-images/0/to another start",
        "mlp-spiral/0/whole",
        "mlp-spiral/8/whole",
    ),
    # No choice was made by these.
    "mini-held-out": (
        "base/1/layer1",
        "base/2/whole",
        "adversarial/1/whole",
        "barrier-restart/2/whole",
        "data-50/0/layer2",
        "data-50/1/whole",
        "weight-decay-5e-5/2/whole",
        "weight-decay-1e-4/0/whole",
        "weight-decay-5e-3/1/whole@end",
        "adam/1/whole@start",
        "no-skips/0/whole",
        "no-skips/2/whole",
        "vgg/0/whole",
        "vgg/1/whole",
        "width-4/1/whole",
        "width-4/2/whole",
        "half-pretrained/1/whole",
        "mlp-images/3/whole",
        "mlp-spiral/3/whole",
        "mlp-spiral/5/whole",
    ),
    "cifar10-small": (
        "no-weight-decay/0/whole",
        "adversarial/0/whole",
        "base/1/whole",
        "partial-2/0/whole",
    ),
}


def line(name: str, store: Store, scale: str) -> tuple[Walk, Evaluator, str]:
    """The path, the evaluator on the line's test examples (2,000 at most), and the treatment of BatchNorm."""
    whole, _, treatment = name.partition("@")
    arm, run, label = whole.split("/")
    task = studies.find("vlaar2022", scale.removesuffix("-held-out")).only(arm).arms[0].runs[int(run)].lines[label]
    dataset = job.load(task.end.recipe.data, task.end.recipe.seed)
    network = models.draw(task.end.recipe.model, dataset.shape, dataset.classes, Random(), 0)
    evaluator = job.measuring(network, dataset, "cpu", None, 2000)
    path: Walk = Line(states.state(task.start, store), states.state(task.end, store))
    if task.block:
        groups = by_convolution(evaluator.model) | by_block(evaluator.model)
        path = Only(path, choose(groups, [task.block])[task.block])
    return path, evaluator, treatment or "interpolate"


def on_the_grid(name: str, path: Walk, evaluator: Evaluator, treatment: str, folder: Path) -> Curve:
    """The curve at 101 positions on all examples, from the cache if it is there."""
    kept = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.safetensors"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        scan(path, evaluator, ScanOptions(alphas=GRID, batchnorm=treatment, progress=False)).save(kept)
    return Curve.load(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True, help="folder of results of the study")
    parser.add_argument("--scale", default="mini", choices=LINES)
    parser.add_argument("--cache", type=Path, required=True, help="folder for curves on the grid")
    parser.add_argument("--lines", nargs="*", help="only these")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(asked.store)
    rows: dict[str, object] = {}
    worst = {"share": 0.0, **dict.fromkeys(LOSS_STATISTICS, 0.0)}
    missed = []
    for name in asked.lines or LINES[asked.scale]:
        path, evaluator, treatment = line(name, store, asked.scale)
        whole = on_the_grid(name, path, evaluator, treatment, asked.cache / asked.scale)
        few = scan(path, evaluator, ScanOptions(alphas=GRID, batchnorm=treatment, progress=False, adaptive=True))
        passes = few.provenance["passes"]
        row: dict[str, object] = {"examples": whole["cross_entropy"].values.shape[1]}
        row |= {"share": round(passes["spent"] / passes["grid"], 4), "alphas": few.alphas.round(3).tolist()}
        worst["share"] = max(worst["share"], passes["spent"] / passes["grid"])
        for height in LOSS_STATISTICS:
            number = shape.LOSS_STATISTICS[height]
            true = number(whole.alphas, whole["cross_entropy"].mean)
            off = number(few.alphas, few["cross_entropy"].mean) - true
            row[height] = {"grid": round(true, 5), "off": round(off, 5), "%": round(100 * off / true, 2) if true else 0}
            # What is allowed: 1 % or 0.01 nats, whichever is more.
            worst[height] = max(worst[height], abs(off) / max(0.01, 0.01 * true))
            if abs(off) > max(0.01, 0.01 * true):
                missed.append(f"{name}: {height}")
        rows[name] = row
        print(name, row, flush=True)
    rounded = {name: round(number, 4) for name, number in worst.items()}
    print("worst, in shares of the grid's passes and of what is allowed:", rounded, "missed:", missed)
    if not asked.lines:
        results.write(f"fewer_passes-{asked.scale}", {"grid": GRID, "worst": rounded, "missed": missed, "lines": rows})


if __name__ == "__main__":
    main()
