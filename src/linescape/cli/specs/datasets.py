"""Data sets of Hugging Face on disk: rows of image and label, text and label, or text alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from linescape.cli.specs import text as tokens
from linescape.cli.specs.examples import Read, by_class, noted
from linescape.cli.specs.images import SETTINGS, Preprocessing
from linescape.cli.specs.user_code import optional
from linescape.data.archives.files import content
from linescape.errors import DataError, RecipeError, first_line, suggest
from linescape.evaluation.forward import predicts_next
from linescape.recipe.typed import name_and_settings

IMAGES = ("image", "img")
TEXTS = ("text", "sentence", "content")
LABELS = ("label", "labels", "fine_label")

_BATCH = 64
"""Texts in a batch."""

Splits = Mapping[str, Any]
"""Name -> a ``datasets.Dataset``."""


def read(text: str, network: nn.Module, folder: Path | None) -> Read:
    """Data from ``FOLDER,length=128,tokenizer=FOLDER``, or with the settings of images.

    Raises:
        RecipeError: a setting is unknown or impossible, or there is no tokenizer.
        DataError: the folder is no data set, has other columns, or does not fit the network.
    """
    name, settings = name_and_settings(text)
    splits = _splits(Path(name))
    columns = next(iter(splits.values())).column_names
    image, words, label = (next((c for c in known if c in columns), None) for known in (IMAGES, TEXTS, LABELS))
    known = SETTINGS if image else ("length", "tokenizer")
    for setting in settings:
        if setting not in known:
            raise RecipeError(
                f"Data with the columns {', '.join(columns)} have no setting {setting!r}. {suggest(setting, known)}"
            )
    if image and label:
        return _images(splits, image, label, Preprocessing.of(settings))
    if words:
        length = tokens.read_length(settings.get("length", str(tokens.LENGTH)))
        tokenizer = tokens.read_tokenizer(settings.get("tokenizer"), folder)
        if label and not predicts_next(network):
            return _classified(splits, words, label, tokenizer, length, network)
        texts = {split: [text.encode() for text in rows[words] if text] for split, rows in splits.items()}
        return tokens.blocks(texts, tokenizer, length, network)
    raise DataError(
        f"{name} has the columns {', '.join(columns)}. It needs an image ({', '.join(IMAGES)}) and a label "
        f"({', '.join(LABELS)}), or a text ({', '.join(TEXTS)}) with or without one. Rename them with "
        "`rename_column`."
    )


def _splits(place: Path) -> Splits:
    datasets = optional("datasets", "hf")
    if not place.is_dir():
        raise DataError(f"{place} is no folder. Name the one that `save_to_disk` wrote, or one of Parquet files.")
    try:
        if (place / "dataset_dict.json").is_file() or (place / "state.json").is_file():
            found = datasets.load_from_disk(str(place))
        else:
            found = _parquet(datasets, place)
    except DataError:
        raise
    except Exception as error:  # datasets raises as many kinds as its files have fields
        raise DataError(
            f"{place} is no readable data set of Hugging Face ({first_line(error)}). Save it again."
        ) from error
    splits = dict(found) if isinstance(found, Mapping) else {"test": found}
    for name, rows in splits.items():
        if not len(rows):
            raise DataError(f"The data {name!r} in {place} have no examples, so there is nothing to average over.")
    return splits


def _parquet(datasets: Any, place: Path) -> Splits:
    """Files ``train-*.parquet``, ``test-*.parquet``, ..., in the folder or in its folder ``data``."""
    files = sorted([*place.glob("*.parquet"), *(place / "data").glob("*.parquet")])
    if not files:
        raise DataError(
            f"{place} is neither what `save_to_disk` of a Hugging Face data set wrote, nor are there Parquet files in "
            "it."
        )
    parquet = optional("pyarrow.parquet", "hf")
    by_split: dict[str, list[Any]] = {}
    for file in files:
        by_split.setdefault(file.stem.split("-")[0], []).append(datasets.Dataset(parquet.read_table(file)))
    return {name: datasets.concatenate_datasets(parts) for name, parts in by_split.items()}


def _images(splits: Splits, image: str, label: str, preprocessing: Preprocessing) -> Read:
    datasets = optional("datasets", "hf")
    halves, notes = {}, list[str]()
    for name, rows in splits.items():
        labels = _labels(rows, label, name)
        chosen = by_class(name, labels)
        notes += noted(name, chosen, len(labels))
        held = rows.cast_column(image, datasets.Image(decode=False)).select(chosen)[image]
        pictures = (_picture(each, f"image {at} of {name!r}") for at, each in zip(chosen, held, strict=True))
        halves[name] = (preprocessing.pixels(pictures, len(chosen)), labels[chosen])
    data, note = preprocessing.inputs(halves)
    return data, (*notes, note)


def _picture(held: Any, source: str) -> tuple[bytes, str]:
    """The content of an image's file, which is in the data set or beside it on disk, and what to call it."""
    if held and held["bytes"] is not None:
        return held["bytes"], source
    if held and held["path"] and Path(held["path"]).is_file():
        return content(Path(held["path"])), held["path"]
    raise DataError(f"{source} is neither in the data set nor a file on this disk. Save it with its images.")


def _classified(splits: Splits, words: str, label: str, tokenizer: Any, length: int, network: nn.Module) -> Read:
    """Batches ``input_ids``, ``attention_mask`` and ``labels``, padded to the longest text of all in a split."""
    if tokenizer is None:
        raise RecipeError(
            "The texts need a tokenizer, and the checkpoint is no folder that has one. Write tokenizer=FOLDER."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    found, notes = {}, list[str]()
    for name, rows in splits.items():
        labels = _labels(rows, label, name)
        chosen = by_class(name, labels)
        notes += noted(name, chosen, len(labels))
        texts = list(rows.select(chosen)[words])
        # One length for all is one kind of call, so one graph.
        held = tokenizer(texts, padding="longest", truncation=True, max_length=length, return_tensors="pt")
        tokens.check(network, held["input_ids"], name)
        whole = {key: held[key] for key in ("input_ids", "attention_mask")}
        whole["labels"] = torch.from_numpy(labels[chosen])
        found[name] = [
            {key: value[at : at + _BATCH] for key, value in whole.items()} for at in range(0, len(chosen), _BATCH)
        ]
    return found, tuple(notes)


def _labels(rows: Any, label: str, name: str) -> np.ndarray:
    labels = np.asarray(rows[label])
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"The labels of {name!r} (column {label!r}) are no whole numbers. Use `class_encode_column` of datasets."
        )
    return labels.astype(np.int64)
