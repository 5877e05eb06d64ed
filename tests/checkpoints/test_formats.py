from __future__ import annotations

import argparse
import json
import os
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from linescape import checkpoints
from linescape.errors import CheckpointError, StoreError
from linescape.geometry.state import State


def net(width: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(first=nn.Linear(2, width), norm=nn.BatchNorm1d(width), last=nn.Linear(width, 2)))


def saved(path: Path, thing: Any, **how: Any) -> Path:
    torch.save(thing, path, **how)
    return path


def same(found: Any, expected: Any) -> bool:
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "epoch": 3},
        lambda tensors: {"model": tensors, "optimizer": {"state": {0: torch.ones(2)}}},
        lambda tensors: {"model_state_dict": tensors, "loss": 0.3},
        lambda tensors: {"net": tensors, "acc": 93.0},
        lambda tensors: OrderedDict((f"module.{name}", value) for name, value in tensors.items()),
        lambda tensors: {"state_dict": {f"_orig_mod.module.{name}": value for name, value in tensors.items()}},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_scripts_save_is_read(wrap: Callable[[Any], Any], zipped: bool, tmp_path: Path) -> None:
    tensors = net().state_dict()
    path = saved(tmp_path / "misnamed.safetensors", wrap(tensors), _use_new_zipfile_serialization=zipped)
    assert same(checkpoints.read(path), tensors)
    assert same(checkpoints.read(path).into(net()), State.from_module(net()))


def test_what_was_changed_on_reading_is_said(tmp_path: Path) -> None:
    tensors = {f"_orig_mod.module.{name}": value for name, value in net().state_dict().items()}
    notes = checkpoints.read(saved(tmp_path / "a.pt", {"state_dict": tensors, "epoch": 3})).notes
    assert notes == (
        "Read 'state_dict' and left out epoch.",
        "Took '_orig_mod.' (torch.compile) off 9 names.",
        "Took 'module.' (DataParallel) off 9 names.",
    )
    mixed = {**net().state_dict(), "epoch": 3}
    assert checkpoints.read(saved(tmp_path / "b.pt", mixed)).notes == ("Left out what is no tensor: epoch.",)


def test_a_prefix_of_some_names_only_is_a_name(tmp_path: Path) -> None:
    tensors = {"module.weight": torch.ones(2), "head": torch.ones(1)}
    assert list(checkpoints.read(saved(tmp_path / "a.pt", tensors))) == ["module.weight", "head"]


def test_written_tensors_are_read_back_whatever_their_layout(tmp_path: Path) -> None:
    shared = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "plain": shared,
        "turned": shared.T,
        "tied": shared,
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(3),
        "empty": torch.empty(0, 3),
        "infinite": torch.tensor([float("nan"), float("inf")]),
    }
    checkpoints.write(tmp_path / "a" / "b.bin", tensors, {"made by": "a test"})
    found = checkpoints.read(tmp_path / "a" / "b.bin")
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name].nan_to_num(7.0), value.nan_to_num(7.0))
    assert found.metadata == {"made by": "a test"}


def test_equal_content_gives_equal_bytes() -> None:
    tensors = {f"tensor {i}": torch.full((i,), float(i)) for i in range(1, 9)}
    turned = dict(reversed(tensors.items()))
    assert checkpoints.encode(tensors, {"a": "1"}) == checkpoints.encode(turned, {"a": "1"})


def broken(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content)  # type: ignore[return-value]


def safetensors(cut: int | None = None) -> bytes:
    return checkpoints.encode({"weight": torch.ones(100)})[:cut]


def cut_zip(share: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        torch.save({"weight": torch.ones(10_000)}, path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch /tmp/linescape-was-here",))


def numpy_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))


def huge_header(path: Path) -> None:
    header = json.dumps({f"t{i}": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for i in range(3)}).encode()
    path.write_bytes(struct.pack("<Q", 1 << 60) + header + bytes(100))


def bad_offsets(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))


def torchscript(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/code/__torch__.py", "class Net: pass")
        archive.writestr("net/data.pkl", b"")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (broken(b""), "is empty"),
        (broken(b"PK"), "cut short or damaged"),
        (broken(b"\x80"), "cut short or damaged|cannot|can be read"),
        (broken(b"hello, world, this is text"), "neither safetensors nor"),
        (broken(b"\x89HDF\r\n\x1a\n" + bytes(100)), "neither safetensors nor"),
        (broken(safetensors(cut=20)), "cut short"),
        (broken(safetensors(cut=-10)), "cut short"),
        (broken(struct.pack("<Q", 4) + b"{xx}" + bytes(9)), "damaged or cut short"),
        (huge_header, "announces a header of 1,152,921,504,606,846,976 bytes"),
        (bad_offsets, "damaged or cut short"),
        (cut_zip(0.5), "cut short or damaged"),
        (cut_zip(0.99), "cut short or damaged"),
        (numpy_archive, "none of torch.save"),
        (torchscript, "TorchScript program"),
        (lambda path: torch.save({}, path), "holds no tensors"),
        (lambda path: torch.save([torch.ones(2)], path), "holds a list"),
        (lambda path: torch.save(torch.ones(2), path), "holds a Tensor"),
        (lambda path: torch.save({"epoch": 3}, path), "its keys are epoch"),
        (broken(checkpoints.encode({})), "holds no tensors"),
        (lambda path: torch.save(Evil(), path), "posix.system'.*never runs code"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: None, "could not be opened: there is no such file or folder"),
    ],
)
def test_what_is_no_checkpoint_is_an_error_that_names_the_file(
    make: Callable[[Path], Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.pt"
    make(path)
    with pytest.raises(CheckpointError, match=f"(?s)file.pt.*(?:{said})"):
        checkpoints.read(path)
    assert not Path("/tmp/linescape-was-here").exists()


def test_a_missing_file_is_an_error_that_names_files_of_about_its_name(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(CheckpointError, match=r"no such file or folder. Did you mean '.*last\.ckpt'\?"):
        checkpoints.read(tmp_path / "last.ckp")
    with pytest.raises(CheckpointError, match="there is no folder .*run"):
        checkpoints.read(tmp_path / "run" / "last.ckpt")


@pytest.mark.parametrize("zipped", [True, False])
def test_what_a_file_would_run_is_left_out_and_named(zipped: bool, tmp_path: Path) -> None:
    things = {
        "state_dict": net().state_dict(),
        "best": np.float64(3.0),
        "args": argparse.Namespace(lr=0.1),
        "x": Evil(),
    }
    found = checkpoints.read(saved(tmp_path / "a.pt", things, _use_new_zipfile_serialization=zipped))
    assert same(found, net().state_dict())
    assert found.notes[0] == "Read 'state_dict' and left out best, args, x."
    assert "argparse.Namespace" in found.notes[1]
    assert "posix.system" in found.notes[1]
    assert not Path("/tmp/linescape-was-here").exists()


def test_a_checkpoint_of_another_network_names_what_differs(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "wide.safetensors", net(width=5).state_dict())
    with pytest.raises(
        CheckpointError, match=r"(?s)wide\.safetensors.*Sequential.*first\.weight: \(3, 2\) and \(5, 2\)"
    ):
        checkpoints.read(tmp_path / "wide.safetensors").into(net())
    checkpoints.write(tmp_path / "other.safetensors", {"encoder.weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"first\.weight.*encoder\.weight"):
        checkpoints.read(tmp_path / "other.safetensors").into(net())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    checkpoints.write(path, {"a": torch.ones(1)})

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match="the disk is full"):
        checkpoints.write(path, {"a": torch.zeros(1)})
    assert torch.equal(checkpoints.read(path)["a"], torch.ones(1))
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="a part of its path is a file|could not be written"):
        checkpoints.write(tmp_path / "file" / "a.safetensors", {"a": torch.ones(1)})
    with pytest.raises(StoreError, match="folder"):
        checkpoints.write(tmp_path, {"a": torch.ones(1)})


def test_a_safetensors_file_may_begin_like_a_pickle(tmp_path: Path) -> None:
    for length in range(0, 320, 8):  # one of these headers has a length that ends in 0x80
        path = tmp_path / f"{length}"
        checkpoints.write(path, {"weight" * 3: torch.ones(3)}, {"padding": "x" * length})
        assert list(checkpoints.read(path)) == ["weight" * 3]
    assert any((tmp_path / f"{length}").read_bytes()[0] == 0x80 for length in range(0, 320, 8))


@pytest.mark.parametrize(
    ("container", "inside"),
    [("state_dict_ema", "{}"), ("model_ema", "module.{}"), ("ema", "ema_model.{}"), ("ema_state_dict", "{}")],
)
def test_a_moving_average_is_offered_and_read_when_asked_for(container: str, inside: str, tmp_path: Path) -> None:
    average = {name: value + 1 for name, value in net().state_dict().items()}
    beside = {"online_model.last.bias": torch.ones(2), "step": torch.tensor(3)} if container == "ema" else {}
    held = {inside.format(name): value for name, value in average.items()} | beside
    path = saved(tmp_path / "a.pt", {"model": net().state_dict(), container: held, "epoch": 3})
    found = checkpoints.read(path)
    assert same(found, net().state_dict())
    assert f"The file also has a moving average of the weights, under '{container}': --ema reads it." in found.notes
    assert same(checkpoints.read(path, ema=True), average)
    with pytest.raises(CheckpointError, match="no moving average of the weights"):
        checkpoints.read(saved(tmp_path / "b.pt", {"model": net().state_dict()}), ema=True)


@pytest.mark.skipif(os.name != "posix", reason="names of files are text elsewhere")
@pytest.mark.parametrize("name", [b"n\xff\xfe", "\N{SNOWMAN} \N{ZERO WIDTH SPACE}".encode(), b"a\nb"])
def test_a_file_may_have_any_name(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    held = dict(net().state_dict())
    (path.parent / "plain").write_bytes(checkpoints.encode(held))
    try:
        (path.parent / "plain").rename(path)
    except OSError:
        pytest.skip("this file system has no such names")
    assert same(checkpoints.read(path), held)
    torch.save(held, tmp_path / "plain")
    (path.parent / "plain").replace(path)
    assert same(checkpoints.read(path), held)


def test_names_are_fitted_to_the_network(tmp_path: Path) -> None:
    tensors = net().state_dict()
    lightning = {f"model.{name}": value for name, value in tensors.items()} | {"loss.weight": torch.ones(2)}
    found = checkpoints.read(saved(tmp_path / "a.ckpt", {"state_dict": lightning})).named_as(tensors)
    assert same(found, tensors)
    assert found.notes == ("Took 'model.' off 9 names and left out loss.weight.",)
    assert found.file_format.spelled["first.weight"] == "model.first.weight"
    inner = checkpoints.read(saved(tmp_path / "b.pt", dict(tensors))).named_as([f"backbone.{name}" for name in tensors])
    assert list(inner) == [f"backbone.{name}" for name in tensors]
    assert inner.notes == ("Put 'backbone.' before 9 names.",)


@pytest.mark.parametrize(("one", "other"), [("encoder_q.", "encoder_k."), ("gan.real.", "gan.fake.")])
def test_of_two_networks_by_prefix_none_is_guessed(one: str, other: str, tmp_path: Path) -> None:
    held = {prefix + name: value for prefix in (one, other) for name, value in net().state_dict().items()}
    contents = checkpoints.read(saved(tmp_path / "a.pt", {**held, "queue": torch.ones(3)}))
    with pytest.raises(CheckpointError, match=f"under '{min(one, other)}' and under '{max(one, other)}'"):
        contents.into(net())
    with pytest.raises(CheckpointError, match="either may be meant"):
        contents.named_as(net().state_dict())


def test_weights_are_read_rather_than_their_average(tmp_path: Path) -> None:
    held = {f"net.{name}": value for name, value in net().state_dict().items()}
    average = {name.replace("net.", "ema."): torch.zeros_like(value) for name, value in held.items()}
    contents = checkpoints.read(saved(tmp_path / "a.pt", average | held))
    assert same(contents.named_as(net().state_dict()), net().state_dict())


def test_what_wrappers_put_into_names_is_taken_out(tmp_path: Path) -> None:
    compiled = {f"body._orig_mod.{name}": value for name, value in net().state_dict().items()} | {"head": torch.ones(1)}
    found = checkpoints.read(saved(tmp_path / "a.pt", compiled))
    assert same(found, {f"body.{name}": value for name, value in net().state_dict().items()} | {"head": torch.ones(1)})
    assert found.notes == ("Took '_orig_mod.' (torch.compile) out of 9 names.",)
    averaged = torch.optim.swa_utils.AveragedModel(net())
    found = checkpoints.read(saved(tmp_path / "b.pt", averaged.state_dict()))
    assert same(found, net().state_dict())
    assert found.notes[0].startswith(
        "These weights are an average over 0 (torch.optim.swa_utils). Left out 'n_averaged'"
    )
    assert same(found.into(net()), net().state_dict())
    assert same(found.into(averaged).state_dict(), averaged.state_dict())  # a network that is an average itself


def test_tensors_are_mapped_and_a_file_cannot_ask_for_memory(tmp_path: Path) -> None:
    wide = torch.ones(1).expand(1 << 40)
    path = saved(tmp_path / "a.pt", {"weight": wide})
    with pytest.raises(CheckpointError, match="could take any amount of memory"):
        checkpoints.read(path)
    part = torch.arange(12.0).reshape(3, 4)[:, 1:3]
    found = checkpoints.read(saved(tmp_path / "b.pt", {"part": part}))
    assert torch.equal(found["part"], part)
    assert found["part"].stride() == (4, 1)
