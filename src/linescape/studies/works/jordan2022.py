"""REPAIR: what the networks between two aligned ones lack is the variance of their units, and it can be put back.

Source: Jordan, Sedghi, Saukh, Entezari & Neyshabur, ICLR 2023, arXiv 2211.08403 (2022). Two trainings are aligned by
the correlations of their activations. Between them the outputs of units vary too little. With BatchNorm, its statistics
are reset: measured anew at each position. Without, each unit is rescaled and shifted so that its mean and standard
deviation are ``(1 - alpha) A + alpha B``.

    linescape study run jordan2022 --scale mini
    linescape study report jordan2022 --scale mini

The source reports for VGG-11 with BatchNorm, twice as wide, on CIFAR-10 (ends 91.7 and 92.2 % test accuracy) at the
middle of the straight line 10.00 %, aligned 58.38 % and reset 90.74 %; for VGG-11 without BatchNorm (ends 89.4 and
89.8 %) 67.3 % aligned and 84.9 % rescaled. Here are VGG-11 with BatchNorm, `WIDER` times as wide as in `vlaar2022`,
the narrow MLP of `ainsworth2022`, which has no normalisation, and (but at ``demo``) the ResNet of `vlaar2022`. VGG-11
without BatchNorm did not learn at this scale: of two trainings of 6 epochs at rate 0.02 one ended at chance and one at
29 %. What the correction does to the straight line is measured too, which shows whether both steps are needed.

**Found** on 29 November 2026 at ``demo``, 2 pairs, points of test error that the middle has above the mean of both
ends, with 95 % t intervals. VGG-11 of width 16 with BatchNorm loses 64.6 (37.2 to 91.9) as it is, 56.9 (-37.8 to 151.5)
aligned, and 1.4 (-12.6 to 15.4) aligned with statistics measured anew: the source's order, but two pairs decide neither
step. Statistics measured anew alone leave 14.9 (-5.4 to 35.2), less than as it is by 49.7 (7.6 to 91.7, corrected):
here most of what is lost, interpolated statistics lose. The MLP of 3 x 32 units: 58.5 (17.3 to 99.8) as it is, 15.9
(-54.6 to 86.5) aligned and 11.1 (-31.4 to 53.7) rescaled, undecided. `study plan` estimates 90 s of computing on one
idle core.

VGG-11 with BatchNorm of width 32 on MNIST of 14 x 14 pixels, 30 November 2026: one pair, 3 epochs in batches of 64
(SGD, 0.05, cosine, weight decay 5e-4), both ends 98.9 % on 5000 test images. At the middle 10.0 % as it is, 53.2 %
aligned, 98.2 % aligned and reset, and 75.8 % reset alone: steps of 43 and 45 points, in the source 48 and 32.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from linescape.recipe import Recipe
from linescape.studies import vlaar2022
from linescape.studies.paths import Aligned, Along, Straight
from linescape.studies.study import Arm, Run, Study
from linescape.studies.works.ainsworth2022 import STRAIGHT, Scale, between, networks

SOURCE = "Jordan, Sedghi, Saukh, Entezari & Neyshabur 2022, arXiv 2211.08403"
TITLE = "Does it suffice to put back the variance between two aligned networks?"
ALIGNED, RESCALED = "aligned", "aligned and rescaled"
"""Labels of the lines to the aligned end."""
WIDER = 4
"""Factor of the width of the scale's VGG in `vlaar2022`, since narrow networks align badly."""

SCALES: Mapping[str, Scale] = {
    "demo": Scale(pairs=2, alphas=5, train_examples=500, test_examples=500),
    "mini": Scale(pairs=4, alphas=11, train_examples=500),
    "cifar10-small": Scale(pairs=3, alphas=11, test_examples=2000),
    "cifar10-narrow-30": Scale(test_examples=2000),
    "cifar10": Scale(test_examples=0),
}


def study(scale: str) -> Study:
    """An arm for each network, with a run for each pair of trainings."""
    chosen, source = SCALES[scale], vlaar2022.SCALES[scale]
    vgg = replace(source.base, model=replace(source.vgg, width=WIDER * source.vgg.width))
    used = {
        "vgg": ("VGG with BatchNorm", vgg),
        "narrow": networks(scale)["narrow"],
        "resnet": ("ResNet with BatchNorm", source.base),
    }
    if scale == "demo":
        del used["resnet"]  # which takes a third of the time
    arms = [
        Arm(
            name,
            "base" if name == "vgg" else "model",
            title,
            tuple(
                _run(replace(recipe, seed=2 * pair), replace(recipe, seed=2 * pair + 1), chosen)
                for pair in range(chosen.pairs)
            ),
            "vgg",
        )
        for name, (title, recipe) in used.items()
    ]
    return Study("jordan2022", scale, TITLE, SOURCE, tuple(arms))


def _run(first: Recipe, second: Recipe, scale: Scale) -> Run:
    ways: dict[str, Along] = {STRAIGHT: Straight(), ALIGNED: Aligned("activations")}
    if vlaar2022.has_batchnorm(first.model):
        return between(first, second, ways, scale, ("interpolate", "recalibrate"))
    return between(first, second, {**ways, RESCALED: Aligned("activations", repaired=True)}, scale)
