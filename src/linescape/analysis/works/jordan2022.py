"""The middle between two trainings, aligned and with their variance put back (Jordan et al. 2022, arXiv 2211.08403)."""

from __future__ import annotations

from linescape.analysis.answers.answer import Answer
from linescape.analysis.tables import Results
from linescape.analysis.works import joined
from linescape.studies.works.ainsworth2022 import STRAIGHT
from linescape.studies.works.jordan2022 import ALIGNED, RESCALED

FINDING = (
    "VGG-11 with BatchNorm, twice as wide, on CIFAR-10: 10.00 % test accuracy at the middle as they are, 58.38 % "
    "aligned, 90.74 % with statistics reset; without BatchNorm 67.3 % aligned and 84.9 % rescaled"
)

WAYS: dict[str, tuple[joined.Series, ...]] = {
    "as they are": ((STRAIGHT, 0),),
    "only corrected": ((STRAIGHT, 1),),
    "aligned": ((ALIGNED, 0),),
    "aligned and corrected": ((ALIGNED, 1), (RESCALED, 0)),
}
STEPS = (
    ("only corrected", "as they are"),
    ("aligned", "as they are"),
    ("aligned and corrected", "aligned"),
)
CLAIMS = {
    STEPS[1]: (
        "Aligned networks lose less accuracy at the middle.",
        "10.00 to 58.38 % accuracy (VGG-11, BatchNorm)",
    ),
    STEPS[2]: ("Corrected, they lose still less.", "58.38 to 90.74 % accuracy (VGG-11, BatchNorm)"),
}


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """One answer, as `joined.answer`."""
    return (joined.answer(results, level, WAYS, STEPS, FINDING, CLAIMS),)
