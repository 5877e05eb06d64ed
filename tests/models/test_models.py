from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from linescape import data, models
from linescape.errors import RecipeError
from linescape.recipe import LSTM, MLP, VGG, Data, EfficientNetLite, LeNet, Model, Random, ResNet
from tests.support.drawn import inputs
from tests.support.tensor_shapes import meta, shapes

SPECS: list[tuple[Model, tuple[int, ...]]] = [
    (MLP(), (1, 28, 28)),
    (MLP((7,) * 11, "tanh", "batch"), (2,)),
    (MLP((), "sigmoid", "layer"), (3, 4, 4)),
    (MLP((5, 4), "maxout", "batch", 3, "hidden"), (1, 6, 6)),
    (LeNet(), (1, 28, 28)),
    (LeNet(), (1, 14, 14)),
    (LSTM(6, 2), (3, 5, 4)),
    (LSTM(6), (3, 7)),
    (LSTM(6), (7,)),
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
    assert blocks(LSTM(5, 2)) == ["layer1", "layer2", "fc"]
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
    (LSTM(), "layers.0.weight_ih_l0", 1 / math.sqrt(3 * 128)),  # uniform within 1 / sqrt(hidden)
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


@pytest.mark.parametrize(
    ("spec", "rate"),
    [
        (ResNet(8, 8, "none"), 0.1),
        (ResNet(8, 8, "none", skips=False), 0.1),
        (ResNet(8, 8), 0.1),
        (ResNet(8, 8, "group"), 0.1),
        (VGG(11, 8), 0.05),
        (LeNet(), 0.1),
        (LSTM(32), 0.5),
        (MLP((50,), norm="batch"), 0.1),
    ],
)
def test_networks_learn(spec: Model, rate: float) -> None:
    dataset = data.load(Data(size=12))
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
        (lambda: LSTM(0), (5,), "hidden is 0, .* Give an LSTM one unit"),
        (lambda: LSTM(layers=0), (5,), "layers is 0, .* Give an LSTM one layer"),
        (lambda: LSTM(), (2, 3, 4, 5), r"An LSTM takes .* have shape \(2, 3, 4, 5\)"),
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
