from __future__ import annotations

import subprocess
import sys

import pytest

GAPS = """
import sys, torch
from pathlib import Path
from torch import nn
from linescape import Evaluator

def own():
    line, = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024

data = {"test": (torch.randn(5, 8100), torch.zeros(5, dtype=torch.long))}
evaluator = Evaluator(nn.Linear(8100, 8000), data, memory=float(sys.argv[1]), copy=False)
torch.ones(2**22)  # glibc takes such a block for a usual one from now on
before, small = own(), []
for _ in range(12):
    large = torch.ones(2**21)  # 8 MB
    small.append([torch.ones(2**12) for _ in range(4)])
    del large
    small.append([torch.ones(2**12) for _ in range(4)])
print(own() - before)
"""


def grown_by(memory: float) -> float:
    """MB that a process grows by, of which it uses 2, once it has an evaluator of 259 MB with so much memory."""
    done = subprocess.run([sys.executable, "-c", GAPS, str(memory)], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is of glibc")
def test_networks_larger_than_the_memory_leave_no_gaps() -> None:
    assert grown_by(0) < 4
