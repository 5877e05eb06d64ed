"""The form of the files of a data set, by their names or by the names in an archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from linescape.data.archives.cifar import Layout, read_cifar
from linescape.data.archives.files import Arrays, first_member, looking
from linescape.data.archives.folders import find_images, has_splits, read_folders
from linescape.data.archives.idx import idx_files, read_mnist
from linescape.data.archives.npz import read_npz

Read = Callable[[], tuple[Arrays, Arrays]]

KNOWN = (
    "IDX files, CIFAR's archives (packed or unpacked), folders train/CLASS and test/CLASS of PNG or JPEG files, an npz "
    "file with x_train, y_train, x_test and y_test, or train-*.parquet and test-*.parquet"
)
"""The forms, for messages."""


@dataclass(frozen=True)
class Form:
    """The files of a data set; whether they are complete is checked when they are read.

    Attributes:
        path: its only file, or the folder that contains its files at any depth.
        files: lists its files.
        read: returns training and test split.
    """

    path: Path
    files: Callable[[], Iterable[Path]]
    read: Read


def find(path: Path, layouts: tuple[Layout, ...]) -> Form | None:
    """The data set in a file or folder, or None if nothing there has a known form.

    Args:
        path: a file or folder.
        layouts: CIFAR's own layouts that the data set can have.

    Raises:
        DataError: the folder or an archive cannot be read.
    """
    with looking(path):
        if path.is_file():
            return _in_file(path, layouts)
        # Some tools put a folder of a fixed name around a set's own files.
        for folder in (path, *(path / layout.folder for layout in layouts), path / "raw"):
            if folder.is_dir() and (form := _in_folder(folder, layouts)):
                return form
        return None


def _in_folder(folder: Path, layouts: tuple[Layout, ...]) -> Form | None:
    for layout in layouts:
        if files := [folder / name for name in layout.files if (folder / name).is_file()]:
            return Form(folder, partial(list, files), partial(read_cifar, folder, layout))
    if files := idx_files(folder):
        return Form(folder, partial(list, files), partial(read_mnist, folder))
    for file in sorted(folder.iterdir()):
        if file.is_file() and (form := _in_file(file, layouts)):
            return form
    if tables := _tables(folder):
        return tables
    if has_splits(folder):
        return Form(
            folder,
            lambda: (file for images in find_images(folder).values() for file, _ in images),
            partial(read_folders, folder),
        )
    return None


def _in_file(path: Path, layouts: tuple[Layout, ...]) -> Form | None:
    if path.name.endswith(".npz"):
        return Form(path, partial(list, [path]), partial(read_npz, path))
    if not path.name.endswith((".tar", ".tar.gz", ".tgz")):
        return None
    by_folder = {layout.folder: layout for layout in layouts}

    def known(name: PurePosixPath) -> bool:
        return name.parent.name in by_folder and name.name in by_folder[name.parent.name].files

    first = first_member(path, known)
    return Form(path, partial(list, [path]), partial(read_cifar, path, by_folder[first.parent.name])) if first else None


def _tables(folder: Path) -> Form | None:
    # Parquet files lie in the folder itself, or in its one folder with such files (plain_text/, data/, mnist/, ...).
    holders = {file.parent for depth in ("", "*/") for file in folder.glob(f"{depth}train-*.parquet")}
    if folder not in holders and len(holders) != 1:
        return None
    from linescape.data.archives.parquet import read_parquet  # polars takes half a second to import

    holder = folder if folder in holders else holders.pop()
    train, test = (sorted(holder.glob(f"{split}-*.parquet")) for split in ("train", "test"))
    return Form(holder, partial(list, [*train, *test]), partial(read_parquet, train, test))
