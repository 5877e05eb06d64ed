"""Qualitatively characterizing neural network optimization problems: what lies on the line from start to end?

Source: Goodfellow, Vinyals & Saxe, ICLR 2015, arXiv 1412.6544. The loss on the line from the start to the end of a
training falls smoothly and, with few small exceptions, monotonically, for maxout, ReLU and sigmoid networks on MNIST
and others; between two solutions there is a barrier (neither is checked against its text). Its released
scripts measure 20 positions from 0 to 19/9, beyond the end, and 200 in [0, 1], replace the start by N(0, 1), and draw
the distance of the training from the line.

    linescape study run goodfellow2015 --scale mini
    linescape study report goodfellow2015 --scale mini

Here: fully connected networks, LeNet and an LSTM that reads images row by row, on the images of `vlaar2022`'s fully
connected network at the same scale. Ends are those of the last step; one arm holds out a sixth of its training
images, as many as the source does, and has a line to its best epoch on these too. Adversarial training, the MP-DBM
and the language model of the source are left out, and its maxout networks (2 layers of 240 units with 5 pieces, drawn
from within 0.005 of 0) were trained by SGD with dropout and a limit on norms, until validation had not improved for
100 epochs; these are by Adam without either, from the usual start, for as many epochs as the others, and have 60 units
in a layer at ``mini`` and 30 at ``demo``, where the fine line has 50 positions. Of its subspaces of two and three
dimensions, `linescape plane` draws two.

Found (28 November 2026, `mini`, 6 seeds of each network): all 36 lines from the start are monotone, the highest rise
is below 0.001 nats, and neighbours of the 200 positions differ by 1.0 % of the range on average where they differ
most; so are all 36 from N(0, 1) and the 6 to the best epoch. With 6 runs of a network the 95 % interval of its share
of monotone lines is 54 to 100 %. Beyond the end, at 19/9, training loss is higher by 0.05 (sigmoid) to 3.6 nats
(LeNet). Between solutions there is a barrier in each network: 0.80 nats (95 % interval 0.25 to 1.35, corrected over
the six networks) for ReLU, 0.74 (0.21 to 1.28) where a sixth is held out, 0.61 (0.42 to 0.80) sigmoid, 1.34 (0.75 to
1.93) maxout, 1.71 (1.37 to 2.05) LeNet, 1.17 (0.67 to 1.67) LSTM. Trainings leave the line by 0.33 to 0.40 of its
length. The source has a few exceptions; here they were seen in the ResNet and the VGG with BatchNorm of `tao2024`.
`demo` (2 seeds) without the arm that holds out: 10 of 10 monotone, barriers of 0.59 to 1.74 nats.

Cost: `demo` 78 s on 2 cores with other programs on them (load 7.0); `mini` 4.0 min of computing on an idle core as
`study plan` estimates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from linescape.recipe import LSTM, MLP, LeNet, Moment, Random, Recipe
from linescape.studies.study import Arm, Run, Scan, Study
from linescape.studies.works.frankle2020revisit import networks, states

SOURCE = "Goodfellow, Vinyals & Saxe 2015, arXiv 1412.6544"
TITLE = "Is the loss smooth and monotone on the line from start to end?"
BEYOND, NOISE, OTHER, BEST = "to 19/9", "from N(0, 1)", "to another solution", "to the best epoch"
"""Labels of the lines beside the whole one."""
COARSE = tuple(i / 9 for i in range(20))
"""The source's 20 positions; the ninth is the end."""


@dataclass(frozen=True)
class Scale:
    """What differs between scales: replicates, widths, and how finely lines are measured."""

    seeds: int = 6
    maxout: tuple[int, ...] = (240, 240)
    alphas: int = 50
    fine: int = 200
    train_examples: int = 1000
    test_examples: int = 1000


SCALES: Mapping[str, Scale] = {
    "demo": Scale(seeds=2, maxout=(30, 30), alphas=15, fine=50, train_examples=500, test_examples=500),
    "mini": Scale(seeds=6, maxout=(60, 60), alphas=30, train_examples=500, test_examples=500),
    "cifar10-small": Scale(),
    "cifar10-narrow-30": Scale(),
    "cifar10": Scale(test_examples=0),
}


def study(scale: str) -> Study:
    """An arm for each network, with a run for each seed."""
    chosen = SCALES[scale]
    arms = []
    for name, (title, base) in trainings(scale).items():
        recipes = [replace(base, seed=seed) for seed in range(chosen.seeds)]
        others = [*recipes[1:], recipes[0] if chosen.seeds > 2 else None]  # of two, the line back would be the same
        pairs = zip(recipes, others, strict=True)
        arms.append(Arm(name, "model", title, tuple(_run(*pair, chosen) for pair in pairs), name))
    return Study("goodfellow2015", scale, TITLE, SOURCE, tuple(arms))


def trainings(scale: str) -> dict[str, tuple[str, Recipe]]:
    """The trainings by name of their arm, each with a title."""
    mlp = networks(scale)["mlp"][1]
    assert isinstance(mlp.model, MLP)
    return {
        "relu": ("ReLU", mlp),
        "validated": ("ReLU (a sixth held out)", replace(mlp, data=replace(mlp.data, held_out=1 / 6))),
        "sigmoid": ("sigmoid", replace(mlp, model=replace(mlp.model, activation="sigmoid"))),
        "maxout": ("maxout", replace(mlp, model=MLP(SCALES[scale].maxout, "maxout"))),
        "conv": ("LeNet", replace(mlp, model=LeNet())),
        "lstm": ("LSTM", replace(mlp, model=LSTM(64))),
    }


def _run(recipe: Recipe, other: Recipe | None, scale: Scale) -> Run:
    settings: dict[str, Any] = {"train_examples": scale.train_examples, "test_examples": scale.test_examples}
    start, end = Moment(recipe, "start"), Moment(recipe)
    noise = Moment(replace(recipe, init=Random("normal")), "start")
    lines = {
        "whole": Scan(start, end, alphas=scale.fine, **settings),
        BEYOND: Scan(start, end, positions=COARSE, **settings),
        NOISE: Scan(noise, end, alphas=scale.alphas, **settings),
    }
    if recipe.data.held_out:
        lines[BEST] = Scan(start, Moment(recipe, "best"), alphas=scale.fine, **settings)
    if other:
        lines[OTHER] = Scan(end, Moment(other), alphas=scale.alphas, **settings)
    return Run(recipe, lines, kept=states(recipe))
