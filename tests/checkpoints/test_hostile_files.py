"""A hundred hostile files, names and settings end in a result or one message; see `hostile_files`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_hundred_hostile_files_end_in_a_message(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.hostile_files", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=3000)
    counts = json.loads(done.stdout.splitlines()[-1])
    print(done.stdout)
    assert counts.pop("otherwise") == {}
    assert counts.pop("cases") == sum(counts.values()) >= 100
    assert set(counts) == {"done", "refused"}
    assert counts["done"] > 20  # not all are refused at the door
