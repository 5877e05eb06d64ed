"""The benchmarks one after another, each in a process of its own, then the tables: `make bench`.

`benchmarks.fewer_passes` is left out: it needs the store of a study that was run.
"""

from __future__ import annotations

import subprocess
import sys

CONTESTS = ("lines", "layers", "small", "moving")
"""These take what is given on the command line, such as ``--rounds 1 --alphas 3 --images 64`` for a first look."""

ALL = (*CONTESTS, "growth", "training", "overhead", "larger")


def main() -> int:
    failed = []
    for name in ALL:
        print(f"== {name}", flush=True)
        # One that fails does not keep the others from being measured.
        given = sys.argv[1:] if name in CONTESTS else []
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *given], check=False).returncode:
            failed.append(name)
    table = subprocess.run([sys.executable, "-m", "benchmarks.table"], check=False).returncode
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed or table else 0


if __name__ == "__main__":
    sys.exit(main())
