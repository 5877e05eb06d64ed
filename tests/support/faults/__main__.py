"""Does a small study under each fault, and counts: `python -m tests.support.faults --moments 50`."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.support.faults.counting import Counts, table
from tests.support.faults.kinds import FAULTS
from tests.support.faults.trial import Trial, text_of


def main(moments: int, seed: int, only: str) -> dict[str, Counts]:
    """Each fault, so many times: the first until it had so many deaths, others a tenth of that."""
    came: dict[str, Counts] = {}
    for name, fault in FAULTS.items():
        if only not in name:
            continue
        draw = random.Random(seed)
        with tempfile.TemporaryDirectory() as scratch:
            trial = Trial(text_of(draw), Path(scratch, "trial"), draw)
            begun = time.monotonic()
            try:
                for _ in range(max(1, moments // 10)):
                    fault(trial)
            finally:
                trial.end()
        came[name] = trial.counts
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return came


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="faults whose name has this")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    counted = main(given.moments, given.seed, given.only)
    print(json.dumps({name: asdict(one) for name, one in counted.items()}, indent=1) if given.json else table(counted))
    for one in counted.values():
        for note in one.notes:
            print(note, file=sys.stderr)
    sys.exit(any(one.wrong for one in counted.values()))
