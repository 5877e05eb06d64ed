"""How does the loss fall along the line, and do barriers come up during training?

Source: Frankle 2020, "Revisiting 'Qualitatively characterizing neural network optimization problems'", arXiv
2012.06898. On four image classifiers, with 100 positions on each line: from the start the loss hardly rises, but on
networks for CIFAR-10 and ImageNet it stays high, and the error at chance, until close to the end, and does not fall
gradually as that of Goodfellow et al.'s networks does. States in the middle of training are soon separated from the end
by a barrier. Its networks are LeNet-300-100, VGG-16, ResNet-20 and ResNet-50 (not checked against its text).

    linescape study run frankle2020revisit --scale mini
    linescape study report frankle2020revisit --scale mini

Here: the ResNet, the VGG and the fully connected network of `vlaar2022` at the same scale, and lines to the end from
the start, from `STEPS` and from `EPOCHS`.

Found (28 November 2026, `mini`, 5 seeds; 95 % intervals, corrected over the three networks): the training loss is
halfway down at alpha 0.93 (0.87 to 0.99) for the ResNet, 0.93 (0.88 to 0.98) for the VGG and 0.31 (0.30 to 0.32) for
the fully connected network: late for the first two, as in the source. Test error is at chance along 56 %, 73 % and 2
% of their lines. Barriers of training loss from the middle of training are 0.58 nats (0.18 to 0.98) for the VGG and
0.27 (0.00 to 0.55) for the ResNet, above 0.05 in 5 of 5 runs of both; with the 3 seeds that were looked at first both
were inconclusive. The fully connected network has none from any state. The highest are from epoch 1 (VGG, 1.40 nats)
and epoch 2 (ResNet, 1.02), chosen after looking. From step 20 there is none, since that state's own loss is above
chance, and none from epoch 5 of 6. `demo` (2 seeds): halfway at 0.94, 0.95 and 0.31; barriers of two runs have no
interval.

Cost: `demo` 61 s on 2 cores with other programs on them (load 3.4); `mini` 7.2 min of computing on an idle core as
`study plan` estimates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from linescape.recipe import Moment, Recipe
from linescape.studies import vlaar2022
from linescape.studies.study import Arm, Run, Study
from linescape.studies.vlaar2022.scales import Resolution

SOURCE = "Frankle 2020, arXiv 2012.06898"
TITLE = "Does the loss fall gradually along the line, and do barriers come up during training?"
STEPS = (5, 20, 60)
"""States within the first epoch from which lines go to the end."""
EPOCHS = (1, 2, 3, 5, 10, 20, 33, 50, 66, 90)
"""Further states, as far as the training is longer."""


@dataclass(frozen=True)
class Scale(Resolution):
    """What differs between scales: replicates, and how finely lines are measured."""

    seeds: int = 5
    alphas: int = 100


SCALES: Mapping[str, Scale] = {
    "demo": Scale(seeds=2, alphas=26, train_examples=500, test_examples=500),
    "mini": Scale(test_examples=1000),
    "cifar10-small": Scale(seeds=3, test_examples=2000),
    "cifar10-narrow-30": Scale(test_examples=2000),
    "cifar10": Scale(),
}


def study(scale: str) -> Study:
    """An arm for each network, with a run for each seed and a line to the end from each of its states."""
    chosen = SCALES[scale]
    arms = [
        Arm(name, "model", title, tuple(_run(replace(base, seed=seed), chosen) for seed in range(chosen.seeds)), name)
        for name, (title, base) in networks(scale).items()
    ]
    return Study("frankle2020revisit", scale, TITLE, SOURCE, tuple(arms))


def networks(scale: str) -> dict[str, tuple[str, Recipe]]:
    """The trainings by name of their arm, each with a title; they are arms of `vlaar2022` too."""
    shared = vlaar2022.SCALES[scale]
    images = next(recipe for name, recipe in shared.warm_up.items() if name != "mlp-spiral")
    return {
        "base": ("ResNet", shared.base),
        "vgg": ("VGG", replace(shared.base, model=shared.vgg)),
        "mlp": ("fully connected", images),
    }


def states(recipe: Recipe) -> tuple[Moment, ...]:
    """The states within a training from which lines go to its end."""
    epochs = (number for number in EPOCHS if number < recipe.schedule.epochs)
    return (*(Moment(recipe, "step", n) for n in STEPS), *(Moment(recipe, "epoch", n) for n in epochs))


def _run(recipe: Recipe, scale: Scale) -> Run:
    end = Moment(recipe)
    lines = {"whole": scale.scan(Moment(recipe, "start"), end)}
    return Run(recipe, lines | {f"from {state}": scale.scan(state, end) for state in states(recipe)})
