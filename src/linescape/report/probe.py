"""The report of a probe: of two networks or of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from linescape.probe import Probe
from linescape.report import several_networks, two_networks


def write_probe(
    probe: Probe, folder: str | Path, title: str, notes: Sequence[str] = (), classes: int | None = None
) -> Path:
    """Write the report of a probe: ``index.html``, ``probe.json``, ``figures/`` and ``tables/``; returns the page.

    Args:
        probe: what was found.
        folder: where to write; what is there under the same names is replaced.
        title: what the networks are.
        notes: what a reader should know beside the probe's own notes.
        classes: number of classes, to draw the level of guessing.

    Raises:
        StoreError: the folder cannot be written.
    """
    write = several_networks.write if probe.pairs else two_networks.write
    return write(probe, folder, title, notes, classes)
