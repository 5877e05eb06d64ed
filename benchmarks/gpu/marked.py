"""The tests that are marked ``gpu``, which other machines skip."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from functools import partial

from benchmarks.gpu.settings import ROOT, Settings
from benchmarks.gpu.steps import Result, Step, Unit

MARK = re.compile(r"mark\.gpu\b")


def run(settings: Settings) -> Result:
    """Run them; at toy size, without a GPU, they are collected and skipped.

    Raises:
        RuntimeError: some failed, with the end of what pytest said; or on a GPU none ran.
    """
    files = [str(file) for file in sorted((ROOT / "tests").rglob("test_*.py")) if MARK.search(file.read_text())]
    if not files:
        raise RuntimeError("No test is marked gpu.")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "-rs", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = done.stdout.strip().splitlines()
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|skipped|failed|error)", said[-1] if said else "")}
    if done.returncode or (settings.device == "cuda" and not counts.get("passed")):
        raise RuntimeError("\n".join([*said[-40:], *done.stderr.strip().splitlines()[-10:], f"pytest: {counts}"]))
    return {"files": [file.rsplit("/", 1)[-1] for file in files], **counts}


def _units(settings: Settings) -> Mapping[str, Unit]:
    return {"marked gpu": partial(run, settings)}


def _row(result: Result) -> str:
    return f"{result.get('passed', 0)} passed, {result.get('skipped', 0)} skipped"


TESTS = Step("tests", _units, _row, seconds=120)
