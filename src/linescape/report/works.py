"""Tables and figures of the answers of `linescape.analysis.works`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from linescape.analysis.answers import Answer
from linescape.report.figures.over_training import against_steps
from linescape.report.page import Column, Drawing, Folder
from linescape.report.text import caption

COLUMNS: dict[str, list[Column]] = {
    "instability": [
        Column("step", "step", "number", 0),
        Column("runs", "runs", "number", 0),
        Column("pairs", "pairs", "number", 0),
        Column("instability", "instability, points", "number"),
        Column("low", "95 %", "interval", to="high"),
        Column("loss", "on test loss, nats", "number"),
    ],
}


def _instability(answer: Answer, output: Folder) -> list[Drawing]:
    threshold = answer.facts["threshold"]
    words = "instability: highest test error between two copies − mean of both, points"
    figure = against_steps(
        answer.numbers, answer.facts["of_runs"], "instability", words, (threshold, f"stable below {threshold:g}")
    )
    return [output.draw("instability", figure, caption("instability"))]


DRAWINGS: Mapping[str, Callable[[Answer, Folder], list[Drawing]]] = {"instability": _instability}
"""How the figures of an answer are drawn, by its name."""
