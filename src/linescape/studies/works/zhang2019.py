"""Are all layers created equal? Layers of trained networks set back to earlier states, or drawn anew.

Source: Zhang, Bengio & Singer, arXiv 1902.01996 (JMLR 23, 2022). One layer of a trained network is re-initialised, that
is set back to its start or to a checkpoint of its own training, or re-randomised, that is replaced by another draw of
the same distribution; all others stay trained. A layer is robust if re-initialising it hardly costs accuracy, and
critical otherwise.

    linescape study run zhang2019 --scale mini
    linescape study report zhang2019 --scale mini

The source reports (fully connected networks, VGG and ResNets on MNIST, CIFAR-10 and ImageNet) that re-initialising
later layers often costs little, that re-randomising any layer destroys accuracy, and that distances moved do not
explain which layers are robust (the last is not checked against its text). Here a layer is a convolution or
linear layer with its normalisation, whose running statistics are set back too, and of distances the Euclidean one alone
is measured. The trainings are those of `vlaar2022` at the same scale: its base, and its fully connected network.

**Found** on 28 November 2026. ``mini``, 5 seeds, points of test error with 95 % t intervals corrected for all 13
layers: of the ResNet-8, layer3.0.downsample.0 is robust (1.4, -1.8 to 4.6), seven of ten layers are critical,
layer3.0.conv1 most surely (63.0, 50.7 to 75.4), and both of layer1 are undecided. Later layers are as critical as
early ones; that another draw costs more than the own start is undecided (3.2 more on average over layers, -1.3 to
7.7), and the robust layer may be replaced by another draw too (1.5, -0.4 to 3.4). The fully connected network is as
in the source: set back to the start, its three layers cost 35.0 (18.6 to 51.4), 4.6 (0.9 to 8.4) and 1.1 (-1.9 to
4.1), and another draw of one costs 74 to 77, 61.6 more on average (55.2 to 68.1). Layers settle at the drops of the
learning rate: set back to epoch 4 of 6, none costs more than 4.9 on average. The distance that a layer moved is not
clearly related to its cost in the ResNet (rank correlation -0.35, -0.82 to 0.41; layers as units). ``demo``, 2 seeds:
no layer is decided. Time of CPU: demo 0.7 min, mini 3.1 min.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from linescape import data, models
from linescape.geometry.groups import by_convolution
from linescape.recipe import Moment, Recipe, title
from linescape.studies import vlaar2022
from linescape.studies.study import Arm, Run, Scan, Study

SOURCE = "Zhang, Bengio & Singer 2019, arXiv 1902.01996"
TITLE = "Which layers of a trained network can be set back to their start?"


@dataclass(frozen=True)
class Scale:
    """What differs between scales: replicates, the epochs that layers are set back to, and the fully connected arm."""

    seeds: int = 5
    epochs: tuple[int, ...] = (0, 1, 2, 4, 8, 10, 20)
    connected: str = "mlp-mnist"
    test_examples: int = 2000


SCALES: Mapping[str, Scale] = {
    "demo": Scale(seeds=2, epochs=(0, 1, 3), connected="mlp-images", test_examples=1000),
    "mini": Scale(epochs=(0, 1, 2, 3, 4, 5), connected="mlp-images", test_examples=0),
    "cifar10-small": Scale(seeds=3, epochs=(0, 1, 2, 3)),
    "cifar10-narrow-30": Scale(),
    "cifar10": Scale(seeds=10, epochs=(0, 1, 2, 5, 10, 33, 66), test_examples=0),
}


def study(scale: str) -> Study:
    """An arm for each network, with a run for each seed."""
    chosen, source = SCALES[scale], vlaar2022.SCALES[scale]
    recipes = {"base": ("base", source.base), "connected": ("warm-up", source.warm_up[chosen.connected])}
    arms = []
    for name, (group, recipe) in recipes.items():
        runs = tuple(_run(replace(recipe, seed=seed), scale) for seed in range(chosen.seeds))
        arms.append(Arm(name, group, title(recipe.model), runs, name))
    return Study("zhang2019", scale, TITLE, SOURCE, tuple(arms))


def layers(recipe: Recipe) -> tuple[str, ...]:
    """The convolutions and linear layers of a training's network, from input to output."""
    return tuple(by_convolution(models.outline(recipe.model, *data.form(recipe.data))))


def _run(recipe: Recipe, scale: str) -> Run:
    chosen, end = SCALES[scale], Moment(recipe)
    lines = {"whole": vlaar2022.SCALES[scale].whole.scan(Moment(recipe, "start"), end)}
    starts = {f"epoch {epoch}": Moment(recipe, "epoch", epoch) for epoch in chosen.epochs}
    starts["another draw"] = Moment(replace(recipe, seed=recipe.seed + ANOTHER), "start")
    for layer in layers(recipe):
        for name, start in starts.items():
            scan = Scan(start, end, layer, alphas=2, train_examples=100, test_examples=chosen.test_examples)
            lines[f"{layer} from {name}"] = scan
    return Run(recipe, lines)


ANOTHER = 1000
"""Added to a run's seed, it is that of a draw which no run starts from."""
