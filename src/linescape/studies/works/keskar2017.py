"""Small and large batches: does training with large ones end in sharper minima, which generalise worse?

Source: Keskar, Mudigere, Nocedal, Smelyanskiy & Tang, "On large-batch training for deep learning: generalization gap
and sharp minima", ICLR 2017, arXiv 1609.04836. Six networks are trained by Adam with batches of 256 and with batches of
a tenth of the training set, both until they fit it. Large batches end with lower test accuracy, and on the straight
line between the two solutions, measured for alpha from -1 (beyond the small-batch one) to 2, the loss rises more
steeply around the large-batch one. Its own measure of sharpness, the largest loss in a small box around the solution,
is larger too. Dinh et al. 2017 (arXiv 1703.04933) and Li et al. 2018 (arXiv 1712.09913) answer that such measures
follow the scale of the weights, which weight decay sets: with it the line can look the other way round.

    linescape study run keskar2017 --scale mini
    linescape study report keskar2017 --scale mini

Here: the fully connected network of `vlaar2022`, with BatchNorm as the source's has it, without it, and without it but
with weight decay; and a LeNet on the images of its base training, which are not augmented. Large batches have a tenth
of the training images. Both kinds of training of a seed have the same start and as many epochs. Lines go from the
small-batch end to the large-batch one, and beyond both; on them the Hessian's largest eigenvalue and trace are
measured, and the rise of the loss by one step of SAM and of ASAM, of which the latter does not change when units are
rescaled. The largest loss in a box, the source's own measure, is not measured here.

Found (29 November 2026, `mini`, 9 pairs of each fully connected network; the LeNet's were not run; intervals corrected
for six contrasts): the largest eigenvalue is higher with large batches in all three, without norm 89 against 11
(difference 78, 95 % interval 58 to 101), with BatchNorm 178 against 10 (168, 119 to 247), with weight decay 79 against
11 (67, 49 to 86). Test error is higher without norm, by 0.66 points (0.08 to 1.43), and inconclusive with BatchNorm
(0.08, -0.63 to 1.10) and with weight decay (0.20, -0.40 to 0.98). So the large-batch ends are sharper, also with weight
decay and by ASAM's step (uncorrected), but only BatchNorm's fit nearly as well as the small-batch ones (training loss
0.08 against 0.06 nats, without it 0.26 against 0.09): elsewhere fewer steps are another reason. Half the line's length
beyond the ends training loss rises on average by 5.5 nats at the large-batch one and 0.13 at the other, with weight
decay by 1.3 and 0.09.

Cost: `mini` 25 min of computing on an idle core as `study plan` estimates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from linescape import data
from linescape.recipe import MLP, LeNet, Moment, Recipe, Schedule
from linescape.studies import vlaar2022
from linescape.studies.study import Arm, Flat, Run, Scan, Study
from linescape.studies.works.frankle2020revisit import networks

SOURCE = "Keskar, Mudigere, Nocedal, Smelyanskiy & Tang 2017, arXiv 1609.04836"
TITLE = "Do large batches end in sharper minima, which generalise worse?"
SMALL, LARGE = "small", "large"
"""Ends of the names of the two arms of a network."""
SHARE = 0.1
"""Of the training images in a large batch."""
BETWEEN = "from small to large"
"""Label of the line between both ends, and of what is measured on it."""
DECAY = 5e-4
"""Weight decay, as in Li et al. 2018 (arXiv 1712.09913)."""


@dataclass(frozen=True)
class Scale:
    """What differs between scales: replicates, batches, epochs, and how finely lines are measured.

    From start to end of a training `alphas` positions are measured, from small to large batches `positions` equally
    spaced ones from -1 to 2; their number less one is a multiple of six, so that both ends and half beyond them are
    among them. Derivatives are of so many training examples (0 is all) at `curved` positions from 0 to 1.
    """

    seeds: int = 9
    small: int = 256
    epochs: int = 100
    alphas: int = 21
    positions: int = 61
    train_examples: int = 1000
    test_examples: int = 2000
    curved: int = 5
    curved_examples: int = 500
    vectors: int = 30


SCALES: Mapping[str, Scale] = {
    "demo": Scale(
        seeds=2,
        small=50,
        epochs=10,
        alphas=11,
        positions=19,
        train_examples=500,
        test_examples=500,
        curved=3,
        curved_examples=100,
        vectors=10,
    ),
    "mini": Scale(small=50, epochs=20, positions=31, test_examples=0, curved=3, curved_examples=300),
    "cifar10-small": Scale(epochs=40),
    "cifar10-narrow-30": Scale(),
    "cifar10": Scale(test_examples=0),
}


def study(scale: str) -> Study:
    """Two arms for each network, with a run for each seed, which both arms share."""
    chosen = SCALES[scale]
    arms = []
    for name, (title, base) in trainings(scale).items():
        for kind, size in ((SMALL, chosen.small), (LARGE, round(SHARE * data.examples(base.data)[0]))):
            recipes = [_sized(replace(base, seed=seed), size) for seed in range(chosen.seeds)]
            runs = tuple(_run(recipe, chosen, kind) for recipe in recipes)
            arms.append(Arm(f"{name}-{kind}", "optimizer", f"{title}, batches of {size:,}", runs, f"{name}-{SMALL}"))
    return Study("keskar2017", scale, TITLE, SOURCE, tuple(arms))


def trainings(scale: str) -> dict[str, tuple[str, Recipe]]:
    """The trainings by name of their network, each with a title, without their size of batches."""
    connected, residual = (networks(scale)[name][1] for name in ("mlp", "base"))
    images = replace(connected, schedule=Schedule(SCALES[scale].epochs))
    assert isinstance(images.model, MLP)
    decayed = replace(images, optimizer=replace(images.optimizer, weight_decay=DECAY))
    normed = replace(images, model=replace(images.model, norm="batch"))
    return {
        "mlp": ("fully connected", images),
        "batchnorm": ("fully connected, BatchNorm", normed),
        "decay": ("fully connected, weight decay", decayed),
        "conv": ("LeNet", replace(images, model=LeNet(), data=replace(residual.data, augment="none"))),
    }


def _sized(recipe: Recipe, size: int) -> Recipe:
    return replace(recipe, optimizer=replace(recipe.optimizer, batch_size=size))


def _run(recipe: Recipe, scale: Scale, kind: str) -> Run:
    """A training; that with large batches has the line from the other one's end, from which it differs by these."""
    whole = Scan(Moment(recipe, "start"), Moment(recipe), alphas=scale.alphas, **_examples(scale))
    if kind == SMALL:
        return Run(recipe, {"whole": whole})
    ends = Moment(_sized(recipe, scale.small)), Moment(recipe)
    positions = tuple(np.linspace(-1, 2, scale.positions).round(12).tolist())
    # Beyond an end running statistics on the line would have variances below zero.
    treatment = "recalibrate" if vlaar2022.has_batchnorm(recipe.model) else "interpolate"
    line = Scan(*ends, positions=positions, batchnorm=(treatment,), **_examples(scale))
    flat = Flat(*ends, scale.curved, treatment, scale.curved_examples, scale.vectors)
    return Run(recipe, {"whole": whole, BETWEEN: line}, measured={Flat: {BETWEEN: flat}})


def _examples(scale: Scale) -> dict[str, Any]:
    return {"train_examples": scale.train_examples, "test_examples": scale.test_examples}
