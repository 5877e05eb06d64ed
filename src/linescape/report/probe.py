"""The report of a probe: of two networks or of several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from linescape import atomic
from linescape.errors import StoreError
from linescape.interpolation.curve import Curve
from linescape.interpolation.probing import Probe
from linescape.report import several_networks, two_networks
from linescape.report.exclusive import reserved
from linescape.report.page import UNFINISHED
from linescape.report.text import plain

_DATA = "probe.json"


def check_place(folder: str | Path) -> None:
    """Check that a report can be written to a folder, before hours of measuring.

    Raises:
        StoreError: it cannot be written, or contains another page.
    """
    folder = Path(folder)
    with reserved(folder):
        page = folder / "index.html"
        if page.is_file() and not (folder / _DATA).exists() and page.read_bytes() != UNFINISHED:
            raise StoreError(
                f"{folder} contains an index.html that is not the report of a probe and would be replaced. "
                "Name another folder."
            )
        trial = folder / f".linescape{atomic.SUFFIX}"
        atomic.write(trial, b"", durable=False)
        trial.unlink(missing_ok=True)


def write_probe(
    probe: Probe,
    folder: str | Path,
    title: str,
    notes: Sequence[str] = (),
    classes: int | None = None,
    smallest_effect: float | Mapping[str, float] | None = None,
) -> Path:
    """Write the report of a probe: ``index.html``, ``probe.json``, ``figures/`` and ``tables/``; returns the page.

    Args:
        probe: the probe.
        folder: where to write; a report of an earlier probe is replaced.
        title: of the page.
        notes: to print beside the probe's own notes.
        classes: number of classes, to draw the chance level.
        smallest_effect: rises up to this height matter to nobody; as for `Probe.summary`.

    Raises:
        RecipeError, MeasureError: as `Probe.summary`.
        StoreError: the folder cannot be written.
    """
    with reserved(folder):
        check_place(folder)
        before = _linked(Path(folder) / "index.html")
        write = several_networks.write if probe.pairs else two_networks.write
        written = write(printable_probe(probe), folder, plain(title), plain(list(notes)), classes, smallest_effect)
        for file in before - _linked(written):  # an earlier report may have had other lines
            (Path(folder) / file).unlink(missing_ok=True)
    return written


def printable_probe(probe: Probe) -> Probe:
    """The same with names that can be shown; they come from files and may hold anything."""
    lines = {**probe.curves, **probe.beside}
    names = [probe.pairs, list(probe.notes), {label: list(curve.values) for label, curve in lines.items()}]
    content = [*names, list(probe.distances), [curve.provenance for curve in lines.values()]]
    shown = plain(content)
    if shown == content:
        return probe
    pairs, notes, series, groups, provenances = shown
    curves = {
        label: Curve(curve.alphas, dict(zip(keys, curve.values.values(), strict=True)), provenance)
        for (label, keys), curve, provenance in zip(series.items(), lines.values(), provenances, strict=True)
    }
    beside = {label: curves.pop(label) for label in list(curves)[len(probe.curves) :]}
    return Probe(curves, dict(zip(groups, probe.distances.values(), strict=True)), tuple(notes), pairs, beside)


def _linked(page: Path) -> set[str]:
    """The figures and tables that a page refers to."""
    if not page.exists():
        return set()
    return set(re.findall(r"(?:figures|tables)/[\w-]+\.\w+", page.read_text(encoding="utf-8", errors="replace")))
