"""Products of tensors are recognised by the names that libraries give them, and nothing else is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from linescape.errors import StateError
from linescape.geometry.packed import check_no_factors, check_not_packed, packed_weights

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
        return check_no_factors(names)
    with pytest.raises(StateError, match=f"{names[0]}.*average of products"):
        check_no_factors(names)
    return None
