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
training on the other five. Adversarial pre-training at ``cifar10-small`` poisons 2,000 images, few enough for the
network to learn their random labels; at ``mini`` it is too short for that. The learning rates of the warm-up are not
known; on the spiral, barriers appear as it grows (none at 0.001, see dev/LOG.md).
"""

from __future__ import annotations

from functools import cache

import torch
from msgspec.structs import replace

from linescape import batchnorm, models
from linescape.groups import by_convolution
from linescape.recipe import Model, Recipe
from linescape.studies.vlaar2022.levels import Level, levels
from linescape.studies.vlaar2022.scales import SCALES, Scale
from linescape.study import Arm, Moment, Run, Scan, Study

__all__ = ["SCALES", "study"]

SOURCE = "Vlaar & Frankle 2022, arXiv 2106.16004"
TITLE = "What can linear interpolation of neural network loss landscapes tell us?"

TREATMENTS = ("interpolate", "recalibrate", "start", "end", "batch")


def study(scale: str) -> Study:
    """The study at a scale: whole lines for all arms, layer-wise lines for those marked, and the warm-up."""
    chosen = SCALES[scale]
    by_name = {level.name: level for level in levels(chosen)}
    arms = [_arm(level, by_name[level.baseline], chosen) for level in by_name.values()]
    arms += [_warm_up(name, recipe, chosen.warm_up_seeds) for name, recipe in chosen.warm_up.items()]
    whole = Study("vlaar2022", scale, TITLE, SOURCE, tuple(arms))
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
            lines["to another start"] = scale.layers.scan(end, Moment(other, "start"))
        if scale.treatments and _has_batchnorm(recipe.model):
            lines["treatments"] = scale.treatments.scan(start, end, batchnorm=TREATMENTS)
        runs.append(Run(recipe, lines))
    return Arm(level.name, level.group, level.title, tuple(runs), level.baseline)


@cache
def _has_batchnorm(model: Model) -> bool:
    with torch.device("meta"):
        return bool(batchnorm.layers(models.build(model, (3, 32, 32), 10)))


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
