"""The benchmarks one after another, each in a process of its own, then the tables: `make bench`.

`benchmarks.fewer_passes` is left out: it needs the store of a study that was run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ALL = ("lines", "layers", "small", "moving", "growth", "training", "overhead")


def main() -> int:
    failed = []
    for name in ALL:
        if not (Path(__file__).parent / f"{name}.py").exists():
            continue
        print(f"== {name}", flush=True)
        # One that fails does not keep the others from being measured.
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=False).returncode:
            failed.append(name)
    table = subprocess.run([sys.executable, "-m", "benchmarks.table"], check=False).returncode
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed or table else 0


if __name__ == "__main__":
    sys.exit(main())
