"""Results as JSON in benchmarks/results/, each with the machine and the date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import machine

FOLDER = Path(__file__).parent / "results"


def write(name: str, result: dict[str, Any]) -> None:
    """Write one benchmark's result; the last one of a name stands."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine.describe(), **result}, indent=1)
    (FOLDER / f"{name}.json").write_text(text + "\n")


def read(name: str) -> dict[str, Any] | None:
    """One benchmark's result; None if it was never run."""
    file = FOLDER / f"{name}.json"
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found
