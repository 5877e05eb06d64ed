"""Git Re-Basin: is there a barrier between two trainings once the units of one are in the order that fits the other?

Source: Ainsworth, Hayase & Srinivasa, ICLR 2023, arXiv 2209.04836 (2022). The units of one of two networks are
permuted so that its weights, or its activations, fit those of the other best; it computes the same. Then the line
between both is walked.

    linescape study run ainsworth2022 --scale mini
    linescape study report ainsworth2022 --scale mini

The source (MLP of 3 x 512 units on MNIST, 100 epochs; VGG-16 and ResNet-20 with LayerNorm on CIFAR-10; 25 alphas)
reports that the barrier of loss is gone after matching for the MLP and for a very wide ResNet-20, and that it grows
where networks are narrow. Here are the MLP of 3 x 512 units, a narrow one of 3 x 32, and the ResNet of
`vlaar2022` with LayerNorm, on that study's images. Straight-through estimation, the source's third way of matching, is
left out: it trains the network that it matches.

**Found** on 29 November 2026, points of test error that the middle has above the mean of both ends, with 95 % t
intervals. ``mini``, the two MLPs, 5 pairs each: 3 x 512 units lose 10.7 (6.7 to 14.8) as they are, -0.9 (-1.3 to -0.5)
aligned by weights and -0.5 (-1.6 to 0.6) by activations; 3 x 32 units 48.8 (36.4 to 61.2), 16.3 (7.3 to 25.3) and 15.9
(10.9 to 20.8). All four gains are above 0 after correction for these four. So, as in the source, the barrier is gone
where the network is wide, and not where it is narrow. ``demo``, 2 pairs, decides no gain; there the ResNet of width 8
with LayerNorm loses 25.3, 27.4 and 24.2, so aligning seems to do nothing for it (it was not measured at ``mini``). Time
of CPU of the main one of two processes, beside other programs: demo 85 s, the MLPs at mini 80 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from linescape.recipe import MLP, Moment, Recipe
from linescape.studies import vlaar2022
from linescape.studies.paths import Aligned, Along, Straight
from linescape.studies.study import Arm, Run, Scan, Study
from linescape.training import interventions

SOURCE = "Ainsworth, Hayase & Srinivasa 2022, arXiv 2209.04836"
TITLE = "Are two trainings linearly connected once their units are in the same order?"
STRAIGHT, WEIGHTS, ACTIVATIONS = "straight", "aligned by weights", "aligned by activations"
"""Labels of the lines between both trainings."""
WAYS: Mapping[str, Along] = {
    STRAIGHT: Straight(),
    WEIGHTS: Aligned("weights"),
    ACTIVATIONS: Aligned("activations"),
}


@dataclass(frozen=True)
class Scale:
    """What differs between scales: pairs of networks, and how finely lines are measured."""

    pairs: int = 5
    alphas: int = 25
    train_examples: int = 1000
    test_examples: int = 1000


SCALES: Mapping[str, Scale] = {
    "demo": Scale(pairs=2, alphas=11, test_examples=500),
    "mini": Scale(alphas=11),
    "cifar10-small": Scale(pairs=3, test_examples=2000),
    "cifar10-narrow-30": Scale(test_examples=2000),
    "cifar10": Scale(test_examples=0),
}


def study(scale: str) -> Study:
    """An arm for each network, with a run for each pair of trainings."""
    arms = [
        Arm(name, "base" if name == "mlp" else "model", title, pairs(recipe, SCALES[scale]), "mlp")
        for name, (title, recipe) in networks(scale).items()
    ]
    return Study("ainsworth2022", scale, TITLE, SOURCE, tuple(arms))


def networks(scale: str) -> dict[str, tuple[str, Recipe]]:
    """The networks by name of their arm, each with a title."""
    base = vlaar2022.SCALES[scale].base
    mlp = next(recipe for name, recipe in vlaar2022.SCALES[scale].warm_up.items() if name != "mlp-spiral")
    return {
        "mlp": ("3 layers of 512 units", replace(mlp, model=MLP((512,) * 3))),
        "narrow": ("3 layers of 32 units", replace(mlp, model=MLP((32,) * 3))),
        "layer-norm": ("ResNet with LayerNorm", interventions.norm(base, "layer")),
    }


def pairs(recipe: Recipe, scale: Scale) -> tuple[Run, ...]:
    """A run for each pair of trainings; pairs share no network."""
    return tuple(
        between(replace(recipe, seed=2 * pair), replace(recipe, seed=2 * pair + 1), WAYS, scale)
        for pair in range(scale.pairs)
    )


def between(
    first: Recipe,
    second: Recipe,
    ways: Mapping[str, Along],
    scale: Scale,
    batchnorm: tuple[str, ...] = ("interpolate",),
) -> Run:
    """The lines between two trainings, and the first one's own line.

    Args:
        first, second: the trainings, whose ends are joined.
        ways: label of a line between them -> what it goes along.
        scale: how finely all are measured.
        batchnorm: treatments of the lines between them.
    """
    settings: dict[str, Any] = {"train_examples": scale.train_examples, "test_examples": scale.test_examples}
    lines = {"whole": Scan(Moment(first, "start"), Moment(first), alphas=scale.alphas, **settings)}
    for label, along in ways.items():
        lines[label] = Scan(
            Moment(first), Moment(second), alphas=scale.alphas, along=along, batchnorm=batchnorm, **settings
        )
    return Run(first, lines)
