"""Checkpoints damaged at random are read as numbers or refused; see `fuzzing`. Seeds are fixed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def fuzz(count: int, seeds: int, folder: Path) -> Counter[str]:
    """What came of so many inputs for each of some seeds, in a process each."""
    places = [folder / f"input {seed}" for seed in range(seeds)]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.fuzzing", str(count), str(seed), str(place)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, place in enumerate(places)
    ]
    found: Counter[str] = Counter()
    for place, process in zip(places, running, strict=True):
        said, failed = process.communicate(timeout=600)
        assert process.returncode == 0, f"{place} ended it with {process.returncode}:\n{failed[-3000:]}"
        print(said)
        found += Counter(json.loads(said))
    return found


def test_five_hundred_damaged_checkpoints(tmp_path: Path) -> None:
    found = fuzz(500, 1, tmp_path)
    assert found["refused"] + found["read"] == 500
    assert found["read"] > 25  # not all are refused at the door


@pytest.mark.slow
def test_a_hundred_thousand_damaged_checkpoints(tmp_path: Path) -> None:
    found = fuzz(60_000, 2, tmp_path)
    assert found["refused"] + found["read"] == 120_000
    assert found["read"] > 6000
