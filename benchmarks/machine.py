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
    """GFLOP/s of the best product of two square matrices, by number format: what a network cannot pass.

    The best and not the median: whatever else the machine does only makes a product slower.
    """
    return {name: _best_product(dtype) for name, dtype in DTYPES.items()}


def _best_product(dtype: torch.dtype) -> float:
    small = _product(dtype, 1024, repeats=1)
    if small < 5.0:  # bfloat16 without instructions for it: a larger product would take most of a minute
        return small
    return max(_product(dtype, size) for size in (1024, 2048))


def _product(dtype: torch.dtype, size: int, repeats: int = 8) -> float:
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    out = torch.empty(size, size, dtype=dtype)
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        torch.mm(left, right, out=out)
        seconds.append(time.perf_counter() - begun)
    return 2 * size**3 / min(seconds) / 1e9


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
