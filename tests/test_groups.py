from __future__ import annotations

import pytest
from torch import nn

from conftest import ConvNet, Tied
from linescape import groups, models
from linescape.errors import GroupError
from linescape.recipe import Random, ResNet


def test_layers_are_the_modules_that_hold_tensors() -> None:
    assert groups.by_layer(ConvNet()) == {
        "conv": ("conv.weight", "conv.bias"),
        "bn": ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"),
        "fc": ("fc.weight", "fc.bias"),
    }


def test_blocks_are_declared_or_the_children() -> None:
    net = nn.Sequential()
    net.add_module("body", ConvNet())
    net.add_module("act", nn.ReLU())
    net.add_module("head", nn.Linear(3, 2))
    assert list(groups.by_block(net)) == ["body", "head"]
    net.blocks = {"first": ("body.conv", "body.bn"), "last": ("body.fc", "head")}  # type: ignore[assignment]
    assert groups.by_block(net)["last"] == ("body.fc.weight", "body.fc.bias", "head.weight", "head.bias")


def test_a_convolution_moves_with_the_norm_after_it() -> None:
    layers, found = groups.by_layer(ConvNet()), groups.by_convolution(ConvNet())
    assert found == {"conv": layers["conv"] + layers["bn"], "fc": layers["fc"]}
    net = models.draw(ResNet(depth=8, width=4), (3, 8, 8), 10, Random(), 0)
    parts = groups.by_convolution(net)
    assert list(parts)[:2] == ["conv1", "layer1.0.conv1"]
    assert "layer2.0.downsample.0" in parts
    assert sorted(name for names in parts.values() for name in names) == sorted(net.state_dict())


def test_a_tied_tensor_moves_once_under_its_first_name() -> None:
    layers = groups.by_layer(Tied())
    assert layers["embed"] == layers["out"] == ("embed.weight",)
    assert groups.by_pattern(Tied(), ["weight"])["weight"] == ("embed.weight", "inner.weight")


def test_patterns_types_and_mappings() -> None:
    net = ConvNet()
    assert groups.by_pattern(net, {"biases": r"bias$"})["biases"] == ("conv.bias", "bn.bias", "fc.bias")
    assert groups.by_type(net, {"norms": groups.NORMS})["norms"] == groups.by_layer(net)["bn"]
    own = groups.by_prefix(net, {"ends": ["conv", "fc.bias"]})
    assert own == {"ends": ("conv.weight", "conv.bias", "fc.bias")}
    assert groups.choose(groups.by_block(net), ["fc"]) == {"fc": ("fc.weight", "fc.bias")}


def test_what_matches_nothing_names_its_neighbours() -> None:
    net = ConvNet()
    with pytest.raises(GroupError, match=r"'cnv'.*Did you mean 'conv'"):
        groups.by_prefix(net, {"a": "cnv"})
    with pytest.raises(GroupError, match="matches no tensor"):
        groups.by_pattern(net, ["attn"])
    with pytest.raises(GroupError, match="not a regular expression"):
        groups.by_pattern(net, ["("])
    with pytest.raises(GroupError, match="no layer for group 'attention'.*Conv2d"):
        groups.by_type(net, {"attention": nn.MultiheadAttention})
    with pytest.raises(GroupError, match="no group 'layer9'"):
        groups.choose(groups.by_block(net), ["layer9"])
    with pytest.raises(GroupError, match="no parts that hold tensors"):
        groups.by_block(nn.Sequential(nn.ReLU()))


def test_blocks_show_in_names() -> None:
    names = ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.1.conv1.weight", "scale"]
    names += ["bert.embeddings.word.weight", "bert.encoder.layer.3.output.dense.bias", "0.weight", "0.bias"]
    assert groups.by_name(names) == {
        "conv1": ("conv1.weight",),
        "layer1.0": ("layer1.0.conv1.weight", "layer1.0.bn1.weight"),
        "layer1.1": ("layer1.1.conv1.weight",),
        "scale": ("scale",),
        "bert.embeddings.word": ("bert.embeddings.word.weight",),
        "bert.encoder.layer.3": ("bert.encoder.layer.3.output.dense.bias",),
        "0": ("0.weight", "0.bias"),
    }
