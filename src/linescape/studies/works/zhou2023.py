"""Layerwise linear feature connectivity: are features interpolated where weights are, if the line has no barrier?

Source: Zhou, Yang, Yang, Yan & Hu, NeurIPS 2023, arXiv 2307.08286. Between two networks, the features of each layer at
a point of the line are compared with the mixture of both ends' features: ``1 - cos``, and the coefficient of least
squares (`linescape.interpolation.features`).

    linescape study run zhou2023 --scale mini
    linescape study report zhou2023 --scale mini

The source reports that two networks without a barrier, spawned from one at epoch 5 of 160 or aligned by permutations,
have features close to the mixture in nearly all layers (MLP on MNIST, VGG-16 and ResNet-20 on CIFAR-10; test examples).
Here copies start at `SHARES` of the training of `vlaar2022` at the same scale, as those of `frankle2020lmc`, and are
compared with independent trainings, of the same network and of an MLP of 3 x 512 units, the latter as they are and
aligned by weights. The statistics of BatchNorm are measured anew at each position; the source's code interpolates them.
Layers are convolutions and linear layers outside of residual blocks, and the blocks; the first is left out, as its
input does not move and its features are the mixture by construction.

**Found** on 29 November 2026, ``1 - cos`` at the middle, means over layers, with 95 % t intervals over pairs. ``mini``
(ResNet-8 of width 8, 942 steps; fashion-mini; 5 pairs each): 0.277 (0.185 to 0.368) between independent ResNets, whose
barrier is 39.2 points of test error (26.6 to 51.8); copies from the start 0.181 (0.145 to 0.218) at 25.5 points (17.4
to 33.5), from 3 % of the training 0.067 (0.060 to 0.073) at 7.1 (5.7 to 8.6), from 10 % 0.069 (0.045 to 0.094) at 7.6
(2.8 to 12.4), from 30 % 0.0096 (0.0058 to 0.0134) at 1.1 (0.6 to 1.7) and from 60 % 0.0005 (0.0002 to 0.0008) at 0.5
(0.2 to 0.7). Independent MLPs: 0.099 (0.089 to 0.110) at 13.2 points (5.4 to 21.1) as they are, 0.0082 (0.0079 to
0.0085) at 0.8 (0.2 to 1.3) aligned. So, as in the source, features are the mixture where there is no barrier: the rank
correlation of barrier and distance is 0.95 (0.84 to 0.98; the 8 arms as units, corrected), and copies from 60 % are
closer to it than both ends are to each other, by 0.0172 (0.0122 to 0.0223). This comparison says little: on average
over layers it holds in all arms, barrier or not. In the last layer it does not: there the middle of independent ResNets
is at 0.34 from the mixture and the ends are at 0.04 from each other; only from 30 % on and after aligning it is closer
there too. Features between aligned MLPs shrink, with a coefficient of 0.76. ``demo``, 2 pairs,
without the aligned MLPs: a correlation of 0.96 (0.82 to 0.99), the comparison with the ends is inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from torch import nn

from linescape import data, models
from linescape.models.branches import Branch, FixupBranch
from linescape.recipe import Moment, Recipe
from linescape.studies import vlaar2022
from linescape.studies.paths import Aligned, Straight
from linescape.studies.study import Arm, Features, Run, Scan, Study
from linescape.studies.works import ainsworth2022
from linescape.studies.works.frankle2020lmc import SPAWNED, copy, step_at

SOURCE = "Zhou, Yang, Yang, Yan & Hu 2023, arXiv 2307.08286"
TITLE = "Are features interpolated between two networks where their weights are?"
SHARES = (0.0, 3.0, 10.0, 30.0, 60.0)
"""Shares of the training, in %, after which two copies are made."""
BETWEEN = "between"
"""The label of the line between both networks, and of its features."""


@dataclass(frozen=True)
class Scale:
    """What differs between scales: pairs of networks for each arm, and how finely lines are measured."""

    pairs: int = 3
    alphas: int = 11
    train_examples: int = 1000
    test_examples: int = 1000


SCALES: Mapping[str, Scale] = {
    "demo": Scale(pairs=2, alphas=5, train_examples=500, test_examples=500),
    "mini": Scale(pairs=5),
    "cifar10-small": Scale(alphas=31, test_examples=2000),
    "cifar10-narrow-30": Scale(alphas=31, test_examples=2000),
    "cifar10": Scale(alphas=31, test_examples=10_000),
}


def study(scale: str) -> Study:
    """An arm for each way in which two networks are related, with a run for each pair."""
    chosen, base = SCALES[scale], vlaar2022.SCALES[scale].base
    mlp = ainsworth2022.networks(scale)["mlp"][1]
    first, more = range(chosen.pairs), range(chosen.pairs, 2 * chosen.pairs)
    arms = [_arm("independent", "independent, ResNet", base, chosen, Straight(), first)]
    for share in SHARES:
        step = step_at(base, share)
        runs = tuple(_spawned(replace(base, seed=seed), step, chosen) for seed in range(chosen.pairs))
        arms.append(Arm(f"{SPAWNED}{step}", "base", f"copies after step {step}", runs, "independent"))
    arms.append(_arm("mlp", "independent, MLP", mlp, chosen, Straight(), first))
    arms.append(_arm("mlp-aligned", "aligned, MLP", mlp, chosen, Aligned("weights"), more))
    return Study("zhou2023", scale, TITLE, SOURCE, tuple(arms))


def layers_of(recipe: Recipe) -> tuple[str, ...]:
    """The layers of a recipe's network whose features are compared, from the second on."""
    names: list[str] = []
    blocks: list[str] = []
    for name, layer in models.outline(recipe.model, *data.form(recipe.data)).named_modules():
        if isinstance(layer, Branch | FixupBranch):
            blocks.append(f"{name}.")
            names.append(name)
        elif isinstance(layer, nn.Conv2d | nn.Linear) and not name.startswith(tuple(blocks)):
            names.append(name)
    return tuple(names[1:])


def _arm(name: str, title: str, recipe: Recipe, scale: Scale, along: Straight | Aligned, numbers: Sequence[int]) -> Arm:
    """Of pairs of independent trainings by their numbers, which share no network."""
    pairs = [(replace(recipe, seed=2 * pair), replace(recipe, seed=2 * pair + 1)) for pair in numbers]
    return Arm(name, "base", title, tuple(_run(*pair, scale, along) for pair in pairs), "independent")


def _spawned(recipe: Recipe, step: int, scale: Scale) -> Run:
    """Of two copies of one training, with two orders of the data from a step on."""
    return _run(copy(recipe, step, 1), copy(recipe, step, 2), scale, Straight())


def _run(first: Recipe, second: Recipe, scale: Scale, along: Straight | Aligned) -> Run:
    treatment = "recalibrate" if vlaar2022.has_batchnorm(first.model) else "interpolate"
    examples = (scale.train_examples, scale.test_examples)
    start, end = Moment(first), Moment(second)
    whole = Scan(Moment(first, "start"), start, "", "end", scale.alphas, ("interpolate",), *examples)
    line = Scan(start, end, "", "end", scale.alphas, (treatment,), *examples, along=along)
    features = Features(start, end, layers_of(first), scale.alphas, treatment, *examples, along=along)
    return Run(first, {"whole": whole, BETWEEN: line}, measured={Features: {BETWEEN: features}})
