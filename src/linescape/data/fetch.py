"""Downloads a published data set to the folder of data sets: complete and checked, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import requests
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from linescape import atomic
from linescape.data import sets
from linescape.data.archives.files import MOST
from linescape.data.archives.forms import KNOWN, Form, find
from linescape.data.sources import SOURCES
from linescape.data.treatments import moments
from linescape.errors import DataError, LinescapeError, first_line

PART = ".part"
"""The end of the names of incomplete files and folders."""

_NEAR = 0.002  # of a published mean; a JPEG copy of a set stays within, swapped colours do not
_TIMEOUT = 30.0  # seconds without a byte until a connection counts as broken


@dataclass(frozen=True)
class Got:
    """A published data set on disk, complete and checked.

    Attributes:
        name: its name.
        path: its file or folder.
        new: whether it was put there by this call.
        examples: of the training and the test split.
        shape: of one image: ``(channels, height, width)``.
        mean: of the training split by channel, pixels from 0 to 1; `std`: standard deviation likewise.
    """

    name: str
    path: Path
    new: bool
    examples: tuple[int, int]
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        mean, std = (" ".join(f"{value:.5f}" for value in values) for values in (self.mean, self.std))
        size = " x ".join(map(str, self.shape))
        return (
            f"{self.name} {'is now' if self.new else 'was already'} in {self.path}\n"
            f"{self.examples[0]:,} training and {self.examples[1]:,} test images of {size}\n"
            f"channel means {mean}, standard deviations {std}"
        )


def get(name: str, copy: Path | None = None, root: Path | None = None) -> Got:
    """Download a data set to the folder of data sets and check it; one that is there already is only checked.

    Args:
        name: ``cifar10``, ``cifar100``, ``mnist`` or ``fashion-mnist``.
        copy: a file or folder with a copy of the data set in any known form; None downloads it from its authors.
        root: the folder of data sets; None is as in `sets.folder`.

    Raises:
        RecipeError: no data set has this name.
        DataError: it cannot be downloaded, or the files are not the complete data set.
        StoreError: the folder cannot be written to.
    """
    sets.known(name)
    if name not in SOURCES:
        raise DataError(f"{name!r} comes with the package, so there is nothing to download. Use it by its name.")
    folder = sets.folder(root).absolute()
    if present := sets.locate(name, folder):
        return _check_present(name, present)
    home, stage = folder / name, folder / f".{name}.official{PART}"
    with _locked(folder, name):
        if present := sets.locate(name, folder):  # by the process that had the lock
            return _check_present(name, present)
        if home.exists():
            if not home.is_dir() or any(home.iterdir()):
                raise DataError(f"{home} holds no data set in a known form. Move or delete it, then try again.")
            home.rmdir()
        if copy is None:
            stage.mkdir(exist_ok=True)  # kept after a failure, so that the download can resume
            for file, checksum in SOURCES[name].files.items():
                download(SOURCES[name].url + file, stage / file, checksum)
            got = _check(name, find(stage, sets.known(name).layouts))
            stage.rename(home)  # in one step, so that it is complete or not there
        else:
            with atomic.replacing(home) as stage:
                got = _copied(name, copy, stage)
        for left in folder.glob(f".{name}.*{PART}*"):  # of interrupted downloads and copies
            shutil.rmtree(left, ignore_errors=True)
    return replace(got, path=home, new=True)


def download(url: str, target: Path, checksum: str) -> None:
    """Download a file; a second call after an interruption asks only for the rest.

    Args:
        url: where it is, http or https.
        target: where it goes, in a folder that exists. A file that is there already is checked and kept.
        checksum: ``md5:...`` or ``sha256:...``.

    Raises:
        DataError: the server cannot be reached, breaks off, or sends something else.
    """
    part = target.with_name(target.name + PART)
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, checksum, target.name, target.parent, downloader=_Resuming(part))
    except requests.RequestException as error:
        have = part.stat().st_size if part.exists() else 0
        kept = f" The {have:,} bytes that came are kept, and the same command continues from there." if have else ""
        raise DataError(f"{url} could not be downloaded ({first_line(error)}). Is there a network?{kept}") from error
    except DataError:  # which is a ValueError, as is what pooch says of a wrong checksum
        raise
    except ValueError as error:
        raise DataError(
            f"What came from {url} does not have the checksum {checksum}: it was damaged on the way, or is not what "
            "the set's authors published. It was deleted; try again."
        ) from error


@dataclass(frozen=True)
class _Resuming:
    """A downloader for pooch; pooch's own can neither resume nor stop at a size."""

    part: Path

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:  # noqa: ARG002
        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as reply, _bar(url) as bar:
            if not (have and reply.status_code == 416):  # 416: there is no more to send; the checksum decides
                reply.raise_for_status()
                if not reply.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                    have = 0  # the server gives the whole file again
                total = have + int(reply.headers.get("Content-Length", 0))
                reply.raw.enforce_content_length = False  # it would lose the last bytes before a break
                with self.part.open("ab" if have else "wb") as file:
                    for piece in reply.iter_content(1 << 16):
                        have += len(piece)
                        if max(have, total) > MOST:
                            raise DataError(f"{url} gives more than {MOST:,} bytes, and no set here is so large.")
                        file.write(piece)
                        bar.update(bar.task_ids[0], completed=have, total=total or None)
                    file.flush()
                    os.fsync(file.fileno())
                if have < total:
                    raise requests.ConnectionError(f"the connection ended after {have:,} of {total:,} bytes")
        self.part.replace(output_file)


def _bar(url: str) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task(url.rpartition("/")[2], total=None)
    return bar


def _copied(name: str, copy: Path, stage: Path) -> Got:
    """Copy the files of the user's copy of a data set into a folder, and check them there."""
    source = copy.expanduser()
    if not source.exists():
        raise DataError(f"There is no file or folder {source}. Name a copy of {name!r} that you have.")
    form = find(source, sets.known(name).layouts) or sets.locate(name, source)  # the set itself, or a folder of sets
    if form is None:
        raise DataError(f"{source} holds no data set in a known form. Known are {KNOWN}.")
    base = form.path if form.path.is_dir() else form.path.parent
    for file in form.files():
        target = stage / file.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    try:
        return _check(name, find(stage, sets.known(name).layouts))
    except DataError as error:
        raise DataError(str(error).replace(str(stage), str(base))) from error  # what can be mended is the user's


def _check_present(name: str, form: Form) -> Got:
    try:
        return _check(name, form)
    except DataError as error:
        raise DataError(f"{error} To download it again, first move or delete {form.path}.") from error


def _check(name: str, form: Form | None) -> Got:
    if form is None:
        raise DataError(f"The download of {name!r} has no known form. Known are {KNOWN}.")
    train, test = sets.checked(name, form.read())
    classes = np.arange(sets.known(name).classes)
    if not all(np.array_equal(np.unique(labels), classes) for labels in (train[1], test[1])):
        raise DataError(
            f"The labels of {form.path} are not 0 to {classes[-1]} in both splits, so it is not {name!r}. Check "
            "the files."
        )
    mean, std = moments(train[0])
    if np.abs(np.subtract(mean, SOURCES[name].mean)).max() > _NEAR:
        raise DataError(
            f"The channel means of {form.path} are {' '.join(f'{m:.4f}' for m in mean)}, but those of {name!r} are "
            f"{' '.join(f'{m:.4f}' for m in SOURCES[name].mean)}: these are other data, or the colours are in another "
            "order. Check the files."
        )
    return Got(name, form.path, False, (len(train[1]), len(test[1])), train[0].shape[1:], mean, std)


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    try:
        atomic.check_name(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock").acquire(timeout=0):
            yield
    except Timeout as error:
        raise DataError(f"Another process is writing {name!r} to {folder}. Wait until it is done.") from error
    except LinescapeError:  # some of which are OSErrors
        raise
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        raise atomic.cannot_write(folder, error if isinstance(error, OSError) else OSError(str(error))) from error
