"""linescape as a contender, by its public surface only, in each precision that it has."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from benchmarks.contest import Losses
from benchmarks.pairs import Pair
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry.paths import Only
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan


def precisions() -> tuple[str, ...]:
    """What `Evaluator` can be asked for: ``float32``, and ``bfloat16`` where it has the choice."""
    return ("float32", "bfloat16") if "precision" in inspect.signature(Evaluator).parameters else ("float32",)


def evaluator(pair: Pair, precision: str = "float32") -> Evaluator:
    """One that measures the loss alone, which is all that the other contenders give."""
    asked: dict[str, Any] = {} if precision == "float32" else {"precision": precision}
    return Evaluator(pair.network, {"test": (pair.inputs, pair.targets)}, measures=(cross_entropy,), **asked)


def whole_line(pair: Pair, alphas: int, precision: str = "float32") -> Losses:
    """All that a user waits for: the evaluator is built and the line drawn here, both ends are checked."""
    curve = scan(pair.line, evaluator(pair, precision), ScanOptions(alphas=alphas, progress=False))
    return curve.alphas.tolist(), curve["test", "cross_entropy"].values.mean(1, dtype="float64").tolist()


def layer_wise(pair: Pair, groups: Mapping[str, tuple[str, ...]], alphas: int, precision: str = "float32") -> Losses:
    """The line of each group, one after another with one evaluator, as a user would walk them."""
    line, measured = pair.line, evaluator(pair, precision)
    positions: list[float] = []
    losses: list[float] = []
    for number, names in enumerate(groups.values()):
        curve = scan(Only(line, names), measured, ScanOptions(alphas=alphas, progress=False))
        # The lines stand one behind the other: 0 to 1 is the first, 2 to 3 the second.
        positions += [2 * number + alpha for alpha in curve.alphas.tolist()]
        losses += curve["test", "cross_entropy"].values.mean(1, dtype="float64").tolist()
    return positions, losses
