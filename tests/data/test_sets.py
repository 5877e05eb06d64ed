from __future__ import annotations

import hashlib
import importlib.util
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from linescape import data
from linescape.data import sets
from linescape.data.archives.cifar import CIFAR10, CIFAR100, Layout
from linescape.errors import DataError, RecipeError
from linescape.recipe import Data
from tests.support.sets_on_disk import cifar_files, write_mnist, write_tar

ROOT = Path(__file__).parents[2]


# ---- the embedded set ------------------------------------------------------------------------------------------------


def test_the_embedded_files_are_those_that_the_script_made() -> None:
    spec = importlib.util.spec_from_file_location("make_fashion_mini", ROOT / "scripts" / "make_fashion_mini.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert len(script.SHA256) == 4
    for name, expected in script.SHA256.items():
        content = (script.TARGET / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == expected
        assert content[3:8] == bytes(5), "no name and no time in the header"
    assert "Zalando" in (script.TARGET / "NOTICE").read_text()


def test_fashion_mini_is_balanced() -> None:
    dataset = data.load(Data())
    assert dataset.shape == (1, 28, 28)
    assert dataset.train.inputs.dtype == torch.uint8
    assert torch.bincount(dataset.train.targets).tolist() == [1000] * 10
    assert torch.bincount(dataset.test.targets).tolist() == [200] * 10
    # The whole set's published mean and deviation are 0.2860 and 0.3530.
    assert dataset.mean[0] == pytest.approx(0.286, abs=0.003)
    assert dataset.std[0] == pytest.approx(0.353, abs=0.003)


def test_no_image_of_fashion_mini_is_in_both_splits() -> None:
    dataset = data.load(Data())
    train = {image.numpy().tobytes() for image in dataset.train.inputs}
    assert not any(image.numpy().tobytes() in train for image in dataset.test.inputs)


# ---- sets that are made here -----------------------------------------------------------------------------------------


def test_spiral_arms_are_each_other_turned_round() -> None:
    dataset = data.load(Data(name="spiral"))
    assert dataset.shape == (2,)
    assert (len(dataset.train), len(dataset.test)) == (2000, 1000)
    assert torch.bincount(dataset.train.targets).tolist() == [1000, 1000]
    reach = torch.linspace(0, 1, 4000)
    arm = 2 * reach[:, None] * torch.stack([torch.cos(4 * math.pi * reach), torch.sin(4 * math.pi * reach)], 1)
    for split in (dataset.train, dataset.test):
        gaps = torch.stack([torch.cdist(split.inputs, way * arm).min(1).values for way in (1, -1)], 1)
        own = gaps.gather(1, split.targets[:, None])[:, 0]
        assert float(own.max()) < 0.1, "near their own arm, by noise of 0.02"
        outside = split.inputs.norm(dim=1) > 0.3
        assert torch.equal(gaps.argmin(1)[outside], split.targets[outside])


def test_sets_do_not_change_with_the_seed_of_the_run() -> None:
    one, other = data.load(Data(name="spiral"), seed=0), data.load(Data(name="spiral"), seed=1)
    assert torch.equal(one.train.inputs, other.train.inputs)
    assert not torch.equal(one.train.inputs[:1000], one.test.inputs)


def test_digits_are_split_evenly() -> None:
    pytest.importorskip("sklearn")
    dataset = data.load(Data(name="digits"))
    assert dataset.shape == (1, 8, 8)
    assert (len(dataset.train), len(dataset.test)) == (1297, 500)
    assert torch.bincount(dataset.test.targets).tolist() == [50] * 10
    assert int(dataset.train.inputs.max()) == 255


def test_digits_without_scikit_learn_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match=r"linescape\[digits\]"):
        data.load(Data(name="digits"))


def test_importing_the_package_does_not_import_scikit_learn() -> None:
    code = "import sys, linescape.data; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_sets_get_near_names() -> None:
    with pytest.raises(RecipeError, match="'cifar10'"):
        data.load(Data(name="cifar-10"))
    assert "fashion-mini" in data.names()


# ---- finding archives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw"])
def test_mnist_from_the_root_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    write_mnist(tmp_path / folder, 60_000, 10_000, blank=True)
    assert len(data.load(Data(name="mnist"), root=str(tmp_path)).train) == 60_000
    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path))
    dataset = data.load(Data(name="mnist"))
    assert dataset.std == (1.0,), "a constant channel is not divided by 0"
    assert not dataset.normalise(dataset.train.inputs[:9]).any()


def test_a_part_of_a_set_does_not_go_by_its_name(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    with pytest.raises(DataError, match=r"30 training and 20 test examples, but the data set has 60,000 and 10,000"):
        data.load(Data(name="mnist"), root=tmp_path)


def test_missing_sets_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINESCAPE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"data is no folder\. Run: linescape data get cifar10\..*LINESCAPE_DATA"):
        data.load(Data(name="cifar10"))
    (tmp_path / "cifar100").mkdir()
    with pytest.raises(DataError, match=r"does not have it\. Run: linescape data get cifar100\."):
        data.load(Data(name="cifar100"), root=tmp_path)
    with pytest.raises(DataError, match=r"Or put its files into .*absent/fashion-mnist"):
        data.load(Data(name="fashion-mnist"), root=tmp_path / "absent")


def test_sets_are_found_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINESCAPE_DATA", raising=False)
    monkeypatch.setitem(sets._KNOWN, "mnist", replace(sets.known("mnist"), examples=(30, 20)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_mnist(tmp_path / "cache" / "linescape" / "data" / "mnist")
    assert len(data.load(Data(name="mnist")).train) == 30
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_mnist(tmp_path / "home" / ".cache" / "linescape" / "data" / "mnist", train=30)
    assert len(data.load(Data(name="mnist")).train) == 30


def test_without_a_home_folder_only_published_sets_have_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(*_: object, **__: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("LINESCAPE_DATA", raising=False)
    monkeypatch.setattr(sets, "user_cache_path", no_home)
    assert len(data.load(Data(size=14)).test)
    with pytest.raises(DataError, match="There is no home folder"):
        data.load(Data(name="cifar10"))


def test_images_of_another_size_do_not_go_by_a_sets_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "cifar10")
    monkeypatch.setitem(sets._KNOWN, "cifar10", replace(sets.known("cifar10"), examples=(30, 20)))
    with pytest.raises(DataError, match=r"of shape \(1, 28, 28\), but those of the data set have \(3, 32, 32\)"):
        data.load(Data(name="cifar10"), root=tmp_path)


@pytest.mark.parametrize(("name", "layouts", "classes"), [("cifar10", CIFAR10, 10), ("cifar100", CIFAR100, 100)])
def test_cifar_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, layouts: tuple[Layout, ...], classes: int
) -> None:
    files, held = cifar_files(layouts[0], 20)
    write_tar(
        tmp_path / layouts[0].archive, {f"{layouts[0].folder}/{file}": content for file, content in files.items()}
    )
    size = 20 * len(layouts[0].train)
    monkeypatch.setitem(sets._KNOWN, name, replace(sets.known(name), examples=(size, 20)))
    dataset = data.load(Data(name=name), root=tmp_path)
    assert dataset.classes == classes
    assert dataset.shape == (3, 32, 32)
    pixels = np.concatenate([held[file][0] for file in layouts[0].train]) / 255
    assert dataset.mean == pytest.approx(pixels.mean((0, 2, 3)), abs=1e-12)
    assert dataset.std == pytest.approx(pixels.std((0, 2, 3)), abs=1e-12)
