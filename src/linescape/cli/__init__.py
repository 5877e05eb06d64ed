"""The command line: a few lines a command. Answers go to standard output, everything else to standard error."""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError
from rich.markup import escape

from linescape.cli import checkpoints, data, studies
from linescape.cli.consoles import aside
from linescape.errors import LinescapeError

__all__ = ["app", "main"]

app = App(
    name="linescape",
    help="What lies on the straight line between two neural networks.",
    help_format="plaintext",
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
    """Run the command line; exits with 2 after a message about what was asked or found, with 130 after Ctrl-C."""
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except (LinescapeError, CycloptsError) as error:
        aside.print(f"[bold red]linescape:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        aside.print(
            "linescape: stopped. What was finished is kept; the same command goes on from there, but walks with "
            "--adaptive or --until begin again."
        )
        sys.exit(130)
