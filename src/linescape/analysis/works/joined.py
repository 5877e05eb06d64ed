"""What the middle between two trainings loses, on one line and on others: the question of two works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of

Series = tuple[str, int]
"""A line's label, and which of its treatments of BatchNorm."""
_PAIR = {
    **{"arm": pl.String, "title": pl.String, "seed": pl.Int64, "way": pl.String},
    **dict.fromkeys(("lost", "loss", "ends"), pl.Float64),
}


def answer(
    results: Results,
    level: float,
    ways: Mapping[str, tuple[Series, ...]],
    steps: Sequence[tuple[str, str]],
    finding: str,
    claims: Mapping[tuple[str, str], tuple[str, str]],
) -> Answer:
    """How much test accuracy the middle of each line loses, and how much less than that of another.

    Lost is the test error at alpha = 0.5 minus the mean of both ends, in points. What a way gains is the mean over
    pairs of what the other loses minus what it does, with a t interval over pairs, corrected for all arms and `steps`.

    Args:
        results: of the study.
        level: probability of an interval.
        ways: what is compared -> the lines that it may be; an arm has one of them.
        steps: (a way, the way that it is compared with).
        finding: what the source reports.
        claims: step -> the claim that the way gains there, and what was published; of the first arm.

    Columns of `numbers`: arm, title, way, runs (pairs), lost (points), low, high, loss (the same of test loss, nats),
    ends (mean test error of both, %), against, gained (points), gained_low, gained_high, gained_low_all,
    gained_high_all. Outcomes: of each arm and step.
    """
    pairs = _pairs(results, ways)
    arms = [arm for arm in results.study.arms if pairs.filter(arm=arm.name).height]
    rows = []
    for (arm, title, way), of_way in pairs.group_by(["arm", "title", "way"], maintain_order=True):
        row = {"arm": arm, "title": title, "way": way, "runs": of_way.height}
        row |= columns(inference.mean(of_way["lost"], level), "lost") | {
            "loss": of_way["loss"].mean(),
            "ends": of_way["ends"].mean(),
        }
        others = [other for name, other in steps if name == way]
        row |= _gained(pairs.filter(arm=arm), str(way), *others, level=level, comparisons=len(arms) * len(steps))
        rows.append(row)
    outcomes = {
        f"{row['arm']}, {row['way']}": Outcome.of(row, "gained_low_all", "gained_high_all")
        for row in rows
        if row["against"]
    }
    first = results.study.arms[0].name
    said = tuple(
        Claim.of(
            words,
            published,
            "points of test error at the middle, paired over pairs of networks",
            next((row for row in rows if (row["arm"], row["way"], row["against"]) == (first, *step)), None),
            "gained",
            Outcome.ABOVE,
            ends=("gained_low_all", "gained_high_all"),
        )
        for step, (words, published) in claims.items()
    )
    facts = {
        "arms": [{"title": arm.title, "rows": [row for row in rows if row["arm"] == arm.name]} for arm in arms],
        "of_runs": pairs,
    }
    return Answer("joined-networks", outcomes, pl.DataFrame(rows), facts, finding=finding, claims=said)


def _pairs(results: Results, ways: Mapping[str, tuple[Series, ...]]) -> pl.DataFrame:
    """A row for each pair of networks and way."""
    rows = []
    for treatment in sorted({number for series in ways.values() for _, number in series}):
        lines = curves_of(results, "test", treatment=treatment).filter(pl.col("alpha").is_in([0.0, 0.5, 1.0]))
        named = {label: way for way, series in ways.items() for label, number in series if number == treatment}
        for (arm, title, seed, label), line in lines.group_by(["arm", "title", "seed", "label"], maintain_order=True):
            if label not in named:
                continue
            lost, ends = {}, {}
            for measure in ("error", "cross_entropy"):
                at = dict(line.filter(measure=measure).select("alpha", "mean").iter_rows())
                lost[measure] = at[0.5] - (at[0.0] + at[1.0]) / 2
                ends[measure] = (at[0.0] + at[1.0]) / 2
            rows.append((arm, title, seed, named[str(label)], lost["error"], lost["cross_entropy"], ends["error"]))
    found = pl.DataFrame(rows, schema=_PAIR, orient="row")
    arms, order = ([arm.name for arm in results.study.arms], list(ways))
    return found.sort(
        pl.col("arm").replace_strict({name: at for at, name in enumerate(arms)}, return_dtype=pl.Int64),
        pl.col("way").replace_strict({name: at for at, name in enumerate(order)}, return_dtype=pl.Int64),
        "seed",
    )


def _gained(pairs: pl.DataFrame, way: str, *others: str, level: float, comparisons: int) -> dict[str, Any]:
    """What a way loses less than another, paired; NaN where it is compared with none that is measured."""
    both = pairs.filter(way=way).select("seed", "lost")
    for other in others:
        both = both.join(pairs.filter(way=other).select("seed", before="lost"), on="seed")
    compared = others and both.height
    gains = both["before"] - both["lost"] if compared else pl.Series([], dtype=pl.Float64)
    wide = inference.mean(gains, widened(level, comparisons))
    return {
        "against": others[0] if compared else "",
        **columns(inference.mean(gains, level), "gained", "gained_"),
        **for_all(wide, "gained_"),
    }
