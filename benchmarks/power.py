"""How often a study with few seeds finds what the source found, if the source's numbers are the truth.

    python -m benchmarks.power        under a minute on one core; writes the table of docs/statistics.md

Test accuracies are drawn from normal distributions with the published means and with the published numbers after ± as
standard deviations between runs (their kind is not said). Humps of lines from adversarial starts are published as
figures only, so their distribution is an assumption, named in the table.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linescape.analysis import inference
from linescape.shape import Estimate
from linescape.studies.vlaar2022 import published

Array = NDArray[np.float64]
PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
RESULT = Path(__file__).parent / "results" / "power.json"
SEEDS = (3, 5, 10)
STUDIES = 1000
RESET = ("partial-1", "partial-2", "partial-3", "partial-4")
MARKED = re.compile(r"(<!-- power -->\n).*?(<!-- end -->)", re.DOTALL)


def accuracies(arm: str, count: int, rng: np.random.Generator) -> Array:
    entry = next(entry for entry in published.ACCURACIES if entry.arm == arm)
    assert entry.spread is not None
    return rng.normal(entry.value, entry.spread, count)


def humps(with_one: float, median: float, count: int, rng: np.random.Generator) -> Array:
    return np.where(rng.random(count) < with_one, median * rng.lognormal(0.0, 0.8, count), 0.0)


def found(test: Callable[[np.random.Generator], Estimate], seed: int) -> float:
    """The share of studies whose interval excludes 0."""
    rng = np.random.default_rng(seed)
    intervals = [test(rng) for _ in range(STUDIES)]
    return sum(found.low > 0 or found.high < 0 for found in intervals if not math.isnan(found.low)) / STUDIES


def table() -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    for count in SEEDS:
        for arm in RESET:
            for words, level in (("alone", 0.95), ("widened for 4", 1 - 0.05 / 4)):

                def welch(
                    rng: np.random.Generator, arm: str = arm, level: float = level, count: int = count
                ) -> Estimate:
                    return inference.difference(accuracies(arm, count, rng), accuracies("base", count, rng), level)

                name = f"T-All but RI-{arm[-1]}, accuracy, {words}"
                rows.setdefault(name, {})[str(count)] = found(welch, count)

        def hump(rng: np.random.Generator, count: int = count) -> Estimate:
            return inference.permutation_difference(humps(0.8, 0.6, count, rng), humps(0.5, 0.3, count, rng))

        name = "adversarial start, hump, alone (assumed: 80 % of runs against 50 %, median 0.6 against 0.3 nats)"
        rows.setdefault(name, {})[str(count)] = found(hump, count)
    return rows


def main() -> None:
    rows = table()
    RESULT.write_text(json.dumps({"studies": STUDIES, "found": rows}, indent=1) + "\n")
    lines = ["", f"| | {' | '.join(f'{count} seeds' for count in SEEDS)} |", "|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(f'{row[str(count)]:.0%}' for count in SEEDS)} |" for name, row in rows.items()]
    text = "\n".join([*lines, "", ""])
    PAGE.write_text(MARKED.sub(lambda marks: marks[1] + text + marks[2], PAGE.read_text()))
    print(text)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # it takes no arguments but --help
    main()
