"""Training by linescape against the loop that everybody writes, on the same network and images, in one run.

    python -m benchmarks.training [cuda] [--rounds 5]

The plain loop: a `DataLoader` with shuffling over a data set that crops, flips and normalises image by image; (batch,
channels, height, width) as they come; SGD with momentum; ``loss.item()`` at each step. On the CPU all ways have one
thread, as a study's processes have, and the process's own time counts, since other programs may run. On a GPU the plain
loop has two workers and pinned memory, all float32 products are TF32, and the clock on the wall counts.

Each way has a process of its own, all wait while one is timed, and the order rotates from round to round. Ratios are
medians over rounds of the ratio in a round. Rates count 2 operations for each multiplication of convolutions and
linear layers, forward and backward, and stand beside the best matrix product of the machine in the same rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks import machine, results
from linescape import models
from linescape.data import Dataset
from linescape.geometry.state import State
from linescape.recipe import Data, Optimizer, Random, Recipe, ResNet, Schedule, TrainingPrecision
from linescape.studies.job import one_thread
from linescape.studies.timing import Workload, made_up
from linescape.training.loop import train

ROUNDS = 5
BATCH, SHAPE, CLASSES = 128, (3, 32, 32), 10
CIFAR = 50_000
STEPS = {"cpu": {16: 5, 64: 1}, "cuda": {16: 200, 64: 200}}
"""Width of the ResNet-18 -> steps in a round."""
WAYS = ("plain", "float32", "native", "bfloat16")
"""`native`: float32 with linescape's own convolutions (`recipe.Optimizer.native`), on the CPU only."""


class Images(TorchDataset[tuple[Tensor, Tensor]]):
    def __init__(self, dataset: Dataset) -> None:
        self.images, self.labels = dataset.train.inputs, dataset.train.targets
        self.mean, self.std = (torch.tensor(value).view(3, 1, 1) for value in (dataset.mean, dataset.std))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
        image = F.pad(self.images[at].float() / 255, (4, 4, 4, 4))
        top, left = torch.randint(9, (2,)).tolist()
        image = image[:, top : top + 32, left : left + 32]
        if torch.rand(()) < 0.5:
            image = image.flip(2)
        return (image - self.mean) / self.std, self.labels[at]


def plain(network: nn.Module, dataset: Dataset, spec: Optimizer, device: str) -> Iterator[float]:
    """The loop that everybody writes; yields after each step."""
    on_gpu = device == "cuda"
    if on_gpu:
        torch.set_float32_matmul_precision("high")
    loader = DataLoader(
        Images(dataset),
        batch_size=spec.batch_size,
        shuffle=True,
        num_workers=min(8, os.cpu_count() or 1) if on_gpu else 0,
        pin_memory=on_gpu,
        persistent_workers=on_gpu,
    )
    network = network.to(device).train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay
    )
    criterion = nn.CrossEntropyLoss()
    while True:
        for given, wanted in loader:
            inputs, labels = given.to(device), wanted.to(device)
            optimizer.zero_grad()
            loss = criterion(network(inputs), labels)
            loss.backward()
            optimizer.step()
            yield loss.item()


def recipe(width: int, precision: TrainingPrecision, native: bool) -> Recipe:
    optimizer = Optimizer(lr=0.1, weight_decay=5e-4, batch_size=BATCH, precision=precision, native=native)
    return Recipe(Data("cifar10", augment="crop-flip"), ResNet(18, width), optimizer, Schedule(10_000_000))


def serve(pipe: Connection, way: str, width: int, device: str, count: int) -> None:
    """Be one way: at each message, do a round of so many steps and answer with its seconds."""
    spec = recipe(width, "bfloat16" if way == "bfloat16" else "float32", way == "native")
    dataset = made_up(Workload("step", spec, SHAPE, CLASSES, BATCH * max(count, 50 if device == "cuda" else 0)))
    network = models.draw(spec.model, SHAPE, CLASSES, Random(), 0)
    if way == "plain":
        torch.set_num_threads(1 if device == "cpu" else torch.get_num_threads())
        steps: Iterator[object] = plain(network, dataset, spec.optimizer, device)
        _answer(pipe, steps, count, device)
    else:
        with one_thread(device):
            _answer(pipe, train(spec, dataset, State.from_module(network), device), count, device)


def _answer(pipe: Connection, steps: Iterator[object], count: int, device: str) -> None:
    for _ in range(10 if device == "cuda" else 2):  # a GPU's step is compiled and recorded by then
        next(steps)
    pipe.send(0.0)
    while pipe.recv():

        def some() -> None:
            for _ in range(count):
                next(steps)

        pipe.send(seconds(some, device))


def seconds(call: Callable[[], object], device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    begun = clock()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - begun


def operations(width: int) -> int:
    """Operations of an example's step; the images need no gradient."""
    found: list[int] = []

    def count(layer: nn.Module, _: object, outputs: Tensor) -> None:
        found.append(2 * layer.get_parameter("weight").numel() * outputs[0, 0].numel())

    with torch.device("meta"):
        network = models.build(ResNet(18, width), SHAPE, CLASSES)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    network.eval()(torch.empty(1, *SHAPE, device="meta"))
    return 3 * sum(found) - found[0]


def compare(
    width: int, device: str, rates: dict[str, float], count: int, rounds: int = ROUNDS
) -> dict[str, dict[str, float]]:
    """All ways at one width, `count` steps a round; `rates` of matrix products rise with each round."""
    start = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    ways = tuple(way for way in WAYS if way != "native" or device == "cpu")
    took: dict[str, list[float]] = {way: [] for way in ways}
    try:
        for way in ways:
            pipes[way], other = start.Pipe()
            process = start.Process(target=serve, args=(other, way, width, device, count))
            process.start()
            other.close()  # so that a way that fails is an error here and not silence
            processes.append(process)
            pipes[way].recv()
        for round_ in range(rounds + 1):
            first = round_ % len(ways)
            for way in (*ways[first:], *ways[:first]):
                pipes[way].send(True)
                took[way].append(pipes[way].recv())
            for name, dtype in machine.DTYPES.items():
                rates[name] = max(rates[name], 1e9 * machine.best_product(dtype, device))
        for pipe, process in zip(pipes.values(), processes, strict=True):
            pipe.send(False)
            process.join(10)
    finally:
        for process in processes:
            process.terminate()
    images, each = count * BATCH, operations(width)
    found: dict[str, dict[str, float]] = {}
    for way in ways:
        timed = took[way][1:]  # the first warms up
        per_second = images / statistics.median(timed)
        found[way] = {
            "images_per_second": round(per_second, 1),
            "operations_per_second": per_second * each,
            "ratio": round(statistics.median(p / own for p, own in zip(took["plain"][1:], timed, strict=True)), 3),
            "hours_for_100_epochs_of_cifar10": round(100 * CIFAR / per_second / 3600, 3),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("device", nargs="?", choices=tuple(STEPS), default="cpu")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    device, rounds = asked.device, asked.rounds
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    torch.set_num_threads(1)
    rates = {"float32": 0.0, "bfloat16": 0.0}
    widths = {
        f"ResNet-18, width {width}": compare(width, device, rates, count, rounds)
        for width, count in STEPS[device].items()
    }
    report: dict[str, object] = {
        **({"device": torch.cuda.get_device_name()} if device == "cuda" else {}),
        "rounds": rounds,
        "batch": BATCH,
        "matrix_product_operations_per_second": rates,
        **widths,
    }
    print(f"{'':24}{'way':10}{'images/s':>10}{'x plain':>9}{'GFLOP/s':>10}{'of product':>12}{'100 epochs':>12}")
    for name, ways in widths.items():
        for way, held in ways.items():
            rate = held["operations_per_second"]
            best = max(rates.values()) if way == "bfloat16" else rates["float32"]
            held["share_of_matrix_product"] = round(rate / best, 3)
            held["operations_per_second"] = round(rate)
            print(
                f"{name:24}{way:10}{held['images_per_second']:10.1f}{held['ratio']:9.2f}{rate / 1e9:10.1f}"
                f"{held['share_of_matrix_product']:12.0%}{held['hours_for_100_epochs_of_cifar10']:10.2f} h"
            )
    report["matrix_product_operations_per_second"] = {name: round(rate) for name, rate in rates.items()}
    results.write("training" if device == "cpu" else "training-cuda", report)


if __name__ == "__main__":
    main()
