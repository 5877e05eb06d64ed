"""Whole and layer-wise lines of a ResNet-18 against the plain loop, in exact float32, TF32 and bfloat16.

Both contenders run in one process and on one device, with the images there already, in turns. The plain loop computes
in the same arithmetic: in bfloat16 by autocast. What both find is compared, example by example, with the textbook
formula in float64.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import contest, machine, ours, pairs, plain
from benchmarks.contest import PLAIN, Losses
from benchmarks.gpu.memory import watched
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.steps import Result, Step, Unit
from benchmarks.pairs import Pair
from linescape.geometry.groups import Groups, by_prefix
from linescape.geometry.paths import Only, Path
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from linescape.recipe import ResNet

Arithmetic = Literal["float32", "tf32", "bfloat16"]
"""Exact float32; float32 with products of 11 significant bits; bfloat16 in convolutions and products."""

OURS = "linescape"
BATCH = 250
PART = 3
"""Of so many positions of a layer-wise line the plain loop walks one, and is charged for all."""


@contextmanager
def arithmetic(kind: Arithmetic) -> Iterator[None]:
    """Torch's float32 convolutions and products exact inside for ``float32``, else in TF32 where the device has it."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = kind != "float32"
    torch.set_float32_matmul_precision("highest" if kind == "float32" else "high")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def autocast(kind: Arithmetic, device: str) -> torch.autocast:
    """The plain loop's way to compute in bfloat16.

    Without autocast's cache: it would keep the weights of the first position, since they are changed in place.
    """
    return torch.autocast(device, torch.bfloat16, enabled=kind == "bfloat16", cache_enabled=False)


def pair_on(device: str, width: int, images: int) -> Pair:
    """Two states of a ResNet-18 and images of 3 x 32 x 32, on the device."""
    return moved(pairs.make(f"gpu-width-{width}", ResNet(18, width), images, size=32, colour=True), device)


def moved(made: Pair, device: str) -> Pair:
    """A pair with everything on the device."""
    return replace(
        made,
        network=made.network.to(device),
        start=made.start.to(device),
        end=made.end.to(device),
        inputs=made.inputs.to(device),
        targets=made.targets.to(device),
    )


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of a comparison: the whole one, or one for each of some groups of tensors.

    Attributes:
        pair: their ends, and the images they are measured on.
        groups: the tensors that move along each, by its name; None is the whole line.
    """

    pair: Pair
    groups: Groups | None

    @property
    def paths(self) -> Mapping[str, Path]:
        """The paths by name; all lines of a network share its two ends."""
        line = self.pair.line
        if self.groups is None:
            return {"whole": line}
        return {name: Only(line, names) for name, names in self.groups.items()}

    def walk(self, alphas: int, kind: Arithmetic) -> dict[str, Curve]:
        """All that a user waits for: the evaluator is built, the lines are drawn and their ends are checked."""
        measured = ours.evaluator(self.pair, "bfloat16" if kind == "bfloat16" else "float32")
        return {
            name: scan(path, measured, ScanOptions(alphas=alphas, progress=False)) for name, path in self.paths.items()
        }


def textbook(pair: Pair, path: Path, alpha: float, count: int, dtype: torch.dtype) -> Tensor:
    """The loss of each of the first `count` images at a position, with weights and images of a type; float64 ``(n,)``.

    The formula ``(1 - alpha) * start + alpha * end`` in float64, then rounded to the type, and plain calls of a copy of
    the network.
    """
    network = copy.deepcopy(pair.network).eval().to(dtype)
    start, end, moving = pair.start.state_dict(), pair.end.state_dict(), path.moving
    mixed = {
        name: (1 - alpha) * start[name].double() + alpha * value.double()
        for name, value in end.items()
        if name in moving and value.is_floating_point()
    }
    network.load_state_dict({**end, **mixed})
    inputs, targets = pair.inputs[:count], pair.targets[:count]
    with torch.no_grad():
        parts = [
            F.cross_entropy(network(x.to(dtype)).double(), y, reduction="none")
            for x, y in zip(torch.split(inputs, BATCH), torch.split(targets, BATCH), strict=True)
        ]
    return torch.cat(parts).cpu()


def agreement(lines: Lines, curves: Mapping[str, Curve], kind: Arithmetic, count: int) -> dict[str, object]:
    """How far both contenders are from float64, over the first `count` images of each line at five positions.

    ``relative`` is the norm of the differences of the examples' losses over the norm of the true losses; ``largest``
    the largest difference of one example, and ``mean`` of the mean loss at a position, in nats.
    """
    device = lines.pair.inputs.device.type
    true, found = list[Tensor](), {OURS: list[Tensor](), PLAIN: list[Tensor]()}
    for name, path in lines.paths.items():
        series = curves[name]["test", "cross_entropy"]
        last = len(series.alphas) - 1
        for at in sorted({round(last * quarter / 4) for quarter in range(5)}):
            alpha = float(series.alphas[at])
            true.append(textbook(lines.pair, path, alpha, count, torch.float64))
            found[OURS].append(torch.from_numpy(series.values[at, :count]).double())
            with autocast(kind, device):
                found[PLAIN].append(textbook(lines.pair, path, alpha, count, torch.float32))
    wanted = torch.stack(true)
    return {"examples": count, "positions": len(true)} | {
        name: {
            "relative": float((torch.stack(each) - wanted).norm() / wanted.norm()),
            "largest": float((torch.stack(each) - wanted).abs().max()),
            "mean": float((torch.stack(each) - wanted).mean(1).abs().max()),
        }
        for name, each in found.items()
    }


def compare(settings: Settings, kind: Arithmetic, layer_wise: bool) -> Result:
    """Times of both in turns, and how far each is from float64."""
    size = settings.size
    pair = pair_on(settings.device, size.width, size.layer_images if layer_wise else size.images)
    lines = Lines(pair, _groups(pair) if layer_wise else None)
    count = len(lines.paths)
    curves: dict[str, Curve] = {}

    def walk(alphas: int) -> Losses:
        curves.update(lines.walk(alphas, kind))
        return _one_behind_the_other(list(curves.values()))

    def loop(alphas: int) -> Losses:
        with autocast(kind, settings.device):
            return plain.loop(pair, alphas)

    peaks: dict[str, list[int]] = {PLAIN: [], OURS: []}
    looped = watched(contest.timed(loop), settings.device, peaks[PLAIN])
    if layer_wise:  # which evaluates the whole network whichever block moves
        looped = contest.times(contest.sampled(looped, PART), count)
    with arithmetic(kind):
        walked = watched(contest.timed(walk), settings.device, peaks[OURS])
        rounds = contest.rotate({PLAIN: looped, OURS: walked}, size.alphas, size.rounds)
        dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
        best = machine.best_product(dtype, settings.device)
        apart = agreement(lines, curves, kind, min(size.checked, len(pair.inputs)))
    work = pair.operations * len(pair.inputs) * size.alphas * count
    return {
        "network": f"ResNet-18 of width {size.width} with BatchNorm",
        "images": f"{len(pair.inputs)} of {' x '.join(map(str, pair.inputs.shape[1:]))}",
        "lines": list(lines.paths),
        "alphas": size.alphas,
        "rounds": size.rounds,
        "best_product_gflop_per_second": round(best, 1),
        "contenders": with_peaks(contest.figures(rounds, work, {"float32": best, "bfloat16": best}), peaks),
        "from_float64": apart,
        "notes": sorted({note for curve in curves.values() for note in curve.provenance["notes"]}),
    }


def with_peaks(figures: Mapping[str, dict[str, object]], peaks: Mapping[str, list[int]]) -> dict[str, object]:
    """The figures of each contender with its peak memory in bytes, where that is known."""
    return {
        name: {**held, "peak_bytes": max(peaks[name])} if peaks[name] else {**held} for name, held in figures.items()
    }


def _groups(pair: Pair) -> Groups:
    """The stem, the eight residual blocks and the last layer."""
    blocks = [f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)]
    return by_prefix(pair.network, {"stem": ("conv1", "bn1"), **dict(zip(blocks, blocks, strict=True)), "fc": "fc"})


def _one_behind_the_other(curves: Sequence[Curve]) -> Losses:
    positions, losses = list[float](), list[float]()
    for number, curve in enumerate(curves):
        positions += [2 * number + alpha for alpha in curve.alphas.tolist()]
        losses += curve["test", "cross_entropy"].mean.tolist()
    return positions, losses


def _row(result: Result) -> str:
    held, apart = result["contenders"][OURS], result["from_float64"]
    peak = f", at most {held['peak_bytes'] / 1e9:.2f} GB" if "peak_bytes" in held else ""
    return (
        f"{held['ratio']:8.2f} x the plain loop, {held['gflop_per_second']:10.0f} GFLOP/s "
        f"({held['share_of_best_product']:.0%} of the best matrix product){peak}; from float64 (relative) "
        f"{apart[OURS]['relative']:.1e}, plain {apart[PLAIN]['relative']:.1e}"
    )


def _units(layer_wise: bool) -> Callable[[Settings], Mapping[str, Unit]]:
    return lambda settings: {kind: partial(compare, settings, kind, layer_wise) for kind in get_args(Arithmetic)}


WHOLE = Step("lines", _units(layer_wise=False), _row, seconds=150)
LAYERS = Step("layers", _units(layer_wise=True), _row, seconds=150)
