"""What stands on the page of a probe of several networks: the lines between them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import polars as pl
from markupsafe import Markup

from linescape.analysis import inference
from linescape.interpolation.probing import Probe
from linescape.report import appendix, figures, page
from linescape.report.page import Column, Folder
from linescape.report.probe_tables import Found
from linescape.shape import rise_p_value
from linescape.shape.definitions import DEFINITIONS, DISTANCES

_SHOWN = ("barrier_above_chord", "min_delta")
_LOSS = "cross_entropy"


def write(probe: Probe, folder: str | Path, title: str, notes: Sequence[str], classes: int | None) -> Path:
    """Write the report of a probe of several networks; as `report.write_probe`."""
    place, found = Folder(folder), Found.of(probe)
    said = [*dict.fromkeys([*probe.notes, *notes])]
    found.write(place, title, said)
    data, treatment = found.shown
    pairs = _pairs(found)
    place.table("pairs", pairs)
    names = list(dict.fromkeys([*pairs["start"], *pairs["end"]]))
    last = {start: probe.curves[label] for label, (start, end) in probe.pairs.items() if end == names[-1]}
    drawings = [
        place.draw(
            "lines",
            figures.fan(last, data, treatment, classes),
            f"From each network (α = 0) to the last, {names[-1]} (α = 1); {found.where}. Bands, where lines are few: "
            "± 1.96 standard errors over examples.",
        )
    ]
    if len(pairs) > len(last) and pairs["barrier_above_chord_value"].is_not_null().any():
        drawings.append(
            place.draw(
                "barriers",
                figures.pairs(pairs, "barrier_above_chord_value", "barrier above chord, nats"),
                f"Barrier of the loss above the chord, from the network of a row to that of a column; {found.where}. "
                "It is the same in both directions. Grey: NaN or infinite.",
            )
        )
    return place.page(
        "several_networks.html",
        {
            "version": version("linescape"),
            "title": title,
            "facts": _facts(found, names),
            "verdicts": _verdicts(pairs, data),
            "drawings": drawings,
            "pairs": _table(pairs, found),
            "folded": len(pairs) > 30,
            "explorer": found.explorer(classes),
            "definitions": appendix.definitions(),
            "provenance": appendix.provenance(found.walks),
            "notes": [*appendix.treatments(probe.treatments), *said],
        },
    )


def _pairs(found: Found) -> pl.DataFrame:
    """A row for each line: start, end, heights of the shown loss with intervals, p-value of a rise, distances."""
    data, treatment = found.shown
    moved = {row["group"]: row for row in found.moved.iter_rows(named=True)}
    resamples = max(1000, 40 * len(found.probe.pairs))  # so that Holm's smallest p can be 0.025
    rows = []
    for label, (start, end) in found.probe.pairs.items():
        row: dict[str, str | float | None] = {"start": start, "end": end}
        heights = found.probe.statistics.get((label, data, _LOSS, treatment), {})
        for name in _SHOWN:
            if name in heights:
                row |= {f"{name}_{part}": getattr(heights[name], part) for part in ("value", "low", "high")}
        series = [s for s in found.probe.curves[label] if (s.data, s.measure, s.batchnorm) == (data, _LOSS, treatment)]
        tested = [rise_p_value(s.alphas, s.values, resamples=resamples) for s in series if s.values.shape[1] > 1]
        row["p_value"] = tested[0] if tested else None
        rows.append(row | {name: moved[label][name] for name in DISTANCES})
    numbers = [*(f"{name}_{part}" for name in _SHOWN for part in ("value", "low", "high")), "p_value", *DISTANCES]
    return pl.DataFrame(rows, {"start": pl.String, "end": pl.String, **dict.fromkeys(numbers, pl.Float64)})


def _facts(found: Found, names: Sequence[str]) -> list[tuple[str, str]]:
    curves = list(found.probe.curves.values())
    examples = {series.data: series.values.shape[1] for series in curves[0]}
    return [
        ("networks", str(len(names))),
        ("lines", str(len(curves))),
        ("positions on a line", appendix.span(found.walks["positions"])),
        *((f"{data} examples", f"{count:,}") for data, count in examples.items()),
        ("parameters", f"{found.moved['parameters'][0]:,}"),
    ]


def _verdicts(pairs: pl.DataFrame, data: str) -> list[str]:
    """Where the loss rises and which line is highest, in words that say no more than the intervals."""
    tested = pairs.filter(pl.col("p_value").is_not_nan())
    said = []
    if tested.height:
        rising = int((inference.holm(tested["p_value"]) <= 0.05).sum())
        said.append(
            f"On {data} data the loss rises beyond noise on {rising} of {tested.height} lines "
            "(p at most 0.05, Holm over the lines)."
        )
        top = tested.sort("barrier_above_chord_value", descending=True).row(0, named=True)
        span = " to ".join(page.number(top[f"barrier_above_chord_{end}"]) for end in ("low", "high"))
        highest = f"{page.number(top['barrier_above_chord_value'])} nats ({span}), from {top['start']} to {top['end']}"
        clear = top["barrier_above_chord_low"] > 0
        said.append(
            f"The highest barrier above the chord is {highest}."
            if clear
            else f"The highest barrier above the chord is {highest}: these examples do not tell it from none."
        )
    lost = pairs.filter(pl.col("p_value").is_nan()).height
    if lost:
        said.append(f"On {lost} of {len(pairs)} lines the loss is NaN or infinite somewhere, so they have no numbers.")
    return said


def _table(pairs: pl.DataFrame, found: Found) -> Markup:
    columns = [Column("start", "from", "once"), Column("end", "to")]
    if pairs[f"{_SHOWN[0]}_value"].is_not_null().any():
        for name in _SHOWN:
            columns += [
                Column(f"{name}_value", f"{DEFINITIONS[name].label}, nats", "number"),
                Column(f"{name}_low", "95 % interval", "interval", 2, f"{name}_high"),
            ]
        columns.append(Column("p_value", "p of a rise", "number", 3))
    columns += [Column(name, DISTANCES[name].label, "number", 3) for name in ("distance", "relative_distance")]
    caption = (
        f"Cross entropy; {found.where}. Intervals: over examples. p: of a line that never rises showing as much by "
        f"chance. Distances: of all parameters. {found.distances_said}"
    )
    return page.table(pairs, columns, caption)
