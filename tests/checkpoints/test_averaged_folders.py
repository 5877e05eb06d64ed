"""Averages of folders of Hugging Face, as its own library loads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from linescape.geometry import state
from tests.support import optional
from tests.support.averages import (
    average,
    same,
)


def hugging_face(folder: Path, seed: int, **how: Any) -> Any:
    transformers = optional.load("transformers")
    torch.manual_seed(seed)
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=50, n_positions=16)
    model = transformers.GPT2LMHeadModel(config)  # which ties its embedding and head
    model.save_pretrained(folder, **how)
    return model


@pytest.mark.parametrize("shard", ["5GB", "4KB"])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_hugging_face_folder_is_loaded_by_from_pretrained(kind: str, shard: str, tmp_path: Path) -> None:
    transformers = optional.load("transformers")
    start = hugging_face(tmp_path / "a", 1)
    end = hugging_face(tmp_path / "b", 2, max_shard_size=shard)
    if kind == "bin":
        as_bin(tmp_path / "b")
    (tmp_path / "b" / "optimizer.pt").write_bytes(b"0" * 100)
    (tmp_path / "b" / "tokenizer.json").write_text("{}")
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "b" / "vocab.txt").symlink_to(tmp_path / "secret")
    notes = average(tmp_path / "a", tmp_path / "b", 0.3, tmp_path / "out")
    assert f"Not copied from {tmp_path / 'b'}: optimizer.pt, vocab.txt." in notes
    expected = {path.name for path in (tmp_path / "b").iterdir()} - {"optimizer.pt", "vocab.txt"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected
    found = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out", local_files_only=True)
    assert found.lm_head.weight is found.transformer.wte.weight
    first, last = start.state_dict(), end.state_dict()
    assert same(found.state_dict(), {name: state.lerp(first[name], last[name], 0.3) for name in last})
    if kind == "safetensors":
        for path in (tmp_path / "b").glob("*.safetensors"):
            with safe_open(path, "pt") as given, safe_open(tmp_path / "out" / path.name, "pt") as written:
                assert list(written.keys()) == list(given.keys())
                assert written.metadata()["format"] == "pt"


def as_bin(folder: Path) -> None:
    """As older versions of transformers wrote it, with both names of tied weights."""
    for path in folder.glob("model*.safetensors"):
        held = safetensors.torch.load_file(path)
        if "transformer.wte.weight" in held:
            held["lm_head.weight"] = held["transformer.wte.weight"]
        torch.save(held, path.with_name(path.name.replace("model", "pytorch_model").replace(".safetensors", ".bin")))
        path.unlink()
    index = folder / "model.safetensors.index.json"
    if index.exists():
        read = json.loads(index.read_text())
        places = read["weight_map"]
        places["lm_head.weight"] = places["transformer.wte.weight"]
        read["weight_map"] = {
            name: place.replace("model", "pytorch_model").replace(".safetensors", ".bin")
            for name, place in places.items()
        }
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(read))
        index.unlink()


def test_links_into_the_cache_of_hugging_face_are_followed(tmp_path: Path) -> None:
    transformers = optional.load("transformers")
    hugging_face(tmp_path / "a", 1)
    blobs, folder = tmp_path / "models--x" / "blobs", tmp_path / "models--x" / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    folder.mkdir(parents=True)
    for number, path in enumerate((tmp_path / "a").iterdir()):
        path.rename(blobs / str(number))
        (folder / path.name).symlink_to(Path("../../blobs") / str(number))
    average(folder, folder, 0.5, tmp_path / "out")
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)
