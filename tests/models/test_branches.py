from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linescape.models.branches import Branch, Conv, FixupBranch
from linescape.recipe import Norm
from tests.support.drawn import inputs, randomise


@pytest.mark.parametrize("stride", [1, 2])
def test_a_basic_block_is_what_the_paper_draws(stride: int) -> None:
    outputs = 3 * stride
    convs = (Conv(3, outputs, 3, stride), Conv(outputs, outputs, 3, 1))
    block = Branch(convs, "batch", skips=True, bias=False).eval()
    state = randomise(block)
    for name in state:
        if name.endswith("running_var"):
            state[name].abs_()

    def bn(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias)

    x = inputs((3, 6, 6))
    out = bn(F.conv2d(x, state["conv1.weight"], stride=stride, padding=1), "bn1").relu()
    out = bn(F.conv2d(out, state["conv2.weight"], padding=1), "bn2")
    if stride == 2:
        x = bn(F.conv2d(x, state["downsample.0.weight"], stride=2), "downsample.1")
    torch.testing.assert_close(block(inputs((3, 6, 6))), (out + x).relu())


def test_a_bottleneck_has_its_stride_in_the_middle() -> None:
    block = Branch((Conv(4, 2, 1, 1), Conv(2, 2, 3, 2), Conv(2, 8, 1, 1)), "none", skips=True, bias=False)
    state = randomise(block)
    x = inputs((4, 6, 6))
    out = F.conv2d(x, state["conv1.weight"]).relu()
    out = F.conv2d(out, state["conv2.weight"], stride=2, padding=1).relu()
    out = F.conv2d(out, state["conv3.weight"]) + F.conv2d(x, state["downsample.0.weight"], stride=2)
    torch.testing.assert_close(block(x), out.relu())


def test_a_block_without_skips_is_its_branch() -> None:
    block = Branch((Conv(3, 6, 3, 2), Conv(6, 6, 3, 1)), "none", skips=False, bias=True)
    assert list(block.state_dict()) == ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"]
    state = randomise(block)
    out = F.conv2d(inputs((3, 6, 6)), state["conv1.weight"], state["conv1.bias"], stride=2, padding=1).relu()
    out = F.conv2d(out, state["conv2.weight"], state["conv2.bias"], padding=1).relu()
    torch.testing.assert_close(block(inputs((3, 6, 6))), out)


def test_a_fixup_block_starts_as_its_shortcut_and_has_the_authors_names() -> None:
    block = FixupBranch((Conv(3, 2, 1, 1), Conv(2, 2, 3, 1), Conv(2, 3, 1, 1)))
    block.initialise(16)
    x = inputs((3, 4, 4))
    torch.testing.assert_close(block(x), x.relu())
    assert set(block.state_dict()) == {
        *(f"bias{number}{side}" for number in (1, 2, 3) for side in "ab"),
        *(f"conv{number}.weight" for number in (1, 2, 3)),
        "scale",
    }


def test_a_fixup_block_with_all_its_scalars() -> None:
    block = FixupBranch((Conv(3, 6, 3, 2), Conv(6, 6, 3, 1)))
    state = randomise(block)
    x = inputs((3, 6, 6))
    out = F.conv2d(x + state["bias1a"], state["conv1.weight"], stride=2, padding=1)
    out = F.conv2d((out + state["bias1b"]).relu() + state["bias2a"], state["conv2.weight"], padding=1)
    out = out * state["scale"] + state["bias2b"]
    shortcut = F.conv2d(x + state["bias1a"], state["downsample.weight"], stride=2)
    torch.testing.assert_close(block(x), (out + shortcut).relu())


@pytest.mark.parametrize("kind", ["batch", "group", "none"])
def test_a_block_with_an_identity_start_is_its_shortcut_until_it_is_trained(kind: Norm) -> None:
    for convs in ((Conv(4, 4, 3, 1), Conv(4, 4, 3, 1)), (Conv(4, 6, 3, 2), Conv(6, 6, 3, 1))):
        block = Branch(convs, kind, skips=True, bias=kind == "none", identity=True)
        x = inputs((4, 6, 6))
        shortcut = x if block.downsample is None else block.downsample(x)
        out = block(x)
        torch.testing.assert_close(out, shortcut.relu())
        out.square().sum().backward()
        learnt = block.scale if kind == "none" else block.get_parameter("bn2.weight")
        assert learnt is not None
        assert learnt.grad is not None
        assert learnt.grad.abs().max() > 0, "it leaves zero"


def test_the_scalar_of_a_block_without_norm_multiplies_what_is_added() -> None:
    block = Branch((Conv(3, 3, 3, 1), Conv(3, 3, 3, 1)), "none", skips=True, bias=True, identity=True).eval()
    state = randomise(block)
    x = inputs((3, 6, 6))
    out = F.conv2d(x, state["conv1.weight"], state["conv1.bias"], padding=1).relu()
    out = F.conv2d(out, state["conv2.weight"], state["conv2.bias"], padding=1) * state["scale"]
    torch.testing.assert_close(block(x), (out + x).relu())
    torch.testing.assert_close(block.train()(x), (out + x).relu())
