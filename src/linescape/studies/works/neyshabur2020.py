"""What is being transferred in transfer learning? Lines between networks that were fine-tuned or trained from scratch.

Source: Neyshabur, Sedghi & Zhang, NeurIPS 2020, arXiv 2008.11687. Pairs of networks, both trained from a random start,
both fine-tuned from one pre-trained network, or one of each, and the performance on the line between them; fine-tuning
from checkpoints of pre-training; and how much pre-training helps on images whose blocks are shuffled.

    linescape study run neyshabur2020 --scale mini
    linescape study report neyshabur2020 --scale mini

The source (Fixup ResNet-50, ImageNet to DomainNet and chest X-rays; 50 and 20 alphas) reports that two fine-tuned
networks have no performance barrier between them while others do, and that checkpoints before the end of pre-training
serve as well. Here, as in the arm ``half-pretrained`` of `vlaar2022`, networks are pre-trained on five classes and
fine-tuned on the other five, at a fifth of the rate of training from scratch, as in the source, and at the same rate.
The two of a pair have different seeds, hence other draws of the new head and other orders of the data. The base has
BatchNorm, unlike the source's networks, and its statistics are interpolated with the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from linescape.recipe import Moment, Recipe
from linescape.studies import vlaar2022
from linescape.studies.study import Arm, Run, Scan, Study
from linescape.studies.vlaar2022.arms import EVEN, ODD
from linescape.training import interventions

SOURCE = "Neyshabur, Sedghi & Zhang 2020, arXiv 2008.11687"
TITLE = "Do networks that are fine-tuned from one network stay in one basin?"

BETWEEN = "from one network of a pair to the other"
"""The label of the line between the two."""


@dataclass(frozen=True)
class Scale:
    """What differs between scales: pairs, alphas, epochs of pre-training, and sides of shuffled blocks in pixels."""

    pairs: int = 3
    alphas: int = 50
    epochs: tuple[int, ...] = (0, 1, 2, 10, 20)
    blocks: tuple[int, ...] = (1, 4, 16)
    train_examples: int = 500
    test_examples: int = 0


SCALES: Mapping[str, Scale] = {
    "demo": Scale(pairs=2, alphas=11, epochs=(0, 2), blocks=(1,)),
    "mini": Scale(pairs=4, epochs=(0, 1, 2, 4), blocks=(1, 2, 7)),
    "cifar10-small": Scale(epochs=(0, 1, 2, 3), test_examples=2000),
    "cifar10-narrow-30": Scale(pairs=4, test_examples=2000),
    "cifar10": Scale(pairs=5, epochs=(0, 1, 2, 5, 10, 33, 66)),
}


def study(scale: str) -> Study:
    """An arm for each kind of pair, with a run for each pair, and two for each size of shuffled blocks."""
    chosen, base = SCALES[scale], vlaar2022.SCALES[scale].base
    scratch = replace(base, data=replace(base.data, classes=EVEN))
    slow = interventions.learning_rate(scratch, scratch.optimizer.lr / 5)

    def tuned(recipe: Recipe, pair: int, second: bool, epoch: int | None = None) -> Recipe:
        """One of the pair from the pre-trained network that belongs to it; pre-training has the base's rate."""
        own = replace(recipe, seed=pair + second * chosen.pairs)
        made = interventions.pretrained(own, replace(base.data, classes=ODD), seed=pair, optimizer=base.optimizer)
        return made if epoch is None else replace(made, init=replace(made.init, at="epoch", number=epoch))

    def arm(name: str, group: str, title: str, runs: list[Run], baseline: str = "random-random") -> Arm:
        return Arm(name, group, title, tuple(runs), baseline)

    pairs = range(chosen.pairs)
    random = [(replace(scratch, seed=pair + chosen.pairs), replace(scratch, seed=pair)) for pair in pairs]
    arms = [
        arm("random-random", "base", "both from scratch", [_run(a, b, scale) for a, b in random]),
        arm(
            "random-finetuned",
            "initialisation",
            "from scratch and fine-tuned",
            [_run(b, tuned(slow, pair, True), scale) for pair, (_, b) in enumerate(random)],
        ),
    ]
    kinds: list[tuple[str, str, Recipe, int | None]] = [
        ("finetuned-finetuned", "both fine-tuned", slow, None),
        ("finetuned-same-rate", "both fine-tuned, rate of training from scratch", scratch, None),
        *((f"finetuned-epoch-{k}", f"both fine-tuned from epoch {k} of pre-training", slow, k) for k in chosen.epochs),
    ]
    for name, title, recipe, epoch in kinds:
        ends = [[tuned(recipe, pair, second, epoch) for second in (False, True)] for pair in pairs]
        arms.append(arm(name, "initialisation", title, [_run(a, b, scale) for a, b in ends]))
    for side in chosen.blocks:
        shuffled = {"shuffled_blocks": side}
        alone, from_slow = (replace(recipe, data=replace(recipe.data, **shuffled)) for recipe in (scratch, slow))
        name, words = f"shuffled-{side}", f"blocks of {side} shuffled"
        ones = [_run(replace(alone, seed=pair), None, scale) for pair in pairs]
        arms.append(arm(f"{name}-random", "data", f"{words}, from scratch", ones, f"{name}-random"))
        ones = [_run(tuned(from_slow, pair, False), None, scale) for pair in pairs]
        arms.append(arm(f"{name}-finetuned", "data", f"{words}, fine-tuned", ones, f"{name}-random"))
    return Study("neyshabur2020", scale, TITLE, SOURCE, tuple(arms))


def _run(first: Recipe, second: Recipe | None, scale: str) -> Run:
    chosen, end = SCALES[scale], Moment(first)
    lines = {"whole": vlaar2022.SCALES[scale].whole.scan(Moment(first, "start"), end)}
    if second:
        settings = {name: getattr(chosen, name) for name in ("alphas", "train_examples", "test_examples")}
        lines[BETWEEN] = Scan(end, Moment(second), **settings)
    return Run(first, lines)
