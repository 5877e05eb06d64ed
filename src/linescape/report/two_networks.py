"""The page of a probe of two networks and the line between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from linescape.interpolation.probing import WHOLE, Probe
from linescape.report import appendix, figures, page
from linescape.report.page import Column, Drawing, Folder
from linescape.report.probe_tables import ProbeTables
from linescape.report.text import caption, number
from linescape.shape.definitions import DEFINITIONS, DISTANCES
from linescape.version import VERSION


def write(
    probe: Probe,
    folder: str | Path,
    title: str,
    notes: Sequence[str],
    classes: int | None,
    smallest_effect: float | Mapping[str, float] | None = None,
) -> Path:
    """Write the report of a probe of two networks.

    Args:
        probe: the probe.
        folder: where to write.
        title: of the page.
        notes: to print beside the probe's own notes.
        classes: number of classes, to draw the chance level.
        smallest_effect: as for `Probe.summary`.
    """
    output, frames = Folder(folder), ProbeTables.of(probe, smallest_effect)
    numbers, moved = frames.numbers, frames.moved
    all_notes = [*dict.fromkeys([*probe.notes, *notes])]
    frames.write(output, title, all_notes)
    whole = probe.curves[WHOLE]
    beside, block_figures = _beside(probe, frames, output, classes), _blocks(probe, frames, output, classes)
    return output.page(
        "two_networks.html",
        {
            "version": VERSION,
            "title": title,
            "facts": _facts(probe, moved),
            "verdicts": frames.summary.text.splitlines(),
            "whole": output.draw("whole", figures.probe(whole, classes), caption("whole_line")),
            "beside": beside,
            "beside_numbers": _line_table(frames, [WHOLE, *probe.beside], "straight line") if beside else "",
            "numbers": _number_tables(numbers.filter(pl.col("line") == WHOLE), frames),
            "blocks": block_figures,
            "set_back": _set_back_table(frames) if block_figures else "",
            "block_numbers": _line_table(frames, list(probe.curves), "whole network"),
            "explorer": frames.explorer(classes),
            "distances": _distance_table(moved, caption("without_batchnorm", treatments=probe.treatments)),
            "definitions": appendix.definitions(),
            "provenance": appendix.provenance(frames.walks),
            "notes": [*appendix.treatments(probe.treatments), *all_notes],
            "not_interpolated": ", ".join(whole.provenance.get("not_interpolated", ())),
        },
    )


def _beside(probe: Probe, frames: ProbeTables, output: Folder, classes: int | None) -> list[Drawing]:
    """The straight line among what was measured beside it, by treatment of BatchNorm."""
    if not probe.beside:
        return []
    data, ways = frames.shown[0], {"straight line": probe.curves[WHOLE], **probe.beside}
    merged = any(curve.provenance.get("path") == "Merged" for curve in ways.values())
    drawings = []
    for index, of in enumerate(dict.fromkeys(series.batchnorm for series in probe.curves[WHOLE])):
        where = caption("where", data=data, treatment=of if probe.treatments else "")
        figure = figures.blocks(ways, data, of, classes)
        name = f"beside-{index}" if index else "beside"
        drawings.append(output.draw(name, figure, caption("beside", where=where, merged=merged)))
    return drawings


def _blocks(probe: Probe, frames: ProbeTables, output: Folder, classes: int | None) -> list[Drawing]:
    """What each block costs when it is set back, and the lines of the blocks."""
    if len(probe.curves) == 1:
        return []
    data, treatment = frames.shown
    titles = {measure: f"{data} {words}, added" for measure, words in frames.measures.items()}
    shown = _shown_blocks(frames)
    words = caption("set_back", where=frames.where, shares=shown["share"].count() > 0)
    set_back = output.draw("set-back", figures.set_back(shown, titles), words)
    figure = figures.blocks(probe.curves, data, treatment, classes)
    return [set_back, output.draw("layers", figure, caption("block_lines", where=frames.where))]


def _facts(probe: Probe, moved: pl.DataFrame) -> list[tuple[str, str]]:
    whole = probe.curves[WHOLE]
    examples = {series.data: series.values.shape[1] for series in whole}
    several = len({series.batchnorm for series in whole}) > 1
    return [
        ("lines" if len(probe.curves) > 1 else "line", str(len(probe.curves))),
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


def _number_tables(numbers: pl.DataFrame, frames: ProbeTables) -> Markup:
    """Shape statistics of the whole line: a table for each treatment of BatchNorm, which has room on paper."""
    tables = numbers.partition_by("batchnorm", maintain_order=True)
    return Markup().join(_number_table(table, frames, len(tables) > 1) for table in tables)


def _number_table(numbers: pl.DataFrame, frames: ProbeTables, several: bool) -> Markup:
    """Of one treatment: a row for each statistic, a pair of columns for each measure on each data set."""
    told = numbers.filter(pl.col("measure").is_in(list(frames.measures))).sort(
        pl.col("data") != "test", pl.col("measure") != frames.loss, maintain_order=True
    )
    series = told.select("data", "measure").unique(maintain_order=True).rows()
    rows: list[dict[str, Any]] = []
    for name in (name for name in DEFINITIONS if name in told["number"]):
        row: dict[str, Any] = {"label": DEFINITIONS[name].label}
        for index, (data, measure) in enumerate(series):
            estimate = told.row(
                by_predicate=(pl.col("number") == name) & (pl.col("data") == data) & (pl.col("measure") == measure),
                named=True,
            )
            row |= {f"{end}{index}": estimate[end] for end in ("value", "low", "high")}
        rows.append(row)
    columns = [Column("label", "")]
    for index, (data, measure) in enumerate(series):
        digits = 3 if measure == frames.loss else 1
        columns += [
            Column(f"value{index}", f"{data} {frames.measures[measure]}", "number", digits),
            Column(f"low{index}", "95 % interval", "interval", digits, f"high{index}"),
        ]
    note = caption("statistics_table", treatment=numbers["batchnorm"][0] if several else "")
    return page.table(pl.DataFrame(rows), columns, note) if rows else Markup()


def _shown_blocks(frames: ProbeTables) -> pl.DataFrame:
    """Rows of `ProbeTables.blocks` that figures and tables show."""
    data, treatment = frames.shown
    shown = pl.col("measure").is_in(list(frames.measures))
    return frames.blocks.filter((pl.col("data") == data) & (pl.col("batchnorm") == treatment) & shown)


def _set_back_table(frames: ProbeTables) -> Markup:
    """A row for each block, what matters most first: what is lost when it is set back, and the barrier on its line."""
    shown = _shown_blocks(frames)
    table = shown.filter(pl.col("measure") == frames.loss)
    columns = [Column("block", "block")]
    for index, (measure, words) in enumerate(frames.measures.items()):
        digits = 2 if measure == frames.loss else 1
        of_measure = shown.filter(pl.col("measure") == measure)
        table = table.join(of_measure, on="block", how="left", suffix=f"_{index}", maintain_order="left")
        columns += [
            Column(f"lost_{index}", f"{words}, added", "number", digits),
            Column(f"lost_low_{index}", "95 % interval", "interval", digits, f"lost_high_{index}"),
            *([Column(f"percent_{index}", "% of the whole gain", "number", 0)] if of_measure["share"].count() else []),
            Column(f"barrier_{index}", f"barrier, {words}", "number", digits),
            Column(f"barrier_low_{index}", "95 % interval", "interval", digits, f"barrier_high_{index}"),
        ]
        table = table.with_columns((100 * pl.col(f"share_{index}")).alias(f"percent_{index}"))
    return page.table(table, columns, caption("set_back_table"))


def _line_table(frames: ProbeTables, lines: Sequence[str], whole: str) -> Markup:
    """min_delta, hump, tail_rise and barrier of each of some lines, by each measure; `whole` stands for `WHOLE`."""
    data, treatment = frames.shown
    shown = ("min_delta", "hump", "tail_rise", "barrier_above_chord")
    told = frames.numbers.filter(
        pl.col("measure").is_in(list(frames.measures))
        & (pl.col("data") == data)
        & (pl.col("batchnorm") == treatment)
        & pl.col("line").is_in(lines)
    )
    rows: list[dict[str, Any]] = []
    for (line, measure), of_line in told.group_by(["line", "measure"], maintain_order=True):
        row: dict[str, Any] = {"line": whole if line == WHOLE else line, "of": frames.measures[str(measure)]}
        for name in shown:
            estimate = of_line.row(by_predicate=pl.col("number") == name, named=True)
            row |= {f"{name}_{end}": estimate[end] for end in ("value", "low", "high")}
        rows.append(row)
    columns = [Column("line", "line", "once"), Column("of", "")]
    for name in shown:
        columns += [
            Column(f"{name}_value", DEFINITIONS[name].label, "number"),
            Column(f"{name}_low", "95 % interval", "interval", 2, f"{name}_high"),
        ]
    return page.table(pl.DataFrame(rows), columns, caption("block_table", data=data)) if rows else Markup()


def _distance_table(moved: pl.DataFrame, note: str) -> Markup:
    columns = [
        Column("group", "group"),
        Column("parameters", "parameters", "number", 0),
        *(Column(name, DISTANCES[name].label, "number", 4 if "per" in name else 3) for name in DISTANCES),
    ]
    return page.table(moved, columns, note)
