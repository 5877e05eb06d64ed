"""Reads each checkpoint in a folder with little memory, little time and all numbers touched; argument FOLDER.

One line of JSON each: its name, and the message of the `CheckpointError`, or ``read``, or what else came of it. A crash
or a wait ends the lines.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path

import torch

from linescape import checkpoints
from linescape.errors import CheckpointError

MEMORY = 1 << 29
"""Bytes of address space beyond what the process has at the start; mapped files count too."""

SECONDS = 30


def outcome(path: Path) -> str:
    try:
        found = checkpoints.read(path)
        found.named_as(["fc.weight"])
        for tensor in found.values():
            tensor.contiguous().reshape(-1).view(torch.uint8).sum()
    except CheckpointError as error:
        return str(error)
    except BaseException as error:
        return f"failed: {type(error).__name__}: {str(error)[:500]}"
    return "read"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for path in sorted(folder.iterdir()):
        signal.alarm(SECONDS)
        begun = time.monotonic()
        print(json.dumps([path.name, outcome(path), time.monotonic() - begun]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
