"""Where tasks run. An `Executor` does the units of a schedule; all do them with the one function of `anywhere`.

    local    processes of this machine, the default
    ray      a Ray cluster, or one on this machine that ends with the run
    slurm    job arrays of a SLURM cluster

What goes to another process or machine is a line of JSON, and so is what comes back: no network, study or result is
pickled. Ray and submitit wrap that line in pickles of their own, which only their workers write.
The same task has the same bits wherever it is done on the same kind of machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from linescape.errors import RecipeError, suggest
from linescape.studies.executors.anywhere import Executor, Target
from linescape.studies.executors.local import Local

__all__ = ["NAMES", "Executor", "Local", "Target", "named"]

NAMES = ("local", "ray", "slurm")


def named(name: str, workers: int | None = None, address: str = "", settings: Sequence[str] = ()) -> Executor:
    """An executor by its name.

    Args:
        name: ``local``, ``ray`` or ``slurm``.
        workers: processes of ``local``; units in flight at once, at most, of the others.
        address: of a Ray cluster; empty starts one on this machine.
        settings: of SLURM's jobs, each ``name=value``.

    Raises:
        RecipeError: there is no such executor, what it needs is not installed, or an argument is not one of it.
    """
    if workers is not None and workers < 1:
        raise RecipeError(f"{workers} workers would do nothing. Ask for 1 or more, or leave it out.")
    if name not in NAMES:
        raise RecipeError(f"There is no executor {name!r}. {suggest(name, NAMES)}")
    for given, of in ((address, "ray"), (settings, "slurm")):
        if given and name != of:
            what = "An address" if of == "ray" else "Settings of jobs"
            raise RecipeError(f"{what} was given for the executor {name!r}, which has none. Add --executor {of}.")
    if name == "local":
        return Local(workers)
    try:
        module = import_module(f"linescape.studies.executors.on_{name}")
        made: Executor = module.Ray(workers, address) if name == "ray" else module.Slurm(workers, settings)
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"The executor {name!r} needs {error.name}, which is not installed. Get it with: pip install "
            f"'linescape[{name}]'"
        ) from error
    return made
