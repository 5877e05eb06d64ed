"""What stands on the page of a probe: two networks and the line between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from linescape.interpolation.probing import WHOLE, Probe
from linescape.report import appendix, figures, page
from linescape.report.page import Column, Folder
from linescape.report.probe_tables import Found
from linescape.shape import rise_p_value
from linescape.shape.definitions import DEFINITIONS, DISTANCES


def write(probe: Probe, folder: str | Path, title: str, notes: Sequence[str], classes: int | None) -> Path:
    """Write the report of a probe of two networks; as `report.write_probe`."""
    place, found = Folder(folder), Found.of(probe)
    numbers, moved = found.numbers, found.moved
    said = [*dict.fromkeys([*probe.notes, *notes])]
    found.write(place, title, said)
    whole = probe.curves[WHOLE]
    blocks = {label: curve for label, curve in probe.curves.items() if label != WHOLE}
    data, treatment = found.shown
    return place.page(
        "two_networks.html",
        {
            "version": version("linescape"),
            "title": title,
            "facts": _facts(probe, moved),
            "verdicts": _verdicts(probe, numbers),
            "whole": place.draw(
                "whole",
                figures.probe(whole, classes),
                "The line of the whole network. Mean over examples; band: ± 1.96 standard errors at each α, that "
                "is, 95 % over examples. Neighbouring points share their examples, so a difference along the line "
                "is surer than the bands suggest: see the intervals below.",
            ),
            "numbers": _number_table(numbers.filter(pl.col("line") == WHOLE)),
            "blocks": [
                place.draw(
                    "layers",
                    figures.blocks(probe.curves, data, treatment, classes),
                    f"One block moves, the others stand at the end's state; {found.where}. "
                    "Black: the whole network. Bands: ± 1.96 standard errors over examples.",
                )
            ]
            if blocks
            else [],
            "block_numbers": _block_table(numbers, data, treatment),
            "explorer": found.explorer(classes),
            "distances": _distance_table(moved, found.distances_said),
            "definitions": appendix.definitions(),
            "provenance": appendix.provenance(found.walks),
            "notes": [*appendix.treatments(probe.treatments), *said],
            "still": ", ".join(whole.provenance.get("not_interpolated", ())),
        },
    )


def _facts(probe: Probe, moved: pl.DataFrame) -> list[tuple[str, str]]:
    whole = probe.curves[WHOLE]
    examples = {series.data: series.values.shape[1] for series in whole}
    several = len({series.batchnorm for series in whole}) > 1
    return [
        ("lines", str(len(probe.curves))),
        ("positions on a line", str(len(whole.alphas))),
        *((f"{data} examples", f"{count:,}") for data, count in examples.items()),
        *(
            (
                f"{data} perplexity, start to end" + (f", {treatment}" if several else ""),
                " to ".join(map(page.number, (along[0], along[-1]))),
            )
            for (data, treatment), along in whole.perplexities.items()
        ),
        ("parameters", f"{moved.filter(pl.col('group') == 'all')['parameters'].sum():,}"),
        ("relative distance", page.number(probe.distances["all"].relative)),
    ]


def _verdicts(probe: Probe, numbers: pl.DataFrame) -> list[str]:
    """What the whole line does on each data set, in words that say no more than the intervals."""
    said = []
    for series in sorted(probe.curves[WHOLE], key=lambda series: series.data != "test"):
        if series.measure != "cross_entropy" or series.values.shape[1] < 2:
            continue
        own = numbers.filter(
            (pl.col("line") == WHOLE)
            & (pl.col("data") == series.data)
            & (pl.col("measure") == series.measure)
            & (pl.col("batchnorm") == series.batchnorm)
        )
        rise = own.row(by_predicate=pl.col("number") == "min_delta", named=True)
        where = f"On {series.data} data" + (
            f" (BatchNorm {series.batchnorm})" if len(own["batchnorm"].unique()) > 1 else ""
        )
        if math.isnan(rise["value"]):
            said.append(f"{where} the loss is NaN somewhere on the line, so its shape has no numbers.")
            continue
        span = f"{page.number(rise['value'])} nats ({page.number(rise['low'])} to {page.number(rise['high'])})"
        chance = rise_p_value(series.alphas, series.values)
        if rise["value"] == 0:
            said.append(f"{where} the loss never rises from start to end.")
        elif math.isnan(chance):
            said.append(f"{where} the largest rise of the loss is {span}.")
        elif chance < 0.05:
            often = "fewer than 1 in 100" if chance < 0.01 else f"{100 * chance:.0f} in 100"
            said.append(
                f"{where} the loss rises by up to {span}. A line that never rises shows as much in {often} samples."
            )
        else:
            said.append(
                f"{where} the largest rise of the loss is {span}. A line that never rises can show as much in "
                f"{100 * chance:.0f} of 100 samples: these examples do not tell whether it rises."
            )
    return said


def _number_table(numbers: pl.DataFrame) -> Markup:
    """Shape numbers of the whole line: a row a number, a pair of columns for each data set."""
    some = numbers.filter(pl.col("measure") == "cross_entropy").sort(pl.col("data") != "test", maintain_order=True)
    series = some.select("data", "batchnorm").unique(maintain_order=True).rows()
    several = len({treatment for _, treatment in series}) > 1
    rows: list[dict[str, Any]] = []
    for name in (name for name in DEFINITIONS if name in some["number"]):
        row: dict[str, Any] = {"label": DEFINITIONS[name].label}
        for index, (data, treatment) in enumerate(series):
            found = some.row(
                by_predicate=(pl.col("number") == name) & (pl.col("data") == data) & (pl.col("batchnorm") == treatment),
                named=True,
            )
            row |= {f"{end}{index}": found[end] for end in ("value", "low", "high")}
        rows.append(row)
    columns = [Column("label", "nats")]
    for index, (data, treatment) in enumerate(series):
        columns += [
            Column(f"value{index}", f"{data}, {treatment}" if several else data, "number", 3),
            Column(f"low{index}", "95 % interval", "interval", 3, f"high{index}"),
        ]
    caption = (
        "Cross entropy. Intervals: what other examples of the same kind would give for the same two networks (paired "
        "bootstrap over examples); another training is another matter."
    )
    return page.table(pl.DataFrame(rows), columns, caption) if rows else Markup()


def _block_table(numbers: pl.DataFrame, data: str, treatment: str) -> Markup:
    """min_delta, hump, tail_rise and barrier of each line."""
    shown = ("min_delta", "hump", "tail_rise", "barrier_above_chord")
    some = numbers.filter(
        (pl.col("measure") == "cross_entropy") & (pl.col("data") == data) & (pl.col("batchnorm") == treatment)
    )
    rows: list[dict[str, Any]] = []
    for (line,), own in some.group_by(["line"], maintain_order=True):
        row: dict[str, Any] = {"line": "whole network" if line == WHOLE else line}
        for name in shown:
            found = own.row(by_predicate=pl.col("number") == name, named=True)
            row |= {f"{name}_{end}": found[end] for end in ("value", "low", "high")}
        rows.append(row)
    columns = [Column("line", "line")]
    for name in shown:
        columns += [
            Column(f"{name}_value", f"{DEFINITIONS[name].label}, nats", "number"),
            Column(f"{name}_low", "95 % interval", "interval", 2, f"{name}_high"),
        ]
    return page.table(pl.DataFrame(rows), columns, f"Cross entropy on {data} data.") if rows else Markup()


def _distance_table(moved: pl.DataFrame, caption: str) -> Markup:
    columns = [
        Column("group", "group"),
        Column("parameters", "parameters", "number", 0),
        *(Column(name, DISTANCES[name].label, "number", 4 if "per" in name else 3) for name in DISTANCES),
    ]
    return page.table(moved, columns, caption)
