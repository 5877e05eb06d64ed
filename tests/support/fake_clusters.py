"""Stand-ins for ray and submitit, which do units in this process: the logic is tested where neither is installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class OutOfMemoryError(RayError):
    pass


class FakeRay(ModuleType):
    """As much of ray as is used; `fate` may raise what befalls a task."""

    def __init__(self, fate: Callable[[int], None] = lambda _: None) -> None:
        super().__init__("ray")
        self.fate, self.count = fate, 0
        self.given: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self.flying = self.most = 0
        self.cancelled: list[object] = []
        self.down = False
        self.node = "127.0.0.1"
        errors = {"RayError": RayError, "RayTaskError": RayTaskError, "OutOfMemoryError": OutOfMemoryError}
        self.exceptions = SimpleNamespace(**errors)

    def init(self, **given: Any) -> None:
        self.given = given

    def is_initialized(self) -> bool:
        return False

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeManagerAddress": self.node, "Resources": {"memory": 3e9}}]

    def remote(self, **_: Any) -> Callable[[Callable[[bytes], bytes]], Any]:
        def made(function: Callable[[bytes], bytes]) -> Any:
            def options(**asked: Any) -> Any:
                self.asked.append(asked)
                return SimpleNamespace(remote=lambda line: self._begin(function, line))

            return SimpleNamespace(options=options)

        return made

    def _begin(self, function: Callable[[bytes], bytes], line: bytes) -> Any:
        self.flying += 1
        self.most = max(self.most, self.flying)
        return _Task(function, line)

    def wait(self, tasks: Sequence[Any], num_returns: int = 1, timeout: float = 0.0) -> tuple[list[Any], list[Any]]:
        return list(tasks[:1]), list(tasks[1:])  # one at a time ends

    def get(self, task: Any) -> bytes:
        self.flying -= 1
        self.count += 1
        self.fate(self.count)
        return task.function(task.line)  # type: ignore[no-any-return]

    def cancel(self, task: object, force: bool) -> None:
        self.cancelled.append(task)

    def shutdown(self) -> None:
        self.down = True


class _Task:
    def __init__(self, function: Callable[[bytes], bytes], line: bytes) -> None:
        self.function, self.line = function, line


class FakeJob:
    """A job that was done when it was submitted, or that left no result."""

    def __init__(self, folder: Path, name: str, function: Callable[[bytes], bytes], line: bytes, lost: bool) -> None:
        self.job_id = name
        self.paths = SimpleNamespace(result_pickle=folder / f"{name}.pkl", stderr=folder / f"{name}.err")
        if not lost:
            self.outcome = function(line)
            self.paths.result_pickle.write_bytes(b"")

    def exception(self) -> None:
        return None

    def result(self) -> bytes:
        return self.outcome


class FakeSubmitit(ModuleType):
    """As much of submitit as is used; of these jobs, counted from 1, nothing is left."""

    def __init__(self, lost: Sequence[int] = ()) -> None:
        super().__init__("submitit")
        self.arrays: list[tuple[int, dict[str, Any]]] = []
        self.helpers = SimpleNamespace(Checkpointable=object)
        fake, count = self, [0]

        class SlurmExecutor:
            def __init__(self, folder: Path, max_num_timeout: int) -> None:
                self.folder = folder

            def _valid_parameters(self) -> set[str]:
                return {"partition", "time", "mem", "gpus_per_node", "gres"}

            def update_parameters(self, **parameters: Any) -> None:
                self.parameters = parameters

            def map_array(self, function: Callable[[bytes], bytes], lines: Sequence[bytes]) -> list[FakeJob]:
                fake.arrays.append((len(lines), self.parameters))
                jobs = []
                for number, line in enumerate(lines):
                    count[0] += 1
                    name = f"{len(fake.arrays)}_{number}"
                    jobs.append(FakeJob(self.folder, name, function, line, count[0] in lost))
                return jobs

        self.SlurmExecutor = SlurmExecutor

    def modules(self) -> dict[str, ModuleType]:
        """What is imported of it."""
        utils = ModuleType("submitit.core.utils")
        vars(utils)["FailedJobError"] = type("FailedJobError", (Exception,), {})
        return {"submitit": self, "submitit.core": ModuleType("submitit.core"), "submitit.core.utils": utils}


def programs(folder: Path) -> str:
    """A folder with programs by the names of SLURM's that do nothing; the PATH with it."""
    folder.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel"):
        noted = "" if name == "squeue" else f'echo "{name} $*" >> {folder / "called.txt"}\n'
        (folder / name).write_text(f"#!/bin/sh\n{noted}")
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
