"""Folders of Hugging Face's libraries: which of several files is read, and what of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from linescape import checkpoints
from linescape.checkpoints import averaging
from linescape.errors import CheckpointError
from tests.checkpoints.test_formats import same


def net(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    return {f"h.{part}.weight": torch.randn(4, 3, generator=drawn).to(dtype) for part in "abc"}


def in_parts(
    folder: Path, held: Mapping[str, Tensor], more: Mapping[str, Tensor] | None = None, size: int = 144
) -> dict[str, str]:
    """The first tensor in one part, the others in another with what else is given."""
    folder.mkdir(exist_ok=True)
    first, *others = held
    save_file({first: held[first]}, folder / "model-1.safetensors", {"format": "pt"})
    save_file({name: held[name] for name in others} | dict(more or {}), folder / "model-2.safetensors")
    places = {first: "model-1.safetensors"} | dict.fromkeys(others, "model-2.safetensors")
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return places


def test_a_single_file_is_read_rather_than_an_index_and_other_weights_are_named(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        in_parts(tmp_path / name, net(number))
        save_file(net(number + 10), tmp_path / name / "model.safetensors", {"format": "pt"})
        save_file(net(number + 20), tmp_path / name / "model_1.safetensors")
    start, end = (checkpoints.read(tmp_path / name) for name in "ab")
    assert same(start, net(10))
    (note,) = start.notes
    assert "Read model.safetensors" in note
    assert note.endswith("there: model.safetensors.index.json, model_1.safetensors.")
    averaging.average(start, end, 1.0, tmp_path / "c")
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["model.safetensors"]
    assert same(load_file(tmp_path / "c" / "model.safetensors"), net(11))


def test_an_index_alone_is_read_without_a_note(tmp_path: Path) -> None:
    in_parts(tmp_path / "a", net(0))
    found = checkpoints.read(tmp_path / "a")
    assert same(found, net(0))
    assert not found.notes


def test_only_what_the_index_places_in_a_part_is_taken_from_it(tmp_path: Path) -> None:
    first = next(iter(net(0)))
    in_parts(tmp_path / "a", net(0), {first: net(0)[first]})  # twice, and the same
    places = in_parts(tmp_path / "b", net(1), {"old.weight": torch.ones(2)})
    start, end = (checkpoints.read(tmp_path / name) for name in "ab")
    assert same(start, net(0))
    assert same(end, net(1))
    assert end.notes == ("Left out what the index does not name: old.weight of model-2.safetensors.",)
    averaging.average(start, end, 0.5, tmp_path / "c")
    for name, file in places.items():
        found = load_file(tmp_path / "c" / file)[name]
        exact = (net(0)[name].double() + net(1)[name].double()) / 2
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-6)
    in_parts(tmp_path / "d", net(2), {first: net(3)[first]})
    with pytest.raises(CheckpointError, match=r"model-2.safetensors has another 'h.a.weight'"):
        checkpoints.read(tmp_path / "d")


def test_what_tells_of_sizes_and_types_is_right_after_widening(tmp_path: Path) -> None:
    in_parts(tmp_path / "a", net(0))
    in_parts(tmp_path / "b", net(1, torch.float16), size=72)
    (tmp_path / "b" / "config.json").write_text('{"dtype": "float16"}')
    start, end = (checkpoints.read(tmp_path / name) for name in "ab")
    notes = averaging.average(start, end, 0.5, tmp_path / "c")
    assert json.loads((tmp_path / "c" / "model.safetensors.index.json").read_bytes())["metadata"]["total_size"] == 144
    assert any("config.json may name a narrower type" in note for note in notes)
    averaging.average(end, end, 0.5, tmp_path / "d")
    index = (tmp_path / "b" / "model.safetensors.index.json").read_bytes()
    assert (tmp_path / "d" / "model.safetensors.index.json").read_bytes() == index
