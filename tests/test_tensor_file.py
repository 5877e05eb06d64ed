"""Tensor files: what earlier versions wrote is read, and equal content gives the bytes that they gave."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from linescape import tensor_file
from linescape.geometry.state import State
from linescape.interpolation import resume
from linescape.interpolation.curve import Curve, Point
from linescape.recipe import MLP, Data, Recipe, Schedule
from linescape.studies.store import Store
from linescape.studies.study import Train
from linescape.training.loop import Checkpoint

VALUES = {
    ("test", "error", "interpolate"): np.array([[1.0, 2], [np.nan, 4]], np.float32),
    ("test", "cross_entropy", "end"): np.arange(6.0).reshape(3, 2).T,  # not contiguous
}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


# The first two digests are of files that linescape wrote when each of the three had code of its own. The third changed
# once, when snapshots began to name the convolutions (`native`).
def test_bytes_are_frozen(tmp_path: Path) -> None:
    assert digest(Curve(np.array([0.0, 1.0]), VALUES, {"a": [1, None]}).to_bytes()) == "ef33a54df1672d8e"
    resume.keep(tmp_path, Point(0.5, {key: values[0] for key, values in VALUES.items()}, 1.5))
    assert digest((tmp_path / "0.5.safetensors").read_bytes()) == "64986ff4ea3841a1"
    channels_last = torch.ones(2, 2, 2, 2, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    state = State(
        {"w": torch.arange(6.0).reshape(2, 3), "h": channels_last},
        {"mean": torch.ones(2), "count": torch.tensor(7)},
        {"tied": "w"},
    )
    store, task = Store(tmp_path / "store"), Train(Recipe(Data("digits"), MLP((3,)), schedule=Schedule(2)))
    store.save_resume(task, Checkpoint(state, 12, {"momentum_buffer/w": torch.ones(2, 3)}, 0.25, 3, 5), [{"epoch": 0}])
    assert digest((store.folder(task) / "resume.safetensors").read_bytes()) == "3fbf138763db2bd2"


def test_a_file_of_safetensors_own_is_read() -> None:
    arrays = {"a": np.array([[1.5, np.inf]]), "b": np.zeros((0, 3), np.float32), "c": np.array([True])}
    note = {"x": [1, None, "ä"], "nan": float("inf")}
    content = safetensors.numpy.save(arrays, {"linescape": json.dumps(note)})
    tensors, back = tensor_file.decode_with_note(content)
    assert back == note
    assert {name: tensor.numpy().tolist() for name, tensor in tensors.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
    assert tensor_file.encode_with_note(tensor_file.from_arrays(arrays), note) == content


def test_tensors_may_share_memory_and_stay_as_they_are() -> None:
    whole = torch.arange(6.0)
    tensors, _ = tensor_file.decode_with_note(tensor_file.encode_with_note({"a": whole, "b": whole[::2]}, {}))
    assert torch.equal(tensors["b"], whole[::2])
    tensors["a"][0] = 7
    assert whole[0] == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        tensor_file.encode_with_note({"a": torch.ones(9)}, {"x": 1})[:-8],
        tensor_file.encode({"a": torch.ones(1)}),
        tensor_file.encode({"a": torch.ones(1)}, {"other": "{}"}),
        tensor_file.encode({"a": torch.ones(1)}, {"linescape": "[1]"}),
        tensor_file.encode({"a": torch.ones(1)}, {"linescape": "{"}),
    ],
)
def test_what_is_no_such_file_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        tensor_file.decode_with_note(content)
