"""How many operations of torch, each a kernel or more on a GPU, one position of a whole line takes: `python -m
benchmarks.launches`.

Counted on the CPU, where the engine makes the graph that it makes on a GPU: without oneDNN's operations and without its
own kernels, and with weights that are written together. Views are not counted. What a GPU makes of an operation, and
how long it takes, is not known by that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import _disable_current_modes

from linescape import models
from linescape.engine import fast
from linescape.engine.flops import DispatchObserver
from linescape.engine.replay import FEWEST, Captured
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry import writing
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import walk
from linescape.recipe import Random, ResNet

IMAGES = 3
"""So few that they are one part; on a GPU up to 512 of 3 x 32 x 32 are."""


class Launches(DispatchObserver):  # type: ignore[no-untyped-call]
    """Counts operations that compute something, by name, and reads of a value by Python, for which a GPU is waited."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.reads = self.replays = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if torch.Tag.data_dependent_output in func.tags:
            self.reads += 1
        elif not is_view:
            self.operations[func._schema.name] += 1
        return func(*args, **(kwargs or {}))


class Uncounted:
    """Stands for a capturer of CUDA graphs: a replay counts as one, whatever it does."""

    def __init__(self, counted: Launches) -> None:
        self.counted, self.device = counted, torch.device("cpu")

    def capture(self, function: Callable[[], tuple[torch.Tensor, ...]]) -> Captured:
        outputs = function()

        def replay() -> None:
            with _disable_current_modes():
                for output, again in zip(outputs, function(), strict=True):
                    output.copy_(again)
            self.counted.replays += 1

        return Captured(replay, outputs, 0)


def of_engine(
    pair: tuple[torch.nn.Module, State, State], data: tuple[torch.Tensor, torch.Tensor], captures: bool
) -> Launches:
    """Of the fifth position of a walk, when all is prepared, and perhaps captured."""
    network, start, end = pair
    counted = Launches()
    capturer = Uncounted(counted) if captures else None
    no_onednn = patch.object(torch.backends.mkldnn, "is_available", lambda: False)
    with (
        no_onednn,
        patch.object(writing, "ONE_BY_ONE", frozenset()),
        patch.object(fast, "capturer_on", lambda _: capturer),
    ):
        evaluator = Evaluator(network, {"test": data}, measures=(cross_entropy,), fast=True)
        points = walk(Line(start, end), evaluator, ScanOptions(alphas=FEWEST, progress=False))
        for _ in range(4):
            next(points)
        counted.replays = 0
        with counted:
            next(points)
    if notes := evaluator.engine.notes:
        raise SystemExit(f"This is no graph: {notes}")
    return counted


def of_plain(pair: tuple[torch.nn.Module, State, State], data: tuple[torch.Tensor, torch.Tensor]) -> Launches:
    """Of a plain loop, with each tensor interpolated in place by one operation."""
    network, start, end = pair
    counted = Launches()
    with torch.no_grad(), counted:
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                torch.lerp(start[name], end[name], 0.5, out=value)
        F.cross_entropy(network(data[0]), data[1]).item()
    return counted


def main() -> None:
    """Print the numbers of both for ResNet-18."""
    network = models.draw(ResNet(18, 64), (3, 32, 32), 10, Random(), 0).eval()
    start = State.from_module(network)
    moved = {name: value * 1.1 + 0.01 for name, value in start.items() if value.is_floating_point()}
    pair = network, start, start.replace(moved)
    data = torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(IMAGES)
    counts = {
        "linescape, captured": of_engine(pair, data, captures=True),
        "linescape": of_engine(pair, data, captures=False),
        "plain loop": of_plain(pair, data),
    }
    for name, counted in counts.items():
        replays = f", {counted.replays} replays" if counted.replays else ""
        print(f"{name}: {counted.operations.total()} operations{replays}, {counted.reads} reads of a value")
        print("   " + ", ".join(f"{operation} {count}" for operation, count in counted.operations.most_common(12)))


if __name__ == "__main__":
    main()
