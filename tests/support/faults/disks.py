"""Faults of a disk: a small file system of its own, which is full at many writes, or may only be read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.faults.trial import Trial


def _mounted(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def possible() -> bool:
    """Whether a file system may be mounted here."""
    with TemporaryDirectory() as folder:
        if not _mounted(Path(folder), "size=100k"):
            return False
        subprocess.run(["umount", folder], check=True)
    return True


@contextmanager
def _disk(trial: Trial) -> Iterator[Callable[[str], bool]]:
    """The store of the trial on a disk of its own; a function that changes the disk's options."""
    folder, usual = trial.scratch / "disk", trial.root
    folder.mkdir()
    assert _mounted(folder, "size=64m")
    trial.root = folder / "store"
    try:
        yield lambda options: _mounted(folder, f"remount,{options}")
    finally:
        trial.root = usual
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def full(trial: Trial) -> None:
    """The disk is full at a random write, and again after some space was freed, until all is done."""
    with _disk(trial) as change:
        code, room = 2, 0
        while code == 2:
            room += trial.draw.randint(10, 250)
            assert change(f"size={room}k")
            before = len(trial.errors.read_bytes()) if trial.errors.exists() else 0
            code = trial.wait(trial.begin())
            said = trial.errors.read_text()[before:]
            trial.counts.unfinished += code not in (0, 2) or (code == 2 and "the disk is full" not in said)
        assert change("size=64m")
        trial.finish()


def read_only(trial: Trial) -> None:
    """A run is killed, and the disk may only be read when the next one begins."""
    with _disk(trial) as change:
        run = trial.begin()
        if trial.working(run):
            trial.pause(0.9 * trial.seconds)
        finished = trial.kill(run) == 0  # then there is nothing to write
        assert change("ro")
        code = trial.wait(trial.begin())
        refused = code == 2 and "read-only" in trial.errors.read_text()
        trial.counts.unfinished += code != 0 if finished else not refused
        assert change("rw")
        trial.finish()
