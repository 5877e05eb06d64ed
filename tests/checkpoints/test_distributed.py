"""Distributed checkpoints: the network is found in them as in a file, whatever else was saved beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from linescape import checkpoints
from linescape.checkpoints import averaging
from linescape.checkpoints.formats.containers import label
from linescape.errors import CheckpointError
from tests.checkpoints.test_formats import same
from tests.support.averages import distributed, empty, read_distributed

Saved = Callable[[dict[str, Tensor]], Any]


def net(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3)).state_dict())


def moments(held: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {f"{name}.{kind}": torch.randn_like(value.float()) for name, value in held.items()}


FOUND: dict[str, Saved] = {
    "run/net": lambda held: {"run": {"net": held, "optimizer": moments(held, "exp_avg")}, "epoch": 4},
    "params": lambda held: {"params": held, "adam": {"state": moments(held, "exp_avg_sq")}},
    "trainable": lambda held: {"trainable": held, "sgd": moments(held, "momentum_buffer")},
    "policy": lambda held: {"policy": held, "policy_ema": {name: value + 1 for name, value in held.items()}},
    "network": lambda held: {"network": held, "critic": net(9), "seen": torch.tensor(3)},
    "/": lambda held: {**held, "exp_avg": torch.ones(3), "optim.lr": torch.ones(1), "step": 3},
}


@pytest.mark.parametrize("where", FOUND)
def test_the_one_network_is_found_and_written_back_there(where: str, tmp_path: Path) -> None:
    ends = net(1), net(2)
    for held, name in zip(ends, "ab", strict=True):
        distributed(tmp_path / name, FOUND[where](held))
    start, end = (checkpoints.read(tmp_path / name) for name in "ab")
    assert same(end, ends[1])
    assert label(end.file_format.container) == where
    left = {"run/net": "left out epoch, run/optimizer.", "policy": "left out policy_ema."}
    assert any(left.get(where, "eft out") in note for note in end.notes)
    averaging.average(start, end, 0.25, tmp_path / "c")
    like: Any = empty(ends[0])
    for key in reversed([] if where == "/" else where.split("/")):
        like = {key: like}
    found = read_distributed(tmp_path / "c", like)
    for key in [] if where == "/" else where.split("/"):
        found = found[key]
    for name, value in ends[1].items():
        exact = 0.75 * ends[0][name].double() + 0.25 * value.double() if value.is_floating_point() else value
        torch.testing.assert_close(found[name].double(), exact.double(), rtol=0, atol=1e-6)


SEVERAL: dict[str, Any] = {
    "actor, critic": lambda: {"actor": net(1), "critic": net(2)},
    "best/a, best/b": lambda: {"best": {"a": net(1), "b": net(2)}, "best_loss": torch.tensor(1.0)},
    "models/[0], models/[1]": lambda: {"models": [net(1), net(2)], "epoch": 3},
}


@pytest.mark.parametrize("where", SEVERAL)
def test_of_several_networks_the_user_names_one(where: str, tmp_path: Path) -> None:
    distributed(tmp_path / "a", SEVERAL[where]())
    with pytest.raises(CheckpointError) as told:
        checkpoints.read(tmp_path / "a")
    first, last = where.split(", ")
    assert f"{first!r} (" in str(told.value)
    assert f"{last!r} (" in str(told.value)
    assert same(checkpoints.read(tmp_path / "a", key=last), net(2))
    with pytest.raises(CheckpointError, match="no tensors under the key 'nowhere'"):
        checkpoints.read(tmp_path / "a", key="nowhere")


def test_keys_that_are_no_end_of_dictionaries_are_refused(tmp_path: Path) -> None:
    deep: Any = net(1)
    for _ in range(100):
        deep = {"inner": deep}
    distributed(tmp_path / "a", deep)
    with pytest.raises(CheckpointError, match="none that PyTorch writes"):
        checkpoints.read(tmp_path / "a")


def test_the_moving_average_is_read_when_asked_for(tmp_path: Path) -> None:
    distributed(tmp_path / "a", {"trainer": {"model": net(1), "model_ema": net(2)}})
    assert same(checkpoints.read(tmp_path / "a"), net(1))
    assert same(checkpoints.read(tmp_path / "a", ema=True), net(2))
    distributed(tmp_path / "b", {"model": net(1)})
    with pytest.raises(CheckpointError, match="no moving average"):
        checkpoints.read(tmp_path / "b", ema=True)
