"""The command ``linescape``, and ``python -m linescape``."""

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line, see `linescape.cli.main`; Ctrl-C ends it with 130 from the start."""
    signal.signal(signal.SIGINT, _interrupted)
    try:
        from linescape import cli

        cli.main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it has ended, and what is left to do is Python's


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; inside an import, which may swallow or print it and writes nothing, end at once."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"linescape: interrupted.\n")
            os._exit(130)
        frame = frame.f_back
    signal.default_int_handler(number, frame)


if __name__ == "__main__":
    main()
