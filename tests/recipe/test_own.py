"""Code of the user's in recipes: what names it, what its key covers, and what is refused."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest
from torch import nn

from linescape import data, models
from linescape.errors import DataError, RecipeError
from linescape.recipe import Data, Own, OwnData, OwnModel, Random, Recipe, user_code
from linescape.recipe.source import used_by
from tests.support.own_study import as_file

NET = """
import torch
from torch import nn
SIZE = 4
TABLE = {}

def helper(width):
    return nn.Linear(width, SIZE)

def network(width=3):
    return nn.Sequential(helper(width), nn.ReLU())

def other():
    return 1

def registered():
    return TABLE["x"]
"""


def test_the_text_that_is_used_is_what_counts() -> None:
    base = used_by("network", NET)
    for same in (
        NET + "\nstudy = 3\n",
        NET.replace("return 1", "return 2"),
        NET + "\nif __name__ == '__main__':\n    network()\n",
        "# a remark\n" + NET,
    ):
        assert used_by("network", same) == base
    for changed in (
        NET.replace("SIZE = 4", "SIZE = 5"),
        NET.replace("nn.Linear(width, SIZE)", "nn.Linear(width, SIZE, bias=False)"),
        NET.replace("width=3", "width=4"),
        NET + "\ntorch.set_default_dtype(torch.float64)\n" + "nn.Linear.bias = None\n",
        NET + "\nhelper.scale = 2\n",
        NET + "\nfrom elsewhere import *\n",
        NET + "\n@register\ndef late():\n    return 2\n",
    ):
        assert used_by("network", changed) != base
    table = used_by("registered", NET)
    assert used_by("registered", NET + "\nTABLE['x'] = 3\n") != table
    assert used_by("registered", NET + "\nTABLE.update(x=3)\n") != table
    seen = NET.replace("return TABLE", "return globals()['TABLE']")
    assert used_by("registered", seen) == seen


def test_a_function_has_one_key_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with as_file(tmp_path, NET, "net_of_mine.py") as file:
        monkeypatch.syspath_prepend(tmp_path)
        module = importlib.import_module("net_of_mine")
        made = [OwnModel.of(given, width=5) for given in (module.network, "net_of_mine:network", f"{file}:network")]
        assert len({Recipe(model=model).key for model in made}) == 1
        assert made[0].key != OwnModel.of(module.network, width=6).key
        assert made[0].values == {"width": 5}
        assert str(made[0]) == "network(width=5)"
        recipe = Recipe(model=made[2])
        assert msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe) == recipe
        file.write_text(NET.replace("SIZE = 4", "SIZE = 9").replace("nn.ReLU()", "nn.Tanh()"))
        with pytest.raises(RecipeError, match="has changed since it was imported"):
            OwnModel.of(module.network)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: None, "is a lambda"),
        (partial(nn.Linear, 3, 4), "is a partial, which has no name"),
        ("network", "Write module:name"),
        ("no_such_module:network", "could not be imported"),
        (test_the_text_that_is_used_is_what_counts.__get__(3), "is a method"),
    ],
)
def test_what_cannot_be_named_is_refused(given: str | Callable[..., object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Own.of(given)


def test_code_of_a_notebook_is_refused_with_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    cell = ModuleType("__main__")
    exec("def network():\n    return 1", vars(cell))
    monkeypatch.setitem(sys.modules, "__main__", cell)
    with pytest.raises(RecipeError, match=r"%%writefile net.py.*'net.py:network'"):
        OwnModel.of(cell.network)


@pytest.mark.parametrize("setting", [float("nan"), {1: 2}, object(), [1, {2}], 1 + 2j])
def test_settings_are_plain(setting: object) -> None:
    with pytest.raises(RecipeError, match="cannot be written into a recipe"):
        Own.of(nn.Linear, size=[setting])


BAD = """
import torch, random
from torch import nn
GLOBAL = nn.Linear(3, 2)
class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(3, 2), 0
    def forward(self, x):
        self.calls += 1
        return self.layer(x) * self.calls
class Draws(nn.Linear):
    def forward(self, x):
        return super().forward(x) * random.random()
def counts(): return Counts()
def draws(): return Draws(3, 2)
def shared(): return nn.Sequential(GLOBAL)
def number(): return 3
def raises(): raise ValueError("no such file")
def few(): return nn.Linear(3, 1)
def pair(): return nn.LSTM(3, 2)
def wrong(): return nn.Linear(4, 2)
def lazy(): return nn.LazyLinear(2)
def fine(): return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
x, y = torch.zeros(6, 3), torch.arange(6) % 2
def train_only(): return {"train": (x, y)}
def floats(): return {"train": (x, y.float()), "test": (x, y)}
def doubles(): return {"train": (x.double(), y), "test": (x.double(), y)}
def negative(): return {"train": (x, y - 1), "test": (x, y)}
def missing(): return {"train": (x, y), "test": (x, y), "classes": 1}
def infinite(): return {"train": (x / 0, y), "test": (x, y)}
def shapes(): return {"train": (x, y), "test": (x[:, :2], y)}
def good(): return {"train": torch.utils.data.TensorDataset(x, y), "test": (x, y.int()), "classes": 3}
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("counts", "gives other outputs after it was called once"),
        ("draws", "draw random numbers from torch"),
        ("shared", "returned before"),
        ("number", "returned a int"),
        ("raises", "ValueError: no such file (line"),
        ("few", "the data have 2 classes"),
        ("pair", "returned a tuple"),
        ("wrong", "called with float32 of shape (6, 3), raised RuntimeError"),
        ("lazy", "lazy modules must be called once"),
    ],
)
def test_networks_that_cannot_be_trained_are_refused(name: str, said: str, tmp_path: Path) -> None:
    with as_file(tmp_path, BAD, "bad.py") as file:
        spec, inputs = OwnModel.of(f"{file}:{name}"), data.load(Data.of(f"{file}:good")).train.inputs

        def train_twice() -> None:
            kept = [models.draw(spec, (3,), 2, Random(), 0) for _ in range(2)]
            models.check(spec, kept[1], inputs, 2)

        with pytest.raises(RecipeError, match=re.escape(said)):
            train_twice()


def test_a_network_is_drawn_from_the_seed_and_may_drop_out(tmp_path: Path) -> None:
    with as_file(tmp_path, BAD, "bad.py") as file:
        spec = OwnModel.of(f"{file}:fine")
        drawn = [models.draw(spec, (3,), 2, Random(), seed)[0].weight for seed in (1, 1, 2)]  # type: ignore[index]
        assert drawn[0].equal(drawn[1])
        assert not drawn[0].equal(drawn[2])
        models.check(spec, models.draw(spec, (3,), 2, Random(), 0), data.load(Data.of(f"{file}:good")).train.inputs, 2)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train_only", "the names train"),
        ("number", "no dictionary"),
        ("floats", "float32 labels"),
        ("doubles", "float64 of shape"),
        ("negative", "run from -1"),
        ("missing", "with 1 classes"),
        ("infinite", "NaN or infinite"),
        ("shapes", "both the same form"),
    ],
)
def test_data_that_are_none_are_refused(name: str, said: str, tmp_path: Path) -> None:
    with as_file(tmp_path, BAD, "bad.py") as file, pytest.raises(DataError, match=said):
        data.load(Data.of(f"{file}:{name}"))


def test_data_are_what_the_function_returns(tmp_path: Path) -> None:
    with as_file(tmp_path, BAD, "bad.py") as file:
        spec = Data.of(f"{file}:good")
        loaded = data.load(spec)
        assert (loaded.classes, len(loaded.train), len(loaded.test), loaded.shape) == (3, 6, 6, (3,))
        assert loaded.tensors()["train"][0].equal(loaded.train.inputs)
        assert loaded.digest == data.load(spec, seed=3).digest
        assert isinstance(spec.own, OwnData)
        noisy = data.load(msgspec.structs.replace(spec, label_noise=0.5), seed=1)
        assert int((noisy.train.targets != loaded.train.targets).sum()) == 3
        with pytest.raises(RecipeError, match="A size needs images of bytes|features, not images"):
            data.load(msgspec.structs.replace(spec, size=2))


def test_a_file_that_has_changed_is_read_again_though_its_time_and_size_are_the_same(tmp_path: Path) -> None:
    """As where two texts are written within the tick of a file system, which may be two seconds."""
    file = tmp_path / "net.py"
    found = []
    for text in ("def width():\n    return 1\n", "def width():\n    return 2\n"):
        file.write_text(text)
        os.utime(file, (1, 1))
        found.append(user_code.name(f"{file}:width"))
    assert user_code.attribute(str(file), "width")() == 2
    assert found[0].sha256 != found[1].sha256
