"""The command line: the steps one after another, each in a process of its own that ends by the clock."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from benchmarks.gpu import captures, lines, marked, packing, study, together, training
from benchmarks.gpu.settings import FULL, RESULTS, STATE, TOY, Settings, device_name, slug
from benchmarks.gpu.steps import Outcome

STEPS: dict[str, Callable[[Settings], Outcome]] = {
    **{
        step.name: step.run
        for step in (
            marked.TESTS,
            lines.WHOLE,
            lines.LAYERS,
            captures.CAPTURES,
            together.TOGETHER,
            training.TRAINING,
        )
    },
    study.NAME: study.run,
}
GRACE = 45.0
"""Seconds after the end of a call at which a step that has not stopped is killed."""
STATUS: dict[Outcome, int] = {"done": 0, "to be continued": 3, "failed": 1}
"""Exit status of a step and of a call."""


def main(given: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if given is None else given)
    if arguments[:1] == ["pack"]:
        return _pack(arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="everything at toy size; the default without a GPU")
    parser.add_argument("--only", choices=tuple(STEPS), action="append", help="this step; may be given several times")
    parser.add_argument("--minutes", type=float, default=8.0, help="of this call; it ends within a minute after (8)")
    parser.add_argument("--state", type=Path, help=f"folder that survives between calls ({STATE.name})")
    parser.add_argument("--out", type=Path, help="folder of results, one a device (benchmarks/results/gpu)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # a step's own process
    asked = parser.parse_args(arguments)
    settings = _settings(asked, parser)
    if asked.here:
        if settings.toy:
            torch.set_num_threads(1)  # more would wait for each other where other programs run
        return STATUS[STEPS[asked.only[0]](settings)]
    what = "toy size, whose times mean nothing" if settings.toy else "full size"
    print(f"{device_name(settings.device)}, torch {torch.__version__}, {what}; results in {settings.out}", flush=True)
    outcomes = {name: _apart(name, settings) for name in asked.only or STEPS}
    print("", *(f"{name:12}{outcome}" for name, outcome in outcomes.items()), sep="\n", flush=True)
    met = set(outcomes.values())
    return STATUS["failed" if "failed" in met else "done" if met == {"done"} else "to be continued"]


def _settings(asked: argparse.Namespace, parser: argparse.ArgumentParser) -> Settings:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    toy = asked.dry or device == "cpu"
    state = (asked.state or STATE / ("dry" if toy else "state")).resolve()
    out = (asked.out or (state / "out" if toy else RESULTS)).resolve()
    if toy and RESULTS in (out, *out.parents):
        parser.error(f"{out} is for results at full size, and this is a dry run. Name another folder with --out.")
    # What is compiled for one call is there for the next.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(state / "compiled"))
    ends = time.monotonic() + 60 * asked.minutes
    return Settings(device, toy, state, out / slug(device_name(device)), ends, TOY if toy else FULL)


def _apart(name: str, settings: Settings) -> Outcome:
    """Do a step in a process of its own, so that one that breaks the device or hangs does not keep the others."""
    if settings.seconds_left <= 0:
        return "to be continued"
    print(f"== {name}", flush=True)
    command = [sys.executable, "-m", "benchmarks.gpu", "--here", "--only", name]
    command += ["--minutes", f"{settings.seconds_left / 60:.3f}", "--state", str(settings.state)]
    command += ["--out", str(settings.out.parent), *(["--dry"] if settings.toy else [])]
    child = subprocess.Popen(command, start_new_session=True)
    try:
        status = child.wait(settings.seconds_left + GRACE)
    except subprocess.TimeoutExpired:
        print("It did not stop in time, so it was killed.", flush=True)
        return "failed"
    finally:
        with suppress(ProcessLookupError):  # its own helpers too
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return next((outcome for outcome, known in STATUS.items() if known == status), "failed")


def _pack(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu pack", description=packing.__doc__)
    parser.add_argument("folder", type=Path, help="where the parts go")
    for file in packing.pack(parser.parse_args(given).folder):
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
