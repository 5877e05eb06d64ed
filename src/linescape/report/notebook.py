"""What a notebook shows of a result that is the last line of a cell: a heading, a figure and a table, as HTML.

Names come from files and are escaped. The figure is a picture in the HTML, so there is no script.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from linescape.analysis.tables import Results
from linescape.errors import plural
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.interpolation.probing import Probe
from linescape.interpolation.surface import Surface
from linescape.report import page, planes, plots
from linescape.report.page import Column
from linescape.report.plots import Plot
from linescape.report.study import figure
from linescape.report.text import plain
from linescape.shape import hump

_ROWS = 30
"""The most rows of a table."""

_SERIES = [
    Column("line", "line", "once"),
    Column("data", "data", "once"),
    Column("measure", "measure"),
    Column("batchnorm", "BatchNorm"),
    Column("start", "α = 0", "number", 3),
    Column("end", "α = 1", "number", 3),
    Column("lowest", "lowest", "number", 3),
    Column("lowest_at", "at α", "number", 2),
    Column("highest", "highest", "number", 3),
    Column("highest_at", "at α", "number", 2),
    Column("barrier", "barrier", "number", 3),
]


def of_curve(curve: Curve) -> str:
    """A curve: its figure, a row for each series, and notes."""
    heading = f"Curve of {plural(len(curve.alphas), 'position')}"
    return _html(heading, plots.of_curve(curve), _series({"": curve}), notes=curve.provenance.get("notes", ()))


def of_probe(probe: Probe) -> str:
    """A probe: its summary in words, its figure, a row for each line and series, and notes."""
    return _html(
        f"Probe of {plural(len(probe.curves), 'line')}",
        plots.of_probe(probe),
        _series({**probe.curves, **probe.beside}),
        probe.summary().text.splitlines(),
        probe.notes,
    )


def of_surface(surface: Surface) -> str:
    """A plane: its figure, the means at the networks and at the lowest position, and notes."""
    heading = f"Plane of {len(surface.xs)} × {len(surface.ys)} positions"
    table = planes.numbers(surface), planes.NUMBERS
    return _html(heading, plots.of_surface(surface, None, None), table, notes=surface.provenance.get("notes", ()))


def of_state(state: State) -> str:
    """A state: a row for each tensor."""
    rows = [
        {
            "name": name,
            "role": "parameter" if name in state.parameters else "buffer",
            "shape": " × ".join(map(str, value.shape)),
            "type": str(value.dtype).removeprefix("torch."),
            "values": value.numel(),
        }
        for name, value in state.items()
    ]
    columns = [Column("name", "tensor"), Column("role", ""), Column("shape", "shape"), Column("type", "type")]
    return _html(repr(state), None, (rows, [*columns, Column("values", "values", "number", 0)]))


def of_results(results: Results) -> str:
    """A study's results: the overview of its lines, and means over the runs of each arm that are done."""
    done = pl.col("status") == "done"
    rows = (
        results.runs.group_by("arm", "title", maintain_order=True)
        .agg(
            done=done.sum(),
            runs=pl.len(),
            accuracy=pl.col("test_accuracy").filter(done).mean(),
            loss=pl.col("test_loss").filter(done).mean(),
            barrier=pl.col("test_hump").filter(done).mean(),
        )
        .to_dicts()
    )
    columns = [
        Column("title", "arm"),
        Column("done", "runs done", "number", 0),
        Column("runs", "of", "number", 0),
        Column("accuracy", "test accuracy, %", "number", 1),
        Column("loss", "test loss", "number", 3),
        Column("barrier", "barrier, nats", "number", 3),
    ]
    return _html(repr(results), figure(results, "overview"), (rows, columns))


def _series(curves: Mapping[str, Curve]) -> tuple[list[dict[str, Any]], list[Column]]:
    rows = []
    for line, curve in curves.items():
        for series in curve:
            mean, alphas = series.mean, series.alphas
            known = mean[np.isfinite(mean)]
            lowest, highest = (int(at(mean)) for at in (np.nanargmin, np.nanargmax)) if len(known) else (0, 0)
            rows.append(
                {
                    "line": line,
                    "data": series.data,
                    "measure": series.measure,
                    "batchnorm": series.batchnorm,
                    "start": mean[np.searchsorted(alphas, 0.0)],
                    "end": mean[np.searchsorted(alphas, 1.0)],
                    "lowest": mean[lowest],
                    "lowest_at": alphas[lowest],
                    "highest": mean[highest],
                    "highest_at": alphas[highest],
                    "barrier": hump(alphas, mean),
                }
            )
    varied = {"line": len(curves) > 1, "batchnorm": len({row["batchnorm"] for row in rows}) > 1}
    return rows, [column for column in _SERIES if varied.get(column.name, True)]


def _html(
    heading: str,
    plot: Plot | None,
    table: tuple[Sequence[Mapping[str, Any]], Sequence[Column]],
    sentences: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    rows, columns = table
    shown = pl.DataFrame(plain([dict(row) for row in rows[:_ROWS]]))
    note = f"The first {_ROWS} of {len(rows)} rows." if len(rows) > _ROWS else ""
    content = {
        "heading": plain(heading),
        "sentences": plain(list(sentences)),
        "notes": plain(list(notes)),
        "image": base64.b64encode(plot._repr_png_()).decode() if plot else "",
        "width": math.ceil(96 * plot.figure.get_figwidth()) if plot else 0,
        "table": page.table(shown, columns, note) if rows else "",
    }
    return page.rendered("notebook.html", content)
