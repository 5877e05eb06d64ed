"""Compiles the C code of this package with the machine's own compiler, for its CPU, once, in about a second.

The library is kept in the user's cache. Its name is a digest of the source, the compiler and the CPU's abilities, since
the machines of a cluster share a home folder.
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
"""Not clang, whose threads are not those of torch: its libraries would not load."""

_TIMEOUT = 60.0
"""Seconds after which a compiler is given up."""


def compiler() -> str | None:
    """Path of this machine's compiler; None where there is none, or the code is not for this CPU or system."""
    if platform.system() != "Linux" or torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return None
    names = (os.environ.get("CC"), *_COMPILERS)
    return next((path for name in names if name and (path := shutil.which(name))), None)


@cache
def kernels() -> _Library | None:
    """The library of ``kernels.c``; None where it cannot be made."""
    program = compiler()
    if program is None:
        return None
    source = resources.files(__package__).joinpath("kernels.c").read_bytes()
    key = hashlib.sha256(b"\0".join([source, program.encode(), platform.machine().encode(), _abilities()])).hexdigest()
    kept = user_cache_path("linescape", appauthor=False) / "compiled" / f"kernels-{key[:16]}.so"
    with suppress(OSError):  # it is not there yet, or cannot be read
        if kept.stat().st_uid == os.getuid():  # what another user has put there is not run
            return _Library(kept)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            compiled = _compile(program, source, Path(scratch))
            loaded = _Library(compiled)
            with suppress(OSError):  # where it cannot be kept, each process compiles its own
                atomic.write(kept, compiled.read_bytes())
            return loaded
    except (OSError, subprocess.SubprocessError):
        return None


def library_digest() -> str | None:
    """SHA-256 of the library of ``kernels.c``, by which results are told apart; None where it cannot be made."""
    loaded = kernels()
    return None if loaded is None else loaded.sha256


class _Library(ctypes.CDLL):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()


def _compile(program: str, source: bytes, scratch: Path) -> Path:
    """Compile, and link against nothing: the threads are those that torch has loaded, not a second set of them."""
    code, compiled, linked = (scratch / f"kernels{end}" for end in (".c", ".o", ".so"))
    code.write_bytes(source)
    for arguments in (
        ("-O3", "-march=native", "-fopenmp", "-fPIC", "-c", str(code), "-o", str(compiled)),
        ("-shared", str(compiled), "-o", str(linked)),
    ):
        command = (program, *arguments)
        subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT)  # noqa: S603 - of this package
    return linked


def _abilities() -> bytes:
    """What the CPU can do, which `-march=native` depends on."""
    lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    return b"".join(sorted({line for line in lines if line.startswith((b"flags", b"model name"))}))


def library() -> ctypes.CDLL:
    """The library, which `kernels` must have given before."""
    loaded = kernels()
    assert loaded is not None
    return loaded


def lanes() -> int:
    """Numbers in one SIMD register; a number of channels must be a multiple of it."""
    return ctypes.c_int64.in_dll(library(), "kernels_lanes").value


def panel() -> int:
    """Output channels that the kernels compute together; a number of output channels must be a multiple of it."""
    return ctypes.c_int64.in_dll(library(), "kernels_panel").value


def as_int64(*values: int) -> list[ctypes.c_int64]:
    """Sizes as the library takes them, with the number of threads added at the end."""
    return [ctypes.c_int64(value) for value in (*values, torch.get_num_threads())]


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """The address of a tensor's first number; null for None."""
    return ctypes.c_void_p(tensor.data_ptr() if tensor is not None else None)
