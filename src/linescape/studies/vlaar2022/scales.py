"""What differs between the scales of the study, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replace_scale

from msgspec.structs import replace

from linescape.recipe import MLP, VGG, Data, EfficientNetLite, Optimizer, Recipe, ResNet, Schedule, Weights
from linescape.studies.study import Moment, Scan
from linescape.training import interventions


@dataclass(frozen=True)
class Resolution:
    """How finely a line is measured: number of positions, and of examples of each half (0 is all)."""

    alphas: int = 50
    train_examples: int = 1000
    test_examples: int = 0

    def scan(self, start: Moment, end: Moment, block: str = "", batchnorm: tuple[str, ...] = ("interpolate",)) -> Scan:
        """The line between two states, measured at this resolution.

        Args:
            start: the state at alpha = 0.
            end: the state at alpha = 1.
            block: the only block that moves, the others held fixed at the end; empty moves all.
            batchnorm: treatments of BatchNorm statistics.
        """
        return Scan(start, end, block, "end", self.alphas, batchnorm, self.train_examples, self.test_examples)


@dataclass(frozen=True)
class Scale:
    """What differs between scales.

    Attributes:
        base: the training that every intervention changes in one thing.
        blocks: its blocks, each with a layer-wise line.
        depths: depths of the deeper networks.
        widths: widths of the wider and narrower networks.
        vgg: the network of another architecture.
        decay_factor: factor of the source's weight decays, which makes `loop.decay_sum` of a training as large as in
            the source's 100 epochs; `base` has the source's 5e-4 times this.
        rates: further learning rates.
        fixup_rate: learning rate of networks without norm; one of `rates`.
        batch_size: the other batch size.
        adam_rate: learning rate of Adam.
        poisoned_epochs: maximal epochs of adversarial pre-training.
        poisoned_fraction: share of the images for it.
        poisoned_until: training error in % on their random labels at which it ends.
        seeds: replicates of each arm.
        warm_up_seeds: replicates of each warm-up.
        warm_up: trainings of the fully connected network, on images and on the spiral.
        whole: resolution of whole lines.
        layers: resolution of lines of blocks and of lines to other starts.
        fine: resolution of lines of single convolutions; None walks none.
        treatments: resolution of whole lines under every BatchNorm treatment; None walks none.
        transfers: pairs of arms, from scratch and from a start that was trained on other images, by name of the second.
        imagenet: ImageNet weights for the base network, if there are some.
        arms: only these arms, in this order; empty is all.
        all_layers: whether every arm has layer-wise lines, not only those that have them in the source.
        larger: the scale with more runs of the same arms.
    """

    base: Recipe
    blocks: tuple[str, ...]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    vgg: VGG
    rates: tuple[float, ...]
    fixup_rate: float
    batch_size: int
    adam_rate: float
    poisoned_epochs: int
    poisoned_fraction: float
    poisoned_until: float
    seeds: int
    warm_up_seeds: int
    warm_up: Mapping[str, Recipe]
    whole: Resolution = Resolution()
    layers: Resolution = Resolution()
    fine: Resolution | None = Resolution()
    treatments: Resolution | None = Resolution()
    transfers: Mapping[str, Transfer] = field(default_factory=dict)
    imagenet: Weights | None = None
    decay_factor: float = 1.0
    arms: tuple[str, ...] = ()
    all_layers: bool = False
    larger: str = ""


@dataclass(frozen=True)
class Transfer:
    """A training from scratch, and the same training from a start that was trained on other images.

    Attributes:
        scratch: name of the arm from scratch.
        scratch_title: its title.
        title: title of the other arm.
        recipe: the training from scratch.
        change: makes the recipe of the other arm from it.
        layers: whether both have layer-wise lines.
        elsewhere: whether the lines from their ends to the starts of other runs are walked.
    """

    scratch: str
    scratch_title: str
    title: str
    recipe: Recipe
    change: Callable[[Recipe], Recipe]
    layers: bool = False
    elsewhere: bool = False


_STAGES = ("stem", "layer1", "layer2", "layer3", "layer4", "fc")

_SPIRAL = Recipe(
    data=Data("spiral"),
    model=MLP((200, 200)),
    optimizer=Optimizer("adam", lr=0.03),
    schedule=Schedule(epochs=300, kind="step", drops=(150, 225)),
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
    lambda r: interventions.pretrained(r, on=Data("fashion-mnist", fraction=0.1)),
)
"""Both use a tenth of the training images, so that the start can matter."""

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
        model=ResNet(depth=50, width=64, stem="imagenet", resolution=224),
        optimizer=Optimizer("sgd", lr=0.1, weight_decay=5e-4),
        schedule=Schedule(epochs=100, kind="step", drops=(33, 66)),
    ),
    lambda r: replace(r, init=Weights("resnet50-0676ba61.pth", "0676ba61")),
    layers=True,
    elsewhere=True,
)

_SCALES: Mapping[str, Scale] = {
    "mini": Scale(
        base=Recipe(
            data=Data("fashion-mini", size=14, augment="crop-flip"),
            model=ResNet(depth=8, width=8),
            optimizer=Optimizer("sgd", lr=0.5, momentum=0.9, weight_decay=4.1e-3, batch_size=64),
            schedule=Schedule(epochs=6, kind="step", drops=(2, 4)),
        ),
        blocks=("stem", "layer1", "layer2", "layer3", "fc"),
        depths=(14,),
        widths=(12, 4),
        vgg=VGG(depth=11, width=4),
        rates=(0.02,),
        fixup_rate=0.02,
        batch_size=256,
        adam_rate=3e-3,
        poisoned_epochs=200,
        poisoned_fraction=0.05,
        poisoned_until=1.0,
        decay_factor=8.2,
        seeds=5,
        warm_up_seeds=10,
        warm_up={"mlp-images": _mlp("fashion-mini"), "mlp-spiral": _SPIRAL},
        layers=Resolution(25, train_examples=500, test_examples=1000),
        fine=Resolution(21, train_examples=250, test_examples=500),
        treatments=Resolution(21, train_examples=250, test_examples=500),
    ),
    "cifar10-small": Scale(
        base=Recipe(
            data=Data("cifar10", augment="crop-flip"),
            model=ResNet(depth=18, width=8),
            optimizer=Optimizer("sgd", lr=0.4, momentum=0.9, weight_decay=1.085e-3, batch_size=64),
            schedule=Schedule(epochs=4, kind="step", drops=(2, 3)),
        ),
        blocks=_STAGES,
        depths=(34,),
        widths=(16, 4),
        vgg=VGG(depth=11, width=8),
        rates=(0.1, 0.02),
        fixup_rate=0.02,
        batch_size=256,
        adam_rate=3e-3,
        poisoned_epochs=200,
        poisoned_fraction=0.04,
        poisoned_until=1.0,
        decay_factor=2.17,
        seeds=3,
        warm_up_seeds=10,
        warm_up={"mlp-mnist": _mlp("mnist"), "mlp-spiral": _SPIRAL},
        whole=Resolution(50, train_examples=1000, test_examples=2000),
        layers=Resolution(50, train_examples=500, test_examples=1000),
        fine=Resolution(21, train_examples=250, test_examples=1000),
        treatments=Resolution(21, train_examples=250, test_examples=1000),
        transfers={"mnist-from-fashion": _FROM_FASHION, "efficientnet-imagenet": _EFFICIENTNET},
    ),
    "cifar10": Scale(
        base=Recipe(
            data=Data("cifar10", augment="crop-flip"),
            model=ResNet(depth=18, width=64, stem="imagenet", resolution=224),
            optimizer=Optimizer("sgd", lr=0.1, momentum=0.9, weight_decay=5e-4, batch_size=128),
            schedule=Schedule(epochs=100, kind="step", drops=(33, 66)),
        ),
        blocks=_STAGES,
        depths=(34, 50),
        widths=(128, 16),
        vgg=VGG(depth=16, width=64),
        rates=(0.01, 0.03),
        fixup_rate=0.01,
        batch_size=512,
        adam_rate=1e-3,
        poisoned_epochs=350,
        poisoned_fraction=1.0,
        poisoned_until=0.01,
        seeds=10,
        warm_up_seeds=10,
        warm_up={"mlp-mnist": _mlp("mnist"), "mlp-spiral": _SPIRAL},
        fine=Resolution(50, train_examples=1000, test_examples=2000),
        treatments=Resolution(50, train_examples=1000, test_examples=2000),
        transfers={"mnist-from-fashion": _FROM_FASHION, "cifar100-resnet50-imagenet": _RESNET50},
        imagenet=Weights("resnet18-f37072fd.pth", "f37072fd"),
    ),
}

_NARROW = replace_scale(
    _SCALES["cifar10"],
    base=Recipe(
        data=Data("cifar10", augment="crop-flip"),
        model=ResNet(depth=18, width=16),
        optimizer=Optimizer("sgd", lr=0.1, momentum=0.9, weight_decay=5e-4, batch_size=128),
        schedule=Schedule(epochs=100, kind="step", drops=(33, 66)),
    ),
    seeds=5,
    whole=Resolution(50, train_examples=1000, test_examples=2000),
    layers=Resolution(50, train_examples=500, test_examples=2000),
    fine=None,
    treatments=None,
    transfers={},
    imagenet=None,
    arms=("base", "partial-4", "partial-1", "no-weight-decay"),
    all_layers=True,
)
_NARROW_30 = replace_scale(
    _NARROW,
    decay_factor=3.3,
    poisoned_fraction=0.05,
    poisoned_until=1.0,
    base=replace(
        _NARROW.base,
        optimizer=replace(_NARROW.base.optimizer, weight_decay=1.65e-3),
        schedule=Schedule(epochs=30, kind="step", drops=(10, 20)),
    ),
    arms=(
        "base",
        "partial-4",
        "partial-1",
        "no-weight-decay",
        "partial-2",
        "partial-3",
        "adversarial",
        "double-length",
        "data-20",
    ),
)
_DEMO = replace_scale(
    _SCALES["mini"],
    seeds=2,
    warm_up_seeds=2,
    whole=Resolution(26),
    layers=Resolution(15, train_examples=500, test_examples=1000),
    fine=Resolution(11, train_examples=250, test_examples=500),
    treatments=Resolution(11, train_examples=250, test_examples=500),
    arms=(
        "base",
        "adversarial",
        "half",
        "half-pretrained",
        "data-20",
        "no-weight-decay",
        "partial-3",
        "mlp-spiral",
    ),
    larger="mini",
)

SCALES: Mapping[str, Scale] = {
    "demo": _DEMO,
    "mini": _SCALES["mini"],
    "cifar10-small": _SCALES["cifar10-small"],
    "cifar10-narrow-30": _NARROW_30,
    "cifar10-narrow": _NARROW,
    "cifar10": _SCALES["cifar10"],
}
"""By name, the shortest first."""
