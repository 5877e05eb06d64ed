"""Installs each peer into an environment of its own, and runs it as a contender in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from benchmarks.contest import Contender, Walk

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "benchmarks" / ".peers"
VERSIONS = {"loss-landscapes": "3.0.6", "loss-landscape-3d": "0.1.3", "nngeom": "0.2.0"}


@contextmanager
def hired(folder: Path) -> Iterator[tuple[dict[str, Contender], dict[str, str]]]:
    """All peers that can be had, by name and version, ready to walk the pair in a folder; and why others cannot."""
    contenders: dict[str, Contender] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        for name, version in VERSIONS.items():
            try:
                contenders[f"{name} {version}"] = stack.enter_context(
                    _worker(name, _environment(name, version), folder)
                )
            except (OSError, subprocess.CalledProcessError, RuntimeError) as error:
                missing[f"{name} {version}"] = str(error)
                print(f"  {name} {version} is left out: {error}", flush=True)
        yield contenders, missing


def _environment(name: str, version: str) -> Path:
    """The Python of a peer's environment, made at its first use."""
    folder = ENVIRONMENTS / name
    python, ready = folder / "bin" / "python", folder / ".ready"
    wanted = f"{name}=={version}\n"
    if not ready.exists() or ready.read_text() != wanted:
        print(f"  installing {name} {version}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
        # torch first: what a peer asks for itself may be another build of it.
        for packages in (["torch", "numpy"], [wanted.strip()]):
            subprocess.run([*install, *packages], check=True)
        ready.write_text(wanted)
    return python


@contextmanager
def _worker(name: str, python: Path, folder: Path) -> Iterator[Contender]:
    # The peers see their own environment only, not what this process has on its path.
    surroundings = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(python), "-m", "benchmarks.peers.worker", name, str(folder), str(torch.get_num_threads())]
    with subprocess.Popen(
        command, cwd=ROOT, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        questions, answers = process.stdin, process.stdout
        assert questions is not None
        assert answers is not None

        def answer() -> str:
            line = answers.readline()
            if not line:
                raise RuntimeError(f"the worker of {name} ended; what it said stands above")
            return line

        def walk(alphas: int) -> Walk:
            questions.write(f"{alphas}\n")
            questions.flush()
            return Walk(**json.loads(answer()))

        answer()  # it has loaded everything
        try:
            yield walk
        finally:
            questions.close()  # which ends it
