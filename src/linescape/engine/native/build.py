"""Compiles the C code of this package with the machine's own compiler, for its CPU, once, in about a second.

The library is kept in the user's cache. Its name is a digest of the source, the compiler and the CPU's abilities, since
the machines of a cluster share a home folder. It is kept under a seal, its length and SHA-256, and is loaded only if
the seal holds, from a copy that belongs to this process alone: a library that is damaged, or cut short while it is in
use, would end the process by a signal or compute something else. A new one is tried in another process first.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch
from platformdirs import user_cache_path
from torch import Tensor

from linescape import atomic
from linescape.engine.native import trial
from linescape.errors import first_line

_COMPILERS = ("gcc", "cc")
"""Not clang, whose threads are not those of torch: its libraries would not load."""

_TIMEOUT = 60.0
"""Seconds after which a compiler is given up."""

_INSTEAD = "so torch does their work: the same within rounding, but slower"


class Compiled(NamedTuple):
    """What came of compiling.

    Attributes:
        library: None where it cannot be had.
        note: what the user should know, as a sentence: why it cannot be had or kept; empty where all is well.
        sha256: of the library, by which results are told apart.
    """

    library: ctypes.CDLL | None
    note: str = ""
    sha256: str | None = None


def suited() -> bool:
    """Whether the code is for this system and CPU."""
    return platform.system() == "Linux" and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def compiler() -> str | None:
    """Path of this machine's compiler; None where there is none, or the code is not for this CPU or system."""
    names = (os.environ.get("CC"), *_COMPILERS)
    return next((path for name in names if name and (path := shutil.which(name))), None) if suited() else None


def kernels() -> ctypes.CDLL | None:
    """The library of ``kernels.c``; None where it cannot be made."""
    return compiled().library


def library_digest() -> str | None:
    """SHA-256 of the library of ``kernels.c``, by which results are told apart; None where it cannot be made."""
    return compiled().sha256


@cache
def compiled() -> Compiled:
    """The library of ``kernels.c``, from the cache or made now, and a note where something is amiss."""
    if not suited():
        return Compiled(None)
    program = compiler()
    if program is None:
        return Compiled(None, f"There is no C compiler for linescape's kernels, {_INSTEAD}. Install gcc.")
    try:
        source = resources.files(__package__).joinpath("kernels.c").read_bytes()
        facts = [source, program.encode(errors="surrogateescape"), platform.machine().encode(), _abilities()]
        key = hashlib.sha256(b"\0".join(facts)).hexdigest()
        with tempfile.TemporaryDirectory(prefix="linescape-", ignore_cleanup_errors=True) as scratch:
            return _from_cache(key, Path(scratch)) or _made(program, source, key, Path(scratch))
    except subprocess.TimeoutExpired as error:
        reason = f"{program} took more than {error.timeout:g} seconds"
    except subprocess.CalledProcessError as error:
        if error.cmd[0] == sys.executable:
            reason = f"what {program} makes crashes or computes something else"
        else:
            reason = f"{program} ended with code {error.returncode}"
    except (OSError, trial.UntrustedError) as error:
        reason = first_line(error)
    return Compiled(None, f"linescape's kernels in C could not be compiled ({reason}), {_INSTEAD}.")


def _kept(key: str) -> Path:
    """Where the library is kept.

    Raises:
        FileNotFoundError: the user has no cache, as without a home folder.
    """
    try:
        folder = user_cache_path("linescape", appauthor=False)
    except RuntimeError as error:
        raise FileNotFoundError("there is no home folder") from error
    if not folder.is_absolute():  # what older versions of platformdirs give then
        raise FileNotFoundError("there is no home folder")
    return folder / "compiled" / f"{key[:16]}.kernels"


def _sealed(key: str, code: bytes) -> bytes:
    """A library with its length and digest before it; the key counts, so that no other can be in its place."""
    return f"{len(code)} {hashlib.sha256(key.encode() + code).hexdigest()}\n".encode() + code


def _from_cache(key: str, scratch: Path) -> Compiled | None:
    """The library that was kept; None where there is none, it is damaged, or another user has put it there."""
    own = scratch / "kept.so"
    try:
        kept = _kept(key)
        if not kept.is_file() or kept.stat().st_uid != os.getuid():
            return None
        content = kept.read_bytes()
        code = content.partition(b"\n")[2]
        if content != _sealed(key, code):
            return None
        own.write_bytes(code)
        return Compiled(_loaded(own), sha256=hashlib.sha256(code).hexdigest())
    except (OSError, trial.UntrustedError):
        return None


def _made(program: str, source: bytes, key: str, scratch: Path) -> Compiled:
    """A new library, kept if it can be.

    Raises:
        OSError, subprocess.SubprocessError, trial.UntrustedError: the compiler, or what it makes, is of no use.
    """
    file = _compile(program, source, scratch)
    openmp = [path for path in _mapped() if path.name.startswith(("libgomp", "libiomp", "libomp"))]
    _run(scratch, sys.executable, "-I", trial.__file__, str(file), *map(str, openmp))
    code, library = file.read_bytes(), _loaded(file)
    digest = hashlib.sha256(code).hexdigest()
    try:
        atomic.write(_kept(key), _sealed(key, code))
    except OSError as error:
        reason = first_line(error).rstrip(".")
        return Compiled(
            library, f"Each process compiles linescape's kernels anew, in about a second: {reason}.", digest
        )
    return Compiled(library, sha256=digest)


def _loaded(file: Path) -> ctypes.CDLL:
    """A library, tried. A file's name must be new, since a name that was loaded before gives the old library."""
    library = ctypes.CDLL(str(file))
    trial.check(library)
    return library


def _compile(program: str, source: bytes, scratch: Path) -> Path:
    """Compile, and link against nothing: the threads are those that torch has loaded, not a second set of them."""
    code, compiled, linked = (scratch / f"kernels{end}" for end in (".c", ".o", ".so"))
    code.write_bytes(source)
    _run(scratch, program, "-O3", "-march=native", "-fopenmp", "-fPIC", "-c", str(code), "-o", str(compiled))
    _run(scratch, program, "-shared", str(compiled), "-o", str(linked))
    return linked


def _run(scratch: Path, *command: str) -> None:
    """Run a program whose output is not read, and end it and its children where it takes too long.

    Raises:
        subprocess.SubprocessError: it takes too long, or ends with another code than 0.
    """
    quiet, environment = subprocess.DEVNULL, {**os.environ, "TMPDIR": str(scratch)}
    process = subprocess.Popen(  # noqa: S603 - of this package
        command, stdin=quiet, stdout=quiet, stderr=quiet, env=environment, process_group=0
    )
    try:
        code = process.wait(_TIMEOUT)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if code:
        raise subprocess.CalledProcessError(code, command)


def _mapped() -> set[Path]:
    """The files that this process has in its memory, such as libraries."""
    lines = Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()
    return {Path(line.split(maxsplit=5)[5]) for line in lines if "/" in line}


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
