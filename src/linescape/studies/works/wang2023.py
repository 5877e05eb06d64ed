"""The plateau of the error along the line: what makes it long?

Source: Wang, Wang, Zhou & Ge, "Plateau in monotonic linear interpolation: a 'biased' view", ICLR 2023, arXiv
2210.01019. On the line from the start the training error stays at chance and then drops. At small alpha the last
layer's biases, which training has driven apart, outweigh a signal that is of the order of alpha to the number of
layers. So the plateau is longer for deeper networks, smaller starts and larger biases. Without the last bias, or with
each bias moved by the power of alpha that its layer's signal has, it is shorter.

    linescape study run wang2023 --scale mini
    linescape study report wang2023 --scale mini

Here: fully connected networks of width 100 on the images of `vlaar2022`'s fully connected network at the same scale,
with 4 hidden layers and a Kaiming normal start times 0.4, trained for 10 epochs by SGD at 0.1 with a momentum of 0.9,
each arm of which is changed in one thing. Of each training
the straight line and the homogeneous one are walked. The length of a plateau is `shape.plateau_error`; the source
defines none. The last biases are those at the end of training; their gap is the largest minus the smallest, and their
standard deviation over classes is shown too: both are our reading, as its text was not in reach, as is that of the
class learnt last (`linescape.analysis.works.class_learnt_last`).

Found (28 November 2026, `mini`, 10 seeds; 95 % intervals, corrected over the five contrasts): the base has a plateau
of 0.07 of the line. Two hidden layers shorten it by 0.065 (0.002 to 0.129), six lengthen it by 0.21 (0.06 to 0.35; 9
runs, one diverged), half the start lengthens it by 0.15 (0.03 to 0.26), as the source says. Without the last bias
(-0.04, -0.10 to 0.03) and on the homogeneous line (-0.02, -0.08 to 0.04) it is inconclusive. The base is too short a
plateau for that: on the homogeneous line of the deep networks it is shorter by 0.12 (0.04 to 0.20) and of those with
half the start by 0.11 (0.03 to 0.18), uncorrected and not declared before. The start and the learning rate were
chosen in a trial with other draws, since a full Kaiming start at a rate of 0.02 gave no arm a plateau (at most 0.06
of the line). `demo` (3 seeds): half the start lengthens it by 0.21 (0.02 to 0.39), all else is inconclusive; on another
processor (29 November 2026), where trainings have other last bits, by 0.16 (-0.11 to 0.44), and nothing is decided.

Of the last biases (29 November 2026, intervals 95 %). `mini`, 40 runs of 10 seeds that have them, of which one stayed
at chance: it is inconclusive whether a larger gap goes with a longer plateau, rank correlation 0.12 (-0.47 to 0.63)
within networks of one kind, 0.59 (-0.07 to 0.89) over all runs, uncorrected; of the deviation 0.12 and 0.64. Of all
runs, exact intervals corrected for three: the class that leaves chance last along the line has the largest bias in 3
of 39 (1 to 24 %; chance is 10 %), inconclusive, and all 3 are of the two hidden layers, which have hardly a plateau.
The class with the highest error at the end has it in 14 of 39 (19 to 56 %), and the one recognised on the plateau in
12 of 30 (20 to 63 %), both more often than by chance if runs are independent; but class 6 is the former in most runs,
so that these count for fewer. `demo`, 3 seeds: 0.50 within networks without an interval; 0 of 12 (0 to 33 %), 3 of 11
(4 to 67 %) and 3 of 9 (5 to 76 %), all inconclusive.

Cost: `demo` 44 s on 2 cores with other programs on them (load 4.7); `mini` 2.5 min of computing on an idle core as
`study plan` estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from linescape.recipe import MLP, Moment, Optimizer, Random, Recipe, Schedule
from linescape.studies import vlaar2022
from linescape.studies.paths import Homogeneous
from linescape.studies.study import Arm, Classes, Run, Study
from linescape.studies.vlaar2022.scales import Resolution

SOURCE = "Wang, Wang, Zhou & Ge 2023, arXiv 2210.01019"
TITLE = "What makes the plateau of the error along the line long?"
WIDTH, DEPTH = 100, 4
START = 0.4
"""The factor of the Kaiming normal start: with 1 and a small learning rate no arm has a plateau (dev/LOG.md)."""
HOMOGENEOUS = "homogeneous"
"""The label of the line with each bias at the power of its layer's signal."""


def _hidden(layers: int) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, model=replace(recipe.model, hidden=(WIDTH,) * layers))


def _biases(which: str) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, model=replace(recipe.model, bias=which))


ARMS: Mapping[str, tuple[str, Callable[[Recipe], Recipe]]] = {
    "base": (f"{DEPTH} hidden layers", lambda recipe: recipe),
    "shallow": ("2 hidden layers", _hidden(2)),
    "deep": ("6 hidden layers", _hidden(6)),
    "small-start": ("half the start", lambda r: replace(r, init=replace(r.init, scale=START / 2))),
    "no-last-bias": ("no last bias", _biases("hidden")),
    "no-bias": ("no biases", _biases("none")),
}


@dataclass(frozen=True)
class Scale(Resolution):
    """What differs between scales: replicates, and how finely lines are measured."""

    seeds: int = 10
    test_examples: int = 1000


SCALES: Mapping[str, Scale] = {
    "demo": Scale(seeds=3, alphas=26, train_examples=500, test_examples=500),
    "mini": Scale(seeds=10),
    "cifar10-small": Scale(),
    "cifar10-narrow-30": Scale(),
    "cifar10": Scale(test_examples=0),
}


def study(scale: str) -> Study:
    """An arm for each change, with two lines for each of its runs."""
    chosen, base = SCALES[scale], training(scale)
    arms = []
    for name, (title, change) in ARMS.items():
        runs = tuple(_run(change(replace(base, seed=seed)), chosen) for seed in range(chosen.seeds))
        arms.append(Arm(name, "base" if name == "base" else "model", title, runs))
    return Study("wang2023", scale, TITLE, SOURCE, tuple(arms))


def training(scale: str) -> Recipe:
    """The training that each arm changes in one thing."""
    data = next(recipe.data for name, recipe in vlaar2022.SCALES[scale].warm_up.items() if name != "mlp-spiral")
    optimizer = Optimizer("sgd", lr=0.1, momentum=0.9)
    return Recipe(data, MLP((WIDTH,) * DEPTH), optimizer, Schedule(10), Random("kaiming_normal", START))


def _run(recipe: Recipe, scale: Scale) -> Run:
    start, end = Moment(recipe, "start"), Moment(recipe)
    straight = scale.scan(start, end)
    lines = {"whole": straight, HOMOGENEOUS: replace(straight, along=Homogeneous())}
    assert isinstance(recipe.model, MLP)
    by_class = {"whole": Classes.of(straight)} if recipe.model.bias == "all" else {}
    return Run(recipe, lines, measured={Classes: by_class} if by_class else {})
