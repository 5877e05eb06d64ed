"""Further processes of this Python that do part of the work; they end with this one, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Self


class Processes:
    """Processes that each run one function of linescape; `messages` gives the function what `send` sends.

    Args:
        function: its module and name, such as ``linescape.studies.run:help_out``.
    """

    def __init__(self, function: str) -> None:
        module, _, name = function.partition(":")
        self.command = [sys.executable, "-c", f"from {module} import {name}; {name}()"]
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, count: int) -> None:
        """Start as many as are missing of `count`."""
        while len(self.running) < count:
            # A group of their own: Ctrl-C reaches this process, which then ends them. Not a session of their own,
            # to which Linux would give an equal share of the cores, however nice this process is (sched(7)).
            self.running.append(
                subprocess.Popen(  # noqa: S603 - our own interpreter and text
                    self.command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    process_group=0,
                    # What this process can import, such as the user's network, they find too.
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
            )

    def send(self, message: bytes) -> None:
        """Send a line to each; one that has died is left out, and this process goes on without it."""
        for process in self.running:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(message + b"\n")
                process.stdin.flush()

    def wait(self) -> None:
        """Wait until each has written a line, or died."""
        for process in self.running:
            assert process.stdout is not None
            process.stdout.readline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            process.kill()
        for process in self.running:
            process.communicate()


def messages() -> SimpleQueue[bytes]:
    """The lines that arrive on standard input, in such a process. When the input is closed, the process ends."""
    queue: SimpleQueue[bytes] = SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            queue.put(line)
        os._exit(0)

    Thread(target=listen, daemon=True).start()
    return queue
