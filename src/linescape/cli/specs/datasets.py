"""Hugging Face data sets on disk: rows of image and label, text and label, or text alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from linescape.checkpoints.formats.hugging_face import download_hint
from linescape.cli.specs import text as tokens
from linescape.cli.specs.examples import Read, by_class, noted
from linescape.cli.specs.images import Preprocessing
from linescape.cli.specs.user_code import optional
from linescape.data.archives.parquet import IMAGES, LABELS, Table
from linescape.data.archives.pictures import decode_all
from linescape.errors import DataError, RecipeError, first_line, suggest
from linescape.evaluation.forward import predicts_next
from linescape.recipe.typed import name_and_settings

TEXTS = ("text", "sentence", "content")

_BATCH = 64
"""Texts in a batch."""


def read(text: str, network: nn.Module, folder: Path | None) -> Read:
    """Data from ``FOLDER,length=128,tokenizer=FOLDER``, or with the settings of images.

    Raises:
        RecipeError: a setting is unknown or impossible, or there is no tokenizer.
        DataError: the folder is no data set, has other columns, or does not fit the network.
    """
    name, settings = name_and_settings(text)
    splits = _splits(Path(name))
    first = next(iter(splits.values()))
    image, words, label = (first.find(known) for known in (IMAGES, TEXTS, LABELS))
    if image and label:
        return _images(splits, image, label, Preprocessing.of(settings))
    for setting in settings:
        if setting not in (known := ("length", "tokenizer")):
            raise RecipeError(f"Data sets of texts have no setting {setting!r}. {suggest(setting, known)}")
    if words:
        length = tokens.read_length(settings.get("length", str(tokens.LENGTH)))
        tokenizer = tokens.read_tokenizer(settings.get("tokenizer"), folder)
        if label and not predicts_next(network):
            return _classified(splits, words, label, tokenizer, length, network)
        texts = {split: [text.encode() for text in rows.texts(words) if text] for split, rows in splits.items()}
        return tokens.blocks(texts, tokenizer, length, network)
    raise DataError(
        f"{name} has the columns {', '.join(first.columns)}. It needs an image ({', '.join(IMAGES)}) and a label "
        f"({', '.join(LABELS)}), or a text ({', '.join(TEXTS)}) with or without one. Rename them with "
        "`rename_column`."
    )


def _splits(folder: Path) -> Mapping[str, Table]:
    """What `save_to_disk` wrote, or files such as ``train-*.parquet`` in the folder or in its folder ``data``."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} is no folder. Name the one that `save_to_disk` wrote, or one of Parquet files."
            + download_hint(folder, "hf-data:")
        )
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        datasets = optional("datasets", "hf")
        try:
            saved = datasets.load_from_disk(str(folder))
            parts = saved if isinstance(saved, Mapping) else {"test": saved}
            splits = {n: Table(rows.to_polars().lazy(), f"{n!r} of {folder}") for n, rows in parts.items()}
        except Exception as error:  # datasets raises many kinds of errors
            raise DataError(
                f"{folder} is no readable data set of Hugging Face ({first_line(error)}). Save it again."
            ) from error
    else:
        files = sorted([*folder.glob("*.parquet"), *(folder / "data").glob("*.parquet")])
        names = dict.fromkeys(file.stem.split("-")[0] for file in files)
        splits = {n: Table.scan([file for file in files if file.stem.split("-")[0] == n]) for n in names}
    if not splits:
        raise DataError(
            f"{folder} is neither what `save_to_disk` of a Hugging Face data set wrote, nor are there Parquet files in "
            "it."
        )
    for name, rows in splits.items():
        if not len(rows):
            raise DataError(f"The data {name!r} in {folder} have no examples, so there is nothing to average over.")
    return splits


def _images(splits: Mapping[str, Table], image: str, label: str, preprocessing: Preprocessing) -> Read:
    images, notes = {}, list[str]()
    for name, rows in splits.items():
        labels = rows.labels(label)
        chosen = by_class(name, labels)
        notes += noted(name, chosen, len(labels))
        images[name] = (decode_all(rows.pictures(image, chosen, follow=True), preprocessing.cut), labels[chosen])
    data, note = preprocessing.inputs(images)
    return data, (*notes, note)


def _classified(
    splits: Mapping[str, Table], words: str, label: str, tokenizer: Any, length: int, network: nn.Module
) -> Read:
    """Batches ``input_ids``, ``attention_mask`` and ``labels``, padded to the longest text of the split."""
    if tokenizer is None:
        raise RecipeError(
            "The texts need a tokenizer, and the checkpoint is no folder that has one. Write tokenizer=FOLDER."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    batches, notes = {}, list[str]()
    for name, rows in splits.items():
        labels = rows.labels(label)
        chosen = by_class(name, labels)
        notes += noted(name, chosen, len(labels))
        texts = np.array(rows.texts(words), object)[chosen].tolist()
        # All of one length, so that a long walk can put texts of about one length together (evaluation.by_length).
        encoded = tokenizer(texts, padding="longest", truncation=True, max_length=length, return_tensors="pt")
        tokens.check(network, encoded["input_ids"], name)
        whole = {key: encoded[key] for key in ("input_ids", "attention_mask")}
        whole["labels"] = torch.from_numpy(labels[chosen])
        batches[name] = [
            {key: value[at : at + _BATCH] for key, value in whole.items()} for at in range(0, len(chosen), _BATCH)
        ]
    return batches, tuple(notes)
