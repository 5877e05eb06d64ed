"""Results as JSON in benchmarks/results/KIND/, each with the machine and the date.

KIND is what instructions torch uses on the processor, as ``avx512`` or ``avx2``: what linescape does, and how fast,
depends on it, so that results of one kind of processor stand beside those of another and do not replace them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine

FOLDER = Path(__file__).parent / "results"
KIND = torch.backends.cpu.get_cpu_capability().lower()
"""The kind of this machine's processor."""


def write(name: str, result: dict[str, Any]) -> None:
    """Write one benchmark's result on this kind of processor; the last one of a name stands."""
    folder = FOLDER / KIND
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine.describe(), **result}, indent=1)
    (folder / f"{name}.json").write_text(text + "\n")


def read(name: str, kind: str = KIND) -> dict[str, Any] | None:
    """One benchmark's result on a kind of processor; None if it was never run there."""
    file = FOLDER / kind / f"{name}.json"
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def everywhere(name: str) -> dict[str, dict[str, Any]]:
    """One benchmark's results by kind of processor, the widest instructions first."""
    files = sorted(FOLDER.glob(f"*/{name}.json"), key=lambda file: -_width(file.parent.name))
    return {file.parent.name: json.loads(file.read_text()) for file in files}


def _width(kind: str) -> int:
    return int("".join(character for character in kind if character.isdigit()) or 0)
