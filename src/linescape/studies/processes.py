"""Further processes of this Python that do part of the work; they end with this one, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import BinaryIO, Self

from linescape.recipe.user_code import search_path

_replies: list[BinaryIO] = []
"""Where such a process writes to the one that started it."""


class Processes:
    """Processes that each run one function of linescape; `messages` gives the function what is sent to it.

    Args:
        function: its module and name, such as ``linescape.studies.timing:help_out``.
    """

    def __init__(self, function: str) -> None:
        module, _, name = function.partition(":")
        # -P: a file of the working folder is not to take the place of a module of Python's.
        self.command = [sys.executable, "-P", "-c", f"from {module} import {name}; {name}()"]
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, count: int) -> None:
        """Start as many as are missing of `count`."""
        while len(self.running) < count:
            self.begin()

    def begin(self) -> subprocess.Popen[bytes]:
        """Start one more."""
        # A group of their own: Ctrl-C reaches this process, which then ends them. Not a session of their own,
        # to which Linux would give an equal share of the cores, however nice this process is (sched(7)).
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and text
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,
            # What this process can import, such as the user's network, they find too.
            env=os.environ | {"PYTHONPATH": os.pathsep.join(search_path())},
        )
        self.running.append(process)
        return process

    def send(self, message: bytes) -> None:
        """Send a line to each; one that has died is left out, and this process goes on without it."""
        for process in self.running:
            send(process, message)

    def wait(self) -> None:
        """Wait until each has replied, or died."""
        for process in self.running:
            reply_of(process)

    def kill(self) -> None:
        """End all of them."""
        for process in list(self.running):
            process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for process in self.running:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):  # what could not be sent
                    pipe.close()


def send(process: subprocess.Popen[bytes], message: bytes) -> None:
    """Send one process a line, unless it has died."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(message + b"\n")
        process.stdin.flush()


def reply_of(process: subprocess.Popen[bytes]) -> bytes:
    """Wait for a line from a process; empty if it has died."""
    assert process.stdout is not None
    return process.stdout.readline()


def messages() -> SimpleQueue[bytes]:
    """The lines that arrive on standard input, in such a process. When the input is closed, the process ends."""
    queue: SimpleQueue[bytes] = SimpleQueue()
    _replies.append(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what the user's code prints is no reply
    with suppress(OSError):  # where memory runs out, Linux is to end this process, and not the one that hands out work
        Path("/proc/self/oom_score_adj").write_text("500")

    def listen() -> None:
        for line in sys.stdin.buffer:
            queue.put(line)
        os._exit(0)

    Thread(target=listen, daemon=True).start()
    return queue


def reply(line: bytes = b"") -> None:
    """Answer the process that sent a message."""
    _replies[0].write(line + b"\n")
    _replies[0].flush()
