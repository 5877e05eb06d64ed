"""Weights whose values are products of several tensors, recognised by their names: integers with scales, and LoRA.

Between two networks the tensors of such a product are no network's: a product of means is no mean of products.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
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

_ROTATION = re.compile(r"(?i)(?:^|[._])(?:b?oft_(?:[rs]|blocks|diag)|hra_u|vblora_logits)(?:[._]|$)")
"""What is not linear in its own numbers: rotations of weights (OFT, BOFT, HRA), and a softmax (VB-LoRA)."""

_RESCALING = re.compile(r"(?i)(?:^|[._])(?P<vector>ia3_l)(?:[._]|$)")
"""Vectors that the inputs or outputs of a layer are multiplied by (IA3): linear, unless the layer moves too."""

_PARTNER = {"A": "B", "a": "b", "down": "up"}
"""The factor that is applied first -> the other one."""


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
        if dtype == torch.bool:  # a mask, such as one of pruning, beside a scale that has nothing to do with it
            return False
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


def check_no_factors(names: Collection[str], moving: Collection[str]) -> None:
    """Raise `StateError` naming the updates of adapters (LoRA and others) that have no average between two ends.

    Args:
        names: of all tensors.
        moving: names of those that differ.
    """
    if found := moving_products(names, moving):
        raise StateError(
            f"These are factors of updates, as of LoRA or IA3, or rotations: {abbreviate(found)}. What a network "
            "computes is of their product, perhaps divided by its norm (DoRA), and the product of averages is not the "
            "average of products. Merge each adapter into its base network, then average the two networks."
        )


def moving_products(names: Collection[str], moving: Collection[str]) -> list[str]:
    """The updates of adapters (LoRA and others) that are not linear in what differs between two ends, in words.

    These are products of which two factors differ, or one that is divided by the norm of what it gives (DoRA); and
    rotations (OFT) that differ. A factor by itself, such as ``lora_B``, DoRA's magnitudes or the vector of IA3, is
    linear.

    Args:
        names: of all tensors.
        moving: names of those that differ.
    """
    found = {name: match for name in sorted(names) if (match := _FACTOR.search(name))}
    updates: dict[str, list[str]] = {}  # what the names of an update's factors begin with -> those that differ
    divided = set[str]()  # the updates with a norm
    for name, match in found.items():
        update = name[: match.start(match.lastindex or 0)]
        updates.setdefault(update, []).extend({name} & {*moving})
        if match["lora"] == "magnitude_vector" or f"{update.rpartition('.')[0]}.dora_scale" in names:
            divided.add(update)
    refused = [*(name for name in sorted(moving) if _ROTATION.search(name)), *_rescaled(moving)]
    for update, factors in updates.items():
        module = update.rpartition(".")[0]
        scales = [name for name in (f"{module}.alpha", f"{module}.dora_scale") if name in moving]
        is_direction = any("magnitude_vector" not in name for name in factors)
        if factors and (len(factors + scales) > 1 or (update in divided and is_direction)):
            refused.append(" and ".join(factors + scales))
    return refused


def _rescaled(moving: Collection[str]) -> list[str]:
    """Vectors of IA3 that differ together with the layer which they multiply, in words."""
    found = []
    for name in sorted(moving):
        if match := _RESCALING.search(name):
            layer = name[: match.start("vector")]
            tensors = (f"{layer}{inner}{of}" for inner in ("base_layer.", "") for of in ("weight", "bias"))
            found += [f"{name} and {tensor}" for tensor in tensors if tensor in moving]
    return found


class Pair(NamedTuple):
    """Names of a layer with a low-rank update, of the factor that is applied first, and of the other one."""

    layer: str
    down: str
    up: str


def low_rank_pairs(names: Collection[str], moving: Collection[str]) -> list[Pair]:
    """The updates of LoRA of which a factor moves, each once, in the order of their names.

    Args:
        names: of all tensors.
        moving: names of those that differ.

    Raises:
        StateError: other factors move, or what divides or rotates a weight.
    """
    pairs: dict[Pair, None] = {}
    refused = [*(name for name in sorted(moving) if _ROTATION.search(name)), *_rescaled(moving)]
    for name in sorted(names):
        if not (match := _FACTOR.search(name)):
            continue
        first, last = match.span(match.lastgroup or 0)
        kind, layer = match[match.lastgroup or 0], name[: match.start()]
        down = {up: down for down, up in _PARTNER.items()}.get(kind, kind)
        pair = Pair(layer, *(name[:first] + part + name[last:] for part in (down, _PARTNER.get(down, down))))
        if down in _PARTNER and {pair.down, pair.up} <= {*names}:
            if {pair.down, pair.up, f"{layer}.alpha", f"{layer}.dora_scale"}.intersection(moving):
                pairs[pair] = None
        elif name in moving:
            refused.append(name)
    refused += [
        name for pair in pairs for name in (f"{pair.layer}.alpha", f"{pair.layer}.dora_scale") if name in moving
    ]
    if refused:
        raise StateError(
            f"These differ between the networks and are not the two factors of LoRA: {abbreviate(refused)}. What "
            "other adapters add is no scaled product of two matrices. Merge each adapter into its base network, and "
            "take the line between these."
        )
    return list(pairs)
