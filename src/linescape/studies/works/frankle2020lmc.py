"""Linear mode connectivity and the lottery ticket hypothesis: how early in training is the rest of it decided?

Source: Frankle, Dziugaite, Roy & Carbin, ICML 2020, arXiv 1912.05671. Copies of a network after step k of its training
go on with different samples of SGD's noise (order of the data, augmentation). Instability is the largest test error on
the line between two copies minus the mean of theirs; below 2 points they are called stable.

    linescape study run frankle2020lmc --scale mini
    linescape study report frankle2020lmc --scale mini

The source trains 3 networks with 3 samples of noise each, measures 30 alphas, and finds copies stable from 3 % of the
training on for ResNet-20 and from 1.5 % for VGG-16 on CIFAR-10, from epoch 18 (20 %) for ResNet-50 on ImageNet, and
from the start for LeNet on MNIST. Here copies start at `SHARES` of the training of `vlaar2022` at the same scale.

Found here at ``mini`` (ResNet-8 of width 8, 942 steps; 3 networks, 3 copies of each; points of test error with 95 % t
intervals over networks), on 28 and 29 November 2026 on two kinds of processor, whose rounding makes other trainings of
the same seeds: copies are unstable up to 10 % of the training, with 66.5 (65.5 to 67.5) and 66.0 (65.0 to 67.1) from
the start, 63.9 (59.3 to 68.6) and 61.2 (52.6 to 69.8) from 1 %, 58.7 (40.9 to 76.4) and 61.3 (55.0 to 67.7) from 3 %,
56.9 (49.9 to 64.0) and 56.5 (52.0 to 61.0) from 10 %; from 30 % it is inconclusive, 8.3 (0 to 32.2) and 3.0 (0 to
6.1), and from 60 % they are stable, 0.3 (0 to 0.6) and 0.5 (0.3 to 0.8). So short a training, at a high rate, decides
its basin much later than the source's.

Pruned networks (iterative magnitude pruning with rewinding to the step at which copies go on; `Scale.rounds` rounds)
are measured too, and such with the mask of the next seed's network in their place. The source reports that those that
it finds match the full network only where they are stable.

Found here, 29 November 2026, at ``mini``, 3 networks with 2 copies each, 12.5 % of the weights left in 3 rounds that
halve them (the source's rounds leave 80 %); points, and points of test error more than the full network's copies from
the same step and seed, with 95 % t intervals over networks:

    rewound to    pruned: instability, more error         another's mask
    the start     60.4 (50.3 to 70.5), 4.7 (-0.4 to 9.8)  60.4 (44.4 to 76.4), 4.1 (-0.4 to 8.6)
    3 %           59.3 (48.8 to 69.8), 2.5 (1.3 to 3.6)   61.5 (59.5 to 63.5), 3.3 (1.0 to 5.6)
    10 %          42.7 (2.9 to 82.5), 0.9 (0.2 to 1.6)    54.1 (25.8 to 82.5), 2.8 (1.1 to 4.5)
    30 %          1.2 (0.0 to 2.7), 0.2 (-1.0 to 1.4)     37.2 (0.0 to 75.1), 6.2 (3.4 to 8.9)

Whether those that are less stable lose more accuracy is inconclusive: rank correlation over the 8 arms 0.33 (-0.69 to
0.91). All 129 trainings and 120 lines took 71 minutes, one process beside other work. What was said here before 29
November of networks rewound to the start is withdrawn: their trainings had drawn starts of their own.

As in the source, all copies have other samples of noise than the training up to step k, so none of them is the
training itself. A copy draws its order from its own recipe, so orders are independent between steps; with
`Trained.order` "shared" the one with the training's own order would be the training, to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from msgspec.structs import replace

from linescape import data
from linescape.recipe import Moment, Recipe, Remaining, Trained
from linescape.studies import vlaar2022
from linescape.studies.study import Arm, Run, Study
from linescape.studies.vlaar2022.scales import Resolution
from linescape.training.loop import steps_per_epoch

SOURCE = "Frankle, Dziugaite, Roy & Carbin 2020, arXiv 1912.05671"
TITLE = "From which step on do copies of a training stay in one linearly connected basin?"
SHARES = (0.0, 1.0, 3.0, 10.0, 30.0, 60.0)
"""Shares of the training, in %, after which copies are made."""

SPAWNED = "step-"
"""What the names of arms of copies begin with; the step at which they are made follows."""
PRUNED = "pruned"
"""The group of arms of copies of pruned networks; other masks are in the group `EXCHANGED`."""
EXCHANGED = "another's mask"
REWINDS = (0.0, 3.0, 10.0, 30.0)
"""Shares of the training, in %, to whose step pruned networks are rewound."""


@dataclass(frozen=True)
class Scale(Resolution):
    """What differs between scales.

    Attributes:
        seeds: replicates.
        orders: samples of noise of each; pruned networks have two.
        alphas: positions of each line.
        rounds: of pruning.
        kept: share of the weights left in a round that it leaves; the source keeps 0.8.
    """

    seeds: int = 3
    orders: int = 3
    alphas: int = 30
    rounds: int = 3
    kept: float = 0.5


SCALES: Mapping[str, Scale] = {
    "demo": Scale(seeds=2, orders=2, alphas=15, rounds=2),
    "mini": Scale(),
    "cifar10-small": Scale(test_examples=2000),
    "cifar10-narrow-30": Scale(test_examples=2000),
    "cifar10": Scale(rounds=9, kept=0.8),
}


def study(scale: str) -> Study:
    """An arm for each step at which copies are made, with a run for each seed and a line for each pair of copies."""
    chosen, base = SCALES[scale], vlaar2022.SCALES[scale].base
    arms = []
    for share in SHARES:
        step = step_at(base, share)
        runs = tuple(_run(replace(base, seed=seed), step, chosen) for seed in range(chosen.seeds))
        arms.append(
            Arm(f"{SPAWNED}{step}", "base", f"copies after step {step}", runs, f"{SPAWNED}{step_at(base, 0.0)}")
        )
    for group, title in ((PRUNED, "pruned"), (EXCHANGED, "with another's mask")):
        for share in REWINDS:
            step = step_at(base, share)
            runs = tuple(_pruned(base, seed, step, group, chosen) for seed in range(chosen.seeds))
            name = f"{'pruned' if group == PRUNED else 'exchanged'}-{step}"
            arms.append(Arm(name, group, f"{title}, rewound to step {step}", runs, f"{SPAWNED}{step}"))
    return Study("frankle2020lmc", scale, TITLE, SOURCE, tuple(arms))


def step_at(recipe: Recipe, share: float) -> int:
    """The step after which so many % of a training are done."""
    steps = steps_per_epoch(data.examples(recipe.data)[0], recipe.optimizer.batch_size) * recipe.schedule.epochs
    return round(share / 100 * steps)


def copy(recipe: Recipe, step: int, order: int) -> Recipe:
    """The training from one of its steps on, with another sample of SGD's noise."""
    start = Trained(recipe, at="step", number=step, optimizer="kept", schedule="continued") if step else recipe.init
    return replace(recipe, init=start, order_seed=order)


def rewound(recipe: Recipe, step: int, order: int) -> Recipe:
    """As `copy`, of a recipe whose `trains` will differ: from the start of this very training where the step is 0.

    A recipe of its own would draw a start of its own, since all of a recipe enters its draws.
    """
    if step:
        return copy(recipe, step, order)
    return replace(recipe, init=Trained(recipe, at="start"), order_seed=order)


def pruned(recipe: Recipe, step: int, scale: Scale) -> Remaining:
    """What iterative magnitude pruning with rewinding to a step leaves of a training's weights.

    The first round is decided by the training itself, each further one by the training from that step of what is left.
    """
    by, density = Moment(recipe), scale.kept
    for _ in range(scale.rounds - 1):
        by = Moment(replace(rewound(recipe, step, 0), trains=Remaining(by, density)))
        density *= scale.kept
    return Remaining(by, density)


def _pruned(base: Recipe, seed: int, step: int, group: str, scale: Scale) -> Run:
    """Two copies of what is left, by the training's own mask or by that of the next seed's training."""
    of = seed if group == PRUNED else (seed + 1) % scale.seeds
    mask = pruned(replace(base, seed=of), step, scale)
    first, second = (replace(rewound(replace(base, seed=seed), step, order), trains=mask) for order in (1, 2))
    line = scale.scan(Moment(first), Moment(second))
    return Run(first, {"whole": scale.scan(Moment(first, "start"), Moment(first)), "copies 1 and 2": line})


def _run(recipe: Recipe, step: int, scale: Scale) -> Run:
    copies = [copy(recipe, step, order) for order in range(1, scale.orders + 1)]
    lines = {"whole": scale.scan(Moment(copies[0], "start"), Moment(copies[0]))}
    for (one, first), (other, second) in combinations(enumerate(copies, start=1), 2):
        lines[f"copies {one} and {other}"] = scale.scan(Moment(first), Moment(second))
    return Run(copies[0], lines)
