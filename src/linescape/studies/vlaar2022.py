"""What can linear interpolation of neural network loss landscapes tell us?

Source: Vlaar & Frankle, ICML 2022, arXiv 2106.16004. Its answer: the shape of the line from the initial to the final
network is no reliable sign of how well training went; pre-training lowers barriers, adversarial starts raise them, and
the distance moved does not tell which lines are monotone.

    linescape study run vlaar2022 --scale mini
    linescape study report vlaar2022 --scale mini

Scale ``mini``: fashion-mini at 14 x 14 pixels, ResNet-8 of width 8, 6 epochs with the learning rate cut to a tenth at a
third and at two thirds as in the source (33 and 66 of 100), SGD 0.5 with momentum 0.9, weight decay 5e-4, batch 64,
random crop and flip, 3 seeds (source: 10), 50 alphas. The learning rate is higher than the source's 0.1, since 942
steps at 0.1 move so small a network too little for any barrier. Other differences beside the size: pre-training is on
five of the ten classes for a training on the other five, and blocks are the three stages of a CIFAR ResNet. The
learning rates of the warm-up are not known; on the spiral, barriers appear as it grows (none at 0.001, see dev/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from linescape import interventions as do
from linescape.recipe import MLP, Data, Optimizer, Recipe, ResNet, Schedule
from linescape.study import Arm, Moment, Run, Scan, Study, hump_line

SOURCE = "Vlaar & Frankle 2022, arXiv 2106.16004"
TITLE = "What can linear interpolation of neural network loss landscapes tell us?"

EVEN, ODD = (0, 2, 4, 6, 8), (1, 3, 5, 7, 9)
"""Two tasks of five classes each."""


@dataclass(frozen=True)
class Scale:
    """What differs between scales.

    Attributes:
        base: the training that every intervention changes in one thing.
        blocks: its blocks, each with a layer-wise line.
        deeper: depth of the deeper network.
        wide, narrow: widths of the wider and the narrower network.
        poisoned: epochs of adversarial pre-training.
        seeds: replicates of each arm.
        warm_up_seeds: replicates of each warm-up.
        warm_up: trainings of the fully connected network, on images and on the spiral.
    """

    base: Recipe
    blocks: tuple[str, ...]
    deeper: int
    wide: int
    narrow: int
    poisoned: int
    seeds: int
    warm_up_seeds: int
    warm_up: Mapping[str, Recipe]


SCALES: Mapping[str, Scale] = {
    "mini": Scale(
        base=Recipe(
            data=Data("fashion-mini", size=14, augment="crop-flip"),
            model=ResNet(depth=8, width=8),
            optimizer=Optimizer("sgd", lr=0.5, momentum=0.9, weight_decay=5e-4, batch_size=64),
            schedule=Schedule(epochs=6, kind="step", drops=(2, 4)),
        ),
        blocks=("stem", "layer1", "layer2", "layer3", "fc"),
        deeper=14,
        wide=12,
        narrow=4,
        poisoned=6,
        seeds=3,
        warm_up_seeds=10,
        warm_up={
            "mlp-images": Recipe(
                data=Data("fashion-mini"),
                model=MLP((200, 200)),
                optimizer=Optimizer("adam", lr=1e-3),
                schedule=Schedule(epochs=10),
            ),
            "mlp-spiral": Recipe(
                data=Data("spiral"),
                model=MLP((100, 100)),
                optimizer=Optimizer("adam", lr=0.1),
                schedule=Schedule(epochs=150, kind="step", drops=(75, 110)),
            ),
        },
    )
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


def _levels(scale: Scale) -> tuple[_Level, ...]:
    def no_decay(recipe: Recipe) -> Recipe:
        return do.weight_decay(recipe, 0.0)

    def only(classes: tuple[int, ...]) -> Callable[[Recipe], Recipe]:
        return lambda recipe: replace(recipe, data=replace(recipe.data, classes=classes))

    undecayed = "no-weight-decay"
    return (
        _Level("base", "base", "from scratch", lambda r: r, layers=True),
        # Role of the initialisation.
        _Level("init-kaiming", "initialisation", "Kaiming normal", lambda r: do.init_scheme(r, "kaiming_normal")),
        _Level("init-scale-2", "initialisation", "weights doubled", lambda r: do.init_scale(r, 2.0)),
        _Level(
            "adversarial",
            "initialisation",
            "random labels first, no weight decay",
            lambda r: do.adversarial(no_decay(r), epochs=scale.poisoned),
            undecayed,
        ),
        _Level(
            "barrier-restart",
            "initialisation",
            "started at the barrier, no weight decay",
            lambda r: do.restart_at_barrier(no_decay(r)),
            undecayed,
        ),
        _Level("half", "initialisation", "five classes, from scratch", only(EVEN), "half"),
        _Level(
            "half-pretrained",
            "initialisation",
            "five classes, pre-trained on the other five",
            lambda r: do.pretrained(only(EVEN)(r), on=only(ODD)(r).data),
            "half",
        ),
        # Role of the data.
        _Level("data-20", "data", "20 % of the data", lambda r: do.data_fraction(r, 0.2)),
        _Level("data-50", "data", "50 % of the data", lambda r: do.data_fraction(r, 0.5), layers=True),
        _Level("no-augmentation", "data", "no augmentation", lambda r: do.augmentation(r, "none"), layers=True),
        _Level("cutout", "data", "cutout instead of crop and flip", lambda r: do.augmentation(r, "cutout")),
        _Level("label-noise-20", "data", "20 % of labels wrong", lambda r: do.label_noise(r, 0.2)),
        # Role of the optimizer.
        _Level(undecayed, "optimizer", "no weight decay", no_decay),
        _Level("weight-decay-5e-3", "optimizer", "weight decay 5e-3", lambda r: do.weight_decay(r, 5e-3)),
        _Level("lr-0.1", "optimizer", "learning rate 0.1", lambda r: do.learning_rate(r, 0.1)),
        _Level("lr-0.02", "optimizer", "learning rate 0.02", lambda r: do.learning_rate(r, 0.02)),
        _Level("batch-256", "optimizer", "batch size 256", lambda r: do.batch_size(r, 256)),
        _Level("no-momentum", "optimizer", "no momentum", lambda r: do.momentum(r, 0.0)),
        _Level(
            "adam",
            "optimizer",
            "Adam, learning rate 0.003, no weight decay",
            lambda r: do.optimizer(no_decay(r), "adam", 3e-3),
            undecayed,
        ),
        _Level("cosine", "optimizer", "cosine schedule", lambda r: do.schedule(r, "cosine")),
        # Role of the model.
        _Level("deeper", "model", f"{scale.deeper} layers", lambda r: do.depth(r, scale.deeper), layers=True),
        _Level("wider", "model", f"width {scale.wide}", lambda r: do.width(r, scale.wide)),
        _Level("narrower", "model", f"width {scale.narrow}", lambda r: do.width(r, scale.narrow)),
        _Level(
            "no-norm",
            "model",
            "no normalisation (Fixup), learning rate 0.02",
            lambda r: do.learning_rate(do.norm(r, "none"), 0.02),
            "lr-0.02",
        ),
        _Level("no-skips", "model", "no residual connections", lambda r: do.skips(r, False)),
        # Partial pre-training: T-All but RI-k.
        *(
            _Level(f"partial-{k}", "partial", f"T-All but RI-{k}", lambda r, k=k: do.partial(r, f"layer{k}"))  # type: ignore[misc]
            for k in range(1, sum(block.startswith("layer") for block in scale.blocks) + 1)
        ),
    )


def study(scale: str) -> Study:
    """The study at a scale: whole lines for all arms, layer-wise lines for those marked, and the warm-up."""
    chosen = SCALES[scale]
    arms = [_arm(level, chosen) for level in _levels(chosen)]
    arms += [_warm_up(name, recipe, chosen.warm_up_seeds) for name, recipe in chosen.warm_up.items()]
    return Study("vlaar2022", scale, TITLE, SOURCE, tuple(arms))


def _arm(level: _Level, scale: Scale) -> Arm:
    runs = []
    for seed in range(scale.seeds):
        recipe = level.change(replace(scale.base, seed=seed))
        whole = hump_line(recipe)
        blocks = {block: replace(whole, block=block) for block in scale.blocks if level.layers}
        runs.append(Run(recipe, {"whole": whole, **blocks}))
    return Arm(level.name, level.group, level.title, tuple(runs), level.baseline)


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
