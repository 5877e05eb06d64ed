"""Data sets of Hugging Face in words, and how many examples of any data are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linescape.cli import specs
from linescape.data.dataset import rank_in_class
from linescape.errors import DataError, RecipeError
from tests.support import optional
from tests.support.specs import draw, refused, saved, tokenizer


def test_data_sets_of_hugging_face_with_images(tmp_path: Path) -> None:
    datasets = optional.load("datasets")
    draw(tmp_path / "files", 6, (5, 4))
    pictures = [Image.open(tmp_path / "files" / f"{i}.png") for i in range(6)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(3)})
    rows = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 2, 2, 1, 0]}, features=features)
    datasets.DatasetDict({"train": rows, "validation": rows.select([4, 5])}).save_to_disk(tmp_path / "set")
    (tmp_path / "tables").mkdir()
    rows.to_parquet(tmp_path / "tables" / "train-00000-of-00001.parquet")
    rows.select([4, 5]).to_parquet(tmp_path / "tables" / "validation-00000-of-00001.parquet")
    for name in ("set", "tables"):
        found = specs.network_and_data("own.py:network", f"hf-data:{name},mean=0.5/0.5/0.5,std=1/1/1", None)
        inputs, labels = found.data["train"]
        expected = np.stack([np.asarray(picture) for picture in pictures]).transpose(0, 3, 1, 2) / 255 - 0.5
        assert np.allclose(inputs.numpy(), expected, atol=1e-6)
        assert labels.tolist() == [0, 1, 2, 2, 1, 0]
        assert torch.equal(found.data["validation"][0], inputs[4:])


def test_data_sets_of_hugging_face_with_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = optional.load("datasets")
    transformers = optional.load("transformers")
    monkeypatch.setattr("linescape.cli.specs.datasets._BATCH", 2)
    texts = ["a cat", "the cat sat on the mat", "dog"]
    made = tokenizer(tmp_path / "m", " ".join(texts))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=20, **sizes))
    model.save_pretrained(tmp_path / "m")
    rows = datasets.Dataset.from_dict({"text": texts, "label": [1, 0, 1]})
    rows.save_to_disk(tmp_path / "set")
    found = specs.network_and_data(None, "hf-data:set,length=4", None, tmp_path / "m")
    first, second = found.data["test"]
    assert first["input_ids"].tolist() == [[*made(texts[0])["input_ids"], 0, 0], made(texts[1])["input_ids"][:4]]
    assert first["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert (first["labels"].tolist(), second["labels"].tolist()) == ([1, 0], [1])
    refused(RecipeError, "no setting 'size'", "hf:m", "hf-data:set,size=3")
    # Without labels, or for a causal model, the texts follow one another.
    saved(tmp_path / "causal")
    joined = [*made(texts[0])["input_ids"], 1, *made(texts[1])["input_ids"], 1, *made(texts[2])["input_ids"]]
    found = specs.network_and_data("hf:causal", "hf-data:set,length=5,tokenizer=m", None)
    (batch,) = found.data["test"]
    assert batch["input_ids"].flatten().tolist() == joined[:10]
    assert batch["targets"].flatten().tolist() == joined[1:11]


def test_data_sets_of_hugging_face_that_cannot_be_used(tmp_path: Path) -> None:
    datasets = optional.load("datasets")
    datasets.Dataset.from_dict({"words": ["a"]}).save_to_disk(tmp_path / "set")
    datasets.Dataset.from_dict({"text": ["a"], "label": ["b"]}).save_to_disk(tmp_path / "named")
    refused(DataError, "has the columns words", data="hf-data:set")
    refused(RecipeError, "tokenizer=FOLDER", data="hf-data:named")
    tokenizer(tmp_path / "m", "a")
    refused(DataError, "no whole numbers", data="hf-data:named,tokenizer=m")
    (tmp_path / "other").mkdir()
    refused(DataError, "nor are there Parquet files", data="hf-data:other")
    (tmp_path / "other" / "state.json").write_text("{")
    refused(DataError, "no readable data set", data="hf-data:other")
    refused(DataError, "no folder", data="hf-data:absent")


def test_the_few_are_as_many_of_each_class() -> None:
    from linescape.cli.specs import examples

    labels = np.repeat([0, 1, 2], [3000, 700, 5])
    chosen = examples.by_class("train", labels)
    assert np.bincount(labels[chosen]).tolist() == [1295, 700, 5]
    assert len(examples.by_class("test", labels)) == 3705
    assert rank_in_class(torch.from_numpy(labels))[chosen].max() == 1294
    assert examples.spaced("train", 4001)[[0, 1, -1]].tolist() == [0, 2, 4000]
