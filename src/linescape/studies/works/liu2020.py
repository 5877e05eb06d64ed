"""Bad global minima exist and SGD can reach them: training on from a network that fits random labels.

Source: Liu, Papailiopoulos & Achlioptas, NeurIPS 2020, arXiv 1906.02613. A network is trained until it fits random
labels of a poisoned data set (copies of the training images, a tenth of the pixels of each zeroed), and from there on
the true labels, by plain SGD or with momentum, augmentation and weight decay.

    linescape study run liu2020 --scale mini
    linescape study report liu2020 --scale mini

The source (ResNets, DenseNet-40 and VGG-16 on CIFAR-10, CINIC-10 and restricted ImageNet; 350 epochs of rate 0.1,
divided by 10 at 150 and 250) reports that plain SGD ends at 100 % training accuracy either way, but with up to 40
points less test accuracy from the poisoned start, and that any of momentum, augmentation and weight decay undoes the
damage. Here each is tried alone and all three together, from the usual start and from the poisoned one. Network, weight
decay and augmentation are those of `vlaar2022` at the same scale, on a share of its images that the network can fit,
of each of which the poisoned set has one copy, and trainings are shorter (120 epochs, 80 at ``mini``; pre-training at
most 200; 350 at ``cifar10``), with the rate divided at the same shares of them;
the pre-training ends after the first epoch with a training error of at most 0.01 %, as it occurs in training; the
source looks every 25 epochs. Lines go
from each start to its end, which is not in the source; Vlaar & Frankle 2022 (arXiv 2106.16004) find higher barriers
from such starts.

Found, 28 November 2026 (points of test error with 95 % t intervals over seeds, corrected for the five ways but for
plain SGD). ``mini``, 1000 images, 4 seeds: whether plain SGD loses accuracy is inconclusive, 2.5 (-0.1 to 5.1), with a
training error of 0.8 % from the usual and 0.0 % from the poisoned start. With momentum 0.9 (-1.0 to 2.8), weight decay
1.6 (-3.2 to 6.4), augmentation -2.3 (-5.5 to 1.0) and all three -0.2 (-1.0 to 0.7): the last two lose less than 2
points, but trainings of this length with augmentation do not fit the true labels (training errors of 13 to 20 %). So
at this size the damage, if there is any, is far below the source's 40 points. Lines have a hump of test loss only from
the poisoned start with momentum, 0.17 nats on average alone and 0.08 with all three, neither sure. ``demo``, 500
images, 2 seeds: nothing is decided; plain SGD 2.8 (-4.8 to 10.4). All poisoned starts fit their random labels to the
last as it occurs in training, within 64 epochs; with the running statistics too, but for one image of 500 in one of
both at ``demo``. `study plan` estimates 3.5 min of computing on an idle core for ``demo`` and 9.3 for ``mini``, which
took 26 min with two processes beside other programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from linescape.recipe import Moment, Optimizer, Recipe, Schedule
from linescape.studies import vlaar2022
from linescape.studies.study import Arm, Run, Study
from linescape.studies.vlaar2022.scales import Resolution
from linescape.training import interventions

SOURCE = "Liu, Papailiopoulos & Achlioptas 2020, arXiv 1906.02613"
TITLE = "Which ways of training recover from a start that fits random labels?"
WAYS: Mapping[str, str] = {
    "vanilla": "plain SGD",
    "momentum": "with momentum",
    "augmentation": "with augmentation",
    "weight-decay": "with weight decay",
    "all": "with all three",
}
"""The ways of training, each with a title."""
POISONED = "-poisoned"
"""Added to the name of a way, it is that of the arm from the poisoned start."""
RATE = 0.1
"""The source's learning rate, of both trainings."""
LEARNT = 0.01
"""The error on random labels in % up to which the source pre-trains."""


@dataclass(frozen=True)
class Scale(Resolution):
    """What differs between scales: replicates, the share of the images, epochs of the trainings, and resolution.

    Attributes:
        seeds: replicates.
        fraction: share of the training images that both trainings see.
        epochs: of the training on true labels, and at most of that on random ones; the rate is divided by 10 at 3/7
            and 5/7 of each.
    """

    seeds: int = 5
    fraction: float = 0.1
    epochs: tuple[int, int] = (120, 200)
    train_examples: int = 500


SCALES: Mapping[str, Scale] = {
    "demo": Scale(seeds=2, fraction=0.05, alphas=26, test_examples=1000),
    "mini": Scale(seeds=4, epochs=(80, 200), alphas=26, test_examples=1000),
    "cifar10-small": Scale(seeds=4, fraction=0.04, test_examples=2000),
    "cifar10-narrow-30": Scale(fraction=0.05, test_examples=2000),
    "cifar10": Scale(fraction=1.0, epochs=(350, 350), train_examples=1000),
}


def study(scale: str) -> Study:
    """Two arms for each way of training, from the usual and from the poisoned start, with a run for each seed."""
    chosen = SCALES[scale]
    arms = []
    for way, title in WAYS.items():
        usual = [_recipe(scale, way, seed) for seed in range(chosen.seeds)]
        group, other = ("base", way) if way == "vanilla" else ("optimizer", "vanilla")
        arms.append(Arm(way, group, title, tuple(_run(recipe, chosen) for recipe in usual), other))
        runs = tuple(_run(poisoned(recipe, scale), chosen) for recipe in usual)
        arms.append(Arm(way + POISONED, "initialisation", f"{title}, poisoned start", runs, way))
    return Study("liu2020", scale, TITLE, SOURCE, tuple(arms))


def poisoned(recipe: Recipe, scale: str) -> Recipe:
    """A training from the poisoned start, which is the same for all ways of training with a seed."""
    chosen = SCALES[scale]
    plain = _recipe(scale, "vanilla", recipe.seed)
    start = interventions.adversarial(plain, 1, 0.1, chosen.epochs[1], RATE, chosen.fraction, LEARNT).init
    return replace(recipe, init=start)


def _recipe(scale: str, way: str, seed: int) -> Recipe:
    """A training from the usual start."""
    chosen, base = SCALES[scale], vlaar2022.SCALES[scale].base
    used = {name: way in (name, "all") for name in WAYS}
    augment = base.data.augment if used["augmentation"] else "none"
    images = replace(base.data, fraction=chosen.fraction, augment=augment)
    epochs = chosen.epochs[0]
    return replace(
        base,
        data=images,
        optimizer=Optimizer(
            lr=RATE,
            momentum=0.9 if used["momentum"] else 0.0,
            weight_decay=base.optimizer.weight_decay if used["weight-decay"] else 0.0,
            batch_size=base.optimizer.batch_size,
        ),
        schedule=Schedule(epochs, "step", (round(epochs * 3 / 7), round(epochs * 5 / 7))),
        seed=seed,
    )


def _run(recipe: Recipe, scale: Scale) -> Run:
    return Run(recipe, {"whole": scale.scan(Moment(recipe, "start"), Moment(recipe))})
