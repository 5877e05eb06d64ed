"""Where the network is in a file: found where there is one answer, asked for where there are several, never guessed."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from linescape import checkpoints
from linescape.checkpoints import averaging
from linescape.checkpoints.formats import containers, pickled
from linescape.checkpoints.formats.containers import label
from linescape.errors import CheckpointError
from tests.checkpoints.test_formats import same


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def optimizer() -> dict[str, Any]:
    network = net()
    network(torch.randn(5, 3)).sum().backward()
    adam = torch.optim.Adam(network.parameters())
    adam.step()
    return adam.state_dict()


FOUND: dict[str, Callable[[Mapping[str, Tensor]], Any]] = {
    "params": lambda held: {"params": held, "epoch": 3},
    "weights": lambda held: {"weights": held, "adam": optimizer()},
    "model_state": lambda held: {"model_state": held, "optimizer_state": optimizer()},
    "checkpoint/model_state_dict": lambda held: {
        "checkpoint": {"model_state_dict": held},
        "hyper": {"x": torch.ones(9)},
    },
    "state/model": lambda held: {
        "state": {"model": held, "optimizers": {"Adam": optimizer()}},
        "rng": [{"cpu": torch.ones(9)}],
    },
    "generator": lambda held: {"generator": held, "loss": torch.tensor(3.0), "step": torch.ones(1)},
    "model": lambda held: {"student": held, "model": held},
    "state_dict": lambda held: {"loops": {"a": {"seen": torch.ones(2)}}, "state_dict": held, "mean": torch.ones(3)},
    "a b/c.d": lambda held: {"a b": {"c.d": held}},
    "params with an average": lambda held: {"params_ema": net(1).state_dict(), "params": held},
}


@pytest.mark.parametrize("where", FOUND)
def test_the_one_network_in_a_file_is_found_and_written_back_there(where: str, tmp_path: Path) -> None:
    held = net().state_dict()
    for name in "ab":
        torch.save(FOUND[where](held), tmp_path / name)
    found = checkpoints.read(tmp_path / "a")
    assert same(found, held)
    keys = where.split(" with")[0]
    assert found.file_format.container == tuple(keys.split("/"))
    averaging.average(found, checkpoints.read(tmp_path / "b"), 0.5, tmp_path / "c")
    written = torch.load(tmp_path / "c", weights_only=True)
    for key in keys.split("/"):
        written = written[key]
    assert same(written, held)


SEVERAL: dict[str, Callable[[], Any]] = {
    "student, teacher": lambda: {"student": net(1).state_dict(), "teacher": net(2).state_dict(), "epoch": 1},
    "state_dict/student, state_dict/teacher": lambda: {
        "state_dict": {"student": net(1).state_dict(), "teacher": net(2).state_dict()}
    },
    "/, generator": lambda: {"generator": net(2).state_dict(), "mean": torch.ones(3)},
    "[0], [1]": lambda: [net(1).state_dict(), net(2).state_dict()],
    "a/b/c, a/b/d": lambda: {"a": {"b": {"c": net(1).state_dict(), "d": net(2).state_dict()}}},
}


@pytest.mark.parametrize("where", SEVERAL)
def test_of_several_networks_the_user_names_one(where: str, tmp_path: Path) -> None:
    torch.save(SEVERAL[where](), tmp_path / "a")
    with pytest.raises(CheckpointError) as told:
        checkpoints.read(tmp_path / "a")
    for key in where.split(", "):
        assert f"{key!r} (" in str(told.value)
    assert "--key" in str(told.value)
    last = where.rpartition(", ")[2]
    found = checkpoints.read(tmp_path / "a", key=last)
    assert same(found, net(2).state_dict())
    assert label(found.file_format.container) == last
    assert same(checkpoints.read(tmp_path / "a", key=last.replace("/", ".")), net(2).state_dict())
    with pytest.raises(CheckpointError, match=r"no tensors under the key 'nowhere'. It has: "):
        checkpoints.read(tmp_path / "a", key="nowhere")


def test_an_item_of_a_list_is_written_as_one(tmp_path: Path) -> None:
    for name in "ab":
        torch.save([net().state_dict(), 3], tmp_path / name)
    start, end = (checkpoints.read(tmp_path / name, key="[0]") for name in "ab")
    assert any("left out the other 1 items of the list" in note for note in start.notes)
    averaging.average(start, end, 0.5, tmp_path / "c")
    (written,) = torch.load(tmp_path / "c", weights_only=True)
    assert same(written, net().state_dict())


@pytest.mark.parametrize("key", ["[best]", "runs/7", "v1.0"])
def test_a_key_is_written_as_it_is(key: str, tmp_path: Path) -> None:
    held = net().state_dict()
    for name in "ab":
        torch.save({key: held, "epoch": 1}, tmp_path / name)
    start, end = (checkpoints.read(tmp_path / name, key=key) for name in "ab")
    averaging.average(start, end, 0.5, tmp_path / "c")
    written = torch.load(tmp_path / "c", weights_only=True)
    assert list(written) == [key]
    assert same(written[key], held)
    outer, _, inner = key.partition("/")
    if inner:
        torch.save({key: held, outer: {inner: net(1).state_dict()}}, tmp_path / "d")
        with pytest.raises(CheckpointError, match="2 places that are called"):
            checkpoints.read(tmp_path / "d", key=key)


def test_a_key_may_lead_to_what_holds_the_network(tmp_path: Path) -> None:
    torch.save(
        {"teacher": {"state_dict": net(1).state_dict(), "step": torch.tensor(3)}, "x": net(2).state_dict()},
        tmp_path / "a",
    )
    assert same(checkpoints.read(tmp_path / "a", key="teacher"), net(1).state_dict())
    assert checkpoints.read(tmp_path / "a", key="teacher").file_format.container == ("teacher", "state_dict")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (optimizer, "holds the state of an optimizer, and no network"),
        (lambda: {"optimizer": optimizer(), "epoch": 3}, "no tensors by name"),
        (lambda: {"model_ema": net().state_dict()}, "'model_ema'.*7 tensors"),
        (lambda: [net().state_dict()], r"holds a list, .* '\[0\]' \(7 tensors\)"),
        (lambda: list(net().named_parameters()), "holds a list"),
        (lambda: {1: torch.ones(2), "1": torch.ones(3)}, "two tensors of one name"),
        (lambda: {name: value.numpy() for name, value in net().state_dict().items()}, "no tensors by name"),
    ],
)
def test_what_is_no_network_is_refused_and_what_is_there_is_listed(
    content: Callable[[], Any], said: str, tmp_path: Path
) -> None:
    torch.save(content(), tmp_path / "a")
    with pytest.raises(CheckpointError, match=said):
        checkpoints.read(tmp_path / "a")


def test_a_moving_average_without_names_is_explained(tmp_path: Path) -> None:
    average = {"decay": 0.99, "shadow_params": list(net(1).parameters()), "collected_params": None}
    torch.save({"weights": net().state_dict(), "net_ema": average}, tmp_path / "a")
    assert same(checkpoints.read(tmp_path / "a"), net().state_dict())
    with pytest.raises(CheckpointError, match="no tensors by name under net_ema: torch_ema"):
        checkpoints.read(tmp_path / "a", ema=True)


def test_a_smallest_network_of_single_numbers_is_read(tmp_path: Path) -> None:
    torch.save({"model": {"scale": torch.tensor(2.0)}, "epoch": 3}, tmp_path / "a")
    assert list(checkpoints.read(tmp_path / "a")) == ["scale"]


def test_formats_with_one_network_have_no_keys(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "a", net().state_dict())
    with pytest.raises(CheckpointError, match="Read it without --key"):
        checkpoints.read(tmp_path / "a", key="model")
    torch.save({"model": net().state_dict()}, tmp_path / "b")
    with pytest.raises(CheckpointError, match="leave out --ema"):
        checkpoints.read(tmp_path / "b", ema=True, key="model")


class Head(nn.Module):
    """A part with everything that a module may have: a missing parameter and part, and a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.register_parameter("bias", None)
        self.register_buffer("cache", torch.ones(2), persistent=False)
        self.register_buffer("steps", torch.tensor(3))
        self.register_module("nothing", None)


@pytest.mark.filterwarnings("ignore::UserWarning")  # that the source of some classes is not found
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_network_is_read_as_data(protocol: int, zipped: bool, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), Head())
    for number, thing in enumerate((network, {"net": network, "epoch": 3}, {"model": nn.DataParallel(network)})):
        path = tmp_path / str(number)
        torch.save(thing, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        found = checkpoints.read(path)
        assert list(found) == list(network.state_dict())
        assert same(found, network.state_dict())
        assert any("code was not run" in note for note in found.notes)


def test_deep_and_shared_content_takes_little_time() -> None:
    deep: Any = {}
    for _ in range(1000):
        deep = {"a": deep, "b": deep, "c": [deep]}
    with pytest.raises(CheckpointError, match="no tensors by name"):
        containers.find(deep, "x", False, None)


def test_keys_that_have_one_hash_are_replaced() -> None:
    prime = (1 << 61) - 1
    keys = [3, (1 << 64) - 1, -5, 1 << 64, prime << 8, prime * 7]
    program = io.BytesIO()
    pickle.dump({key: key for key in keys} | {"a": 1}, program, 2)
    program.seek(0)
    found = [key if isinstance(key, int | str) else str(key) for key in pickled.load(program).content]
    assert found == [3, (1 << 64) - 1, -5, "a int", "a int", prime * 7, "a"]
