"""Answers of a study's runs to the questions that it was made for, as data; `linescape.report` puts them into words.

A study of one's own is asked how each arm's line and accuracy differ from its baseline's, and one of another work that
work's questions (`linescape.analysis.works`). The questions here are of the study that is repeated, and asked only of
it (Vlaar & Frankle 2022). Its two main ones: is the shape of the line correlated
with test accuracy; which interventions change that shape. Then: does the distance moved distinguish monotone lines from
others; do adversarial and pre-trained initialisations change the barrier; does partial pre-training reduce test
accuracy; does any of this depend on the barrier's definition or on the treatment of BatchNorm.

Each question has one primary contrast, declared before looking (`PRIMARY` of its module, with the reason) and tested
without correction. Everything else is corrected by Bonferroni: with m comparisons each is made at level
1 - (1 - level) / m, so that all of them hold together with probability `level`. Tables show the uncorrected intervals
too. An interval that includes 0 is inconclusive, no proof that there is no effect.
"""

from dataclasses import replace
from importlib import import_module

from linescape.analysis.answers.answer import Answer, Claim, Outcome, Verdict, pool
from linescape.analysis.answers.arms import arms_and_line
from linescape.analysis.answers.changes import interventions_and_shape
from linescape.analysis.answers.choices import barrier_and_batchnorm
from linescape.analysis.answers.distance import distance_and_monotonicity
from linescape.analysis.answers.initialisations import start_and_barrier, starts
from linescape.analysis.answers.layers import layers_and_line
from linescape.analysis.answers.partial import partial_pretraining
from linescape.analysis.answers.shape import shape_and_accuracy
from linescape.analysis.tables import TOLERANCE, Results
from linescape.studies import works
from linescape.studies.vlaar2022 import published

__all__ = [
    "Answer",
    "Claim",
    "Outcome",
    "Verdict",
    "answers",
    "arms_and_line",
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
    """The answers to those questions that the study and its arms allow.

    `level` is the probability of an interval; `tolerance` the rise in nats that a monotone line may have.
    """
    seeds = results.runs.filter(results.runs["status"] == "done")["seed"].n_unique()
    if works.is_of_a_work(results.study):
        asked = import_module(f"linescape.analysis.works.{results.study.name}").answers(results, level)
        return tuple(replace(answer, seeds=answer.seeds or seeds) for answer in asked)
    if not published.of_source(results.study):
        return (replace(arms_and_line(results.runs, level), seeds=seeds),)
    special = starts(results.study)
    made = [
        shape_and_accuracy(results.runs, level),
        interventions_and_shape(results.runs, special, level),
        distance_and_monotonicity(results.runs, level, tolerance),
    ]
    if special:
        made.append(start_and_barrier(results.runs, special, level))
    if any(arm.group == "partial" for arm in results.study.arms):
        made.append(partial_pretraining(results, level))
    with_layers = results.layers["arm"]
    if with_layers.len():
        made.append(layers_and_line(results, with_layers[0], level))
    made.append(barrier_and_batchnorm(results, special, level, tolerance))
    return tuple(
        replace(answer, finding=published.FINDINGS.get(answer.name, answer.finding), seeds=seeds) for answer in made
    )
