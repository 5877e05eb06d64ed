"""What each command needs, with an example: at the end of its help, and where something is missing or too much."""

from __future__ import annotations

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError

EXIT_CODES = (
    "Exit codes: 0 done; 1 unexpected error, or doctor found a wrong number; 2 error; 3 some tasks failed, or results "
    "are damaged; 130 interrupted; 141 output closed."
)

_STUDY = "the name of a study"

NEEDS = {
    "average": ("two checkpoints or more and the file to write", "A B --out between.safetensors"),
    "data get": ("the name of a data set", "cifar10"),
    "data list": ("at most the folder of data sets", "--root data"),
    "demo": ("at most two folders, of results and of the report", "--out report"),
    "diff": ("two checkpoints", "A B"),
    "doctor": ("at most two checkpoints", "A B --model mine:network --data mine:data"),
    "plane": (
        "three checkpoints, or one for random directions",
        "A B C --model mine:network --data mine:data",
    ),
    "probe": (
        "two checkpoints, or the folder of the checkpoints of one training",
        "A B --model mine:network --data mine:data",
    ),
    "store check": ("at most the folder of results", "runs"),
    "store export": ("the archive to write", "results.zip vlaar2022 --arms base"),
    "store gc": ("at most the folder of results, and the studies to keep", "runs --keep vlaar2022"),
    "store import": ("an archive of results", "results.zip --store runs"),
    "study compare": ("options only", "--scale demo"),
    "study list": ("at most the name of a study", "vlaar2022 --scale demo"),
    "study plan": (_STUDY, "vlaar2022"),
    "study report": (_STUDY, "vlaar2022 --out report"),
    "study run": (_STUDY, "vlaar2022 --scale demo"),
    "study watch": (_STUDY, "vlaar2022 --scale demo"),
    "train": ("options only", "--under weight_decay=0 label_noise=0.2"),
}
"""Command -> what it cannot do without, and arguments as an example."""

_SEVERAL = {
    "diff": "Compare two at a time. For several, put them into one folder: linescape probe FOLDER measures the lines "
    "between them.",
    "probe": "Measure two at a time, or put several into one folder: linescape probe FOLDER --pairs all",
}


def shown_default(value: object) -> str | None:
    """A default as it is typed; None, which shows nothing, for a flag that is off and where there is no value."""
    if value is None or value is False or value in ((), ""):
        return None
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def example(command: str) -> str:
    """A line that can be typed."""
    return f"Example: `linescape {command} {NEEDS[command][1]}`"


def epilogue(command: str) -> str:
    """The end of a command's help: an example, and exit codes."""
    return f"{example(command)}\n\n{EXIT_CODES}"


def explained(error: CycloptsError) -> str:
    """The message of an error about what was typed, with what the command needs where that is the cause."""
    command = " ".join(error.command_chain or ())
    if command in NEEDS:
        needed, arguments = NEEDS[command]
        if isinstance(error, MissingArgumentError) and error.keyword is None:
            return f"{command} needs {needed}: linescape {command} {arguments}"
        if isinstance(error, UnusedCliTokensError):
            extra = error.unused_tokens or []
            too_many = f"{', '.join(map(repr, extra))} {'is one' if len(extra) == 1 else 'are'} too many"
            hint = _SEVERAL.get(command, f"For example: linescape {command} {arguments}")
            return f"{command} takes {needed}, and {too_many}. {hint}"
    return str(error)
