"""The C code of this package, made into a library by the machine's own compiler: for its CPU, once, in about a second.

The library lies in the user's cache under a name that holds its source, the compiler, and what the CPU can do, since
clusters share a home folder between unlike machines.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import Tensor

from linescape import atomic

_COMPILERS = ("gcc", "cc")
"""Clang's threads are not those of torch: its libraries are refused when they are loaded."""

_PATIENCE = 60.0
"""Seconds after which a compiler is given up."""


def compiler() -> str | None:
    """The compiler of this machine, where the code is for its CPU."""
    if platform.system() != "Linux" or torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return None
    named = os.environ.get("CC")
    return next((path for name in (named, *_COMPILERS) if name and (path := shutil.which(name))), None)


@cache
def kernels() -> ctypes.CDLL | None:
    """The library of ``kernels.c``; None where it cannot be made."""
    program = compiler()
    if program is None:
        return None
    source = resources.files(__package__).joinpath("kernels.c").read_bytes()
    key = hashlib.sha256(b"\0".join([source, program.encode(), platform.machine().encode(), _abilities()])).hexdigest()
    kept = user_cache_path("linescape", appauthor=False) / "compiled" / f"kernels-{key[:16]}.so"
    with suppress(OSError):  # it is not there yet, or cannot be read
        if kept.stat().st_uid == os.getuid():  # what another user has put there is not run
            return ctypes.CDLL(str(kept))
    try:
        with tempfile.TemporaryDirectory() as scratch:
            made = _made(program, source, Path(scratch))
            library = ctypes.CDLL(str(made))
            with suppress(OSError):  # where it cannot be kept, each process makes its own
                atomic.write(kept, made.read_bytes())
            return library
    except (OSError, subprocess.SubprocessError):
        return None


def _made(program: str, source: bytes, scratch: Path) -> Path:
    """Compile, and link against nothing: the threads are those that torch has loaded, not a second set of them."""
    code, compiled, linked = (scratch / f"kernels{end}" for end in (".c", ".o", ".so"))
    code.write_bytes(source)
    for arguments in (
        ("-O3", "-march=native", "-fopenmp", "-fPIC", "-c", str(code), "-o", str(compiled)),
        ("-shared", str(compiled), "-o", str(linked)),
    ):
        command = (program, *arguments)
        subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE)  # noqa: S603 - of this package
    return linked


def _abilities() -> bytes:
    """What the CPU can do, which `-march=native` depends on."""
    lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    return b"".join(sorted({line for line in lines if line.startswith((b"flags", b"model name"))}))


def needed() -> ctypes.CDLL:
    """The library, where `kernels` was asked before."""
    found = kernels()
    assert found is not None
    return found


def lanes() -> int:
    """Numbers that one operation of the CPU takes; channels must be a multiple."""
    return ctypes.c_int64.in_dll(needed(), "kernels_lanes").value


def panel() -> int:
    """Outputs that are computed together."""
    return ctypes.c_int64.in_dll(needed(), "kernels_panel").value


def numbers(*values: int) -> list[ctypes.c_int64]:
    """Sizes as the library takes them, the number of threads last."""
    return [ctypes.c_int64(value) for value in (*values, torch.get_num_threads())]


def at(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor lies."""
    return ctypes.c_void_p(tensor.data_ptr() if tensor is not None else None)
