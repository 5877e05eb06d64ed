"""The user's own data: from code, folders of images, Hugging Face data sets or text files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from linescape.cli.specs import datasets, images
from linescape.cli.specs import text as tokens
from linescape.cli.specs.examples import Read
from linescape.cli.specs.user_code import call
from linescape.errors import DataError


def read(text: str, network: nn.Module, folder: Path | None) -> Read:
    """Data from ``scheme:...`` or ``module:callable``.

    Args:
        text: the name of the data on the command line.
        network: the network that will be evaluated.
        folder: the network's folder, which may have a tokenizer.

    Raises:
        RecipeError: a setting is unknown, or something is missing.
        DataError: the data cannot be read, or do not fit the network.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "images":
        return images.read(rest)
    if scheme == "hf-data":
        return datasets.read(rest, network, folder)
    if scheme == "text":
        return tokens.read(rest, network, folder)
    return _own(text), ()


def _own(text: str) -> Mapping[str, Any]:
    data = call(text)
    if isinstance(data, Mapping):
        if all(isinstance(name, str) for name in data):
            return data
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes):
        return {"test": data}
    raise DataError(
        f"{text} returned a {type(data).__name__}. It must return a dictionary of data by name, for example "
        '{"test": (inputs, targets)}, or one set of data: (inputs, targets) or batches.'
    )
