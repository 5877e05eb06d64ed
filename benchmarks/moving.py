"""What a position costs beside its forward passes: the time and memory of moving the weights, and of a whole scan.

    python -m benchmarks.moving [--rounds 5] [--alphas 25] [--images 512]

The time is a ratio to copying every tensor of the network once, which is the least that writing new weights can cost.
Memory of a scan is that of a fresh process: the peak, less what the process held before the networks were loaded. It
is compared with what cannot be done without: both ends, one working copy, and the activations of one batch.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks import contest, ours, pairs, results
from benchmarks.contest import Walk
from benchmarks.pairs import Pair
from linescape import models
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry.paths import Line
from linescape.geometry.paths import Path as LinePath
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from linescape.recipe import MLP, Random


def place(evaluator: Evaluator, path: LinePath, alpha: float) -> None:
    """Move every weight that moves, by whatever the evaluator asks for."""
    parameters = list(inspect.signature(evaluator.load_position).parameters)
    known: dict[str, Any] = {"path": path, "alpha": alpha, "names": path.moving}
    evaluator.load_position(**{name: known[name] for name in parameters if name in known})


def main() -> None:
    if sys.argv[1:2] == ["--memory"]:
        print(json.dumps(_memory(Path(sys.argv[2]), sys.argv[3])))
        return
    asked = contest.arguments(__doc__)
    pair = pairs.resnet18(asked.images)
    result: dict[str, object] = {
        "network": "ResNet-18 of width 64 with BatchNorm",
        "rounds": asked.rounds,
        "alphas": asked.alphas,
        "images": asked.images,
        "state_mib": _mib(pair.end.values()),
        "moving": {precision: _moving(pair, precision, asked.alphas, asked.rounds) for precision in ours.precisions()},
    }
    if Path("/proc/self/clear_refs").exists():  # only Linux tells a process its peak from a moment on
        result["memory"] = {precision: _fresh(pair, precision) for precision in ours.precisions()}
    results.write("moving", result)
    print(json.dumps(result, indent=1))


def _moving(pair: Pair, precision: str, alphas: int, rounds: int) -> dict[str, object]:
    line, evaluator = pair.line, ours.evaluator(pair, precision)
    inner = [(step + 0.5) / alphas for step in range(alphas)]  # the ends themselves are copies, not mixtures
    slots = {name: value.clone() for name, value in pair.end.items()}

    def copy(positions: int) -> Walk:
        begun = time.perf_counter()
        for _ in range(positions):
            for name, slot in slots.items():
                slot.copy_(pair.start[name])
        return Walk([], [], time.perf_counter() - begun)

    def move(positions: int) -> Walk:
        begun = time.perf_counter()
        for alpha in inner[:positions]:
            place(evaluator, line, alpha)
        return Walk([], [], time.perf_counter() - begun)

    walks = contest.rotate({"copy": copy, "move": move}, alphas, rounds)
    copies, moves = ([walk.seconds / alphas for walk in walks[name]] for name in ("copy", "move"))
    ratios = [moved / copied for moved, copied in zip(moves, copies, strict=True)]
    allocated = _allocated(functools.partial(place, evaluator, line, inner[-1]))
    return {
        "copies_that_a_move_costs": round(statistics.median(ratios), 3),
        "milliseconds_of_a_move": round(1000 * statistics.median(moves), 3),
        "milliseconds_of_a_copy": round(1000 * statistics.median(copies), 3),
        "allocated_in_a_move_mib": round(allocated / 2**20, 3),
        "allocated_in_a_move_of_state": round(allocated / sum(v.nbytes for v in pair.end.values()), 3),
    }


def _allocated(call: functools.partial[None]) -> int:
    """Bytes that torch asks for during a call, given back or not."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    # Memory is booked where it is taken, as a positive number, and again where it is given back, as a negative one.
    return sum(max(0, event.self_cpu_memory_usage) for event in seen.events() or ())


def _fresh(pair: Pair, precision: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.moving", "--memory", str(pair.folder), precision]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _memory(folder: Path, precision: str) -> dict[str, float]:
    """The peak of a scan in this process, and what it is compared with, in MiB."""
    _warm_up(precision)
    before = _resident("VmRSS")
    tensors = [torch.load(folder / f"{part}.pt", weights_only=True) for part in ("start", "end")]
    images = torch.load(folder / "images.pt", weights_only=True)
    inputs, targets = images["inputs"], images["targets"]
    network = models.build(pairs.RESNET18, tuple(inputs.shape[1:]), len(tensors[0]["fc.bias"])).eval()
    start, end = (State.from_state_dict(network, part) for part in tensors)
    del tensors
    pair = Pair(network, start, end, inputs, targets, folder)
    evaluator = ours.evaluator(pair, precision)
    line = Line(start, end)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    scan(line, evaluator, ScanOptions(alphas=5, progress=False))
    peak = _resident("VmHWM") - before
    size = getattr(evaluator, "batch_size", None)
    batch = min(len(inputs), size if isinstance(size, int) else 250)
    activations, largest = _activations(network, inputs[:batch])
    state = _mib(end.values())
    needed = 3 * state + activations
    return {
        "peak_mib": round(peak, 1),
        "both_ends_mib": round(2 * state, 1),
        "working_copy_mib": round(state, 1),
        "callers_network_mib": round(state, 1),
        "images_mib": round(_mib([inputs]), 1),
        "batch": batch,
        "activations_of_a_batch_mib": round(activations, 1),
        "largest_layers_input_and_output_mib": round(largest, 1),
        "peak_of_ends_copy_and_activations": round(peak / needed, 3),
        "peak_of_ends_copy_and_largest_layer": round(peak / (3 * state + largest), 3),
    }


def _warm_up(precision: str) -> None:
    """Walk a line of a tiny network, so that libraries and threads are in memory before anything is counted."""
    states = [models.draw(MLP((8,)), (8,), 2, Random(), seed) for seed in (0, 1)]
    data = torch.randn(64, 8), torch.randint(0, 2, (64,))
    pair = Pair(states[0].eval(), State.from_module(states[0]), State.from_module(states[1]), *data, Path())
    scan(pair.line, ours.evaluator(pair, precision), ScanOptions(alphas=3, progress=False))
    scan(
        pair.line,
        Evaluator(pair.network, {"test": data}, measures=(cross_entropy,)),
        ScanOptions(alphas=3, progress=False),
    )
    with torch.inference_mode():
        nn.Conv2d(3, 8, 3)(torch.randn(2, 3, 16, 16))


def _resident(entry: str) -> float:
    """A line of /proc/self/status in MiB: VmRSS is what is resident now, VmHWM the most that ever was."""
    for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith(entry):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {entry}")


def _activations(network: nn.Module, batch: Tensor) -> tuple[float, float]:
    """MiB of all that the layers give for a batch, and the most that one layer takes in and gives."""
    total, largest = 0.0, 0.0

    def add(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total, largest
        total += _mib([output])
        largest = max(largest, _mib([*inputs, output]))

    leaves = [layer for layer in network.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(add) for layer in leaves]
    with torch.inference_mode():
        network(batch)
    for hook in hooks:
        hook.remove()
    return total, largest


def _mib(tensors: Iterable[Tensor]) -> float:
    return sum(tensor.nbytes for tensor in tensors) / 2**20


if __name__ == "__main__":
    main()
