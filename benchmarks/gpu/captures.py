"""Whole lines with captures as CUDA graphs (`linescape.engine.replay`) and without, against the plain loop.

Small networks are among them, as a capture saves what it takes to launch operations, and there this is most of the
time. Without a GPU nothing is captured, and both ways are one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import numpy as np
import torch

from benchmarks import contest, machine, pairs, plain
from benchmarks.contest import PLAIN, Losses
from benchmarks.gpu import lines
from benchmarks.gpu.memory import watched
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.steps import Result, Step, Unit
from linescape.engine import fast, replay
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from linescape.recipe import MLP, LeNet, Model, ResNet

CAPTURED, SINGLE = "linescape", "linescape, operation by operation"

SMALL: dict[str, tuple[Model, int]] = {
    "MLP 2 x 200": (MLP(), 28),
    "LeNet": (LeNet(), 28),
    "ResNet-8 of width 8": (ResNet(8, 8), 14),
}
"""Network, and side of its images."""

LARGE = "ResNet-18"
"""As in `lines`."""


@contextmanager
def capturers(allowed: bool) -> Iterator[list[replay.Capturer]]:
    """Let the engine capture, or not; gives the capturers that it makes."""
    made: list[replay.Capturer] = []

    def capturer_on(device: torch.device) -> replay.Capturer | None:
        capturer = replay.capturer_on(device) if allowed else None
        made.extend([] if capturer is None else [capturer])
        return capturer

    with patch.object(fast, "capturer_on", capturer_on):
        yield made


def compare(settings: Settings, case: str) -> Result:
    """Times of the three in turns, memory, and whether both of ours gave the same bits."""
    size, device = settings.size, settings.device
    if case == LARGE:
        pair = lines.pair_on(device, size.width, size.small_images)
    else:
        spec, side = SMALL[case]
        pair = lines.moved(pairs.make(f"gpu-{case.lower().replace(' ', '-')}", spec, size.small_images, side), device)
    curves: dict[str, Curve] = {}
    counts: dict[str, int] = {}

    def walk(contender: str, alphas: int) -> Losses:
        measured = Evaluator(pair.network, {"test": (pair.inputs, pair.targets)}, measures=(cross_entropy,), fast=True)
        with capturers(contender == CAPTURED) as made:
            curve = scan(pair.line, measured, ScanOptions(alphas=alphas, progress=False))
        curves[contender], counts[contender] = curve, len(made)
        return curve.alphas.tolist(), curve["test", "cross_entropy"].mean.tolist()

    peaks: dict[str, list[int]] = {PLAIN: [], CAPTURED: [], SINGLE: []}
    walks = {
        PLAIN: contest.timed(partial(plain.loop, pair)),
        CAPTURED: contest.timed(partial(walk, CAPTURED)),
        SINGLE: contest.timed(partial(walk, SINGLE)),
    }
    contenders = {name: watched(each, device, peaks[name]) for name, each in walks.items()}
    with lines.arithmetic("float32"):
        rounds = contest.rotate(contenders, size.alphas, size.rounds)
        best = machine.best_product(torch.float32, device)
    figures = contest.figures(rounds, pair.operations * len(pair.inputs) * size.alphas, {"float32": best})
    captured, single = (curves[name]["test", "cross_entropy"].values for name in (CAPTURED, SINGLE))
    return {
        "network": f"{case} of width {size.width}" if case == LARGE else case,
        "images": f"{len(pair.inputs)} of {' x '.join(map(str, pair.inputs.shape[1:]))}",
        "alphas": size.alphas,
        "rounds": size.rounds,
        "best_product_gflop_per_second": round(best, 1),
        "contenders": lines.with_peaks(figures, peaks),
        "graphs_that_were_captured": counts[CAPTURED],
        "same_bits": bool(np.array_equal(captured, single, equal_nan=True)),
        "notes": sorted({note for curve in curves.values() for note in curve.provenance["notes"]}),
    }


def _row(result: Result) -> str:
    held = result["contenders"]
    times = ", ".join(f"{name} {held[name]['seconds']:.3f} s" for name in (PLAIN, CAPTURED, SINGLE))
    bits = "the same bits" if result["same_bits"] else "OTHER BITS"
    return f"{times}; {result['graphs_that_were_captured']} captured, {bits}"


def _units(settings: Settings) -> Mapping[str, Unit]:
    return {case: partial(compare, settings, case) for case in (*SMALL, LARGE)}


CAPTURES = Step("captures", _units, _row, seconds=100)
