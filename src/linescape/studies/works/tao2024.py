"""The start of the line: does the loss still fall monotonically if the initialisation is replaced by noise or zeros?

Source: Tao, Li & Zhan, "MLI formula", ICML 2024, PMLR 235:47912 (no arXiv number known). Lines from other noise, or
from zeros, to a trained network are as monotone as the line from its own initialisation, so the trained network,
scaled by alpha, decides, and not where training began. Its networks are fully connected on MNIST, VGG-8 without norm
on SVHN, VGG-16 with BatchNorm and ResNets on CIFAR-10.

    linescape study run tao2024 --scale mini
    linescape study report tao2024 --scale mini

Here: the networks of `frankle2020revisit` at the same scale, and the lines from `STARTS` to each one's end. Zeros and
N(0, 1) are so in every parameter, those of norm layers too; running statistics are those of a new network.

Found (28 November 2026, `mini`, 7 seeds): the fully connected network's lines are monotone from every start, 7 of 7.
Those of the networks with BatchNorm are not: from zeros the training loss rises by more than 0.05 nats in 7 of 7 runs
of the ResNet (own start: 1 of 7) and of the VGG (4 of 7), on average by 0.17 nats (95 % interval 0.12 to 0.22) and
0.27 (0.05 to 0.46) more than from the own start, corrected over the three networks. N(0, 0.1²) is like zeros; from
N(0, 1), whose loss begins at up to 5 million nats, 6 of 7 and 4 of 7 are monotone. So the source's claim holds here
for the network without BatchNorm alone; whether longer trainings differ was not tried. `demo` (2 seeds) has the same
order, without intervals.

Cost: `demo` 61 s on 2 cores with other programs on them (load 4.0); `mini` 3.7 min of computing on an idle core as
`study plan` estimates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from linescape.recipe import Moment, Random, Recipe
from linescape.studies.study import Arm, Run, Study
from linescape.studies.vlaar2022.scales import Resolution
from linescape.studies.works.frankle2020revisit import networks

SOURCE = "Tao, Li & Zhan 2024, PMLR 235:47912"
TITLE = "Does the line stay monotone if its start is replaced by noise or zeros?"
OTHER = 1000
"""Added to the seed for a start of the same kind."""
STARTS: Mapping[str, Random] = {
    "zeros": Random("zeros"),
    "another draw": Random(),
    "Kaiming normal": Random("kaiming_normal"),
    "N(0, 0.1²)": Random("normal", 0.1),
    "N(0, 1)": Random("normal"),
}
"""What the start is replaced by."""


@dataclass(frozen=True)
class Scale(Resolution):
    """What differs between scales: replicates, and how finely lines are measured."""

    seeds: int = 7


SCALES: Mapping[str, Scale] = {
    "demo": Scale(seeds=2, alphas=26, train_examples=500, test_examples=500),
    "mini": Scale(alphas=26, train_examples=1000, test_examples=500),
    "cifar10-small": Scale(test_examples=2000),
    "cifar10-narrow-30": Scale(test_examples=2000),
    "cifar10": Scale(),
}


def study(scale: str) -> Study:
    """An arm for each network, with a run for each seed and a line from each start to its end."""
    chosen = SCALES[scale]
    arms = [
        Arm(name, "model", title, tuple(_run(replace(base, seed=seed), chosen) for seed in range(chosen.seeds)), name)
        for name, (title, base) in networks(scale).items()
    ]
    return Study("tao2024", scale, TITLE, SOURCE, tuple(arms))


def start(recipe: Recipe, of: str) -> Moment:
    """The start of one kind for the line to a training's end, another draw for each seed."""
    return Moment(replace(recipe, init=STARTS[of], seed=recipe.seed + OTHER), "start")


def _run(recipe: Recipe, scale: Scale) -> Run:
    end = Moment(recipe)
    lines = {"whole": scale.scan(Moment(recipe, "start"), end)}
    return Run(recipe, lines | {f"from {name}": scale.scan(start(recipe, name), end) for name in STARTS})
