"""LoRA: the line between two fine-tunings in the factors of their updates, beside that in merged weights.

Source: Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang & Chen, ICLR 2022, arXiv 2106.09685 (2021). A layer computes with
``W + s B A``, of which W stays as pre-trained and only the factors are trained. **The source makes no claim about lines
between such networks**: the questions here are ours, of what interpolating or averaging the files of adapters does.

    linescape study run hu2021 --scale mini
    linescape study report hu2021 --scale mini

Networks are pre-trained on five classes and fine-tuned on the other five, each pair of fine-tunings from a pre-training
of its own, so intervals are over independent pairs. The two of a pair have other draws of A and of the new head, and
other orders of the data; in the arm ``same-draw`` only the order differs. The network is the MLP of `vlaar2022`, which
has no normalisation; all scales but ``demo`` have its ResNet too, with BatchNorm's statistics estimated anew at each
position. The head has no update and is trained whole. The rate of fine-tuning is that of pre-training, for the ResNet a
fifth of it.

Why the lines differ: at the middle the factors have ``(B0 A0 + B1 A1 + B0 A1 + B1 A0) / 4``, merged weights
``(B0 A0 + B1 A1) / 2``. In the factors half of both updates is lost, and what takes its place, the products of one's B
and the other's A, was trained by neither. The difference is ``(B1 - B0) (A1 - A0) / 4``, so it is small where the two
have about the same A, as from one draw. From the start of a fine-tuning to its end B goes from 0 to B1 and A from its
draw A0 to A1, so the update in the factors is ``alpha B1 A0 + alpha^2 B1 (A1 - A0)``: it grows as alpha, as in merged
weights, as far as A stays at its draw.

**Found** on 29 November 2026 at ``demo``, 4 pairs, barriers in nats of test loss above the mean of both ends, with 95 %
t intervals over pairs. Rank 4, the contrast chosen before looking: 0.59 in the factors, 0.15 in merged weights,
difference 0.44 (0.16 to 0.72), and 20.2 and 10.9 points of test error; the middles are apart by 0.36 of the length of
the line in merged weights. Rank 1: 0.89 and 0.15, difference 0.74 (0.17 to 1.31, corrected), apart by 0.57. One draw of
A and of the head, rank 4: 0.02 and 0.01, difference 0.01 (-0.05 to 0.08, corrected), apart by 0.13. That it is smaller
than with two draws, by 0.43 (-0.01 to 0.87, corrected), is not decided; both draws differ at once, so which of them
matters is open. All weights, two draws of the head: 0.09. From the own start, rank 4, the line in the factors has 0.17
nats more on average (0.12 to 0.23, uncorrected): A does not stay at its draw. Fine-tuned networks have 26.6 % test
error at rank 4, 31.8 % at rank 1 and 23.3 % with all weights. The ResNet and rank 16 were not measured. A fine-tuning
took 3.3 to 3.5 s of CPU beside other work; there are 28, and 4 pre-trainings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from linescape.recipe import MLP, LoRA, Moment, Recipe, ResNet
from linescape.studies import vlaar2022
from linescape.studies.paths import InMergedWeights
from linescape.studies.study import Arm, Run, Study
from linescape.studies.vlaar2022.arms import EVEN, ODD
from linescape.studies.vlaar2022.scales import Resolution
from linescape.training import interventions

SOURCE = "Hu et al. 2021, arXiv 2106.09685"
TITLE = "Between two networks with LoRA, is a barrier in the factors there in merged weights too?"
FACTORS, MERGED = "in factors", "in merged weights"
"""Labels of the lines between the two of a pair; that in all weights is `FACTORS` too, where there are no factors."""
OWN_MERGED = "from its own start, in merged weights"
"""Label of a fine-tuning's own line in merged weights; that in the factors is ``whole``."""
RANK = 4
"""Of the updates of the arm that all others are compared with."""
SLOWER = 0.2
"""Learning rate of the ResNet's fine-tuning as a share of its pre-training's, as in `neyshabur2020`."""
BASE, SAME_DRAW, WHOLE = f"rank-{RANK}", "same-draw", "all-weights"
"""Names of arms."""


@dataclass(frozen=True)
class Scale(Resolution):
    """What differs between scales: pairs of fine-tunings, other ranks, and how finely lines are measured.

    Attributes:
        ranks: of updates, besides `RANK`.
        resnet: whether there is an arm of the ResNet.
    """

    pairs: int = 5
    ranks: tuple[int, ...] = (1, 16)
    resnet: bool = True
    alphas: int = 11
    train_examples: int = 500
    test_examples: int = 1000


SCALES: Mapping[str, Scale] = {
    "demo": Scale(pairs=4, ranks=(1,), resnet=False, test_examples=500),
    "mini": Scale(),
    "cifar10-small": Scale(test_examples=2000),
    "cifar10-narrow-30": Scale(test_examples=2000),
    "cifar10": Scale(alphas=21, test_examples=0),
}


def study(scale: str) -> Study:
    """An arm for each kind of fine-tuning, with a run for each pair, which is named by its first."""
    chosen, base = SCALES[scale], vlaar2022.SCALES[scale].base
    mlp = next(recipe for name, recipe in vlaar2022.SCALES[scale].warm_up.items() if name != "mlp-spiral")
    others = [
        *(Kind(f"rank-{rank}", "model", f"LoRA of rank {rank}", mlp, rank) for rank in chosen.ranks),
        Kind(SAME_DRAW, "initialisation", f"LoRA of rank {RANK}, one draw", mlp, RANK),
        Kind(WHOLE, "model", "all weights", mlp, 0),
        *([Kind("resnet", "model", f"ResNet, LoRA of rank {RANK}", base, RANK, SLOWER)] if chosen.resnet else ()),
    ]
    arms = (_arm(kind, chosen) for kind in (Kind(BASE, "base", f"LoRA of rank {RANK}", mlp, RANK), *others))
    return Study("hu2021", scale, TITLE, SOURCE, tuple(arms))


@dataclass(frozen=True)
class Kind:
    """A kind of fine-tuning.

    Attributes:
        name, group, title: of the arm.
        pretraining: the recipe, but for its data.
        rank: of its updates; 0 trains all weights.
        share: of the learning rate of pre-training.
    """

    name: str
    group: str
    title: str
    pretraining: Recipe
    rank: int
    share: float = 1.0

    def tuned(self, pair: int, second: bool) -> Recipe:
        """One of a pair, from the pre-training that both have."""
        base = self.pretraining
        assert isinstance(base.model, MLP | ResNet)
        same, other = self.name == SAME_DRAW, 2 * pair + second
        own = replace(
            interventions.learning_rate(base, self.share * base.optimizer.lr),
            data=replace(base.data, classes=EVEN),
            model=LoRA(base.model, self.rank, self.rank) if self.rank else base.model,
            seed=2 * pair if same else other,
            order_seed=int(same and not second),  # the second is the first of the arm with two draws
        )
        on = replace(base.data, classes=ODD)
        return interventions.pretrained(own, on, seed=pair, order_seed=0, optimizer=base.optimizer)


def _arm(kind: Kind, scale: Scale) -> Arm:
    runs = []
    for pair in range(scale.pairs):
        first, second = (kind.tuned(pair, second) for second in (False, True))
        treatments = ("recalibrate",) if vlaar2022.has_batchnorm(first.model) else ("interpolate",)
        own = scale.scan(Moment(first, "start"), Moment(first), batchnorm=treatments)
        between = scale.scan(Moment(first), Moment(second), batchnorm=treatments)
        lines = {"whole": own, FACTORS: between}
        if kind.rank:
            lines[OWN_MERGED] = replace(own, along=InMergedWeights())
            lines[MERGED] = replace(between, along=InMergedWeights())
        runs.append(Run(first, lines))
    return Arm(kind.name, kind.group, kind.title, tuple(runs), BASE)
