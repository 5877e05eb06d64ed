"""The command line. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

from cyclopts import App, CycloptsError
from rich.text import Text

from linescape.cli import checkpoints, data, planes, studies
from linescape.cli.consoles import echo_err, prepare, stderr, stdout
from linescape.errors import LinescapeError

__all__ = ["app", "main"]

app = App(
    name="linescape",
    help="Measure the loss along the straight line between two neural networks.",
    help_format="markdown",
    suppress_keyboard_interrupt=False,
    result_action="return_value",
    console=stdout,
    error_console=stderr,
)
app.command(studies.app)
app.command(data.app)
app.command(studies.demo)
app.command(studies.train)
app.command(checkpoints.diff)
app.command(checkpoints.probe_files, name="probe")
app.command(checkpoints.average_files, name="average")
app.command(planes.plane)


def main() -> None:
    """Run the command line. Exits with 2 after an error message, 130 after Ctrl-C, 141 if nobody reads its output."""
    prepare()
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except BrokenPipeError:
        sys.exit(141)  # as the shell says of a program that a closed pipe ended
    except (LinescapeError, CycloptsError) as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}.")
    except KeyboardInterrupt:
        with suppress(LinescapeError, BrokenPipeError):
            echo_err(
                "linescape: interrupted. Finished work is kept: run the same command again to continue. Scans with "
                "--adaptive or --until start over."
            )
        sys.exit(130)


def _fail(message: str) -> NoReturn:
    with suppress(LinescapeError, BrokenPipeError):  # nor can the message be written
        stderr.print(Text("linescape: ", "bold red"), message, sep="", soft_wrap=True)
    sys.exit(2)
