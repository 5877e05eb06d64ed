"""A small study, what its results are, and a store that faults befall."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from linescape import atomic
from tests.support.faults.counting import Counts, Event, parse
from tests.support.faults.watched import MAIN, VARIABLE, Settings
from tests.support.own_study import FILE

LIMIT = 600.0
"""Seconds after which a process is ended; each needs some ten, and a machine may be busy."""

RAY_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Ray's settings with which nothing listens beyond this machine."""

MORE = """
from linescape.studies.study import Arm, Moment, Run, Scan

class Greedy(Net):
    def forward(self, series):
        torch.ones(2**33)
        return super().forward(series)

within = Scan(Moment(base, "epoch", 2), Moment(base, "step", 7), alphas=5, train_examples=20)
study = replace(study, arms=(*study.arms, Arm("within", "base", "within", (Run(base, {"midway": within}),), "base")))
greedy = Study.of("greedy", base, {"greedy": {"model": OwnModel.of(Greedy)}}, seeds=1, alphas=5)
"""
ARMS = (
    '"no-momentum": {"momentum": 0}',
    '"wide": {"width": 12}',
    '"adam": "optimizer=adam,lr=0.01"',
    '"noise": {"label_noise": 0.2}',
    '"partial": {"partial": "head"}',
    '"diverges": {"lr": 1e38}',
)

LONG = FILE.replace("Schedule(3)", "Schedule(4000)").replace(
    '"no-momentum": {"momentum": 0}, "wide": {"width": 12}', ""
)
"""A training of some 25 seconds."""


def text_of(draw: random.Random) -> str:
    """A file with a small study of one's own; one arm diverges, another continues a training."""
    changes = {
        'arms = {"no-momentum": {"momentum": 0}, "wide": {"width": 12}}': (
            f"arms = {{{', '.join((*draw.sample(ARMS[:4], 2), *ARMS[4:]))}}}"
        ),
        "Schedule(3)": f"Schedule({draw.randint(20, 60)})",
        "BatchNorm1d(width)": draw.choice(("BatchNorm1d(width)", "GroupNorm(2, width)", "Identity()")),
        "nn.ReLU()": draw.choice(("nn.ReLU()", "nn.Tanh()", "nn.GELU()")),
        "batch_size=30": f"batch_size={draw.choice((15, 30, 45))}",
        "seeds=2": f"seeds={draw.sample(range(100), draw.choice((1, 2)))}",
        "alphas=5": f"alphas={draw.randint(5, 9)}",
        "import torch\n": "import torch\nfrom dataclasses import replace\n",
    }
    text = FILE + MORE
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    return text


class Trial:
    """A study, and a store.

    Args:
        text: the file of the study.
        scratch: a new folder, in which everything happens.
        draw: decides what is random.
        snapshot: seconds between snapshots of a training.
        name: of the study in its file.

    Attributes:
        seconds: what the study takes by itself.
        counts: of all that befell its stores.
    """

    def __init__(
        self, text: str, scratch: Path, draw: random.Random, snapshot: float = 0.1, name: str = "study"
    ) -> None:
        self.scratch, self.draw, self.snapshot = scratch, draw, snapshot
        self.root, self.log, self.errors = scratch / "store", scratch / "log", scratch / "errors"
        self.counts = Counts()
        (scratch / "tmp").mkdir(parents=True)
        (scratch / "my_study.py").write_text(text)
        self.study = f"{scratch / 'my_study.py'}:{name}"
        try:
            code = self.wait(self.begin())
            assert code == 0, self.errors.read_text()
        except BaseException:
            self.end()
            raise
        self.seconds = time.monotonic() - self.events()[0].at
        self.expected = self.read()
        self.trainings = frozenset(self.expected["trainings"])
        self.renew()

    # -- processes ----------------------------------------------------------------------------------------------

    def begin(
        self, *options: str, study: str = "", root: Path | None = None, **settings: Any
    ) -> subprocess.Popen[bytes]:
        """Start a run of the study by the command line."""
        told = Settings(str(self.log), **{"snapshot": self.snapshot, **settings})
        words = ("study", "run", study or self.study, "--store", str(root or self.root), *options)
        if "--workers" not in options:
            words += ("--workers", "1")
        with self.errors.open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-c", MAIN.format("main", "main"), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=self.environment(told),
            )

    def environment(self, told: Settings | None = None) -> dict[str, str]:
        """Of the processes of this trial, by which they are known."""
        told = told or Settings(str(self.log))
        return os.environ | {
            VARIABLE: msgspec.json.encode(told).decode(),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(Path.cwd()), *sys.path))),
            "TMPDIR": str(self.scratch / "tmp"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.scratch / "torch"),
            "RAY_TMPDIR": str(self.scratch / "ray"),
            **RAY_ALONE,
        }

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a run to end; its exit code."""
        self.counts.runs += 1
        try:
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.counts.hung += 1
            process.kill()
            code = process.wait()
        self.counts.refused += code == 2
        self.counts.failed += code == 3
        if code not in (0, 2, 3, -signal.SIGKILL):
            self.counts.notes.append(f"a run ended with exit code {code}")
            self.counts.unfinished += 1
        return code

    def kill(self, process: subprocess.Popen[bytes], helpers: bool = False) -> int:
        """Kill a run, with its helpers or without, if it has not ended; its exit code."""
        if process.poll() is None:
            self.counts.deaths += 1
            for other in self.alive() if helpers else ():
                with suppress(ProcessLookupError):
                    os.kill(other, signal.SIGKILL)
            process.kill()
        return self.wait(process)

    def alive(self) -> Iterator[int]:
        """The processes of this trial."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if str(self.log).encode() in (folder / "environ").read_bytes():
                    yield int(folder.name)

    def working(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until a run can begin its work; whether it lives."""
        return self.until(process, lambda event: event.process == process.pid)

    def until(self, process: subprocess.Popen[bytes], noted: Any) -> bool:
        """Wait until something is noted; whether the run lives then."""
        ended = time.monotonic() + LIMIT
        while process.poll() is None and time.monotonic() < ended:
            if any(map(noted, self.events())):
                return True
            time.sleep(0.02)
        return False

    def pause(self, most: float | None = None) -> None:
        """Wait for a random time, at most as long as the study takes."""
        time.sleep(self.draw.uniform(0, self.seconds if most is None else most))

    # -- what came of it ----------------------------------------------------------------------------------------

    def events(self) -> list[Event]:
        """What processes noted."""
        return parse(self.log.read_bytes()) if self.log.exists() else []

    def moved(self) -> None:
        """Note that what was published need not be there any more."""
        with self.log.open("ab") as log:
            log.write(json.dumps(Event(time.monotonic(), os.getpid(), "moved")).encode() + b"\n")

    def read(self) -> dict[str, Any]:
        """What the store holds, read by another process."""
        words = (sys.executable, "-c", MAIN.format("read", "read"), self.study, str(self.root))
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=LIMIT, env=self.environment())
        assert ran.returncode == 0, ran.stderr
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    def finish(self) -> None:
        """Do what is left, compare all results, and begin with an empty store."""
        code = self.wait(self.begin())
        self.counts.unfinished += code != 0
        self.compare()
        self.renew()

    def compare(self) -> None:
        """Count what is not as it has to be after a last run."""
        counts, errors = self.counts, self.errors.read_text()
        found, expected = self.read()["digests"], self.expected["digests"]
        different = [name for name, digest in expected.items() if found.get(name) != digest]
        counts.differ += len(different)
        counts.notes += [f"{name} differs" for name in different[:5]]
        counts.tracebacks += errors.count("Traceback")
        if counts.tracebacks or counts.unfinished:
            counts.notes.append(errors[-6000:])
        counts.take(self.events(), self.trainings)
        left = [str(path) for path in self.left()]
        counts.leftovers += len(left)
        counts.notes += left[:5]

    def left(self) -> Sequence[Path]:
        """Files that should not be there after a last run, and processes that should have ended."""
        ended = time.monotonic() + 10.0
        while (alive := list(self.alive())) and time.monotonic() < ended:
            time.sleep(0.1)
        files = [*self.root.rglob(f".*{atomic.SUFFIX}*"), *self.root.rglob("resume.safetensors")]
        files += self.root.glob("scan/*/points/*")
        # A process that is killed while it loads the compiled kernels leaves a folder of that name behind.
        files += [path for path in (self.scratch / "tmp").iterdir() if not path.name.startswith("linescape-")]
        return [*files, *(Path("/proc", str(process)) for process in alive)]

    def renew(self) -> None:
        """End what still runs, and begin with an empty store."""
        self.end()
        for path in (self.root, self.log, self.errors, *(self.scratch / "tmp").iterdir()):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def end(self) -> None:
        """End what still runs, and wait for it, as it could write into a folder that is being removed."""
        while processes := list(self.alive()):
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.02)
