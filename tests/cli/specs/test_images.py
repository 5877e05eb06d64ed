"""Folders of images in words, against torchvision."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from linescape import cli
from linescape.cli import specs
from linescape.errors import DataError, RecipeError
from tests.support import optional
from tests.support.specs import draw, refused


@pytest.mark.extras
def test_image_folders_are_read_as_torchvision_does(tmp_path: Path) -> None:
    torchvision = optional.load("torchvision")
    T = importlib.import_module("torchvision.transforms")
    for half in ("train", "val"):
        draw(tmp_path / "set" / half / "cat", 3, (40, 30), kind="jpg")
        draw(tmp_path / "set" / half / "ant", 2, (21, 50))
    words = "images:set,size=16,resize=20,mean=0.485/0.456/0.406,std=0.229/0.224/0.225"
    found = specs.network_and_data("own.py:network", words, None)
    assert list(found.data) == ["train", "val"]
    normal = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    change = T.Compose([T.Resize(20), T.CenterCrop(16), T.ToTensor(), normal])
    for half, (inputs, labels) in found.data.items():
        expected = torchvision.datasets.ImageFolder(tmp_path / "set" / half, change)
        assert labels.tolist() == expected.targets
        assert torch.allclose(inputs, torch.stack([image for image, _ in expected]), atol=1e-6)
    assert found.notes == ("Images were normalised with mean=0.485/0.456/0.406 and std=0.229/0.224/0.225, as named.",)


def test_images_of_classes_alone_are_test_data_with_their_own_mean(tmp_path: Path) -> None:
    draw(tmp_path / "set" / "10", 2, (4, 4), "L")
    draw(tmp_path / "set" / "9", 3, (4, 4))
    found = specs.network_and_data("own.py:network", "images:set", None)
    inputs, labels = found.data["test"]
    assert labels.tolist() == [0, 0, 0, 1, 1]  # by value
    assert inputs.shape == (5, 3, 4, 4)
    assert inputs.mean((0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-6)
    assert inputs.std((0, 2, 3), correction=0).tolist() == pytest.approx([1] * 3, abs=1e-5)
    assert "those of the test images" in found.notes[0]


def test_of_many_training_images_as_many_of_each_class_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linescape.cli.specs.examples.TRAIN", 4)
    draw(tmp_path / "set" / "train" / "a", 9, (3, 3))
    draw(tmp_path / "set" / "train" / "b", 2, (3, 3))
    found = specs.network_and_data("own.py:network", "images:set", None)
    assert found.data["train"][1].tolist() == [0, 0, 1, 1]
    assert found.notes[0] == "4 of 11 examples of 'train' are measured."


def test_images_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "set" / "a", 2, (3, 3))
    draw(tmp_path / "set" / "b", 2, (4, 3))
    refused(DataError, "Add size=224", data="images:set")
    refused(DataError, "no folder", data="images:absent")
    refused(RecipeError, "Did you mean 'size'", data="images:set,sise=3")
    refused(RecipeError, "go together", data="images:set,mean=0.5")
    refused(RecipeError, "whole numbers", data="images:set,size=big")
    refused(RecipeError, "give both so", data="images:set,size=3,resize=2")
    refused(DataError, "3 channels, but mean", data="images:set,size=3,mean=0.5,std=0.5")
    (tmp_path / "set" / "a" / "1.png").write_bytes(b"none")
    refused(DataError, "no readable PNG", data="images:set,size=3")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    refused(DataError, "no examples", data="images:empty")
    draw(tmp_path / "halves" / "train" / "a", 1, (3, 3))
    draw(tmp_path / "halves" / "test" / "b", 1, (3, 3))
    refused(DataError, "the same classes", data="images:halves")


@pytest.mark.extras
def test_two_checkpoints_of_torchvision_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = optional.load("torchvision").models
    for seed, name in enumerate(("a.pt", "b.pt")):
        torch.manual_seed(seed)
        torch.save(models.squeezenet1_1(num_classes=2).state_dict(), name)
    draw(tmp_path / "set" / "a", 4, (40, 36))
    draw(tmp_path / "set" / "b", 4, (36, 40))
    words = ["--model", "torchvision:squeezenet1_1,num_classes=2", "--data", "images:set,size=32", "--alphas", "3"]
    monkeypatch.setattr(sys, "argv", ["linescape", "probe", "a.pt", "b.pt", *words])
    cli.main()
    out, err = capsys.readouterr()
    assert Path(out.strip().splitlines()[-1]).is_file()
    assert "note: Images were normalised with mean=" in err
