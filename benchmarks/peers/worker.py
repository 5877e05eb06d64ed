"""The process of one peer: loads the networks, then walks a line for each number of positions that it is sent.

    python -m benchmarks.peers.worker NAME FOLDER THREADS

Numbers come in a line each; a line of JSON answers: positions, losses, and the seconds of the walk alone.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from benchmarks.peers import resnet, walks

BATCH = 128


def main() -> None:
    name, folder, threads = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # a peer may print
    torch.set_num_threads(int(threads))
    load = {part: torch.load(Path(folder, f"{part}.pt"), weights_only=True) for part in ("start", "end", "images")}
    parts = (torch.split(load["images"][part], BATCH) for part in ("inputs", "targets"))
    batches = list(zip(*parts, strict=True))
    walk = walks.WALKS[name](resnet.of_state(load["start"]), resnet.of_state(load["end"]), batches)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        positions, losses = walk(int(line))
        seconds = time.perf_counter() - begun
        answer = {"alphas": list(positions), "losses": list(losses), "seconds": seconds}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
