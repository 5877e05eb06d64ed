"""Random small studies under random faults, for an hour: `python -m tests.support.soak --minutes 60`.

Each study has another network, other arms, seeds and numbers of processes, and is compared with itself undisturbed.
Prints a line every few minutes, and a summary as JSON. What is drawn is decided by the seed; in what a death cuts
short, machines differ.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.support.faults.counting import Counts
from tests.support.faults.kinds import faults
from tests.support.faults.trial import Trial, text_of


def soak(minutes: float, seed: int, every: float) -> tuple[int, dict[str, Counts]]:
    """How many studies there were, and what came of each fault.

    Args:
        minutes: after which no further study begins.
        seed: decides what is random.
        every: minutes between lines on standard error.
    """
    possible, came = faults(), dict[str, Counts]()
    begun = said = time.monotonic()
    number = 0
    while time.monotonic() - begun < 60 * minutes:
        draw = random.Random(f"{seed} {number}")
        with tempfile.TemporaryDirectory() as scratch:
            trial = Trial(text_of(draw), Path(scratch, "trial"), draw, snapshot=draw.choice((0.02, 0.1, 0.5)))
            try:
                for name in draw.sample(sorted(possible), 2):
                    trial.counts = Counts()
                    possible[name](trial)
                    trial.counts.notes = [f"study {number}: {note}" for note in trial.counts.notes]
                    came.setdefault(name, Counts()).add(trial.counts)
            finally:
                trial.end()
        number += 1
        if time.monotonic() - said >= 60 * every:
            said = time.monotonic()
            print(_line((said - begun) / 60, number, came), file=sys.stderr, flush=True)
    return number, came


def _line(minutes: float, studies: int, came: dict[str, Counts]) -> str:
    runs, deaths = (sum(getattr(counts, name) for counts in came.values()) for name in ("runs", "deaths"))
    wrong = [name for name, counts in came.items() if counts.wrong]
    return (
        f"{minutes:.0f} minutes: {studies} studies, {runs} runs, {deaths} deaths; wrong: {', '.join(wrong) or 'none'}"
    )


def main() -> None:
    """Print a summary as JSON; exit code 1 if anything was not as it has to be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=5.0)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left running
    begun = time.monotonic()
    studies, came = soak(given.minutes, given.seed, given.every)
    minutes = (time.monotonic() - begun) / 60
    print(_line(minutes, studies, came), file=sys.stderr)
    by_fault = {name: asdict(counts) for name, counts in sorted(came.items())}
    print(
        json.dumps({"seed": given.seed, "minutes": round(minutes, 1), "studies": studies, "faults": by_fault}, indent=1)
    )
    sys.exit(any(counts.wrong for counts in came.values()))


if __name__ == "__main__":
    main()
