"""Units as tasks of a Ray cluster, of several machines or of this one."""

from __future__ import annotations

import os
import sysconfig
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from linescape.engine import threads
from linescape.errors import RecipeError, first_line
from linescape.recipe.user_code import search_path
from linescape.studies.executors.anywhere import Target, answer, killed, message, outcome_of
from linescape.studies.resources import needed
from linescape.studies.schedule import Outcome, Schedule, Unit
from linescape.studies.store import Store

IN_FLIGHT = 256
"""Units in flight at once, at most, on a cluster elsewhere: more than run at once, so that it can grow."""

_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Ray's settings for a cluster of one machine: nothing listens beyond it, on Linux too, and no usage is reported."""


class Ray:
    """A Ray cluster. Without an address one is started on this machine, and ends with the run.

    Args:
        workers: units in flight at once, at most; by default one for each core, or `IN_FLIGHT` with an address.
        address: of a running cluster: ``auto``, ``HOST:PORT``, or ``ray://HOST:PORT``. All its machines need linescape,
            the user's code at the same place, and the store at the same path.

    Raises:
        RecipeError: Ray is not installed.
    """

    def __init__(self, workers: int | None = None, address: str = "") -> None:
        if find_spec("ray") is None:
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        self.workers, self.address = workers, address

    def capacity(self, _: str) -> int:
        """How many units are in flight at once."""
        return self.workers or (IN_FLIGHT if self.address else threads.cores("cpu"))

    def run(self, schedule: Schedule, store: Store, device: str) -> None:
        """Do all units; Ctrl-C cancels those in flight."""
        ray = _connected(self.address, self.capacity(device))
        remote = ray.remote(max_retries=0)(answer)  # the schedule tries again, wherever a unit was lost
        most = self.capacity(device)
        target, flying = Target.of(store, device), dict[Any, Unit]()
        memory = max((node["Resources"].get("memory", 0.0) for node in ray.nodes()), default=0.0)
        try:
            while not schedule.ended:
                while len(flying) < most and (unit := schedule.take()) is not None:
                    needs = needed(unit.task, device)
                    # A cluster that runs on may grow; on this machine a unit could wait for ever.
                    room = needs.bytes if self.address else int(min(needs.bytes, memory / 2))
                    task = remote.options(num_cpus=needs.cores, num_gpus=needs.gpu, memory=room)
                    flying[task.remote(message(unit, target))] = unit
                if not flying:
                    schedule.pause(0.5)
                    continue
                ray.wait(list(flying), timeout=0.5)
                for done in ray.wait(list(flying), num_returns=len(flying), timeout=0)[0]:
                    schedule.settle(flying.pop(done), _outcome(ray, done))
        finally:
            for task in flying:
                with suppress(ray.exceptions.RayError):  # the cluster is gone
                    ray.cancel(task, force=True)
            ray.shutdown()


def _connected(address: str, cores: int) -> Any:
    """Ray, connected to a cluster."""
    # What this process can import, such as the user's network, tasks find too; libraries are those of each machine.
    libraries = tuple(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
    own = (path for path in search_path() if not path.startswith(libraries))
    settings: dict[str, Any] = {
        "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(own)}},
        "log_to_driver": False,
        "configure_logging": False,
    }
    if address:
        settings["address"] = address
    if not address or _listens_here_alone():
        os.environ.update(_ALONE)
    if not address:
        settings |= {"address": "local", "include_dashboard": False, "num_cpus": cores}
    import ray  # reads its settings when it is imported

    if ray.is_initialized():
        raise RecipeError(
            "This process is connected to a Ray cluster already, whose connection would end with the run. Call "
            "ray.shutdown() first."
        )
    try:
        ray.init(**settings)
    except Exception as error:  # Ray raises it itself, such as where a node takes too long to start
        where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
        raise RecipeError(f"There is no connection to {where}: {first_line(error)}") from error
    if not address and any(node["NodeManagerAddress"] != "127.0.0.1" for node in ray.nodes()):
        ray.shutdown()
        raise RecipeError(
            "Ray was imported before linescape could tell it to listen on this machine alone, so its cluster would be "
            f"open to others. Set {' '.join(f'{name}={value}' for name, value in _ALONE.items())} in the environment."
        )
    return ray


def _listens_here_alone() -> bool:
    """Whether the cluster that `ray start` noted on this machine listens on its loopback addresses alone.

    Ray looks for it at another address of this machine otherwise, until its time limit.
    """
    noted = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray" / "ray_current_cluster"
    with suppress(OSError, UnicodeDecodeError):  # none was started here
        return noted.read_text().startswith("127.")
    return False


def _outcome(ray: Any, task: Any) -> Outcome:
    try:
        return outcome_of(ray.get(task))
    except ray.exceptions.RayTaskError as error:  # not even its message could be read there
        return Outcome("failed", str(error))
    except ray.exceptions.OutOfMemoryError:
        return killed("signal 9, by Ray, as its machine had no memory left")
    except ray.exceptions.RayError as error:
        return killed(first_line(error))
