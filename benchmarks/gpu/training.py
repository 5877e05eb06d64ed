"""Training against the plain `DataLoader` loop with TF32, as `benchmarks.training` does it, a width at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from benchmarks import training
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.steps import Result, Step, Unit


def compare(settings: Settings, width: int, steps: int) -> Result:
    """Images a second of the plain loop and of ours in float32 (TF32) and bfloat16."""
    rates = {"float32": 0.0, "bfloat16": 0.0}
    torch.set_float32_matmul_precision("high")  # of the products that the rates stand beside
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ways = training.compare(width, settings.device, rates, steps, settings.size.rounds)
    finally:
        torch.set_num_threads(threads)
    ceilings = {way: max(rates.values()) if way == "bfloat16" else rates["float32"] for way in ways}
    return {
        "network": f"ResNet-18 of width {width}",
        "batch": training.BATCH,
        "steps_a_round": steps,
        "rounds": settings.size.rounds,
        "matrix_product_operations_per_second": rates,
        "ways": {
            way: {**held, "share_of_best_product": round(held["operations_per_second"] / ceilings[way], 3)}
            for way, held in ways.items()
        },
    }


def _row(result: Result) -> str:
    return ", ".join(
        f"{way} {held['images_per_second']:.0f} images/s ({held['ratio']:.2f} x, {held['share_of_best_product']:.0%})"
        for way, held in result["ways"].items()
    )


def _units(settings: Settings) -> Mapping[str, Unit]:
    return {
        f"width {width}": partial(compare, settings, width, steps) for width, steps in settings.size.training.items()
    }


TRAINING = Step("training", _units, _row, seconds=210)
