"""The claims of the study that is repeated, each with a verdict from the primary contrast of its question.

Source: Vlaar & Frankle 2022, arXiv 2106.16004. Two of its claims are that something tells nothing. Such a claim holds
here where the whole interval lies nearer to no effect than a reliable indicator would (`RELIABLE`, ours: the source
gives no bound), and not where it merely includes no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from linescape.analysis.answers import initialisations, partial
from linescape.analysis.answers.answer import Answer, Claim, Outcome, Verdict
from linescape.analysis.answers.initialisations import ADVERSARIAL, PRETRAINED, RESTARTED, starts
from linescape.shape import TOLERANCE
from linescape.shape.definitions import DEFINITIONS
from linescape.studies.study import Study
from linescape.studies.vlaar2022 import published

RELIABLE: Mapping[str, tuple[float, float]] = {"spearman": (0.0, 0.7), "auc": (0.5, 0.8)}
"""Estimate -> (no effect, from where on an indicator would be reliable): of two runs, a rank correlation of 0.7
tells in about three cases of four which is better (in normal data), an area under the ROC curve of 0.8 in four of
five which is not monotone, if one is."""

_STARTS = {
    PRETRAINED: ("Pre-training removes barriers.", "1.88 nats from scratch, 0.36 to 0.50 pre-trained", Outcome.BELOW),
    ADVERSARIAL: ("Starts trained on wrong labels raise barriers.", "", Outcome.ABOVE),
    RESTARTED: ("A training that starts from the top of a barrier has none.", "", Outcome.BELOW),
}


def of_source(study: Study, answers: Iterable[Answer]) -> tuple[Claim, ...]:
    """The claims that a study's arms are about.

    Args:
        study: a repetition of the source.
        answers: its answers; a claim whose question has none is not measured.
    """
    asked = {answer.name: answer for answer in answers}
    arms = {arm.name: arm for arm in study.arms}
    made = [
        _no_indicator(
            "The shape of the line is no reliable indicator of test accuracy.",
            "rank correlation of hump and test accuracy; reliable would be 0.7",
            _primary(asked, "shape-and-accuracy"),
            "spearman",
        ),
        _no_indicator(
            "The distance moved is no reliable indicator of lines that are not monotone.",
            "area under the ROC curve of the relative distance; reliable would be 0.8",
            _primary(asked, "distance-and-monotonicity"),
            "auc",
        ),
    ]
    if "no-weight-decay" in arms:
        row = _primary(asked, "interventions-and-shape")
        made.append(
            _contrast("Without weight decay lines have humps.", "about half of the runs", "hump", row, Outcome.ABOVE)
        )
    for arm, start in starts(study).items():
        claim, of_imagenet, expected = _STARTS[start]
        rows = {one["arm"]: one["primary"] for one in _facts(asked, "start-and-barrier").get("arms", ())}
        # The published numbers are of ImageNet weights on the source's own data.
        made.append(
            _contrast(
                claim,
                of_imagenet if arm == "pretrained-imagenet" else "",
                initialisations.PRIMARY[start],
                rows.get(arm),
                expected,
                arms[arm].title,
            )
        )
    if last := partial.last_block(study):
        made.append(_of_partial(last, _facts(asked, "partial-pretraining").get("last")))
    if any("layer3" in run.lines for arm in study.arms for run in arm.runs):
        made.append(
            Claim.of(
                "Layer-wise lines have humps where the whole line has none.",
                "1.64 to 2.38 nats of layer3, none of the whole",
                f"hump of the last stage but one, nats (more than {TOLERANCE:g})",
                _primary(asked, "layers-and-line"),
                "mean",
                Outcome.ABOVE,
                TOLERANCE,
            )
        )
        made += _of_layers(_facts(asked, "layers-and-line").get("sensitivity", {}))
    return tuple(made)


def _of_partial(arm: str, row: Mapping[str, Any] | None) -> Claim:
    """Of the arm with the last block set back."""
    known = {accuracy.arm: accuracy.value for accuracy in published.ACCURACIES}
    block = arm.removeprefix("partial-")
    return Claim.of(
        "Partial pre-training can lower test accuracy.",
        f"{known[partial.PRIMARY]:.2f} % with block 4 set back, {known['base']:.1f} % from scratch",
        f"change of test accuracy with block {block} set back, points",
        row,
        "difference",
        Outcome.BELOW,
    )


def _of_layers(differences: Mapping[str, Mapping[str, Any] | None]) -> list[Claim]:
    """That layers differ: a clear difference of either sign is one."""
    unit = "test loss that setting back the second stage costs minus that of the last, nats"
    made = []
    for to, of, known, measured in (
        ("initialisation", "initialisation", "7.40 nats of layer2, 1.69 of layer4", unit),
        ("the optimizer's settings", "weight decay", "", f"change without weight decay of the {unit}"),
    ):
        row = differences.get(of)
        either = Outcome.BELOW if Outcome.of(row, "low_all", "high_all") is Outcome.BELOW else Outcome.ABOVE
        made.append(
            Claim.of(f"Layers differ in their sensitivity to {to}.", known, measured, row, "difference", either)
        )
    return made


def _contrast(
    claim: str, known: str, number: str, row: Mapping[str, Any] | None, expected: Outcome, arm: str = ""
) -> Claim:
    """A claim about the difference of an arm from its baseline; not measured where either has no runs."""
    measured = f"change of {DEFINITIONS[number].label}, nats" + (f" ({arm})" if arm else "")
    row = row if row and row["runs"] and row["baseline_runs"] else None
    return Claim.of(claim, known, measured, row, "difference", expected)


def _no_indicator(claim: str, measured: str, row: Mapping[str, Any] | None, value: str) -> Claim:
    """A claim that an estimate tells nothing: whether its interval lies nearer to no effect than `RELIABLE`."""
    if row is None or not row["runs"]:
        return Claim(claim, "", measured, Verdict.NOT_MEASURED)
    none, reliable = RELIABLE[value]
    low, high, far = row["low_all"] - none, row["high_all"] - none, reliable - none
    verdict = Verdict.INCONCLUSIVE
    if -far < low and high < far:
        verdict = Verdict.HOLDS
    elif low >= far or high <= -far:
        verdict = Verdict.FAILS
    return Claim(claim, "", measured, verdict, row[value], row["low_all"], row["high_all"])


def _facts(asked: Mapping[str, Answer], name: str) -> Mapping[str, Any]:
    return asked[name].facts if name in asked else {}


def _primary(asked: Mapping[str, Answer], name: str) -> Mapping[str, Any] | None:
    """The row of a question's primary contrast; None where it is not measured."""
    row: Mapping[str, Any] | None = _facts(asked, name).get("primary")
    return row
