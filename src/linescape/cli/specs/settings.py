"""Networks and data sets of linescape in words, such as ``resnet,depth=18``, and settings as plain values of Python."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from linescape.checkpoints.formats.hugging_face import download_hint
from linescape.data import sets
from linescape.errors import RecipeError, suggest
from linescape.recipe import LSTM, MLP, VGG, Data, EfficientNetLite, LeNet, Model, ResNet, typed

NETWORKS: Mapping[str, type[Model]] = {
    "mlp": MLP,
    "lenet": LeNet,
    "lstm": LSTM,
    "vgg": VGG,
    "resnet": ResNet,
    "efficientnet-lite": EfficientNetLite,
}
"""linescape's own networks by name."""


def network(text: str) -> Model:
    """A network of linescape from ``name,setting=value,...``.

    Raises:
        RecipeError: the network or a setting is unknown, or a value impossible.
    """
    name = typed.split(text)[0]
    if name not in NETWORKS:
        raise RecipeError(
            f"There is no network {name!r} in linescape. {suggest(name, NETWORKS)} A network of your own is "
            "module:callable or file.py:function: mine:network is the function network in your mine.py. Others are "
            f"torchvision:NAME, timm:NAME and hf:FOLDER.{download_hint(name, 'hf:') if '/' in name else ''}"
        )
    return typed.content(NETWORKS[name], None, text)


def data_set(text: str) -> Data:
    """A data set of linescape from ``name,setting=value,...``.

    Raises:
        RecipeError: the data set or a setting is unknown, or a value impossible.
    """
    spec = typed.content(Data, "name", text)
    sets.known(spec.name)
    return spec


def literals(settings: Mapping[str, str]) -> dict[str, object]:
    """Settings as Python reads them: ``10``, ``0.5``, ``True``, ``(224, 224)``; any other word is a text."""
    return {name: _literal(value) for name, value in settings.items()}


def _literal(text: str) -> object:
    # `false` as a text would be taken for true.
    text = {"true": "True", "false": "False", "none": "None"}.get(text, text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
