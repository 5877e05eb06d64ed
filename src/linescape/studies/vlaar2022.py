"""What can linear interpolation of neural network loss landscapes tell us?

Source: Vlaar & Frankle, ICML 2022, arXiv 2106.16004. Its answer: the shape of the line from the initial to the final
network is no reliable sign of how well training went; pre-training lowers barriers, adversarial starts raise them, and
the distance moved does not tell which lines are monotone.

    linescape study run vlaar2022 --scale mini
    linescape study report vlaar2022 --scale mini

The experiments are the same at every scale; `SCALES` says what differs.

``mini``: fashion-mini (embedded) at 14 x 14 pixels, ResNet-8 of width 8, 6 epochs with the learning rate cut to a tenth
at a third and at two thirds as in the source (33 and 66 of 100), SGD 0.5 with momentum 0.9, weight decay 5e-4, batch
64, random crop and flip, 3 seeds (source: 10), 50 alphas on whole lines, 25 on layer-wise ones. Minutes on 2 cores.

``cifar10-small``: CIFAR-10 whole, ResNet-18 of width 8 (source: 64), 4 epochs (100) with the learning rate cut at a
half and at three quarters, SGD 0.4, batch 64, otherwise as ``mini``; lines on 2,000 of the 10,000 test images. Hours on
2 cores; any part can be run alone.

``cifar10``: the source's setting: ResNet-18, -34 and -50 of width 64, 100 epochs, SGD 0.1 with momentum 0.9, batch 128,
weight decay 5e-4, crop and flip, 10 seeds, 50 alphas on the whole test half. For a GPU. The source's stem is not known,
but it keeps more resolution than torchvision's: here its 7 x 7 convolution without the pooling, which takes
torchvision's ImageNet weights as they are.

The learning rate of the smaller scales is higher than the source's 0.1, since a few thousand steps at 0.1 move so small
a network too little for any plateau or barrier. In the smaller scales pre-training is on five of the ten classes for a
training on the other five. Adversarial pre-training there poisons fewer images, few enough for the network to learn
their random labels. The learning rates of the warm-up are not known; on the spiral, barriers appear as it grows (none
at 0.001, see dev/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from msgspec.structs import replace

from linescape import interventions as do
from linescape import models
from linescape.groups import by_convolution
from linescape.recipe import MLP, VGG, Data, EfficientNetLite, Optimizer, Recipe, ResNet, Schedule, Weights
from linescape.study import Arm, Moment, Run, Scan, Study

SOURCE = "Vlaar & Frankle 2022, arXiv 2106.16004"
TITLE = "What can linear interpolation of neural network loss landscapes tell us?"

EVEN, ODD = (0, 2, 4, 6, 8), (1, 3, 5, 7, 9)
"""Two tasks of five classes each."""

TREATMENTS = ("interpolate", "recalibrate", "start", "end", "batch")


@dataclass(frozen=True)
class Walk:
    """How closely a line is measured: positions, and examples of each half (0 is all)."""

    alphas: int = 50
    train_examples: int = 1000
    test_examples: int = 0

    def scan(self, start: Moment, end: Moment, block: str = "", batchnorm: tuple[str, ...] = ("interpolate",)) -> Scan:
        """The line between two states, so measured."""
        return Scan(start, end, block, "end", self.alphas, batchnorm, self.train_examples, self.test_examples)


@dataclass(frozen=True)
class Scale:
    """What differs between scales.

    Attributes:
        base: the training that every intervention changes in one thing.
        blocks: its blocks, each with a layer-wise line.
        depths: of the deeper networks; `widths`: of the wider and narrower ones.
        vgg: the network of another kind.
        weight_decays: levels beside 0 and the base's.
        rates: learning rates beside the base's; `fixup_rate`, one of them, is that of networks without norm.
        batch_size: the other batch size.
        adam_rate: learning rate of Adam.
        poisoned_epochs: of adversarial pre-training, on `poisoned_fraction` of the images.
        seeds: replicates of each arm; `warm_up_seeds`: of each warm-up.
        warm_up: trainings of the fully connected network, on images and on the spiral.
        whole: how whole lines are measured.
        layers: how lines of blocks and lines to other starts are.
        fine: how lines of single convolutions are.
        treatments: how whole lines under every BatchNorm treatment are.
        transfers: pairs of arms, from scratch and from a start that other images made, by name of the second.
        imagenet: weights for the base network, where there are some of ImageNet.
    """

    base: Recipe
    blocks: tuple[str, ...]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    vgg: VGG
    weight_decays: tuple[float, ...]
    rates: tuple[float, ...]
    fixup_rate: float
    batch_size: int
    adam_rate: float
    poisoned_epochs: int
    poisoned_fraction: float
    seeds: int
    warm_up_seeds: int
    warm_up: Mapping[str, Recipe]
    whole: Walk = Walk()
    layers: Walk = Walk()
    fine: Walk = Walk()
    treatments: Walk = Walk()
    transfers: Mapping[str, Transfer] = field(default_factory=dict)
    imagenet: Weights | None = None


@dataclass(frozen=True)
class Transfer:
    """A training from scratch, an arm named `scratch`, and the same from a start that other images made: `change`."""

    scratch: str
    scratch_title: str
    title: str
    recipe: Recipe
    change: Callable[[Recipe], Recipe]


_STAGES = ("stem", "layer1", "layer2", "layer3", "layer4", "fc")

_SPIRAL = Recipe(
    data=Data("spiral"),
    model=MLP((100, 100)),
    optimizer=Optimizer("adam", lr=0.1),
    schedule=Schedule(epochs=150, kind="step", drops=(75, 110)),
)


def _mlp(images: str) -> Recipe:
    return Recipe(Data(images), MLP((200, 200)), Optimizer("adam", lr=1e-3), Schedule(epochs=10))


_FROM_FASHION = Transfer(
    "mnist",
    "MNIST, from scratch",
    "MNIST, pre-trained on Fashion-MNIST",
    Recipe(
        data=Data("mnist", fraction=0.1),
        model=ResNet(depth=8, width=8),
        optimizer=Optimizer("sgd", lr=0.1, weight_decay=5e-4),
        schedule=Schedule(epochs=6, kind="step", drops=(2, 4)),
    ),
    lambda r: do.pretrained(r, on=Data("fashion-mnist", fraction=0.1)),
)
"""Both on a tenth of the training images: on all of MNIST every start ends above 99 %."""

_EFFICIENTNET = Transfer(
    "efficientnet",
    "EfficientNet-Lite0, 10 % of CIFAR-10, from scratch",
    "EfficientNet-Lite0, 10 % of CIFAR-10, pre-trained on ImageNet",
    Recipe(
        data=Data("cifar10", fraction=0.1, augment="crop-flip"),
        model=EfficientNetLite(resolution=64),
        optimizer=Optimizer("sgd", lr=0.02, weight_decay=5e-4),
        schedule=Schedule(epochs=3, kind="step", drops=(1, 2)),
    ),
    lambda r: replace(r, init=Weights("efficientnet-lite0-57934424.pth", "57934424")),
)

_RESNET50 = Transfer(
    "cifar100-resnet50",
    "ResNet-50 on CIFAR-100, from scratch",
    "ResNet-50 on CIFAR-100, pre-trained on ImageNet",
    Recipe(
        data=Data("cifar100", augment="crop-flip"),
        model=ResNet(depth=50, width=64, stem="imagenet-no-pool"),
        optimizer=Optimizer("sgd", lr=0.1, weight_decay=5e-4),
        schedule=Schedule(epochs=100, kind="step", drops=(33, 66)),
    ),
    lambda r: replace(r, init=Weights("resnet50-0676ba61.pth", "0676ba61")),
)

SCALES: Mapping[str, Scale] = {
    "mini": Scale(
        base=Recipe(
            data=Data("fashion-mini", size=14, augment="crop-flip"),
            model=ResNet(depth=8, width=8),
            optimizer=Optimizer("sgd", lr=0.5, momentum=0.9, weight_decay=5e-4, batch_size=64),
            schedule=Schedule(epochs=6, kind="step", drops=(2, 4)),
        ),
        blocks=("stem", "layer1", "layer2", "layer3", "fc"),
        depths=(14,),
        widths=(12, 4),
        vgg=VGG(depth=11, width=4),
        weight_decays=(5e-5, 1e-4, 1e-3, 5e-3),
        rates=(0.02,),
        fixup_rate=0.02,
        batch_size=256,
        adam_rate=3e-3,
        poisoned_epochs=6,
        poisoned_fraction=1.0,
        seeds=3,
        warm_up_seeds=10,
        warm_up={"mlp-images": _mlp("fashion-mini"), "mlp-spiral": _SPIRAL},
        layers=Walk(25, train_examples=500, test_examples=1000),
        fine=Walk(21, train_examples=250, test_examples=500),
        treatments=Walk(21, train_examples=250, test_examples=500),
    ),
    "cifar10-small": Scale(
        base=Recipe(
            data=Data("cifar10", augment="crop-flip"),
            model=ResNet(depth=18, width=8),
            optimizer=Optimizer("sgd", lr=0.4, momentum=0.9, weight_decay=5e-4, batch_size=64),
            schedule=Schedule(epochs=4, kind="step", drops=(2, 3)),
        ),
        blocks=_STAGES,
        depths=(34,),
        widths=(16, 4),
        vgg=VGG(depth=11, width=8),
        weight_decays=(5e-5, 1e-4, 1e-3),
        rates=(0.1, 0.02),
        fixup_rate=0.02,
        batch_size=256,
        adam_rate=3e-3,
        poisoned_epochs=100,
        poisoned_fraction=0.04,
        seeds=3,
        warm_up_seeds=10,
        warm_up={"mlp-mnist": _mlp("mnist"), "mlp-spiral": _SPIRAL},
        whole=Walk(50, train_examples=1000, test_examples=2000),
        layers=Walk(50, train_examples=500, test_examples=1000),
        fine=Walk(21, train_examples=250, test_examples=1000),
        treatments=Walk(21, train_examples=250, test_examples=1000),
        transfers={"mnist-from-fashion": _FROM_FASHION, "efficientnet-imagenet": _EFFICIENTNET},
    ),
    "cifar10": Scale(
        base=Recipe(
            data=Data("cifar10", augment="crop-flip"),
            model=ResNet(depth=18, width=64, stem="imagenet-no-pool"),
            optimizer=Optimizer("sgd", lr=0.1, momentum=0.9, weight_decay=5e-4, batch_size=128),
            schedule=Schedule(epochs=100, kind="step", drops=(33, 66)),
        ),
        blocks=_STAGES,
        depths=(34, 50),
        widths=(128, 16),
        vgg=VGG(depth=16, width=64),
        weight_decays=(5e-5, 1e-4, 1e-3),
        rates=(0.01, 0.03),
        fixup_rate=0.01,
        batch_size=512,
        adam_rate=1e-3,
        poisoned_epochs=350,
        poisoned_fraction=1.0,
        seeds=10,
        warm_up_seeds=10,
        warm_up={"mlp-mnist": _mlp("mnist"), "mlp-spiral": _SPIRAL},
        fine=Walk(50, train_examples=1000, test_examples=2000),
        treatments=Walk(50, train_examples=1000, test_examples=2000),
        transfers={"mnist-from-fashion": _FROM_FASHION, "cifar100-resnet50-imagenet": _RESNET50},
        imagenet=Weights("resnet18-f37072fd.pth", "f37072fd"),
    ),
}


@dataclass(frozen=True)
class _Level:
    """An arm before its seeds: `change` makes its recipe from the base recipe of a seed."""

    name: str
    group: str
    title: str
    change: Callable[[Recipe], Recipe]
    baseline: str = "base"
    layers: bool = False
    fine: bool = False
    elsewhere: bool = False
    """Whether the line from its end to another scratch start (its baseline's) is walked too."""


def _levels(scale: Scale) -> tuple[_Level, ...]:
    return (
        _Level("base", "base", "from scratch", lambda r: r, layers=True, fine=True, elsewhere=True),
        *_starts(scale),
        *_data(),
        *_optimizers(scale),
        *_models(scale),
        *_partial(scale),
    )


def _no_decay(recipe: Recipe) -> Recipe:
    return do.weight_decay(recipe, 0.0)


def _even(recipe: Recipe) -> Recipe:
    return replace(recipe, data=replace(recipe.data, classes=EVEN))


def _from_odd(recipe: Recipe, *reset: str) -> Recipe:
    return do.pretrained(_even(recipe), replace(recipe.data, classes=ODD), reset)


UNDECAYED = "no-weight-decay"


def _starts(scale: Scale) -> tuple[_Level, ...]:
    def adversarial(recipe: Recipe) -> Recipe:
        return do.adversarial(_no_decay(recipe), epochs=scale.poisoned_epochs, fraction=scale.poisoned_fraction, lr=0.1)

    pairs = [
        level
        for name, pair in scale.transfers.items()
        for level in (
            _Level(pair.scratch, "initialisation", pair.scratch_title, _instead(pair.recipe), pair.scratch),
            _Level(name, "initialisation", pair.title, _instead(pair.recipe, pair.change), pair.scratch),
        )
    ]
    imagenet = scale.imagenet
    from_imagenet = [
        _Level(
            "pretrained-imagenet",
            "initialisation",
            "pre-trained on ImageNet",
            lambda r: replace(r, init=imagenet),
            layers=True,
            elsewhere=True,
        )
    ]
    return (
        *(from_imagenet if imagenet else ()),
        _Level("adversarial", "initialisation", "random labels first, no weight decay", adversarial, UNDECAYED),
        _Level(
            "barrier-restart",
            "initialisation",
            "started at the barrier, no weight decay",
            lambda r: do.restart_at_barrier(_no_decay(r)),
            UNDECAYED,
        ),
        _Level("half", "initialisation", "five classes, from scratch", _even, "half"),
        _Level(
            "half-pretrained",
            "initialisation",
            "five classes, pre-trained on the other five",
            _from_odd,
            "half",
            elsewhere=True,
        ),
        *pairs,
    )


def _instead(other: Recipe, change: Callable[[Recipe], Recipe] = lambda r: r) -> Callable[[Recipe], Recipe]:
    return lambda recipe: change(replace(other, seed=recipe.seed))


def _data() -> tuple[_Level, ...]:
    return (
        _Level("data-20", "data", "20 % of the data", lambda r: do.data_fraction(r, 0.2)),
        _Level("data-50", "data", "50 % of the data", lambda r: do.data_fraction(r, 0.5), layers=True),
        _Level("no-augmentation", "data", "no augmentation", lambda r: do.augmentation(r, "none"), layers=True),
        _Level("label-noise-20", "data", "20 % of labels wrong", lambda r: do.label_noise(r, 0.2)),
        _Level("mixup", "data", "mixup", do.mixup),
    )


def _optimizers(scale: Scale) -> tuple[_Level, ...]:
    def decay(value: float) -> _Level:
        return _Level(
            f"weight-decay-{_short(value)}", "optimizer", f"weight decay {_short(value)}", _with(do.weight_decay, value)
        )

    def rate(value: float) -> _Level:
        return _Level(f"lr-{value:g}", "optimizer", f"learning rate {value:g}", _with(do.learning_rate, value))

    return (
        _Level(UNDECAYED, "optimizer", "no weight decay", _no_decay),
        *(decay(value) for value in scale.weight_decays),
        *(rate(value) for value in scale.rates),
        _Level(
            f"batch-{scale.batch_size}",
            "optimizer",
            f"batch size {scale.batch_size}",
            lambda r: do.batch_size(r, scale.batch_size),
        ),
        _Level("no-momentum", "optimizer", "no momentum", lambda r: do.momentum(r, 0.0)),
        _Level(
            "adam",
            "optimizer",
            f"Adam, learning rate {scale.adam_rate:g}, no weight decay",
            lambda r: do.optimizer(_no_decay(r), "adam", scale.adam_rate),
            UNDECAYED,
        ),
    )


def _models(scale: Scale) -> tuple[_Level, ...]:
    rate = scale.fixup_rate
    return (
        *(
            _Level(f"depth-{depth}", "model", f"{depth} layers", _with(do.depth, depth), layers=True)
            for depth in scale.depths
        ),
        *(_Level(f"width-{width}", "model", f"width {width}", _with(do.width, width)) for width in scale.widths),
        _Level(
            "no-norm",
            "model",
            f"no normalisation (Fixup), learning rate {rate:g}",
            lambda r: do.learning_rate(do.norm(r, "none"), rate),
            f"lr-{rate:g}",
        ),
        _Level("no-skips", "model", "no residual connections", lambda r: do.skips(r, False)),
        _Level("vgg", "model", f"VGG-{scale.vgg.depth}", lambda r: replace(r, model=scale.vgg)),
    )


def _partial(scale: Scale) -> tuple[_Level, ...]:
    """T-All but RI-k and its variants: the own start put back, two blocks at once, and pre-trained blocks (PT)."""
    stages = [block for block in scale.blocks if block.startswith("layer")]
    last = len(stages)

    def but(name: str, title: str, *blocks: str, own: bool = False) -> _Level:
        return _Level(name, "partial", title, lambda r: do.partial(r, *blocks, to="own" if own else "fresh"))

    return (
        *(but(f"partial-{k}", f"T-All but RI-{k}", stage) for k, stage in enumerate(stages, 1)),
        but(f"partial-{last}-own", f"T-All but RI-{last}, to its own start", stages[-1], own=True),
        but(f"partial-{last - 1}-{last}", f"T-All but RI-{last - 1} and RI-{last}", *stages[-2:]),
        *(
            _Level(
                f"half-pretrained-but-{k}",
                "partial",
                f"five classes, PT-All but RI-{k}",
                _with(_from_odd, stages[k - 1]),
                "half",
            )
            for k in (1, last)
        ),
    )


def _with(change: Callable[..., Recipe], *values: object) -> Callable[[Recipe], Recipe]:
    return lambda recipe: change(recipe, *values)


def _short(value: float) -> str:
    """As it is written in the source: 5e-4, not 0.0005."""
    return f"{value:.0e}".replace("e-0", "e-")


def study(scale: str) -> Study:
    """The study at a scale: whole lines for all arms, layer-wise lines for those marked, and the warm-up."""
    chosen = SCALES[scale]
    levels = _levels(chosen)
    by_name = {level.name: level for level in levels}
    arms = [_arm(level, by_name[level.baseline], chosen) for level in levels]
    arms += [_warm_up(name, recipe, chosen.warm_up_seeds) for name, recipe in chosen.warm_up.items()]
    return Study("vlaar2022", scale, TITLE, SOURCE, tuple(arms))


def _arm(level: _Level, baseline: _Level, scale: Scale) -> Arm:
    runs = []
    for seed in range(scale.seeds):
        recipe = level.change(replace(scale.base, seed=seed))
        start, end = Moment(recipe, "start"), Moment(recipe)
        lines = {"whole": scale.whole.scan(start, end)}
        if level.layers:
            lines |= {block: scale.layers.scan(start, end, block) for block in scale.blocks}
        if level.fine:
            lines |= {name: scale.fine.scan(start, end, name) for name in _convolutions(scale)}
        if level.elsewhere:
            other = baseline.change(replace(scale.base, seed=(seed + 1) % scale.seeds))
            lines["to another start"] = scale.layers.scan(end, Moment(other, "start"))
        if getattr(recipe.model, "norm", "none") == "batch":
            lines["treatments"] = scale.treatments.scan(start, end, batchnorm=TREATMENTS)
        runs.append(Run(recipe, lines))
    return Arm(level.name, level.group, level.title, tuple(runs), level.baseline)


def _convolutions(scale: Scale) -> tuple[str, ...]:
    """The convolutions inside the base network's stages, by name; its stem and its head are blocks of their own."""
    with torch.device("meta"):
        network = models.build(scale.base.model, (3, 32, 32), 10)
    return tuple(name for name in by_convolution(network) if name.startswith("layer"))


def _warm_up(name: str, recipe: Recipe, seeds: int) -> Arm:
    """A fully connected network: from the end to its own start, to another's, and between starts."""
    recipes = [replace(recipe, seed=seed) for seed in range(seeds)]
    runs = []
    for own, other in zip(recipes, recipes[1:] + recipes[:1], strict=True):
        start, end, foreign = Moment(own, "start"), Moment(own), Moment(other, "start")
        lines = {
            "whole": Scan(start, end),
            "to another start": Scan(end, foreign),
            "start to start": Scan(start, foreign),
        }
        runs.append(Run(own, lines))
    return Arm(name, "warm-up", f"MLP on {recipe.data.name}", tuple(runs), baseline=name)
