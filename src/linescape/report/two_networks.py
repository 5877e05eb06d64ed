"""The page of a probe of two networks and the line between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from linescape.interpolation.curve import Curve
from linescape.interpolation.probing import WHOLE, Probe
from linescape.report import appendix, figures, page
from linescape.report.page import Column, Folder
from linescape.report.probe_tables import ProbeTables
from linescape.report.text import caption, number
from linescape.shape import rise_p_value
from linescape.shape.definitions import DEFINITIONS, DISTANCES


def write(probe: Probe, folder: str | Path, title: str, notes: Sequence[str], classes: int | None) -> Path:
    """Write the report of a probe of two networks.

    Args:
        probe: the probe.
        folder: where to write.
        title: of the page.
        notes: to print beside the probe's own notes.
        classes: number of classes, to draw the chance level.
    """
    output, frames = Folder(folder), ProbeTables.of(probe)
    numbers, moved = frames.numbers, frames.moved
    all_notes = [*dict.fromkeys([*probe.notes, *notes])]
    frames.write(output, title, all_notes)
    whole = probe.curves[WHOLE]
    data, treatment = frames.shown
    block_figures = []
    beside = []
    if probe.beside:
        ways = {"straight line": whole, **probe.beside}
        for number, of in enumerate(dict.fromkeys(series.batchnorm for series in whole)):
            where = caption("where", data=data, treatment=of if probe.treatments else "")
            figure = figures.blocks(ways, data, of, classes)
            name = f"beside-{number}" if number else "beside"
            beside.append(output.draw(name, figure, caption("beside", where=where)))
    if len(probe.curves) > 1:
        figure = figures.blocks(probe.curves, data, treatment, classes)
        block_figures.append(output.draw("layers", figure, caption("block_lines", where=frames.where)))
    return output.page(
        "two_networks.html",
        {
            "version": version("linescape"),
            "title": title,
            "facts": _facts(probe, moved),
            "verdicts": _verdicts(frames),
            "whole": output.draw("whole", figures.probe(whole, classes), caption("whole_line")),
            "beside": beside,
            "beside_numbers": _line_table(frames, {WHOLE: whole, **probe.beside}) if beside else "",
            "numbers": _number_table(numbers.filter(pl.col("line") == WHOLE), frames),
            "blocks": block_figures,
            "block_numbers": _line_table(frames, probe.curves),
            "explorer": frames.explorer(classes),
            "distances": _distance_table(moved, caption("without_batchnorm", treatments=probe.treatments)),
            "definitions": appendix.definitions(),
            "provenance": appendix.provenance(frames.walks),
            "notes": [*appendix.treatments(probe.treatments), *all_notes],
            "not_interpolated": ", ".join(whole.provenance.get("not_interpolated", ())),
        },
    )


def _facts(probe: Probe, moved: pl.DataFrame) -> list[tuple[str, str]]:
    whole = probe.curves[WHOLE]
    examples = {series.data: series.values.shape[1] for series in whole}
    several = len({series.batchnorm for series in whole}) > 1
    return [
        ("lines", str(len(probe.curves))),
        ("positions on a line", str(len(whole.alphas))),
        *((f"{caption('name', data=data)} examples", f"{count:,}") for data, count in examples.items()),
        *(
            (
                f"{caption('name', data=data)} perplexity, start to end" + (f", {treatment}" if several else ""),
                " to ".join(map(number, (along[0], along[-1]))),
            )
            for (data, treatment), along in whole.perplexities.items()
        ),
        ("parameters", f"{moved.filter(pl.col('group') == 'all')['parameters'].sum():,}"),
        ("relative distance", number(probe.distances["all"].relative)),
    ]


def _verdicts(frames: ProbeTables) -> list[str]:
    """A sentence for each data set: whether the loss rises on the whole line, as far as the test shows."""
    sentences, probe, numbers = [], frames.probe, frames.numbers
    for series in sorted(probe.curves[WHOLE], key=lambda series: series.data != "test"):
        if series.measure != frames.loss or series.values.shape[1] < 2:
            continue
        of_series = numbers.filter(
            (pl.col("line") == WHOLE)
            & (pl.col("data") == series.data)
            & (pl.col("measure") == series.measure)
            & (pl.col("batchnorm") == series.batchnorm)
        )
        rise = of_series.row(by_predicate=pl.col("number") == "min_delta", named=True)
        undefined = math.isnan(rise["value"])
        sentences.append(
            caption(
                "rise",
                data=series.data,
                treatment=series.batchnorm if len(probe.treatments) > 1 else "",
                rise=rise,
                unit=frames.unit,
                p_value=math.nan if undefined else rise_p_value(series.alphas, series.values),
            )
        )
    return sentences


def _number_table(numbers: pl.DataFrame, frames: ProbeTables) -> Markup:
    """Shape statistics of the whole line: a row for each, a pair of columns for each data set."""
    losses = numbers.filter(pl.col("measure") == frames.loss).sort(pl.col("data") != "test", maintain_order=True)
    series = losses.select("data", "batchnorm").unique(maintain_order=True).rows()
    several = len({treatment for _, treatment in series}) > 1
    rows: list[dict[str, Any]] = []
    for name in (name for name in DEFINITIONS if name in losses["number"]):
        row: dict[str, Any] = {"label": DEFINITIONS[name].label}
        for index, (data, treatment) in enumerate(series):
            estimate = losses.row(
                by_predicate=(pl.col("number") == name) & (pl.col("data") == data) & (pl.col("batchnorm") == treatment),
                named=True,
            )
            row |= {f"{end}{index}": estimate[end] for end in ("value", "low", "high")}
        rows.append(row)
    columns = [Column("label", frames.unit)]
    for index, (data, treatment) in enumerate(series):
        columns += [
            Column(f"value{index}", f"{data}, {treatment}" if several else data, "number", 3),
            Column(f"low{index}", "95 % interval", "interval", 3, f"high{index}"),
        ]
    return (
        page.table(pl.DataFrame(rows), columns, caption("statistics_table", measure=frames.loss)) if rows else Markup()
    )


def _line_table(frames: ProbeTables, lines: Mapping[str, Curve]) -> Markup:
    """min_delta, hump, tail_rise and barrier of each of some lines."""
    data, treatment = frames.shown
    shown = ("min_delta", "hump", "tail_rise", "barrier_above_chord")
    losses = frames.numbers.filter(
        (pl.col("measure") == frames.loss)
        & (pl.col("data") == data)
        & (pl.col("batchnorm") == treatment)
        & pl.col("line").is_in(list(lines))
    )
    rows: list[dict[str, Any]] = []
    for (line,), of_line in losses.group_by(["line"], maintain_order=True):
        row: dict[str, Any] = {"line": "whole network" if line == WHOLE else line}
        for name in shown:
            estimate = of_line.row(by_predicate=pl.col("number") == name, named=True)
            row |= {f"{name}_{end}": estimate[end] for end in ("value", "low", "high")}
        rows.append(row)
    columns = [Column("line", "line")]
    for name in shown:
        columns += [
            Column(f"{name}_value", frames.labelled(name), "number"),
            Column(f"{name}_low", "95 % interval", "interval", 2, f"{name}_high"),
        ]
    return (
        page.table(pl.DataFrame(rows), columns, caption("block_table", measure=frames.loss, data=data))
        if rows
        else Markup()
    )


def _distance_table(moved: pl.DataFrame, note: str) -> Markup:
    columns = [
        Column("group", "group"),
        Column("parameters", "parameters", "number", 0),
        *(Column(name, DISTANCES[name].label, "number", 4 if "per" in name else 3) for name in DISTANCES),
    ]
    return page.table(moved, columns, note)
