"""Figures, tables and sentences as one HTML file."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from linescape import atomic
from linescape.errors import StoreError, abbreviate
from linescape.report import figures
from linescape.report.figures.panel import COLOURS, GRID, INK, RULE, SOFT
from linescape.report.text import number

_VARIABLES = {
    "#ffffff": "none",
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    RULE: "var(--rule)",
    GRID: "var(--grid)",
    **{colour: f"var(--c{index})" for index, colour in enumerate(COLOURS)},
}
"""Colours of figures as variables of the page, so that they follow light and dark mode."""

_LONG = re.compile(r"-?\d+\.\d{2,}")  # a tenth of a point is finer than any screen


@dataclass(frozen=True)
class Column:
    """One column of a table on a page.

    Attributes:
        name: of the frame's column, or of its lower end for ``interval``.
        title: its heading.
        kind: ``text``; ``once``, text that is not repeated below itself; ``number`` with `digits`; ``signed`` with a
            plus; ``interval`` of this and the column `to`.
        digits: after the decimal point.
        to: the column of the upper end.
    """

    name: str
    title: str
    kind: str = "text"
    digits: int = 2
    to: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure on a page: `svg` to be put in, `caption`, and the names of its `files`."""

    svg: Markup
    caption: str
    files: Sequence[str]


_OURS = b'<meta name="generator" content="linescape'

UNFINISHED = _OURS + b'">\n<p>This report was not finished. Write it again.\n'
"""The page of a folder in which a report is being written, so that one that is interrupted can be written again, and
no earlier page is taken for that of the figures and tables beside it."""

_WRITTEN = ("index.html", "answers.json", "probe.json", "figures", "tables")


def check_free(folder: str | Path) -> None:
    """Check that a report in a folder would replace nothing that linescape did not write.

    A folder is linescape's if its page says so. Else it may have nothing with the name of a report's file.

    Raises:
        StoreError: it is a file, cannot be read, or has such files.
    """
    root = Path(folder)
    try:
        if root.exists() and not root.is_dir():
            raise StoreError(f"{root} is a file, but a report is a folder of files. Name a folder.")
        present = [name for name in _WRITTEN if (root / name).exists()]
        if not present or ("index.html" in present and _OURS in atomic.read(root / "index.html")):
            return
    except StoreError:  # which is an OSError
        raise
    except OSError as error:
        raise atomic.cannot_read(root / "index.html", error) from error
    raise StoreError(
        f"{root} contains {abbreviate(present)}, which linescape did not write and a report would replace. Name "
        "another folder, or move that away."
    )


class Folder:
    """The folder of a page: writes figures and tables beside it, whole or not at all.

    Args:
        root: the folder; a report that linescape wrote there is replaced.

    Raises:
        StoreError: it has files that linescape did not write, or cannot be written.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._begun = False
        check_free(root)
        if not (self.root / "index.html").exists():
            self.begin()

    def begin(self) -> None:
        """Replace an earlier page, once its figures and tables are about to be replaced.

        Raises:
            StoreError: the file cannot be written.
        """
        if not self._begun:
            atomic.write(self.root / "index.html", UNFINISHED)
        self._begun = True

    def draw(self, name: str, figure: Figure, caption: str) -> Drawing:
        """Write a figure as SVG, PDF and PNG, and return it for the page.

        Raises:
            StoreError: a file cannot be written.
        """
        self.begin()
        paths = [figures.save(figure, self.root / "figures" / f"{name}{suffix}") for suffix in (".svg", ".pdf", ".png")]
        svg = inline(paths[0].read_text(encoding="utf-8"), name, caption)
        return Drawing(svg, caption, [str(path.relative_to(self.root)) for path in paths])

    def table(self, name: str, frame: pl.DataFrame) -> None:
        """Write a frame as CSV; lists of words are joined.

        Raises:
            StoreError: the file cannot be written.
        """
        self.begin()
        lists = [column for column, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
        flat = frame.with_columns(pl.col(lists).list.join("; "))
        atomic.write(self.root / "tables" / f"{name}.csv", flat.write_csv().encode())

    def page(self, template: str, content: Mapping[str, Any]) -> Path:
        """Write ``index.html`` from a template and return its path.

        Raises:
            StoreError: the file cannot be written.
        """
        path = self.root / "index.html"
        atomic.write(path, rendered(template, content).encode())
        return path


def rendered(template: str, content: Mapping[str, Any]) -> str:
    """A template of HTML with its variables, which are escaped."""
    return _environment().get_template(template).render(content)


def inline(svg: str, name: str, label: str) -> Markup:
    """A figure's SVG file as part of a page: unique ids, the page's colours and font, short numbers."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body))
    body = re.sub(r"<[^>]*>", lambda tag: _fitted(tag[0], name, used), body)  # text between tags stays as it is
    body = re.sub(r"\s*\n\s*", " ", body)
    head = re.match(r"<svg[^>]*>", body)
    assert head is not None, "matplotlib wrote no SVG"
    box = re.search(r'viewBox="[^"]*"', head[0])
    width = re.search(r'width="([\d.]+)pt"', head[0])
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box[0] if box else ""} '
        f'role="img" style="--width:{float(width[1]) if width else 720:g}">'
    )
    return Markup(start) + Markup("<title>{}</title>").format(label) + Markup(body[head.end() :])  # noqa: S704


def _fitted(tag: str, name: str, used: Collection[str]) -> str:
    """One tag of a figure, for `inline`; `used` are the ids that others refer to."""
    tag = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", tag)
    tag = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", tag)
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda m: _VARIABLES.get(m[0], m[0]), tag)
    tag = tag.replace("'DejaVu Sans'", "var(--sans)")  # after "font:" or "font-family:", by the version of matplotlib
    tag = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", tag)
    tag = re.sub(r' style="[^"]*"', lambda m: m[0].replace(": ", ":").replace("; ", ";"), tag)
    tag = re.sub(r' (d|x|y|transform)="[^"]*"', lambda m: _LONG.sub(_shorter, m[0]), tag)
    return re.sub(r' d="[^"]*"', lambda m: m[0].replace(" L ", " "), tag)  # pairs after the first of M are those of L


def _shorter(match: re.Match[str]) -> str:
    return f"{float(match[0]):.1f}".removesuffix(".0")


def table(frame: pl.DataFrame, columns: Sequence[Column], caption: str = "") -> Markup:
    """A frame as an HTML table; null (not measured) is a dash, NaN is ``undefined``."""
    template = _environment().get_template("table.html")
    rows: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    for row in frame.iter_rows(named=True):
        once = [column.name for column in columns if column.kind == "once"]
        first = [name for name in once if row[name] != before.get(name)]
        cells = ["" if column.name in once and column.name not in first else _cell(row, column) for column in columns]
        rows.append({"first": bool(first) and bool(before), "cells": cells})
        before = row
    return Markup(template.render(columns=columns, rows=rows, caption=caption))  # noqa: S704


def explorer(lines: pl.DataFrame, chance: Mapping[str, Mapping[str, float | None]]) -> str:
    """The curves of the explorer as JSON, compressed and in base64: of many runs they would be half of the page.

    Args:
        lines: columns arm, title, label, seed, data, measure, batchnorm, alpha, mean, standard_error.
        chance: arm -> measure -> chance level.
    """
    names = ("label", "data", "measure", "batchnorm")
    grids: list[list[float]] = []
    curves = []
    for key, run in lines.group_by(["arm", *names, "seed"], maintain_order=True):
        alphas = [float(f"{alpha:.6g}") for alpha in run["alpha"]]
        if alphas not in grids:
            grids.append(alphas)
        curves.append([*key, grids.index(alphas), _short(run["mean"], 4), _short(run["standard_error"], 2)])
    content = {
        "arms": [list(row) for row in lines.select("arm", "title").unique(maintain_order=True).iter_rows()],
        **{name: lines[name].unique(maintain_order=True).to_list() for name in names},
        "grids": grids,
        "chance": chance,
        "curves": curves,
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _short(values: pl.Series, digits: int) -> list[float | str | None]:
    """Values rounded to significant digits; NaN as null, infinity as ``inf``, because JSON has neither."""
    return [
        None if math.isnan(value) else float(f"{value:.{digits}g}") if math.isfinite(value) else "inf"
        for value in values
    ]


def _cell(row: Mapping[str, Any], column: Column) -> str:
    value = row[column.name]
    if column.kind in ("text", "once"):
        return "" if value is None else str(value)
    if column.kind == "interval":
        if value is None or math.isnan(value):
            return "–" if value is None else "undefined"
        return f"{number(value, column.digits)} to {number(row[column.to], column.digits)}"
    return number(value, column.digits, column.kind == "signed")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("linescape.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def as_json(content: object) -> bytes:
    """JSON for a file, with null for NaN and infinity."""
    return msgspec.json.format(msgspec.json.encode(content), indent=1)
