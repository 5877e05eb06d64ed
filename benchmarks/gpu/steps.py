"""A step is a list of units. Each writes its result when it ends, and is not done again."""

from __future__ import annotations

import json
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import torch

import linescape
from benchmarks import machine
from benchmarks.gpu.settings import Settings, device_name
from linescape import atomic

Result = Mapping[str, Any]
Unit = Callable[[], Result]
Outcome = Literal["done", "to be continued", "failed"]
"""Of a step in a call. What failed is tried again by the next call."""


@dataclass(frozen=True)
class Step:
    """A step of units that each take at most some minutes.

    Attributes:
        name: as typed after ``--only``, and of its file of results.
        units: what there is to do, by name.
        row: a unit's result in a few words, for the table.
        seconds: that a unit may take: it is not begun when less is left. At toy size it always is.
    """

    name: str
    units: Callable[[Settings], Mapping[str, Unit]]
    row: Callable[[Result], str]
    seconds: float

    def run(self, settings: Settings) -> Outcome:
        """Do what is missing while there is time."""
        units = self.units(settings)
        held = _read(settings, self.name)
        for name, unit in units.items():
            if "result" in held.get(name, {}):
                continue
            if not settings.toy and settings.seconds_left < self.seconds:
                break
            held[name] = _done(unit, settings, self.name)
            _write(settings, self.name, held)
        for line in self.table(units, held):
            print(line, flush=True)
        if any("error" in held.get(name, {}) for name in units):
            return "failed"
        return "done" if all(name in held for name in units) else "to be continued"

    def table(self, units: Mapping[str, Unit], held: Mapping[str, Any]) -> Iterator[str]:
        for name in units:
            unit = held.get(name)
            if unit is None:
                yield f"  {name:24}not done yet"
            elif "error" in unit:
                yield f"  {name:24}failed: {unit['error'].strip().splitlines()[-1]}"
            else:
                yield f"  {name:24}{self.row(unit['result'])} ({unit['seconds']:.0f} s)"


def made(settings: Settings, name: str) -> dict[str, Any]:
    """What every result of a step says of its origin (JSON-able)."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device_name(settings.device),
        "processor": machine.describe()["processor"],
        "cores": machine.describe()["cores"],
        "linescape": linescape.__version__,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "command": f"python -m benchmarks.gpu{' --dry' if settings.toy else ''} --only {name}",
        "toy": settings.toy,
    }


def _done(unit: Unit, settings: Settings, name: str) -> dict[str, Any]:
    begun, held = time.monotonic(), dict[str, Any](made=made(settings, name))
    try:
        held["result"] = unit()
    except Exception:  # a unit that fails does not keep the others from being done
        held["error"] = traceback.format_exc()
    return {**held, "seconds": round(time.monotonic() - begun, 1)}


def _read(settings: Settings, name: str) -> dict[str, Any]:
    """The units so far: of the state, and of results from an earlier machine of this kind."""
    held: dict[str, Any] = {}
    for folder in (settings.out, settings.state / "results"):
        file = folder / f"{name}.json"
        if file.exists():
            held |= json.loads(file.read_text())["units"]
    return held


def _write(settings: Settings, name: str, units: Mapping[str, Any]) -> None:
    # Also beside the state: what is no part of a working tree may be gone at the next call.
    text = json.dumps({"step": name, "device": device_name(settings.device), "units": units}, indent=1) + "\n"
    for folder in (settings.state / "results", settings.out):
        atomic.write(folder / f"{name}.json", text.encode())
