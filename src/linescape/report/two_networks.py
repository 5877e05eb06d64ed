"""What stands on the page of a probe: two networks and the line between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from linescape import atomic, figures
from linescape.definitions import DISTANCES, SHAPES
from linescape.probe import WHOLE, Probe
from linescape.report import about, page
from linescape.report.page import Column, Folder
from linescape.shape import rise_p_value


def write_probe(
    probe: Probe, folder: str | Path, title: str, notes: Sequence[str] = (), classes: int | None = None
) -> Path:
    """Write the report of a probe: ``index.html``, ``probe.json``, ``figures/`` and ``tables/``; returns the page.

    Args:
        probe: what was found.
        folder: where to write; what is there under the same names is replaced.
        title: what the two networks are.
        notes: what a reader should know beside the probe's own notes.
        classes: number of classes, to draw the level of guessing.

    Raises:
        StoreError: the folder cannot be written.
    """
    place = Folder(folder)
    lines = pl.concat(curve.frame().with_columns(label=pl.lit(label)) for label, curve in probe.curves.items())
    lines = pl.concat([lines.filter(pl.col("data") == "test"), lines.filter(pl.col("data") != "test")])
    numbers = _numbers(probe)
    moved = pl.DataFrame(
        [
            {
                "group": group,
                "distance": found.total,
                "relative_distance": found.relative,
                "distance_per_parameter": found.per_parameter,
                "parameters": found.count,
            }
            for group, found in probe.distances.items()
        ]
    )
    said = [*dict.fromkeys([*probe.notes, *notes])]
    for name, frame in (("lines", lines), ("numbers", numbers), ("distances", moved)):
        place.table(name, frame)
    whole = probe.curves[WHOLE]
    content = {
        "title": title,
        "lines": {
            label: {"rows": curve.frame().to_dicts(), "provenance": curve.provenance}
            for label, curve in probe.curves.items()
        },
        "numbers": numbers.to_dicts(),
        "distances": moved.to_dicts(),
        "notes": said,
    }
    atomic.write(place.root / "probe.json", page.as_json(content))
    blocks = {label: curve for label, curve in probe.curves.items() if label != WHOLE}
    data, treatment = _shown(lines)
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
                    f"One block moves, the others stand at the end's state; {data} data, BatchNorm {treatment}. "
                    "Black: the whole network. Bands: ± 1.96 standard errors over examples.",
                )
            ]
            if blocks
            else [],
            "block_numbers": _block_table(numbers, data, treatment),
            "explorer": _explorer(lines, classes),
            "distances": _distance_table(moved),
            "definitions": about.definitions(),
            "provenance": about.provenance(_walks(probe)),
            "notes": [*about.treatments(lines["batchnorm"]), *said],
            "still": ", ".join(whole.provenance.get("not_interpolated", ())),
        },
    )


def _numbers(probe: Probe) -> pl.DataFrame:
    """A row for each shape number: line, data, measure, batchnorm, number, value, low, high."""
    rows = [
        {
            "line": line,
            "data": data,
            "measure": measure,
            "batchnorm": treatment,
            "number": name,
            "value": found.value,
            "low": found.low,
            "high": found.high,
        }
        for (line, data, measure, treatment), heights in probe.heights.items()
        for name, found in heights.items()
    ]
    words = ("line", "data", "measure", "batchnorm", "number")
    schema = {**dict.fromkeys(words, pl.String), **dict.fromkeys(("value", "low", "high"), pl.Float64)}
    return pl.DataFrame(rows, schema=schema)


def _shown(lines: pl.DataFrame) -> tuple[str, str]:
    """The data set and BatchNorm treatment that figures of several lines show: the first."""
    return lines["data"][0], lines["batchnorm"][0]


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
    for name in (name for name in SHAPES if name in some["number"]):
        row: dict[str, Any] = {"label": SHAPES[name].label}
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
            Column(f"{name}_value", f"{SHAPES[name].label}, nats", "number"),
            Column(f"{name}_low", "95 % interval", "interval", 2, f"{name}_high"),
        ]
    return page.table(pl.DataFrame(rows), columns, f"Cross entropy on {data} data.") if rows else Markup()


def _distance_table(moved: pl.DataFrame) -> Markup:
    columns = [
        Column("group", "group"),
        Column("parameters", "parameters", "number", 0),
        *(Column(name, DISTANCES[name].label, "number", 4 if "per" in name else 3) for name in DISTANCES),
    ]
    return page.table(moved, columns, "Running statistics of BatchNorm do not count.")


def _explorer(lines: pl.DataFrame, classes: int | None) -> Markup:
    level = {"cross_entropy": math.log(classes), "error": 100 * (1 - 1 / classes)} if classes else {}
    whole = lines.with_columns(arm=pl.lit("pair"), title=pl.lit("this pair"), seed=pl.lit(None, pl.Int64))
    return page.explorer(whole, {"pair": level})


def _walks(probe: Probe) -> pl.DataFrame:
    rows = [
        {
            **{name: curve.provenance.get(name) for name in ("linescape", "torch", "python", "device", "seconds")},
            "dtype": curve.provenance.get("precision", curve.provenance.get("dtype")),
            "batchnorm": ", ".join(curve.provenance.get("batchnorm", ())),
            "positions": len(curve.alphas),
            "test_examples": curve.provenance.get("examples", {}).get("test"),
            "train_examples": curve.provenance.get("examples", {}).get("train"),
        }
        for curve in probe.curves.values()
    ]
    return pl.DataFrame(rows)
