"""What the figures were measured on, and the fastest that its arithmetic goes."""

from __future__ import annotations

import datetime
import os
import platform
import time
from pathlib import Path

import torch

LOAD_BEFORE = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
"""Programs that wanted a core in the minute before: above 0.5, others were at work and the figures are worth little."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
"""Of the matrices."""


def describe() -> dict[str, object]:
    """The processor, its cores, the versions and the date (JSON-able)."""
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": None if LOAD_BEFORE is None else round(LOAD_BEFORE, 2),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def best_products() -> dict[str, float]:
    """GFLOP/s of the best product of two square matrices on the CPU, by number format: what a network cannot pass."""
    return {name: best_product(dtype) for name, dtype in DTYPES.items()}


def best_product(dtype: torch.dtype, device: str = "cpu") -> float:
    """GFLOP/s of the best of some products. Not the median: whatever else the machine does only makes one slower."""
    small, large = SIDES[device]
    first = _product(dtype, device, small, rounds=1)
    if first < 5.0:  # bfloat16 without instructions for it, where a larger product takes most of a minute
        return first
    return max(_product(dtype, device, side) for side in (small, large))


def _product(dtype: torch.dtype, device: str, side: int, rounds: int = 8) -> float:
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out, products = torch.empty_like(left), 1 if device == "cpu" else 50
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(products):
            torch.mm(left, right, out=out)
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return products * 2 * side**3 / min(seconds) / 1e9


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
