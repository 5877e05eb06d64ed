"""The benchmarks one after another, each in a process of its own, then the tables: `make bench`.

Left out are `benchmarks.headline`, which trains four networks first, `benchmarks.larger`, which writes 8 GB and takes a
quarter of an hour, `benchmarks.fewer_passes`, which needs the store of a study that was run, and transformers at the
size of their default, which take hours on a slow processor: each is a command of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time

CONTESTS: dict[str, tuple[str, ...]] = {
    "lines": ("--rounds", "3", "--alphas", "11", "--images", "256"),
    "layers": ("--rounds", "2", "--alphas", "11", "--images", "256"),
    "small": ("--rounds", "3"),
    "moving": ("--rounds", "3", "--alphas", "11", "--images", "256"),
}
"""These take what is given on the command line, such as ``--rounds 1 --alphas 3 --images 64`` for a first look."""

OTHERS: dict[str, tuple[str, ...]] = {
    "transformers": ("--rounds", "1", "--alphas", "11", "--examples", "64", "--width", "256", "--tokens", "64"),
    "padded": ("--rounds", "2"),
    "training": ("--rounds", "2"),
    "growth": ("--rounds", "3"),
    "overhead": (),
    "architectures": (),
}
"""So large that all take less than 90 minutes on two cores without AVX-512."""


def main() -> int:
    failed = []
    for name, usual in {**CONTESTS, **OTHERS}.items():
        print(f"== {name}", flush=True)
        begun = time.monotonic()
        # One that fails does not keep the others from being measured. What comes last on a command line counts.
        given = sys.argv[1:] if name in CONTESTS else []
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *usual, *given], check=False).returncode:
            failed.append(name)
        print(f"   {name}: {time.monotonic() - begun:.0f} s", flush=True)
    table = subprocess.run([sys.executable, "-m", "benchmarks.table"], check=False).returncode
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed or table else 0


if __name__ == "__main__":
    sys.exit(main())
