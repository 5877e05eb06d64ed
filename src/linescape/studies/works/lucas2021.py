"""Which trainings have a monotone line: a grid of small networks.

Source: Lucas, Bae, Zhang, Fort, Zemel & Grosse, "Analyzing monotonic linear interpolation in neural network loss
landscapes", ICML 2021, arXiv 2104.11044. Over thousands of trainings most lines are monotone; large distances in weight
space, BatchNorm and adaptive optimizers go with lines that are not. Its tables keep the trainings whose training loss
ends below a limit, count those with a rise (min Delta) above 0.001 nats, and average min Delta over these alone.

Its code stops a training whose training loss is above 1 nat after epoch 10 (fully connected), or above 1.5 after epoch
35 (residual, ten classes), and such a training is in no table. Here it is trained to its end and not counted; one of
fewer epochs is judged after its last, by the loss that is logged, the mean over the epoch.

    linescape study run lucas2021 --scale mini
    linescape study report lucas2021 --scale mini

Here, in part: fully connected networks by learning rate, depth (at `cifar10` also width), activation, optimizer and
BatchNorm, one seed for each point of the grid, on the images of `vlaar2022`'s fully connected network at the same
scale, and for each the line from another random draw to the same end. Running statistics are recomputed at each
position, as in the source. Gauss length is measured on both lines of the networks without BatchNorm. Replicates of one
point of the grid have lines to other ends: noisy, permuted, another training's, the mean of three; and from noisy
starts. Its autoencoders and language models are not here.

The source's fully connected networks have 1024 units, batches of 512 and a limit of 0.1 nats of training loss, which
``demo`` and ``mini`` replace by 100 units, batches of 128 and 0.5 nats after 5 and 10 epochs. Statistics are averaged
over the training examples that are measured, where the source's have a momentum of 0.1 and one pass over all. It
follows logits of test examples, here they are of training examples.

Its residual networks are here too, by start (BatchNorm as drawn, BN; with the last norm's weight of each block at
zero, BN-I; without norm, with a scalar at zero, NBN-I, or Fixup, NBN-F), optimizer and learning rate, in the layout of
depth 6n + 2 on the images of `vlaar2022`'s base training, with the source's weight decay of 1e-4 and limit of 1 nat.
Their lines too count as monotone up to 0.001 nats; the source counts every rise, of a loss on augmented images.

Found (28 November 2026, `mini`, 48 trainings, of which 38 end below 0.5 nats): 33 of the 38 lines are monotone up to
0.001 nats, and the highest rise is 0.009. BatchNorm changes the largest rise by -0.001 nats (95 % interval -0.002 to
0.000) and Adam by 0.001 (0.000 to 0.003), each over 14 pairs and corrected for the two: inconclusive, against the
source's finding that both encourage rises. All 5 exceptions have the highest learning rate but one, and moved more
than twice the norm of their start: rank correlation of distance and rise 0.61 (0.38 to 0.77), as the source says. Of
lines from another draw to the same ends, 19 of 38 are not monotone. `demo`: 11 of 14 are monotone, and the
correlation is inconclusive, 0.56 (-0.02 to 0.86).

Of residual networks (29 November 2026, `mini`, 32 trainings, of which 23 end below 1 nat) 22 of the 23 lines are
monotone; the other, with Adam at 0.3 and BN-I, rises by 0.068 nats. Adam changes the largest rise by 0.008 nats (0.000
to 0.034, 9 pairs) and the identity start by 0.010 (0.000 to 0.068, 7 pairs), corrected for three: inconclusive. For
BatchNorm 4 pairs, all without a rise, give no interval. Without norm, both trainings with SGD at 0.3 diverged. One of
their ends is NaN by plain calls and finite on the line, so that line is declined.
`demo` (16 trainings of 2 epochs): all 10 that end below 1 nat are monotone, and there are too few pairs.

Of Gauss length (29 November 2026, `mini`, arms ``sgd`` and ``adam``, 15 trainings that are counted) it is
inconclusive whether it is smaller on monotone lines. Of two lines the one that is not monotone has the larger with
probability 0.86 (0.42 to 0.98; 3 of 15 are not monotone), and from another draw 0.59 (0.20 to 0.89; 8 of 15), intervals
corrected for each other. The means are 1.67 radians on lines that are not monotone and 1.12 on the others, from another
draw 2.72 and 2.66. `demo`: all 6 lines are monotone; from another draw 0.80 (0.20 to 0.98; 1 of 6 is not).

Of other ends and noisy starts (29 November 2026, `mini`, SGD at 0.01, two ReLU layers, 5 replicates, mean largest rise
and 95 % t intervals, corrected for eleven lines, the primary one not): to another training's end 4 of 5 lines are
monotone, 0.000 nats above the own line's rise (-0.001 to 0.001, inconclusive; the primary contrast); with permuted
units 4 of 5, 0.002 (-0.011 to 0.016); with noise at the end of 0.25, 0.5 and 1 times the distance moved 5, 5 and 2 of
5, the last 0.012 (-0.040 to 0.063), and with as much at the start 5 of 5 each; to the mean of three ends 5 of 5, though
the loss is 1.64 nats there. No line between two ends is monotone (0.756, 0.623 to 0.888), nor from an end to the mean
of three (1.336, 1.228 to 1.444). `demo`, 3 replicates: 0.782 (0.554 to 1.010) and 1.325 (0.833 to 1.816); with noise at
the start 3, 2 and 3 of 3 are monotone.

The rule for stopping (29 November 2026, of the trainings that were at hand) takes out, of fully connected networks, 1
of 16 at `demo` (Adam at 0.1) and, without BatchNorm, 5 of 24 at `mini` (Adam at 0.1 four times, SGD at 0.001 once); of
residual networks 5 of 16 at `demo`. Other scales were not counted, nor networks with BatchNorm and residual networks at
`mini`.

Cost, without Gauss length and other ends: `demo` 76 s of CPU time in one process, residual networks included; `mini`
2.4 min of computing on an idle core
as `study plan` estimates, and residual networks 5.9 min of CPU time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

from msgspec.structs import replace

from linescape.recipe import MLP, Data, Moment, Optimizer, Recipe, ResNet, Schedule
from linescape.studies import vlaar2022
from linescape.studies.paths import Averaged, Disturbed, Shuffled
from linescape.studies.study import Arm, Run, Study, Turning
from linescape.studies.vlaar2022.scales import Resolution

SOURCE = "Lucas, Bae, Zhang, Fort, Zemel & Grosse 2021, arXiv 2104.11044"
TITLE = "Which trainings have a monotone line?"
WIDTH = 100
OTHER = 1000
"""Added to the seed for another draw of the start."""
ELSEWHERE = "from another draw"
FIRST = 100
"""The seed of the first replicate with other ends, which no point of the grid has."""
ENDS = "other-ends"
"""Name and group of the arm with other ends."""
SIZES = (0.25, 0.5, 1.0)
"""Of the noise at an end, relative to the distance that each tensor moved; the source's own are not known here."""


@dataclass(frozen=True)
class Scale(Resolution):
    """What differs between scales: the grids, the limit of training loss (nats) that the tables keep, and resolution.

    `hidden` has the widths of the hidden layers of each fully connected network. The schedule of residual networks is
    that of `vlaar2022`'s base training if it is None. Logits of so many examples are followed; other ends are those of
    so many replicates.
    """

    rates: tuple[float, ...] = (0.1, 0.01, 0.001)
    hidden: tuple[tuple[int, ...], ...] = ((WIDTH,) * 2, (WIDTH,) * 4)
    activations: tuple[Literal["relu", "sigmoid", "tanh"], ...] = ("relu", "tanh")
    batch_size: int = Optimizer().batch_size
    epochs: int = 10
    limit: float = 0.5
    test_examples: int = 500
    residual_rates: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01)
    residual_depths: tuple[int, ...] = (8,)
    residual_width: int = 8
    residual_schedule: Schedule | None = None
    followed_examples: int = 100
    replicates: int = 5


_ALL_RATES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
_SECOND = (2048, 512, 256, 128, 64, 32, 16, 8, 4, 2)
"""Widths of the second hidden layer after one of 1024, in the source."""
SCALES: Mapping[str, Scale] = {
    "demo": Scale(
        rates=(0.1, 0.01),
        hidden=((WIDTH,) * 2,),
        epochs=5,
        alphas=15,
        train_examples=500,
        residual_rates=(0.1, 0.01),
        residual_schedule=Schedule(2, "step", (1,)),
        followed_examples=50,
        replicates=3,
    ),
    "mini": Scale(),
    "cifar10-small": Scale(limit=0.1, residual_depths=(20,)),
    "cifar10-narrow-30": Scale(
        rates=(0.1, 0.03, 0.01, 0.003, 0.001), limit=0.1, residual_depths=(20,), residual_width=16
    ),
    "cifar10": Scale(
        rates=(3, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001),
        hidden=(*((1024,) * depth for depth in (2, 3, 4, 5)), *((1024, width) for width in _SECOND)),
        activations=("relu", "sigmoid", "tanh"),
        batch_size=512,
        epochs=200,
        limit=0.1,
        residual_rates=_ALL_RATES,
        residual_depths=(20, 32, 44, 56),
        residual_width=16,
        residual_schedule=Schedule(200, "step", (60, 90, 120)),
    ),
}


class Abort(NamedTuple):
    """The source's rule for stopping a training: its loss is above `loss` nats, or NaN, after epoch `epoch`."""

    epoch: int
    loss: float


ABORT, RESIDUAL_ABORT = Abort(10, 1.0), Abort(35, 1.5)
"""Of fully connected networks, and of residual ones on ten classes."""
RESIDUAL_LIMIT = 1.0
"""Training loss in nats that the source's tables of CIFAR-10 keep at most."""
ARMS: Mapping[str, tuple[str, Literal["sgd", "adam"], Literal["none", "batch"]]] = {
    "sgd": ("SGD", "sgd", "none"),
    "sgd-batchnorm": ("SGD, BatchNorm", "sgd", "batch"),
    "adam": ("Adam", "adam", "none"),
    "adam-batchnorm": ("Adam, BatchNorm", "adam", "batch"),
}
"""Title, optimizer and norm of each arm, in which a run is a point of the grid of all else."""
RESIDUAL: Mapping[str, tuple[str, Literal["batch", "none"], bool]] = {
    "bn": ("BatchNorm (BN)", "batch", False),
    "bn-identity": ("BatchNorm, identity start (BN-I)", "batch", True),
    "identity": ("no norm, identity start (NBN-I)", "none", True),
    "fixup": ("no norm, Fixup (NBN-F)", "none", False),
}
"""Title, norm and `ResNet.identity` of the residual networks, each of which has an arm for each optimizer."""
OPTIMIZERS: Mapping[Literal["sgd", "adam"], str] = {"sgd": "SGD", "adam": "Adam"}


def study(scale: str) -> Study:
    """An arm for each optimizer with and without BatchNorm, in which the seed is the number of a point of the grid."""
    chosen = SCALES[scale]
    data = next(recipe.data for name, recipe in vlaar2022.SCALES[scale].warm_up.items() if name != "mlp-spiral")
    arms = []
    for name, (title, optimizer, norm) in ARMS.items():
        points = enumerate(product(chosen.rates, chosen.hidden, chosen.activations))
        recipes = [
            Recipe(
                data,
                MLP(hidden, activation, norm),
                Optimizer(optimizer, lr=rate, batch_size=chosen.batch_size),
                Schedule(chosen.epochs),
                seed=seed,
            )
            for seed, (rate, hidden, activation) in points
        ]
        arms.append(Arm(name, "optimizer", title, tuple(_run(recipe, chosen) for recipe in recipes), "sgd"))
    return Study("lucas2021", scale, TITLE, SOURCE, (*arms, *_residual(scale), _other_ends(chosen, data)))


def _run(recipe: Recipe, scale: Scale) -> Run:
    assert isinstance(recipe.model, MLP | ResNet)
    batchnorm = ("recalibrate" if recipe.model.norm == "batch" else "interpolate",)
    starts = {"whole": Moment(recipe, "start")}
    if isinstance(recipe.model, MLP):
        starts[ELSEWHERE] = Moment(Recipe(recipe.data, recipe.model, seed=recipe.seed + OTHER), "start")
    lines = {label: scale.scan(start, Moment(recipe), batchnorm=batchnorm) for label, start in starts.items()}
    followed = {}
    if isinstance(recipe.model, MLP) and recipe.model.norm == "none":
        followed = {
            label: Turning(line.start, line.end, scale.alphas, scale.followed_examples) for label, line in lines.items()
        }
    return Run(recipe, lines, measured={Turning: followed})


def _other_ends(scale: Scale, data: Data) -> Arm:
    """Replicates of one point of the grid, each with two more trainings of its own and lines to other ends."""
    optimizer = Optimizer("sgd", lr=sorted(scale.rates)[-2], batch_size=scale.batch_size)
    settings = MLP(scale.hidden[0], "relu"), optimizer
    runs = []
    for seed in range(scale.replicates):
        own, second, third = (
            Recipe(data, *settings, Schedule(scale.epochs), seed=seed + FIRST + OTHER * number) for number in range(3)
        )
        start, end = Moment(own, "start"), Moment(own)
        whole = scale.scan(start, end)
        noisy = {f"noise {size:g}": replace(whole, along=Disturbed(size, seed)) for size in SIZES}
        noisy |= {f"start noise {n:g}": replace(whole, along=Disturbed(n, seed, "start")) for n in SIZES}
        lines = {
            "whole": whole,
            **noisy,
            "units permuted": replace(whole, along=Shuffled(seed)),
            "another training's end": scale.scan(start, Moment(second)),
            "mean of three ends": replace(whole, along=Averaged((Moment(second), Moment(third)))),
            "from end to end": scale.scan(end, Moment(second)),
            "from end to mean of three": replace(scale.scan(end, end), along=Averaged((Moment(second), Moment(third)))),
            "from start to start": scale.scan(start, Moment(second, "start")),
        }
        runs.append(Run(own, lines))
    return Arm(ENDS, ENDS, "lines to other ends", tuple(runs), "sgd")


def _residual(scale: str) -> Iterator[Arm]:
    """An arm for each kind of residual network and optimizer, in which a run is a learning rate and a depth."""
    chosen, base = SCALES[scale], vlaar2022.SCALES[scale].base
    for (name, (title, norm, identity)), (optimizer, by) in product(RESIDUAL.items(), OPTIMIZERS.items()):
        recipes = [
            Recipe(
                base.data,
                ResNet(depth, chosen.residual_width, norm, identity=identity),
                Optimizer(optimizer, lr=rate, weight_decay=1e-4, batch_size=base.optimizer.batch_size),
                chosen.residual_schedule or base.schedule,
                seed=seed,
            )
            for seed, (rate, depth) in enumerate(product(chosen.residual_rates, chosen.residual_depths))
        ]
        runs = tuple(_run(recipe, chosen) for recipe in recipes)
        yield Arm(f"{name}-{optimizer}", "model", f"{title}, {by}", runs, "bn-sgd")
