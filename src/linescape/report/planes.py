"""The page of a plane through networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from linescape import atomic
from linescape.interpolation.surface import Surface
from linescape.report import figures, page
from linescape.report.exclusive import reserved
from linescape.report.page import Column, Folder
from linescape.report.text import caption, number, plain
from linescape.report.verdict import named, value_unit
from linescape.version import VERSION

NUMBERS = [
    Column("series", "series", "once"),
    Column("network", "network"),
    *(Column(name, name, "number", 3) for name in ("x", "y", "mean")),
]
"""Columns of the table of a plane."""


def write_plane(surface: Surface, folder: str | Path, title: str, notes: Sequence[str] = ()) -> Path:
    """Write the report of a plane; returns the page.

    ``index.html``, ``surface.safetensors``, ``plane.json``, ``figures/`` and ``tables/plane.csv``.

    Args:
        surface: from `scan_plane`.
        folder: where to write; an earlier report of linescape's is replaced.
        title: of the page.
        notes: to print beside those of the surface.

    Raises:
        StoreError: the folder cannot be written.
    """
    with reserved(folder):
        surface = _printable(surface)
        output = Folder(folder)
        output.begin()
        surface.save(output.root / "surface.safetensors")
        surface.save(output.root / "plane.json")
        output.table("plane", surface.frame())
        series = list(dict.fromkeys((data, treatment) for data, _, treatment in surface.values))
        several = len({treatment for _, treatment in series}) > 1
        drawings = [
            output.draw(
                f"plane-{index}" if index else "plane",
                figures.contours(surface, data, treatment),
                caption(
                    "plane",
                    random=_random(surface),
                    where=caption("where", data=data, treatment=treatment if several else ""),
                ),
            )
            for index, (data, treatment) in enumerate(sorted(series, key=lambda one: one[0] != "test"))
        ]
        return output.page(
            "plane.html",
            {
                "version": VERSION,
                "title": plain(title),
                "random": _random(surface),
                "facts": _facts(surface),
                "drawings": drawings,
                "numbers": page.table(pl.DataFrame(numbers(surface)), NUMBERS, caption("plane_table")),
                "notes": [*dict.fromkeys([*surface.provenance.get("notes", ()), *plain(list(notes))])],
            },
        )


def _random(surface: Surface) -> bool:
    return len(surface.marks) == 1


def _printable(surface: Surface) -> Surface:
    """The same with names that can be shown; they come from files and may hold anything."""
    keys = plain([list(key) for key in surface.values])
    values = {(data, measure, of): v for (data, measure, of), v in zip(keys, surface.values.values(), strict=True)}
    return Surface(surface.xs, surface.ys, values, plain(dict(surface.marks)), plain(dict(surface.provenance)))


def _facts(surface: Surface) -> list[tuple[str, str]]:
    provenance = surface.provenance
    facts = [("positions", f"{len(surface.xs)} × {len(surface.ys)}")]
    facts += [
        (f"{caption('name', data=data)} examples", f"{count:,}")
        for data, count in provenance.get("examples", {}).items()
    ]
    if _random(surface):
        return [*facts, ("normalised by", str(provenance.get("normalise"))), ("seed", str(provenance.get("seed")))]
    first, second, _ = surface.marks
    return [*facts, (f"distance from {first} to {second}", number(provenance.get("unit")))]


def numbers(surface: Surface) -> list[dict[str, str | float]]:
    """Rows of `NUMBERS`: the means at the networks, and the lowest on the grid."""
    rows: list[dict[str, str | float]] = []
    several = len({treatment for *_, treatment in surface.values}) > 1
    for key in sorted(surface.values, key=lambda key: key[0] != "test"):
        data, measure, treatment = key
        words = named(data, measure) + value_unit(measure, ",") + (f", {treatment}" if several else "")
        for name, (x, y) in surface.marks.items():
            rows.append({"series": words, "network": name, "x": x, "y": y, "mean": surface.at(name, key)})
        lowest = surface.lowest(key)
        place = dict(zip(("x", "y", "mean"), lowest, strict=True))
        rows.append({"series": words, "network": "lowest on the grid", **place})
    return rows


def check_place(folder: str | Path) -> None:
    """Check that a report can be written to a folder, before hours of measuring.

    Raises:
        StoreError: it cannot be written, or has files that linescape did not write.
    """
    with reserved(folder):
        trial = Path(folder) / ".linescape"
        atomic.write(trial, b"", durable=False)
        trial.unlink(missing_ok=True)
