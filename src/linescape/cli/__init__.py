"""The command line. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter
from rich.text import Text

from linescape.cli import checkpoints, data, doctor, planes, probes, stores, studies, watch
from linescape.cli.consoles import echo_err, prepare, redirected, stderr, stdout, write_json
from linescape.cli.usage import epilogue, example, explained, shown_default
from linescape.errors import LinescapeError, UnfinishedError, UnsoundError

__all__ = ["app", "main"]

app = App(
    name="linescape",
    help="Measure the loss along the straight line between two neural networks.",
    help_format="markdown",
    help_epilogue=example("probe"),
    group_arguments=Group("Parameters", sort_key=0),
    group_parameters=Group("Parameters", sort_key=0),
    default_parameter=Parameter(show_default=shown_default),
    suppress_keyboard_interrupt=False,
    result_action="return_value",
    console=stdout,
    error_console=stderr,
)
studies.app.command(watch.watch_study, name="watch", help_epilogue=epilogue("study watch"))
_COMMANDS: dict[str, App | Callable[..., Any]] = {
    "probe": probes.probe_files,
    "diff": checkpoints.diff,
    "average": checkpoints.average_files,
    "plane": planes.plane,
    "train": studies.train,
    "study": studies.app,
    "store": stores.app,
    "demo": studies.demo,
    "data": data.app,
    "doctor": doctor.examine,
}
"""Command -> what it does, in the order of the help: first what most people look for."""
_FIRST = {"study": "study run", "store": "store check", "data": "data get"}
"""Command with commands of its own -> the one that is its example."""
for _place, (_name, _command) in enumerate(_COMMANDS.items()):
    if isinstance(_command, App):
        _command.sort_key, _command.help_epilogue = _place, example(_FIRST[_name])
        app.command(_command)
    else:
        app.command(_command, name=_name, sort_key=_place, help_epilogue=epilogue(_name))
for _place, _name in enumerate(("list", "plan", "run", "watch", "report", "compare")):
    studies.app[_name].sort_key = _place
app.register_install_completion_command(help="Install completion for your shell, then exit.")
app["--help"].show = False  # who reads this knows it
app.meta.group_parameters = Group("Output", sort_key=4)
app.meta.suppress_keyboard_interrupt = False


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run one command.

    Args:
        tokens: the command, its arguments and options.
        json: write the result to standard output as JSON, and nothing else.
        quiet: no progress and no notes; errors are still written.
    """
    failure: UnfinishedError | None = None
    with redirected(json, quiet):
        try:
            result = app(tokens, exit_on_error=False, print_error=False)
        except UnfinishedError as error:
            result, failure = error.result, error
    if json and result is not None:
        write_json(result)
    if failure is not None:
        raise failure


def main() -> None:
    """Run the command line; see `usage.EXIT_CODES`."""
    prepare()
    try:
        app.meta(sys.argv[1:], exit_on_error=False, print_error=False)
    except BrokenPipeError:
        sys.exit(141)  # as the shell says of a program that a closed pipe ended
    except (LinescapeError, CycloptsError) as error:
        _fail(
            explained(error) if isinstance(error, CycloptsError) else str(error),
            1 if isinstance(error, UnsoundError) else 3 if isinstance(error, UnfinishedError) else 2,
        )
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


def _fail(message: str, code: int = 2) -> NoReturn:
    with suppress(LinescapeError, BrokenPipeError):  # nor can the message be written
        stderr.print(Text("linescape: ", "bold red"), message, sep="", soft_wrap=True)
    sys.exit(code)
