"""The verdict of a probe in sentences; ``templates/verdict.txt`` has the words.

Numbers are written here: as many digits as the smallest effect of interest needs, more where a height is smaller.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from linescape.interpolation.summary import (
    ERRORS,
    SMALLEST_EFFECTS,
    BlockSummary,
    LineSummary,
    SeriesVerdict,
    Summary,
)
from linescape.report.text import capital, number, sentence
from linescape.shape import Estimate
from linescape.shape.verdict import FEWEST_EXAMPLES, LEAST_EXAMPLES, WIDE_GAP, Kind, Verdict, unseen

_MANY = 100
_NAMES = {"cross_entropy": "loss", "binary_cross_entropy": "loss", "binary_error": "error"}
_UNITS = {**dict.fromkeys(ERRORS, " points"), "cross_entropy": " nats", "binary_cross_entropy": " nats"}


def headline(summary: Summary) -> str:
    """The verdict on the line in a sentence; on several, a count and a line of text for each."""
    sentences = [_say("headline", of=_described(line)) for line in summary.lines]
    if len(sentences) == 1:
        return sentences[0]
    kinds = Counter(line.loss.verdict.kind for line in summary.lines)
    counts = [f"{words} {kinds[kind]}" for kind, words in _COUNTED.items() if kind in kinds]
    labelled = [f"{line.label}: {words}" for line, words in zip(summary.lines, sentences, strict=True)]
    return "\n".join([_say("counted", counts=counts, lines=len(sentences)), *labelled])


def text(summary: Summary) -> str:
    """`headline`, and a paragraph each: heights and error, averaging, other data and treatments, limits, blocks."""
    paragraphs = [headline(summary)]
    if len(summary.lines) == 1:
        line = summary.lines[0]
        of = _described(line)
        judged = [_say("height", of=of)]
        if line.error and line.error.verdict.examples > 1:
            kinds = {_group(line.error), _group(line.loss)}
            agreement = "too" if len(kinds) == 1 else "opposed" if kinds == {"barrier", "no barrier"} else ""
            judged.append(_say("by_error", error=_series(line.error), agreement=agreement))
        paragraphs += [" ".join(filter(None, judged))]
        if of["kind"] != "undefined":
            paragraphs.append(_say("averaging", of=of))
        if of["kind"] == "barrier" and line.batchnorm == ("interpolate",):
            paragraphs.append(_say("interpolated"))
        paragraphs += [_others(line), _beside(summary), _say("limits", of=of)]
        paragraphs += [_blocks(summary)] if len(summary.shown_blocks) > 1 else []
    return "\n".join(filter(None, [*paragraphs, _say("definition")]))


def digits(effect: float) -> int:
    """Digits after the decimal point that show a fifth of an effect: 2 for 0.05, 1 for 1."""
    return min(8, max(0, math.ceil(-math.log10(effect / 5) - 1e-9))) if effect > 0 else 2


def small(value: float, effect: float, is_limit: bool = False) -> str:
    """A height as text: a small one with one significant digit, however small, rather than 0.00.

    A limit, which the height does not exceed, is rounded up.
    """
    places = digits(effect)
    if 1e-9 < abs(value) < 0.5 * 10.0**-places:
        places = -int(f"{value:.0e}".partition("e")[2])
    return number(math.ceil(value * 10.0**places - 1e-6) / 10.0**places if is_limit else value, places)


def _say(name: str, **values: object) -> str:
    return sentence("verdict", name, **values)


_COUNTED: Mapping[Kind, str] = {
    "barrier": "a barrier on",
    "small rise": "a small rise on",
    "no barrier": "none on",
    "inconclusive": "inconclusive on",
    "undefined": "NaN or infinite on",
}


def _group(series: SeriesVerdict) -> str:
    """A small rise is no barrier that matters."""
    return "no barrier" if series.verdict.kind == "small rise" else series.verdict.kind


def named(data: str, measure: str) -> str:
    """What was measured, in words: ``test loss``, ``training error``, ``loss on “my set”``."""
    data = "training" if data == "train" else data
    return f"{data} {in_words(measure)}" if data.isalpha() else f"{in_words(measure)} on “{data}”"


def in_words(measure: str) -> str:
    """A measure in words: ``loss``, ``error``, ``squared error``."""
    return _NAMES.get(measure, measure.replace("_", " "))


def unit(measure: str, before: str = "") -> str:
    """The unit of a height, after a space and `before`; empty where the measure has none."""
    known = _UNITS.get(measure, "")
    return before + known if known else ""


def value_unit(measure: str, before: str = "") -> str:
    """The unit of a value, as `unit`: errors are in percent, and differences of errors in points."""
    return unit(measure, before).replace("points", "%")


def _described(line: LineSummary) -> dict[str, Any]:
    """The told loss of a line for the templates, with its error at the same places."""
    of = _series(line.loss)
    if line.error_at:
        of["error"] = {place: f"{number(error, 1)} %" for place, error in line.error_at.items()}
    return of


def _series(series: SeriesVerdict) -> dict[str, Any]:
    verdict, effect = series.verdict, series.verdict.smallest_effect
    places = verdict.places
    known = {name: _estimate(height, effect) for name, height in verdict.heights.items()}
    of: dict[str, Any] = {
        "kind": verdict.kind,
        "name": named(series.data, series.measure),
        "measure": series.measure.replace("_", " "),
        "unit": _UNITS.get(series.measure, ""),
        "unknown": series.measure not in SMALLEST_EFFECTS and series.measure != "squared_error",
        "heights": known,
        "smallest_effect": _effect(series),
        "relative": None if series.relative_effect is None else f"{100 * series.relative_effect:g} %",
        "examples": verdict.examples,
        "positions": verdict.positions,
        "wide_gap": number(verdict.widest_gap) if verdict.widest_gap > WIDE_GAP * (1 + 1e-9) else "",
        "places": {
            name: {
                "alpha": number(place.alpha),
                "value": _value(place.value, series, effect),
                "end": {0.0: "start", 1.0: "end"}.get(place.alpha, ""),
            }
            for name, place in places.items()
        },
        "error": None,
        "not_finite": f"{verdict.not_finite:,}",
        "where_not_finite": _where(verdict),
    }
    if verdict.kind != "undefined":
        of |= _course(series) | _amounts(verdict)
        if series.gain:
            of |= {"gain": _estimate(series.gain, effect), "gain_told": _gain_told(series)}
    return of


def _gain_told(series: SeriesVerdict) -> bool:
    """So few examples that all may fall by chance tell nothing, as with barriers."""
    return bool(series.gain and series.gain.low > 0 and series.verdict.examples >= FEWEST_EXAMPLES)


def _effect(series: SeriesVerdict) -> str:
    amount, unit = f"{series.verdict.smallest_effect:.3g}", _UNITS.get(series.measure, "")
    return amount + (unit.removesuffix("s") if amount == "1" else unit)


def _course(series: SeriesVerdict) -> dict[str, Any]:
    """How the line runs from start to end."""
    verdict, effect = series.verdict, series.verdict.smallest_effect
    start, end, lowest, middle = (verdict.places[name].value for name in ("start", "end", "lowest", "middle"))
    worse, tail = max(start, end), verdict.heights["tail_rise"]
    if min(start, end) - lowest > effect:
        course = "dips"
    else:
        course = "falls" if start - end > effect else "rises" if end - start > effect else "level"
    better = min(start, end)
    if not verdict.middle_is_known:
        halfway = "not measured"
    elif worse - better <= effect and better - effect / 5 <= middle <= worse + effect:
        halfway = "alike"
    elif middle < better:
        halfway = "below"
    else:
        halfway = "above" if middle - worse > effect else "as" if middle > worse else "between"
    return {
        "course": course,
        "highest": _value(worse + max(0.0, verdict.heights["barrier_above_max_end"].value), series, effect),
        "tail": small(max(tail.high, tail.value), effect, True) if tail.value > 0 and math.isfinite(tail.high) else "",
        "halfway": halfway,
        "beside_middle": list(map(number, verdict.beside_middle or ())),
    }


def _amounts(verdict: Verdict) -> dict[str, Any]:
    """What the words depend on of the heights."""
    effect, heights = verdict.smallest_effect, verdict.heights
    hump, chord, above = (heights[name] for name in ("hump", "barrier_above_chord", "barrier_above_max_end"))
    more = verdict.more_examples
    many = more is not None and more > _MANY * verdict.examples
    return {
        "at_most": small(verdict.at_most, effect, True) if math.isfinite(verdict.at_most) else "",
        "above_both": above.low > 0 and hump.value - above.value <= max(effect, 0.1 * hump.value),
        "by_chord": chord.low > 0 and chord.value - above.value <= max(effect, 0.1 * above.value),
        "exceeds": verdict.at_least > effect,
        "late": verdict.kind != "barrier" and chord.low > max(effect, hump.high) and chord.value - hump.value > effect,
        "few": hump.high <= effect,
        "undone": verdict.kind == "inconclusive" and hump.low > 0 and hump.value >= effect,
        "fewest": verdict.examples < FEWEST_EXAMPLES,
        "missed": _share_missed(verdict.examples),
        "misses_many": verdict.examples < LEAST_EXAMPLES,
        "largest_fall": small(verdict.largest_fall, effect),
        "many": many,
        "more": "" if more is None or many else f"{_two_figures(more):,}",
    }


def _share_missed(examples: int) -> str:
    """The share of all others that so many examples can miss, rounded up: 7.2 %, 0.04 %."""
    share = 100 * unseen(examples)
    digits = 1 if share >= 0.1 else 2 if share >= 0.01 else 3
    return f"{number(math.ceil(share * 10**digits) / 10**digits, digits)} %"


def _two_figures(count: int) -> int:
    power = int("1" + "0" * (len(str(count)) - 2)) if count > 99 else 1
    return math.ceil(count / power) * power


def _estimate(estimate: Estimate, effect: float) -> Mapping[str, str]:
    return {part: small(getattr(estimate, part), effect) for part in ("value", "low", "high")}


def _value(value: float, series: SeriesVerdict, effect: float) -> str:
    return f"{number(value, 1)} %" if series.measure in ERRORS else number(value, digits(effect))


def _where(verdict: Verdict) -> str:
    if verdict.where_not_finite is None:
        return ""
    first, last = map(number, verdict.where_not_finite)
    return f"at alpha = {first}" if first == last else f"between alpha = {first} and {last}"


def _others(line: LineSummary) -> str:
    """What other treatments and data say by the same measure, where there are any."""
    told = line.loss
    others = [each for each in line.series if each.measure == told.measure and each is not told]
    treatments = {each.batchnorm for each in line.series}
    opposed: list[dict[str, str]] = []
    agreed: list[str] = []
    for each in others:
        where = named(each.data, each.measure)
        if len(treatments) > 1:
            where += f" with BatchNorm treatment “{each.batchnorm}”"
        if _group(each) == _group(told):
            agreed.append(where)
        else:
            opposed.append({"where": capital(where) if not opposed else where, "words": _in_short(each)})
    treatment = told.batchnorm if len(treatments) > 1 else ""
    return _say("others", treatment=treatment, opposed=opposed, agreed=agreed)


def _beside(summary: Summary) -> str:
    return _say("beside", paths=[{"name": path.label, "words": _in_short(path.loss)} for path in summary.beside])


def _in_short(series: SeriesVerdict) -> str:
    """The kind of a verdict and the height of its rise, as in ``barrier (0.2 nats, 95 % interval 0.1 to 0.3)``."""
    kind: str = series.verdict.kind
    if kind == "undefined":
        return kind
    height = _estimate(series.verdict.height, series.verdict.smallest_effect)
    unit = _UNITS.get(series.measure, "")
    if kind == "inconclusive":  # also where the interval is narrow, but the examples too few to show that
        kind = f"inconclusive with {series.verdict.examples:,} examples"
    return f"{kind} ({height['value']}{unit}, 95 % interval {height['low']} to {height['high']})"


def _blocks(summary: Summary) -> str:
    shown = summary.shown_blocks
    known = [block for block in shown if not math.isnan(block.lost.value)]
    told = [block for block in known if block.lost.low > 0 or block.lost.value == math.inf]
    undefined = [f"“{block.block}”" for block in shown if block not in known]
    first, last, clear = (_block(of[at], summary) if of else None for of, at in ((known, 0), (known, -1), (told, 0)))
    return _say(
        "blocks",
        first=first,
        last=last,
        clear=clear,
        told=len(told),
        judged=any(not math.isnan(block.lost.low) for block in known),
        undefined=", ".join(undefined),
        count=len(shown),
    )


def _block(block: BlockSummary, summary: Summary) -> Mapping[str, object]:
    effect, error = block.verdict.smallest_effect, summary.error_of(block.block)
    lost, unit = _estimate(block.lost, effect), _UNITS.get(block.measure, "")
    share = "" if block.share is None else f", {number(100 * block.share.value, 0)} % of the whole gain"
    of_error = "" if error is None else f", and {number(error.lost.value, 1)} points of error"
    return {"name": block.block, "lost": lost, "unit": unit, "share": share, "error": of_error}
