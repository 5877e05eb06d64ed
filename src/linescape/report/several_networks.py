"""The page of a probe of several networks and the lines between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from markupsafe import Markup

from linescape.analysis import inference
from linescape.interpolation.probing import Probe
from linescape.interpolation.stopping import LEVEL, level_of_others
from linescape.report import appendix, figures, page
from linescape.report.page import Column, Folder
from linescape.report.probe_tables import ProbeTables
from linescape.report.text import caption
from linescape.shape import rise_p_value
from linescape.shape.definitions import DISTANCES
from linescape.version import VERSION

_SHOWN = ("hump", "barrier_above_chord", "min_delta")


def write(
    probe: Probe,
    folder: str | Path,
    title: str,
    notes: Sequence[str],
    classes: int | None,
    smallest_effect: float | Mapping[str, float] | None = None,
) -> Path:
    """Write the report of a probe of several networks, and return the path of the page.

    Args:
        probe: what was measured.
        folder: of the page, its figures and tables.
        title: of the page.
        notes: shown on the page after those of the probe.
        classes: of the data, for the chance level; None draws none.
        smallest_effect: as for `Probe.summary`.
    """
    output, frames = Folder(folder), ProbeTables.of(probe, smallest_effect)
    all_notes = [*dict.fromkeys([*probe.notes, *notes])]
    frames.write(output, title, all_notes)
    data, treatment = frames.shown
    pairs = _pairs(frames)
    output.table("pairs", pairs)
    names = list(dict.fromkeys([*pairs["start"], *pairs["end"]]))
    last = {start: probe.curves[label] for label, (start, end) in probe.pairs.items() if end == names[-1]}
    lines = figures.fan(last, data, treatment, classes)
    drawings = [output.draw("lines", lines, caption("lines_to_the_last", last=names[-1], where=frames.where))]
    if len(pairs) > len(last) and pairs["hump_value"].is_not_null().any():
        heat_map = figures.pairs(pairs, "hump_value", _barrier(frames, frames.loss))
        drawings.append(output.draw("barriers", heat_map, caption("barriers", where=frames.where)))
    return output.page(
        "several_networks.html",
        {
            "version": VERSION,
            "title": title,
            "facts": _facts(frames, names),
            "verdicts": frames.summary.text.splitlines(),
            "tested": _verdicts(pairs, frames),
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
    curves = frames.probe.curves
    # Drawing may have stopped at any look, at which a small p is too likely: so many times.
    looks = {label: (1 - LEVEL) / (1 - level_of_others(curve.provenance)) for label, curve in curves.items()}
    resamples = max(1000, round(40 * len(frames.probe.pairs) * max(looks.values())))  # Holm's smallest p can be 0.025
    verdicts = {line.label: line.loss.verdict.kind for line in frames.summary.lines}
    error = frames.summary.lines[0].error
    rows = []
    for label, (start, end) in frames.probe.pairs.items():
        row: dict[str, str | float | None] = {"start": start, "end": end, "verdict": verdicts[label]}
        statistics = frames.probe.statistics.get((label, data, frames.loss, treatment), {})
        for name in _SHOWN:
            if name in statistics:
                row |= {f"{name}_{part}": getattr(statistics[name], part) for part in ("value", "low", "high")}
        if error:
            of_error = frames.probe.statistics.get((label, data, error.measure, treatment), {})
            row |= {
                f"error_hump_{part}": getattr(of_error["hump"], part) if of_error else None
                for part in ("value", "low", "high")
            }
        shown = (data, frames.loss, treatment)
        series = [s for s in curves[label] if (s.data, s.measure, s.batchnorm) == shown]
        tested = [rise_p_value(s.alphas, s.values, resamples=resamples) for s in series if s.values.shape[1] > 1]
        row["p_value"] = float(np.minimum(1.0, looks[label] * tested[0])) if tested else None  # NaN stays
        rows.append(row | {name: moved[label][name] for name in DISTANCES})
    named = (*_SHOWN, "error_hump") if error else _SHOWN
    numbers = [*(f"{name}_{part}" for name in named for part in ("value", "low", "high")), "p_value", *DISTANCES]
    text = dict.fromkeys(("start", "end", "verdict"), pl.String)
    return pl.DataFrame(rows, {**text, **dict.fromkeys(numbers, pl.Float64)})


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
        top = tested.sort("hump_value", descending=True).row(0, named=True)
        sentences.append(caption("highest_barrier", top=top, unit=frames.unit))
    undefined = pairs.filter(pl.col("p_value").is_nan()).height
    if undefined:
        sentences.append(caption("undefined_lines", lost=undefined, lines=len(pairs)))
    return sentences


def _table(pairs: pl.DataFrame, frames: ProbeTables) -> Markup:
    columns = [Column("start", "from", "once"), Column("end", "to"), Column("verdict", "verdict")]
    if pairs["hump_value"].is_not_null().any():
        measures = dict(zip(("hump", "error_hump"), frames.measures, strict=False))
        for name, measure in measures.items():
            digits = 2 if name == "hump" else 1
            columns += [
                Column(f"{name}_value", _barrier(frames, measure), "number", digits),
                Column(f"{name}_low", "95 % interval", "interval", digits, f"{name}_high"),
            ]
        columns.append(Column("barrier_above_chord_value", frames.labelled("barrier_above_chord"), "number"))
        columns.append(Column("p_value", "p of a rise", "number", 3))
    columns += [Column(name, DISTANCES[name].label, "number", 3) for name in ("distance", "relative_distance")]
    note = caption("pairs", measure=frames.loss, where=frames.where, treatments=frames.probe.treatments)
    return page.table(pairs, columns, note)


def _barrier(frames: ProbeTables, measure: str) -> str:
    return f"barrier, {frames.measures[measure]}"
