"""What a study's runs answer to the questions it was made for, in words that say no more than the intervals.

The two main questions (Vlaar & Frankle 2022): does the shape of the line go with test accuracy; which interventions
change that shape. Then: does the distance moved separate monotone lines from others; do adversarial and pre-trained
starts change the barrier; does partial pre-training hurt; does any of this depend on the barrier's definition or on the
treatment of BatchNorm.

Each question has one primary contrast, declared before looking (`PRIMARY` of its module, with the reason) and tested
at the plain level. Everything else is widened by Bonferroni: with m comparisons each is made at level
1 - (1 - level) / m, so that all of them hold together with probability `level`. Tables show the plain intervals too.
An interval that includes 0 is inconclusive, no proof that there is no effect.
"""

from dataclasses import replace

from linescape.analysis.answers.answer import Answer, pool
from linescape.analysis.answers.changes import interventions_and_shape
from linescape.analysis.answers.choices import barrier_and_batchnorm
from linescape.analysis.answers.distance import distance_and_monotonicity
from linescape.analysis.answers.initialisations import start_and_barrier, starts
from linescape.analysis.answers.layers import layers_and_line
from linescape.analysis.answers.partial import partial_pretraining
from linescape.analysis.answers.shape import shape_and_accuracy
from linescape.analysis.tables import TOLERANCE, Results
from linescape.studies.vlaar2022 import published

__all__ = [
    "Answer",
    "answers",
    "barrier_and_batchnorm",
    "distance_and_monotonicity",
    "interventions_and_shape",
    "layers_and_line",
    "partial_pretraining",
    "pool",
    "shape_and_accuracy",
    "start_and_barrier",
    "starts",
]


def answers(results: Results, level: float = 0.95, tolerance: float = TOLERANCE) -> tuple[Answer, ...]:
    """The answers to those questions that the study's arms ask.

    `level` is the probability of an interval; `tolerance` the rise in nats that a monotone line may have.
    """
    special = starts(results.study)
    found = [
        shape_and_accuracy(results.runs, level),
        interventions_and_shape(results.runs, special, level),
        distance_and_monotonicity(results.runs, level, tolerance),
    ]
    if special:
        found.append(start_and_barrier(results.runs, special, level))
    if any(arm.group == "partial" for arm in results.study.arms):
        found.append(partial_pretraining(results, level))
    with_layers = results.layers["arm"]
    if with_layers.len():
        found.append(layers_and_line(results, with_layers[0], level))
    found.append(barrier_and_batchnorm(results, special, level, tolerance))
    return tuple(replace(answer, published=_beside(answer, results)) for answer in found)


def _beside(answer: Answer, results: Results) -> str:
    """What the source answers, and what is found here; empty if the study repeats another work."""
    finding = published.FINDINGS.get(answer.name, answer.published)
    if not finding or not published.of_source(results.study):
        return ""
    seeds = results.runs.filter(results.runs["status"] == "done")["seed"].n_unique()
    return f"Source: {finding}. Here: {answer.here}; {seeds} seed{'s' * (seeds != 1)}."
