from __future__ import annotations

import pytest
import torch
from torch import nn

from linescape import models
from linescape.errors import GroupError
from linescape.geometry import groups
from linescape.geometry.state import State
from linescape.recipe import Random, ResNet
from tests.support import optional
from tests.support.networks import ConvNet, Tied


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
    with pytest.raises(GroupError, match="no parts with tensors"):
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


def test_no_group_is_named_as_the_whole_network_is() -> None:
    network = nn.ModuleDict({"whole": nn.Linear(2, 2), "all": nn.Linear(2, 2)})
    assert set(groups.by_block(network)) == set(groups.by_pattern(network, ["whole", "all"]))
    assert set(groups.by_name(["all.weight", "whole.bias"])) == {"all (part)", "whole (part)"}
    groups.check_names(groups.by_block(network))
    for name in ("all", "whole"):
        with pytest.raises(GroupError, match=f"A group is named '{name}'"):
            groups.check_names(groups.by_prefix(network, {name: "whole"}))
    same: groups.Groups = {"a": ("x", "y")}
    assert groups.joined(same, {"a": ("y", "x"), "b": ("x",)}).keys() == {"a", "b"}
    with pytest.raises(GroupError, match="Two groups are named 'a'"):
        groups.joined(same, {"a": ("x",)})


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend, self.mix = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))


class Encoder(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(2))
        self.layer = nn.ModuleList(Block() for _ in range(blocks))
        self.norm = nn.LayerNorm(2)


class Model(nn.Module):
    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(2))
        self.embed, self.encoder = nn.Embedding(3, 2), Encoder(blocks)
        self.stages = nn.Sequential(
            nn.Sequential(Block(), Block()), nn.Conv2d(1, 1, 1), nn.Sequential(Block()), nn.Flatten()
        )
        self.head = nn.Linear(2, 3)
        self.head.weight = self.embed.weight
        self.tied = nn.Linear(2, 3, bias=False)
        self.tied.weight = self.embed.weight


def test_blocks_are_what_repeats_and_what_stands_beside_it() -> None:
    net = Model()
    found = groups.by_block(net)
    assert list(found) == [
        "embed", "encoder.token", "encoder.layer.0", "encoder.layer.1", "encoder.norm",
        "stages.0.0", "stages.0.1", "stages.1", "stages.2", "head", "place",
    ]  # fmt: skip
    assert sorted({name for names in found.values() for name in names}) == sorted(State.from_module(net))
    assert len(found["encoder.layer.1"]) == 6
    assert list(groups.by_block(Model(1)))[1:4] == ["encoder.token", "encoder.layer.0", "encoder.norm"]


@pytest.mark.extras
def test_blocks_of_torchvision_and_timm() -> None:
    torchvision, timm = optional.load("torchvision"), optional.load("timm")
    blocks = list(groups.by_block(torchvision.models.resnet18()))
    assert blocks == ["conv1", "bn1", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)), "fc"]
    blocks = list(groups.by_block(timm.create_model("vit_tiny_patch16_224", depth=3)))
    assert blocks == ["patch_embed", "blocks.0", "blocks.1", "blocks.2", "norm", "head", "cls_token", "pos_embed"]


def test_a_pattern_alone_is_one_pattern() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    assert groups.by_pattern(network, "weight") == groups.by_pattern(network, ["weight"])
