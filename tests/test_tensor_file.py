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


# The first digest is of a file that linescape wrote when each of the three had code of its own. The others are of work
# in progress, which a newer linescape does again: they changed when such files were sealed and began to say what they
# are a part of.
def test_bytes_are_frozen(tmp_path: Path) -> None:
    assert digest(Curve(np.array([0.0, 1.0]), VALUES, {"a": [1, None]}).to_bytes()) == "ef33a54df1672d8e"
    resume.keep(tmp_path / "walk", Point(0.5, {key: values[0] for key, values in VALUES.items()}, 1.5))
    assert digest((tmp_path / "walk" / "0.5.safetensors").read_bytes()) == "b357b0125df9c7f7"
    channels_last = torch.ones(2, 2, 2, 2, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    state = State(
        {"w": torch.arange(6.0).reshape(2, 3), "h": channels_last},
        {"mean": torch.ones(2), "count": torch.tensor(7)},
        {"tied": "w"},
    )
    store, task = Store(tmp_path / "store"), Train(Recipe(Data("digits"), MLP((3,)), schedule=Schedule(2)))
    now = Checkpoint(state, 12, {"momentum_buffer/w": torch.ones(2, 3)}, 0.25, 3, 5)
    store.half_done(task, {"device": "cpu"}).save_training(now, [{"epoch": 0}])
    assert digest((store.folder(task) / "resume.safetensors").read_bytes()) == "713f184025adbe62"


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


def test_a_sealed_file_is_read_back_and_by_others() -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "empty": torch.zeros(0), "0" * 64: torch.tensor(1)}
    note = {"x": ["0" * 64, None], "digest_of": 1}
    content = tensor_file.encode_sealed(tensors, note)
    assert content == tensor_file.encode_sealed(tensors, note)
    found, about = tensor_file.decode_sealed(content)
    assert {**note, "digest": about["digest"]} == about
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    assert set(safetensors.numpy.load(content)) == set(tensors)


def test_no_bit_of_a_sealed_file_may_flip() -> None:
    content = tensor_file.encode_sealed({"a": torch.ones(3), "b": torch.zeros(2, dtype=torch.int8)}, {"x": 1})
    for place in range(len(content)):
        for bit in range(8):
            damaged = content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
            with pytest.raises(ValueError, match=r"."):
                tensor_file.decode_sealed(damaged)


@pytest.mark.parametrize("digest", [{}, {"digest": None}, {"digest": ""}, {"digest": [1]}, {"digest": "0" * 64}])
def test_a_file_without_a_seal_is_not_sealed(digest: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not those that were written"):
        tensor_file.decode_sealed(tensor_file.encode_with_note({"a": torch.ones(3)}, digest))


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
        tensor_file.encode({"a": torch.ones(1)}, {"linescape": "[" * 99999}),
    ],
)
def test_what_is_no_such_file_is_a_value_error(content: bytes) -> None:
    for decode in (tensor_file.decode_with_note, tensor_file.decode_sealed):
        with pytest.raises(ValueError, match=r"."):
            decode(content)
