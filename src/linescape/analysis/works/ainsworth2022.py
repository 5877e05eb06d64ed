"""The middle between two trainings as they are and aligned (Ainsworth et al. 2022, arXiv 2209.04836)."""

from __future__ import annotations

from linescape.analysis.answers.answer import Answer
from linescape.analysis.tables import Results
from linescape.analysis.works import joined
from linescape.studies.works.ainsworth2022 import ACTIVATIONS, STRAIGHT, WEIGHTS

FINDING = "after matching, two MLPs of 3 x 512 units and two very wide ResNet-20 with LayerNorm have no barrier"

WAYS: dict[str, tuple[joined.Series, ...]] = {
    "as they are": ((STRAIGHT, 0),),
    WEIGHTS: ((WEIGHTS, 0),),
    ACTIVATIONS: ((ACTIVATIONS, 0),),
}
STEPS = ((WEIGHTS, "as they are"), (ACTIVATIONS, "as they are"))
CLAIMS = {
    STEPS[0]: ("Networks aligned by weights lose less accuracy at the middle.", "no barrier (MLP, MNIST)"),
    STEPS[1]: ("Networks aligned by activations lose less accuracy at the middle.", "no barrier (MLP, MNIST)"),
}


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """One answer, as `joined.answer`."""
    return (joined.answer(results, level, WAYS, STEPS, FINDING, CLAIMS),)
