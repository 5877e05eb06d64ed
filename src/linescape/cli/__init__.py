"""The command line. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError
from rich.markup import escape

from linescape.cli import checkpoints, data, studies
from linescape.cli.consoles import stderr
from linescape.errors import LinescapeError

__all__ = ["app", "main"]

app = App(
    name="linescape",
    help="Measure the loss along the straight line between two neural networks.",
    help_format="markdown",
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app.command(studies.app)
app.command(data.app)
app.command(studies.demo)
app.command(studies.train)
app.command(checkpoints.diff)
app.command(checkpoints.probe_files, name="probe")
app.command(checkpoints.average_files, name="average")


def main() -> None:
    """Run the command line. Exits with 2 after an error message, and with 130 after Ctrl-C."""
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except (LinescapeError, CycloptsError) as error:
        stderr.print(f"[bold red]linescape:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        stderr.print(
            "linescape: interrupted. Finished work is kept: run the same command again to continue. Scans with "
            "--adaptive or --until start over."
        )
        sys.exit(130)
