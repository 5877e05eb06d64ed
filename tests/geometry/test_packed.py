"""Products of tensors are recognised by the names that libraries give them, and nothing else is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linescape.errors import StateError
from linescape.geometry.packed import Pair, check_no_factors, check_not_packed, low_rank_pairs, packed_weights

INT8, UINT8, INT32 = (torch.zeros(4, 4, dtype=dtype) for dtype in (torch.int8, torch.uint8, torch.int32))
FLOAT, FLOAT8 = torch.ones(4), torch.ones(4).to(torch.float8_e4m3fn)

PACKED: dict[str, tuple[Mapping[str, Tensor], str]] = {
    "bitsandbytes, 8 bits": ({"fc.weight": INT8, "fc.SCB": FLOAT}, "fc.weight"),
    "bitsandbytes, 4 bits": (
        {"fc.weight": UINT8, "fc.weight.absmax": FLOAT, "fc.weight.quant_state.bitsandbytes__nf4": UINT8},
        "fc.weight",
    ),
    "GPTQ": ({"fc.qweight": INT32, "fc.qzeros": INT32, "fc.scales": FLOAT}, "fc.qweight"),
    "compressed-tensors": ({"fc.weight_packed": INT32, "fc.weight_scale": FLOAT}, "fc.weight_packed"),
    "FP8": ({"fc.weight": FLOAT8, "fc.weight_scale_inv": FLOAT}, "fc.weight"),
    "MXFP4": ({"mlp.down_proj_blocks": UINT8, "mlp.down_proj_scales": UINT8}, "mlp.down_proj_blocks"),
    "quanto": ({"fc.weight._data": INT8, "fc.weight._scale": FLOAT}, "fc.weight._data"),
    "Marlin": ({"fc.B": INT32, "fc.s": FLOAT, "fc.workspace": INT32}, "fc.B"),
    "QuIP#": ({"fc.Qidxs": INT32.short(), "fc.Wscale": FLOAT, "fc.SU": FLOAT}, "fc.Qidxs"),
    "VPTQ": ({"fc.indices": INT32, "fc.centroids.weight": FLOAT}, "fc.indices"),
    "AQLM": ({"fc.codes": INT8, "fc.codebooks": FLOAT}, "fc.codes"),
    "at the top": ({"weight": INT8, "scale": FLOAT}, "weight"),
}


@pytest.mark.parametrize("library", PACKED)
def test_integers_with_scales_are_refused_where_they_differ(library: str) -> None:
    tensors, weight = PACKED[library]
    with pytest.raises(StateError, match=rf"{weight} \(torch\..*scaled by .*Dequantise"):
        check_not_packed(tensors, {weight})
    check_not_packed(tensors, ())
    scales = [name for name, value in tensors.items() if value.dtype == torch.float32]
    check_not_packed(tensors, scales)  # a product is linear in one factor


def test_other_integers_are_not_packed_weights() -> None:
    tensors = {
        "bn.num_batches_tracked": torch.tensor(3),
        "norm.scale": FLOAT,
        "norm.count": torch.tensor(4),
        "attn.relative_position_index": INT32,
        "attn.logit_scaling": FLOAT,
        "blocks.0.scale": FLOAT,
        "blocks.1.mask": UINT8,
        "blocks.0.mask": FLOAT > 0,
        "scale.weight": FLOAT,
        "steps": INT32,
        "attn.su_bias": FLOAT,
    }
    assert not packed_weights(tensors, set(tensors))


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["q.lora_A.weight", "q.lora_B.weight"], True),
        (["q.lora_A.default.weight", "q.lora_B.default.weight"], True),
        (["lora_unet_down_blocks_0.lora_down.weight", "lora_unet_down_blocks_0.lora_up.weight"], True),
        (["to_q_lora.down.weight", "to_q_lora.up.weight"], True),
        (["emb.lora_embedding_A", "emb.lora_embedding_B"], True),
        (["x.hada_w1_a", "x.hada_w1_b", "x.hada_w2_a", "x.hada_w2_b"], True),
        (["x.lokr_w1", "x.lokr_w2"], True),
        (["x.lokr_t2", "x.lokr_w1"], True),
        (["k.lora_linear_layer.down.weight", "k.lora_linear_layer.up.weight"], True),
        (["0.processor.proj_lora2.down.weight", "0.processor.proj_lora2.up.weight"], True),
        (["k.lora_B.default.weight", "k.lora_E.default"], True),
        (["k.lora_A.default.weight", "k.lora_magnitude_vector.default.weight"], True),
        (["k.lora_B.weight", "k.lora_magnitude_vector"], True),
        (["k.vera_lambda_b.default", "k.vera_lambda_d.default"], True),
        (["lora.norm.a.weight", "lora.norm.b.weight"], False),
        (["q.lora_B.weight", "v.lora_B.weight"], False),  # with the same A, the product is linear in B
        (["flora_A.weight", "flora_B.weight"], False),
        (["down.weight", "up.weight"], False),
    ],
)
def test_factors_of_low_rank_updates_are_refused_where_both_differ(names: list[str], refused: bool) -> None:
    if not refused:
        return check_no_factors(names, names)
    for name in names:
        check_no_factors([*names, "k.weight"], [name] if "magnitude_vector" not in "".join(names) else [])
    with pytest.raises(StateError, match=f"{names[0]}.*average of products"):
        check_no_factors(names, names)
    return None


PEFT = ["k.lora_A.default.weight", "k.lora_B.default.weight", "k.lora_magnitude_vector.default.weight"]
KOHYA = ["lora_unet_k.lora_down.weight", "lora_unet_k.lora_up.weight", "lora_unet_k.dora_scale", "lora_unet_k.alpha"]
LYCORIS = ["k.hada_w1_a", "k.hada_w1_b", "k.alpha", "v.alpha"]


@pytest.mark.parametrize(
    ("names", "moving", "refused"),
    [
        (PEFT, PEFT[:1], True),  # the sum with the base is divided by its norm
        (PEFT, PEFT[1:2], True),
        (PEFT, PEFT[2:], False),
        (KOHYA, KOHYA[:1], True),
        (KOHYA, KOHYA[2:3], False),
        ([*KOHYA[:2], KOHYA[3]], KOHYA[:1], False),
        ([*KOHYA[:2], KOHYA[3]], [KOHYA[1], KOHYA[3]], True),
        (KOHYA, KOHYA[3:], False),
        ([*PEFT, "v.lora_A.weight", "v.lora_B.weight"], ["v.lora_A.weight", PEFT[2]], False),
        (LYCORIS, ["k.hada_w1_a", "v.alpha"], False),
        (LYCORIS, ["k.hada_w1_a", "k.alpha"], True),
        (["q.oft_R.default.weight"], ["q.oft_R.default.weight"], True),
        (["q.oft_blocks", "q.weight"], ["q.weight"], False),
        (["q.boft_s.default"], ["q.boft_s.default"], True),
        (["soft_r.weight"], ["soft_r.weight"], False),
        (["q.ia3_l.default", "q.base_layer.weight"], ["q.ia3_l.default"], False),  # linear in the vector
        (["q.ia3_l.default", "q.base_layer.weight"], ["q.ia3_l.default", "q.base_layer.weight"], True),
        (["q.ia3_l.default", "q.weight", "v.weight"], ["q.ia3_l.default", "v.weight"], False),
    ],
)
def test_what_else_of_an_adapter_has_no_average(names: list[str], moving: list[str], refused: bool) -> None:
    if not refused:
        return check_no_factors(names, moving)
    with pytest.raises(StateError, match=f"{moving[0]}.*DoRA"):
        check_no_factors(names, moving)
    return None


def test_the_directions_of_dora_are_not_linear_and_its_magnitudes_are() -> None:
    """What the refusals claim, by DoRA's formula: m (W + BA) / ||W + BA||, by rows."""
    torch.manual_seed(0)
    weight, a, b, m = torch.randn(5, 4), torch.randn(2, 4), torch.randn(5, 2), torch.rand(5, 1)

    def merged(a: Tensor, b: Tensor, m: Tensor) -> Tensor:
        direction: Tensor = weight + b @ a
        return m * F.normalize(direction, dim=1)

    for moved, linear in (((3 * a, b, m), False), ((a, 3 * b, m), False), ((a, b, 3 * m), True)):
        middle = merged(*((one + other) / 2 for one, other in zip((a, b, m), moved, strict=True)))
        mean = (merged(a, b, m) + merged(*moved)) / 2
        assert torch.allclose(middle, mean, atol=1e-5) == linear


@pytest.mark.parametrize(
    ("names", "layer"),
    [
        (["q.lora_A.default.weight", "q.lora_B.default.weight"], "q"),
        (["lora_A", "lora_B"], ""),
        (["q.lora_a.weight", "q.lora_b.weight"], "q"),
        (["q.lora_down.weight", "q.lora_up.weight", "q.alpha"], "q"),
        (["to_q.lora_layer.down.weight", "to_q.lora_layer.up.weight"], None),
        (["k.lora_linear_layer.down.weight", "k.lora_linear_layer.up.weight"], "k"),
    ],
)
def test_both_factors_of_an_update_are_found_by_either(names: list[str], layer: str | None) -> None:
    expected = [] if layer is None else [Pair(layer, *names[:2])]
    others = ["fc.weight", "q.base_layer.weight", "x.lora_A.weight", "x.lora_B.weight"]
    for moving in names[:2], names[:1], names[1:2]:
        assert low_rank_pairs([*names, *others], moving) == expected
    assert low_rank_pairs([*names, *others], ["fc.weight"]) == []


@pytest.mark.parametrize(
    ("others", "moving"),
    [
        (["q.lora_E.default"], "q.lora_E.default"),
        (["q.lora_magnitude_vector.default.weight"], "q.lora_magnitude_vector.default.weight"),
        (["q.vera_lambda_b.default"], "q.vera_lambda_b.default"),
        (["q.hada_w1_a"], "q.hada_w1_a"),
        (["q.oft_r"], "q.oft_r"),
        (["q.alpha"], "q.alpha"),
        (["k.lora_A.default.weight"], "k.lora_A.default.weight"),
        (["q.lora_B.default.bias"], "q.lora_B.default.bias"),
    ],
)
def test_what_moves_beside_both_factors_of_lora_is_refused(others: list[str], moving: str) -> None:
    names = ["q.lora_A.default.weight", "q.lora_B.default.weight", *others]
    with pytest.raises(StateError, match=rf"not the two factors of LoRA: {moving}\. .*Merge each"):
        low_rank_pairs(names, [*names[:2], moving])
