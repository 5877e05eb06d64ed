"""The intriguing role of module criticality: each module of a trained network on the line back to its start.

Source: Chatterji, Neyshabur & Sedghi, ICLR 2020, arXiv 1912.00528. A module i moves from its start to its end, all
others stay at their end. Its criticality is the smallest alpha^2 |end - start|^2 / sigma^2 over alpha and sigma for
which the expected training loss under noise of standard deviation sigma stays within a bound.

    linescape study run chatterji2020 --scale mini
    linescape study report chatterji2020 --scale mini

The source reports that few modules are critical, early ones and those that reduce the resolution, and that the sum over
modules ranks architectures by how well they generalise (not checked against its text). Here are, without
noise, the map of loss by module and alpha, the loss lost at alpha = 0, and the smallest alpha from which on the loss
stays within 1.01 times the final one, a bound of a third-party implementation; and with noise the criticality of
modules, and of the networks of `vlaar2022`. The training and its layers are those of `zhang2019`.

The source's theory bounds the training error, by how much is not known here: with noise the bounds are 1 point more
error than at the end, and 1.01 times the loss. That implementation has 11 alphas, 11 sigmas in equal steps and 10
draws; here are 6 alphas and 5 draws (``demo`` 3 and 3) on 200 examples (100), and sigmas are powers of 2 up to 1
(`geometry.perturbed.SIGMAS`), since equal steps have none as small as most weights.

**Found** on 28 November 2026, without noise. ``mini``, 5 seeds, nats of training loss with 95 % t intervals corrected
for both statistics of the 10 modules: set back to their start, layer3.0.downsample.0 costs least (0.06, -0.01 to 0.12),
and among those that surely cost something layer2.0.conv2 (4.45, 2.45 to 6.45), layer3.0.conv1 (2.86, 1.59 to 4.14), fc
(1.38, 1.21 to 1.55) and layer3.0.conv2 (1.32, 1.08 to 1.56) differ by a factor of three; the others vary too much
between seeds. That the first module and those that reduce the resolution cost more than the others is undecided (2.63
against 2.01 nats, difference -1.53 to 2.77). The bound of 1.01 tells little here: seven modules are within it at alpha
= 1 only, in every run, and the other three from 0.98 or 0.99 on in the mean; with steps of 0.05 the loss falls to the
very end. ``demo``, 2 seeds: 1 for all ten. Time of CPU without the trainings, which `zhang2019` had done: demo 0.2 min,
mini 0.5.

With noise, on 29 November 2026 at ``demo`` (2 seeds of the base, 1 of each of three other networks) nothing is decided:
the first module and those that reduce the resolution have criticalities that rank -1.0 places from those of the others
on average (95 % t interval -31.6 to 29.6, corrected for three contrasts), the rank correlation of criticality with the
loss that a module costs at its start is 0.50 (-0.29 to 0.89), and that of a network's criticality with its
generalisation gap, over 4 networks, -0.82 without an interval. On that processor, where trainings have other last bits,
two modules are within 1.01 from before alpha = 1 on (0.95 and 0.90 in the mean). 4.6 min in one process beside other
programs, trainings included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from linescape.recipe import Moment, Recipe, title
from linescape.studies import vlaar2022
from linescape.studies.study import Arm, Noise, Run, Study
from linescape.studies.vlaar2022.arms import levels
from linescape.studies.vlaar2022.scales import Resolution
from linescape.studies.works.zhang2019 import layers

SOURCE = "Chatterji, Neyshabur & Sedghi 2020, arXiv 1912.00528"
TITLE = "How far is each module of a trained network from not being needed?"


@dataclass(frozen=True)
class Scale(Resolution):
    """What differs between scales: replicates, how finely lines of modules are measured, and noise.

    Attributes:
        seeds: replicates of the base.
        networks: arms of `vlaar2022` whose criticality is compared with the base's; all of other networks if None.
        network_seeds: replicates of each of these.
        noisy_alphas: positions of a module with noise.
        draws: of the noise.
        noisy_examples: training examples that are measured with noise; 0 is all.
    """

    seeds: int = 5
    alphas: int = 21
    test_examples: int = 1000
    networks: tuple[str, ...] | None = None
    network_seeds: int = 2
    noisy_alphas: int = 6
    draws: int = 5
    noisy_examples: int = 200

    def noise(self, recipe: Recipe) -> dict[str, Noise]:
        """Each module of a training with noise."""
        start, end = Moment(recipe, "start"), Moment(recipe)
        return {
            layer: Noise(start, end, layer, self.noisy_alphas, draws=self.draws, train_examples=self.noisy_examples)
            for layer in layers(recipe)
        }


SCALES: Mapping[str, Scale] = {
    "demo": Scale(
        seeds=2,
        alphas=11,
        test_examples=500,
        networks=("width-12", "width-4", "no-skips"),
        network_seeds=1,
        noisy_alphas=3,
        draws=3,
        noisy_examples=100,
    ),
    "mini": Scale(network_seeds=1),
    "cifar10-small": Scale(seeds=3),
    "cifar10-narrow-30": Scale(),
    "cifar10": Scale(
        seeds=10, alphas=50, train_examples=5000, network_seeds=3, noisy_alphas=11, draws=10, noisy_examples=1000
    ),
}


def study(scale: str) -> Study:
    """The base training, with a line for each module, and trainings of other networks; all with noise in modules."""
    chosen, source = SCALES[scale], vlaar2022.SCALES[scale]
    runs = tuple(_run(replace(source.base, seed=seed), scale) for seed in range(chosen.seeds))
    arms = []
    for level in levels(source):
        recipes = [level.change(run.recipe) for run in runs[: chosen.network_seeds]]
        asked = chosen.networks is None or level.name in chosen.networks
        if level.group == "model" and asked and recipes[0] != runs[0].recipe:
            networks = tuple(_network(recipe, scale) for recipe in recipes)
            arms.append(Arm(level.name, level.group, level.title, networks))
    return Study("chatterji2020", scale, TITLE, SOURCE, (Arm("base", "base", title(source.base.model), runs), *arms))


def _run(recipe: Recipe, scale: str) -> Run:
    chosen, start, end = SCALES[scale], Moment(recipe, "start"), Moment(recipe)
    lines = {"whole": vlaar2022.SCALES[scale].whole.scan(start, end)}
    lines |= {layer: chosen.scan(start, end, layer) for layer in layers(recipe)}
    return Run(recipe, lines, measured={Noise: chosen.noise(recipe)})


def _network(recipe: Recipe, scale: str) -> Run:
    whole = vlaar2022.SCALES[scale].whole.scan(Moment(recipe, "start"), Moment(recipe))
    return Run(recipe, {"whole": whole}, measured={Noise: SCALES[scale].noise(recipe)})
