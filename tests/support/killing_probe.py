"""Run by interpolation/test_resume: probes two networks whole, and again under kills before the n-th rename."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.groups import by_block
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.probing import probe
from tests.support.killing import lives
from tests.support.networks import ConvNet, lived_in


def main(root: Path) -> None:
    torch.set_num_threads(1)
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(37, 1, 6, 6, generator=drawn), torch.randint(0, 3, (37,), generator=drawn)
    net = ConvNet()
    start, end = (lived_in(net, images[0], seed) for seed in (1, 2))

    def body(folder: Path) -> None:
        treatments = ("interpolate", "recalibrate")
        evaluator = Evaluator(net, {"train": images}, batch_size=10, fast=True)
        found = probe(
            start, end, evaluator, by_block(net), ScanOptions(alphas=5, batchnorm=treatments, keep=folder / "points")
        )
        for label, curve in found.curves.items():
            curve.save(folder / f"{label}.safetensors")

    assert lives(lambda: body(root / "whole"))
    deaths = 0
    while not lives(lambda: body(root / "killed"), limit=5):
        deaths += 1
        assert deaths < 20
    print(json.dumps({"deaths": deaths}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
