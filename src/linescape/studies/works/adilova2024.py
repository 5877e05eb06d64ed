"""Layer-wise linear mode connectivity: which layers of two trained networks can be averaged.

Source: Adilova, Andriushchenko, Kamp, Fischer & Jaggi, ICLR 2024, arXiv 2307.06966. Some layers of a network A are
averaged with those of a network B, the others are A's or B's. The barrier is the loss of that network minus the mean
of the losses of A and B. Layers are averaged one by one, cumulatively from the input and from the output, in a random
order and in a minimal one, and compared with random directions of the same norm.

    linescape study run adilova2024 --scale mini
    linescape study report adilova2024 --scale mini

The source reports (ResNet-18 without normalisation, VGG-11, vision and language transformers) that no single layer
makes a barrier, and several middle layers together do. Here A and B are two trainings of the base of `vlaar2022`: with
different seeds, and from the same start with another order of the data. Pairs share no network. The base has
BatchNorm; its statistics are averaged with the weights, and all layers together are also measured with statistics
re-estimated on 100 training examples (1000 at ``cifar10``). A third kind of pair is without normalisation, as the
source's ResNet-18 is. Of random directions the source has five for each layer, ``mini`` two and ``demo`` one; losses
are means over examples, where its code averages batches.

The random order is drawn for each pair by its content. How the source finds its minimal order is not known here; ours
is greedy: the layer is added with which the loss on training examples is lowest, and the test loss is measured. That
is one task (`Greedy`), since each choice follows from the last.

**Found** on 28 November 2026. ``mini``, 4 pairs of each kind, nats of test loss with 95 % t intervals, corrected: not
as in the source, single layers of this ResNet-8 make barriers. Of two seeds, layer3.0.conv1 makes one of 1.02 (0.21 to
1.83) and layer3.0.conv2 of 0.28 (0.11 to 0.46); the highest, conv1 with 2.69, is undecided after correction for 30
layers (-1.53 to 6.90; uncorrected 1.45 to 3.92). All layers together make one of 1.89 (1.63 to 2.15), less than the
first two to nine do (the first six: 4.41), and 0.97 (0.73 to 1.21) with running statistics re-estimated. From the same
start with another order of the data no single layer is decided, and all together make 2.41 (1.43 to 3.39), or 0.58
(0.24 to 0.93). Without normalisation nothing is decided after correction (all together 2.28, -0.07 to 4.63), and the
highest single layer is again conv1 (3.65, uncorrected 1.09 to 6.22). Random directions cost less than averages in most
layers (at most 1.61, 1.85 and 0.59 in the three kinds). ``demo``, 2 pairs: little is decided. Time of CPU: demo 1.8
min, mini 4.3 min, with part of the trainings done by `zhang2019`.

In the random and in the greedy order (29 November 2026, ``demo``, 2 pairs of two seeds) the mean barriers are 1.60 and
0.09 nats with two layers, 2.31 and 1.17 with five, 2.09 and 1.95 with nine: two pairs decide neither.
``mini`` was not run with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from linescape.recipe import Moment, Recipe, derive_seed
from linescape.studies import vlaar2022
from linescape.studies.paths import RandomDirection
from linescape.studies.study import Arm, Greedy, Run, Scan, Study
from linescape.studies.works.zhang2019 import layers
from linescape.training import interventions

SOURCE = "Adilova et al. 2024, arXiv 2307.06966"
TITLE = "Which layers of two trained networks can be averaged?"

TREATMENTS = ("interpolate", "recalibrate")
"""Of all layers together."""
IN_RANDOM_ORDER = "layers in random order"
"""Ends the label of a cumulative line in the order of `random_order`."""
GREEDY = "greedy order"
"""The label of the order in which each layer added is the one with which the training loss is lowest."""


@dataclass(frozen=True)
class Scale:
    """What differs between scales: pairs of networks, and random directions of each layer for each pair."""

    pairs: int = 4
    directions: int = 5
    train_examples: int = 100
    test_examples: int = 2000


SCALES: Mapping[str, Scale] = {
    "demo": Scale(pairs=2, directions=1, test_examples=500),
    "mini": Scale(directions=2, test_examples=1000),
    "cifar10-small": Scale(pairs=3),
    "cifar10-narrow-30": Scale(),
    "cifar10": Scale(pairs=5, train_examples=1000, test_examples=0),
}


def study(scale: str) -> Study:
    """An arm for each kind of pair, with a run for each pair."""
    chosen, base = SCALES[scale], vlaar2022.SCALES[scale].base
    firsts = [replace(base, seed=2 * pair) for pair in range(chosen.pairs)]
    # The run of a pair is that of its two trainings which no other pair has.
    apart = tuple(_run(first, replace(base, seed=first.seed + 1), first, scale) for first in firsts)
    copies = [replace(first, order_seed=1) for first in firsts]
    same = tuple(_run(first, copy, copy, scale) for first, copy in zip(firsts, copies, strict=True))
    plain = [_without_norm(first, scale) for first in firsts]
    without = tuple(_run(first, replace(first, seed=first.seed + 1), first, scale) for first in plain)
    arms = (
        Arm("two-seeds", "base", "two seeds", apart, "two-seeds"),
        Arm("same-start", "initialisation", "same start, another order of the data", same, "two-seeds"),
        Arm("no-norm", "model", "two seeds, no normalisation", without, "two-seeds"),
    )
    return Study("adilova2024", scale, TITLE, SOURCE, arms)


def random_order(first: Recipe, second: Recipe) -> tuple[str, ...]:
    """The layers of a pair in an order drawn by the content of the pair: that of their derived seeds."""
    line = Scan(Moment(second), Moment(first))
    return tuple(sorted(layers(first), key=lambda name: derive_seed(line, "order of layers", name)))


def _without_norm(recipe: Recipe, scale: str) -> Recipe:
    """The arm ``no-norm`` of `vlaar2022`."""
    return interventions.learning_rate(interventions.norm(recipe, "none"), vlaar2022.SCALES[scale].fixup_rate)


def _run(first: Recipe, second: Recipe, named: Recipe, scale: str) -> Run:
    chosen, a, b = SCALES[scale], Moment(first), Moment(second)
    settings: dict[str, Any] = {
        "train_examples": chosen.train_examples,
        "test_examples": chosen.test_examples,
        "alphas": 3,
    }
    lines = {"whole": vlaar2022.SCALES[scale].whole.scan(Moment(named, "start"), Moment(named))}
    treatments = TREATMENTS if vlaar2022.has_batchnorm(first.model) else TREATMENTS[:1]
    lines["all layers"] = Scan(a, b, batchnorm=treatments, **settings)
    names, drawn = layers(first), random_order(first, second)
    for place, name in enumerate(names):
        lines[f"{name} in A"] = Scan(b, a, name, **settings)
        lines[f"{name} in B"] = Scan(a, b, name, **settings)
        if 0 < place < len(names) - 1:
            lines[f"first {place + 1} layers"] = Scan(b, a, names[0], blocks=names[1 : place + 1], **settings)
            lines[f"last {len(names) - place} layers"] = Scan(b, a, name, blocks=names[place + 1 :], **settings)
            shuffled = Scan(b, a, drawn[0], blocks=drawn[1 : place + 1], **settings)
            lines[f"{place + 1} {IN_RANDOM_ORDER}"] = shuffled
        for number in range(chosen.directions):
            along = RandomDirection(first.seed * chosen.directions + number)
            lines[f"{name} in direction {number + 1}"] = Scan(a, b, name, rest="start", along=along, **settings)
    greedy = Greedy(b, a, names, chosen.train_examples, chosen.test_examples)
    return Run(named, lines, measured={Greedy: {GREEDY: greedy}})
