"""Weights whose values are products of several tensors, recognised by their names: integers with scales, and LoRA.

Between two networks the tensors of such a product are no network's: a product of means is no mean of products.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from linescape.errors import StateError, abbreviate
from linescape.geometry.tensors import is_continuous

_SCALE = re.compile(
    r"(?i)(?:^|[._])(?:w?scales?|scb|absmax|q?zeros|zero_?points?|quant_(?:map|state)|codebooks?)(?:[._]|$)|"
    r"^(?:s|s[uv])$"
)
"""Names of the scales in a module: bitsandbytes, GPTQ, AWQ, compressed-tensors, FP8, MXFP4, HQQ, quanto, Marlin, QuIP#,
AQLM."""

_FACTOR = re.compile(
    r"(?i)(?:^|[._])(?:lora(?:[0-9]+|_linear_layer)?[._](?:embedding_)?(?P<lora>[abe]|down|mid|up|magnitude_vector)|"
    r"vera_lambda_(?P<vera>[bd])|(?:hada|lokr)_(?P<lycoris>(?:w[12](?:_[ab])?|t[12])))(?:[._]|$)"
)
"""Factors of low-rank updates: peft (with AdaLoRA, DoRA, VeRA), diffusers, XLabs, kohya, LyCORIS."""


def packed_weights(tensors: Mapping[str, Tensor], moving: Collection[str]) -> list[str]:
    """The integer and 8-bit weights that differ between two ends and have scales, with these, in words.

    Args:
        tensors: of one end.
        moving: names of those that differ.
    """
    scales: dict[str, str] = {}
    for name in tensors:
        module, _, last = name.rpartition(".")
        if _SCALE.search(last):
            scales.setdefault(module, name)
        outer, _, part = module.rpartition(".")
        if part.endswith("centroids"):  # VPTQ has them in a layer of their own
            scales.setdefault(outer, name)

    def is_packed(name: str) -> bool:
        dtype = tensors[name].dtype
        return (not is_continuous(dtype) or dtype.itemsize == 1) and tensors[name].numel() > 1

    return [
        f"{name} ({tensors[name].dtype}, scaled by {scale})"
        for name in sorted(moving)
        if is_packed(name)
        and not _SCALE.search(name.rpartition(".")[2])
        and (scale := scales.get(name.rpartition(".")[0]) or scales.get(name))
    ]


def check_not_packed(tensors: Mapping[str, Tensor], moving: Collection[str]) -> None:
    """Raise `StateError` naming the integer and 8-bit weights that differ between two ends and have scales."""
    if weights := packed_weights(tensors, moving):
        raise StateError(
            f"{len(weights)} tensors are packed weights that differ: {abbreviate(weights)}. Each weight is an integer "
            "or 8-bit number times a scale, so there is no network between them at which both could be interpolated. "
            "Dequantise both networks, to bfloat16 or float32."
        )


def check_no_factors(moving: Collection[str]) -> None:
    """Raise `StateError` naming the low-rank updates (LoRA) of which both factors differ between two ends."""
    updates: dict[str, dict[str, str]] = {}  # what the factors' names begin with -> factor -> its name
    for name in sorted(moving):
        if found := _FACTOR.search(name):
            place = found.lastindex or 0
            updates.setdefault(name[: found.start(place)], {}).setdefault(found[place].lower(), name)
    if pairs := [" and ".join(factors.values()) for factors in updates.values() if len(factors) > 1]:
        raise StateError(
            f"These are factors of low-rank updates, as of LoRA: {abbreviate(pairs)}. What a network adds is their "
            "product, and the product of averages is not the average of products. Merge each adapter into its base "
            "network, then average the two networks."
        )
