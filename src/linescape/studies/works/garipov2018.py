"""Mode connectivity: curves of low loss between two trained networks.

Source: Garipov, Izmailov, Podoprikhin, Vetrov & Wilson, NeurIPS 2018, arXiv 1802.10026. A curve with one bend between
two networks, a quadratic Bezier curve or a chain of two straight pieces, is trained by taking the loss of each batch at
a position drawn uniformly and bringing its gradient to the bend.

    linescape study run garipov2018 --scale mini
    linescape study report garipov2018 --scale mini

The source reports that the loss stays low along such curves while it is high on the line between the same networks
(VGG-16 and ResNets on CIFAR-10 and CIFAR-100). From memory, not looked up: the bend begins midway, the learning rate of
curves is about 0.3 of that of the networks, weight decay is of the weights on the curve, and BatchNorm's statistics are
re-estimated on training data at each position. Here the networks are the base of `vlaar2022` with different seeds,
pairs share no network, curves train as long as a network, and lines and curves are measured alike, with statistics
re-estimated.

**Found** on 29 November 2026, barriers in nats of test loss above the mean of both ends, with 95 % t intervals over
pairs. ``mini``, 5 pairs: the Bezier curve has a lower barrier than the line in 5 of 5, on average 0.02 instead of 1.02,
line minus curve 1.00 (0.81 to 1.19); the chain too, 0.05, line minus curve 0.96 (0.80 to 1.13). On training loss 0.02
and 0.06 instead of 1.09, on test error 1.0 and 2.1 points instead of 34.6. ``demo``, 2 pairs: lower in 2 of 2 for both,
but with so few the interval includes 0 (0.98, -1.21 to 3.17). Time of CPU, without the
lines from start to end and the plane: demo 1.1 min, mini 3.1 min. On a processor without AVX-512, at ``demo``: lower in
2 of 2 too, line minus curve 1.01 (-0.71 to 2.72) and 0.98 (-0.73 to 2.68).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from linescape.recipe import Midway, Moment, OnCurve, Recipe
from linescape.studies import vlaar2022
from linescape.studies.paths import Bent, Curved
from linescape.studies.study import Arm, PlaneScan, Run, Study
from linescape.studies.vlaar2022.scales import Resolution

SOURCE = "Garipov et al. 2018, arXiv 1802.10026"
TITLE = "Is there a curve of low loss where the line between two networks has a barrier?"
RATE = 0.3
"""Learning rate of curves as a share of that of the networks."""
LINE, BEZIER, CHAIN = "straight line", "Bezier curve", "chain of two pieces"
"""Labels of the paths between the networks of a pair."""


@dataclass(frozen=True)
class Scale(Resolution):
    """What differs between scales: pairs of networks, and how finely paths are measured.

    Of the first pair a plane is measured too, the one that its Bezier curve lies in, on a grid of `points` a side.
    """

    pairs: int = 5
    points: int = 15
    alphas: int = 21
    train_examples: int = 1000
    test_examples: int = 2000


SCALES: Mapping[str, Scale] = {
    "demo": Scale(pairs=2, points=9, alphas=11, train_examples=500, test_examples=500),
    "mini": Scale(test_examples=1000),
    "cifar10-small": Scale(),
    "cifar10-narrow-30": Scale(),
    "cifar10": Scale(points=21, alphas=61, test_examples=0),
}


def study(scale: str) -> Study:
    """One arm with a run for each pair of networks, which is named by its first."""
    runs = tuple(_run(pair, scale) for pair in range(SCALES[scale].pairs))
    return Study("garipov2018", scale, TITLE, SOURCE, (Arm("two-seeds", "base", "two seeds", runs, "two-seeds"),))


def bend(first: Recipe, second: Recipe, kind: Literal["bezier", "chain"]) -> Recipe:
    """The training of a curve's bend, with the settings of the first network's."""
    slower = replace(first.optimizer, lr=RATE * first.optimizer.lr)
    return replace(first, optimizer=slower, init=Midway(Moment(first), Moment(second)), trains=OnCurve(kind))


def _run(pair: int, scale: str) -> Run:
    chosen, base = SCALES[scale], vlaar2022.SCALES[scale].base
    first, second = (replace(base, seed=2 * pair + number) for number in range(2))
    line = chosen.scan(Moment(first), Moment(second), batchnorm=("recalibrate",))
    lines = {
        "whole": vlaar2022.SCALES[scale].whole.scan(Moment(first, "start"), Moment(first)),
        LINE: line,
        BEZIER: replace(line, along=Curved(Moment(bend(first, second, "bezier")))),
        CHAIN: replace(line, along=Bent(Moment(bend(first, second, "chain")))),
    }
    plane = PlaneScan(
        Moment(first),
        Moment(second),
        others=(Moment(bend(first, second, "bezier")),),
        points=chosen.points,
        train_examples=chosen.train_examples,
        test_examples=chosen.test_examples,
        names=("first", "second", "bend"),
    )
    return Run(first, lines, measured={PlaneScan: {BEZIER: plane}} if pair == 0 else {})
