"""The page of a probe of several networks and the lines between them."""

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
from linescape.report.probe_tables import ProbeTables
from linescape.report.text import caption
from linescape.shape import rise_p_value
from linescape.shape.definitions import DISTANCES

_SHOWN = ("barrier_above_chord", "min_delta")


def write(probe: Probe, folder: str | Path, title: str, notes: Sequence[str], classes: int | None) -> Path:
    """Write the report of a probe of several networks, and return the path of the page.

    Args:
        probe: what was measured.
        folder: of the page, its figures and tables.
        title: of the page.
        notes: shown on the page after those of the probe.
        classes: of the data, for the chance level; None draws none.
    """
    output, frames = Folder(folder), ProbeTables.of(probe)
    all_notes = [*dict.fromkeys([*probe.notes, *notes])]
    frames.write(output, title, all_notes)
    data, treatment = frames.shown
    pairs = _pairs(frames)
    output.table("pairs", pairs)
    names = list(dict.fromkeys([*pairs["start"], *pairs["end"]]))
    last = {start: probe.curves[label] for label, (start, end) in probe.pairs.items() if end == names[-1]}
    lines = figures.fan(last, data, treatment, classes)
    drawings = [output.draw("lines", lines, caption("lines_to_the_last", last=names[-1], where=frames.where))]
    if len(pairs) > len(last) and pairs["barrier_above_chord_value"].is_not_null().any():
        heat_map = figures.pairs(pairs, "barrier_above_chord_value", frames.labelled("barrier_above_chord"))
        drawings.append(output.draw("barriers", heat_map, caption("barriers", where=frames.where)))
    return output.page(
        "several_networks.html",
        {
            "version": version("linescape"),
            "title": title,
            "facts": _facts(frames, names),
            "verdicts": _verdicts(pairs, frames),
            "drawings": drawings,
            "pairs": _table(pairs, frames),
            "folded": len(pairs) > 30,
            "explorer": frames.explorer(classes),
            "definitions": appendix.definitions(),
            "provenance": appendix.provenance(frames.walks),
            "notes": [*appendix.treatments(probe.treatments), *all_notes],
        },
    )


def _pairs(frames: ProbeTables) -> pl.DataFrame:
    """A row for each line: start, end, barrier statistics of the shown loss, p-value of a rise, distances."""
    data, treatment = frames.shown
    moved = {row["group"]: row for row in frames.moved.iter_rows(named=True)}
    resamples = max(1000, 40 * len(frames.probe.pairs))  # so that Holm's smallest p can be 0.025
    rows = []
    for label, (start, end) in frames.probe.pairs.items():
        row: dict[str, str | float | None] = {"start": start, "end": end}
        statistics = frames.probe.statistics.get((label, data, frames.loss, treatment), {})
        for name in _SHOWN:
            if name in statistics:
                row |= {f"{name}_{part}": getattr(statistics[name], part) for part in ("value", "low", "high")}
        shown = (data, frames.loss, treatment)
        series = [s for s in frames.probe.curves[label] if (s.data, s.measure, s.batchnorm) == shown]
        tested = [rise_p_value(s.alphas, s.values, resamples=resamples) for s in series if s.values.shape[1] > 1]
        row["p_value"] = tested[0] if tested else None
        rows.append(row | {name: moved[label][name] for name in DISTANCES})
    numbers = [*(f"{name}_{part}" for name in _SHOWN for part in ("value", "low", "high")), "p_value", *DISTANCES]
    return pl.DataFrame(rows, {"start": pl.String, "end": pl.String, **dict.fromkeys(numbers, pl.Float64)})


def _facts(frames: ProbeTables, names: Sequence[str]) -> list[tuple[str, str]]:
    curves = list(frames.probe.curves.values())
    examples = {series.data: series.values.shape[1] for series in curves[0]}
    return [
        ("networks", str(len(names))),
        ("lines", str(len(curves))),
        ("positions on a line", appendix.span(frames.walks["positions"])),
        *((f"{caption('name', data=data)} examples", f"{count:,}") for data, count in examples.items()),
        ("parameters", f"{frames.moved['parameters'][0]:,}"),
    ]


def _verdicts(pairs: pl.DataFrame, frames: ProbeTables) -> list[str]:
    """Sentences: on how many lines the loss rises, and the highest barrier, as far as tests and intervals show."""
    tested = pairs.filter(pl.col("p_value").is_not_nan())
    sentences = []
    if tested.height:
        rising = int((inference.holm(tested["p_value"]) <= 0.05).sum())
        sentences.append(caption("rising_lines", data=frames.shown[0], rising=rising, tested=tested.height))
        top = tested.sort("barrier_above_chord_value", descending=True).row(0, named=True)
        sentences.append(caption("highest_barrier", top=top, unit=frames.unit))
    undefined = pairs.filter(pl.col("p_value").is_nan()).height
    if undefined:
        sentences.append(caption("undefined_lines", lost=undefined, lines=len(pairs)))
    return sentences


def _table(pairs: pl.DataFrame, frames: ProbeTables) -> Markup:
    columns = [Column("start", "from", "once"), Column("end", "to")]
    if pairs[f"{_SHOWN[0]}_value"].is_not_null().any():
        for name in _SHOWN:
            columns += [
                Column(f"{name}_value", frames.labelled(name), "number"),
                Column(f"{name}_low", "95 % interval", "interval", 2, f"{name}_high"),
            ]
        columns.append(Column("p_value", "p of a rise", "number", 3))
    columns += [Column(name, DISTANCES[name].label, "number", 3) for name in ("distance", "relative_distance")]
    note = caption("pairs", measure=frames.loss, where=frames.where, treatments=frames.probe.treatments)
    return page.table(pairs, columns, note)
