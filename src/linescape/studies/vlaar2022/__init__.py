"""What can linear interpolation of neural network loss landscapes tell us?

Source: Vlaar & Frankle, ICML 2022, arXiv 2106.16004. Its answer: the shape of the line from the initial to the final
network is no reliable sign of how well training went; pre-training lowers barriers, adversarial starts raise them, and
the distance moved does not tell which lines are monotone.

    linescape study run vlaar2022 --scale mini
    linescape study report vlaar2022 --scale mini

The experiments are the same at every scale; `SCALES` says what differs. Of the source's base training these are
published: ResNet-18, CIFAR-10, 100 epochs, SGD with momentum 0.9 and weight decay 5e-4, and 10 seeds; from its figures
follow drops of the learning rate at epochs 33 and 66, and 50 alphas. Not published are its learning rate (here 0.1),
its batch size (128), augmentation (crop and flip), the factor of the drops (0.1) and the first layers of its networks.

``mini``: fashion-mini (embedded) at 14 x 14 pixels, ResNet-8 of width 8, 6 epochs with drops at a third and at two
thirds, SGD 0.5, batch 64, 5 seeds, 50 alphas on whole lines, 25 on layer-wise ones. Minutes on 2 cores.

``demo``: some arms of ``mini`` with 2 seeds and half as many alphas, for `linescape demo`.

``cifar10-small``: CIFAR-10 whole, ResNet-18 of width 8 (source: 64), 4 epochs (100) with drops at a half and at three
quarters, SGD 0.4, batch 64; lines on 2,000 of the 10,000 test images. Hours on 2 cores; any part can be run alone.

``cifar10-narrow-30``, ``cifar10-narrow``: the replication on two cores. ResNet-18 of width 16 with a first
convolution of 3 x 3, otherwise as ``cifar10``, in 30 epochs (drops at 10 and 20) and in 100. Some arms only, each with
layer-wise lines on 2,000 test images. Days on 2 cores; see docs/replication.md.

``cifar10``: the source's setting as far as it is known, ResNet-18, -34 and -50 of width 64, 10 seeds, 50 alphas on the
whole test half. For a GPU. Of the first layers only the loss of the untrained networks is known: 2.41 to 3.50 nats for
ResNet-18 over 50 runs, above 9.39 for ResNet-34 and -50. Measured here on 200 test images (12, 3 and 2 draws):

    first layers                            ResNet-18      ResNet-34      ResNet-50
    3 x 3, stride 1                         2.32 to 2.69   10.3 to 24.9   7.5 to 18.0
    7 x 7, stride 2, without pooling        2.31 to 2.40   5.1 to 9.5     6.4 to 6.5
    torchvision's, images enlarged to 224   2.41 to 2.71   9.4 to 42.5    11.5 to 18.5

The last is the nearest, and torchvision's ImageNet weights fit it. It is our choice; the source does not say.

**Weight decay** acts through the sum over steps of rate x decay / (1 - momentum) (`loop.decay_sum`), 7.16 in
the source with a rate of 0.1 and batches of 128. Each scale multiplies the source's decays (`Scale.decay_factor`) so
that this sum is the source's: "weight decay 1e-4" of every scale shrinks weights as 1e-4 does in 100 epochs.

**Adversarial starts** are trained until they have learnt their random labels: 99.99 % of them at ``cifar10``, as in Liu
et al. (2020), whom the source follows; 99 % in the smaller scales, there on 4 or 5 % of the images, which keeps it
short.

The learning rate of ``mini`` and ``cifar10-small`` is higher than 0.1, since a few thousand steps at 0.1 do not move so
small a network far enough for a plateau or a barrier. At these scales, pre-training uses five of the ten classes, and
the training the other five. On the spiral, barriers appear as the learning rate grows (dev/LOG.md); at the chosen rate
every run solves it, as in the source.
"""

from __future__ import annotations

from functools import cache

from msgspec.structs import replace

from linescape import models
from linescape.evaluation import batchnorm
from linescape.geometry.groups import by_convolution
from linescape.recipe import Model, Recipe
from linescape.studies.study import Arm, Moment, Run, Scan, Study
from linescape.studies.vlaar2022.arms import Level, levels
from linescape.studies.vlaar2022.published import ELSEWHERE, SOURCE, STUDY
from linescape.studies.vlaar2022.scales import SCALES, Scale

__all__ = ["SCALES", "has_batchnorm", "study"]

TITLE = "What can linear interpolation of neural network loss landscapes tell us?"

TREATMENTS = ("interpolate", "recalibrate", "start", "end", "batch")


def study(scale: str) -> Study:
    """The study at a scale: whole lines for all arms, layer-wise lines for those marked, and the warm-up."""
    chosen = SCALES[scale]
    by_name = {level.name: level for level in levels(chosen)}
    arms = [_arm(level, by_name[level.baseline], chosen) for level in by_name.values()]
    arms += [_warm_up(name, recipe, chosen.warm_up_seeds) for name, recipe in chosen.warm_up.items()]
    whole = Study(STUDY, scale, TITLE, SOURCE, tuple(arms), chosen.larger)
    return whole.only(*chosen.arms) if chosen.arms else whole


def _arm(level: Level, baseline: Level, scale: Scale) -> Arm:
    runs = []
    for seed in range(scale.seeds):
        recipe = level.change(replace(scale.base, seed=seed))
        start, end = Moment(recipe, "start"), Moment(recipe)
        lines = {"whole": scale.whole.scan(start, end)}
        if level.layers or scale.all_layers:
            lines |= {block: scale.layers.scan(start, end, block) for block in scale.blocks}
        if level.fine and scale.fine:
            lines |= {name: scale.fine.scan(start, end, name) for name in _convolutions(scale)}
        if level.elsewhere:
            other = baseline.change(replace(scale.base, seed=(seed + 1) % scale.seeds))
            lines[ELSEWHERE] = scale.layers.scan(end, Moment(other, "start"))
        if scale.treatments and has_batchnorm(recipe.model):
            lines["treatments"] = scale.treatments.scan(start, end, batchnorm=TREATMENTS)
        runs.append(Run(recipe, lines))
    return Arm(level.name, level.group, level.title, tuple(runs), level.baseline)


@cache
def has_batchnorm(model: Model) -> bool:
    """Whether a network has running statistics that a treatment of BatchNorm could act on."""
    return bool(batchnorm.layers(models.outline(model, (3, 32, 32), 10)))


def _convolutions(scale: Scale) -> tuple[str, ...]:
    """The names of the convolutions in the base network's stages; its stem and its head are blocks by themselves."""
    network = models.outline(scale.base.model, (3, 32, 32), 10)
    return tuple(name for name in by_convolution(network) if name.startswith("layer"))


def _warm_up(name: str, recipe: Recipe, seeds: int) -> Arm:
    """A fully connected network: lines from its start and from another run's start to its end, and between the two."""
    recipes = [replace(recipe, seed=seed) for seed in range(seeds)]
    runs = []
    for trained, other in zip(recipes, recipes[1:] + recipes[:1], strict=True):
        start, end, other_start = Moment(trained, "start"), Moment(trained), Moment(other, "start")
        lines = {
            "whole": Scan(start, end),
            ELSEWHERE: Scan(end, other_start),
            "start to start": Scan(start, other_start),
        }
        runs.append(Run(trained, lines))
    return Arm(name, "warm-up", f"MLP on {recipe.data.name}", tuple(runs), baseline=name)
