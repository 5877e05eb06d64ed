"""Does a small study under each fault, and counts: `python -m tests.support.faults --moments 50 --damages 1000`.

Writes to its temporary folder alone; its exit code is 1 if anything is not as it has to be.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.support.faults.counting import Counts, table
from tests.support.faults.kinds import faults, training_killed
from tests.support.faults.trial import Trial, text_of

DAMAGED = "results or half-done work are damaged"
OFTEN = "the process is killed"


def befallen(moments: int, damages: int, seed: int, only: str) -> Iterator[tuple[str, Counts]]:
    """What came of each fault.

    Args:
        moments: how often processes are killed; each other fault befalls a tenth as many studies.
        damages: how many stores are damaged.
        seed: decides what is random.
        only: a part of the names of the faults that are wanted.
    """
    for name, fault in faults().items():
        if only.lower() not in name.lower():
            continue
        draw = random.Random(f"{seed} {name}")
        with tempfile.TemporaryDirectory() as scratch:
            trial = Trial(text_of(draw), Path(scratch, "trial"), draw)
            try:
                fault(trial)
                if name == OFTEN:
                    while trial.counts.deaths < moments:
                        fault(trial)
                elif fault is not training_killed:
                    for _ in range(1, moments // 10):
                        fault(trial)
            finally:
                trial.end()
        yield name, trial.counts
    if damages and only in DAMAGED:
        yield DAMAGED, damaged(damages, seed)


def damaged(count: int, seed: int) -> Counts:
    """What comes of damages, see `damage`; three of five to finished stores, and the others to unfinished ones."""
    finished = 3 * count // 5
    numbers = {"finished": finished, "unfinished": count - finished, "seed": seed}
    words = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    command = [sys.executable, "-m", "tests.support.damage", *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        return Counts(runs=count, unfinished=1, notes=[ran.stderr])
    outcomes = json.loads(ran.stdout)
    counts = Counts(runs=count, differ=outcomes["used in silence"], notes=ran.stderr.splitlines())
    for outcome, number in (*outcomes["finished"].items(), *outcomes["unfinished"].items()):
        counts.refused += number if outcome.startswith("refused") else 0
        counts.unfinished += number if outcome in ("failed for ever", "made again without a word") else 0
    return counts


def main() -> None:
    """Print a table of what came of each fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--damages", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="faults whose name has this")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left running
    came, begun = {}, time.monotonic()
    for name, counts in befallen(given.moments, given.damages, given.seed, given.only):
        came[name] = counts
        so_far = f"after {time.monotonic() - begun:.0f} s: {json.dumps({name: asdict(counts)})}"
        print(so_far, *counts.notes, sep="\n", file=sys.stderr, flush=True)  # if it is stopped, this is left
    print(json.dumps({name: asdict(one) for name, one in came.items()}, indent=1) if given.json else table(came))
    sys.exit(any(one.wrong for one in came.values()))


if __name__ == "__main__":
    main()
