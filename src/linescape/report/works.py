"""Tables and figures of the answers of `linescape.analysis.works`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from linescape.analysis.answers import Answer
from linescape.analysis.tables import means
from linescape.report import figures
from linescape.report.figures import heatmaps
from linescape.report.figures.averaged_layers import layers_averaged
from linescape.report.figures.layer_map import layer_cells
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
    "layers-set-back": [
        Column("title", "network", "once"),
        Column("layer", "layer", "once"),
        Column("to", "set back to"),
        Column("runs", "runs", "number", 0),
        Column("lost", "test error, points", "signed"),
        Column("low", "95 %", "interval", to="high"),
        Column("low_all", "95 %, corrected", "interval", to="high_all"),
        Column("loss", "test loss, nats", "signed"),
    ],
    "distance-and-robustness": [
        Column("title", "network"),
        Column("layers", "layers", "number", 0),
        Column("runs", "runs", "number", 0),
        Column("correlation", "ρ", "number"),
        Column("low", "95 %", "interval", to="high"),
        Column("low_all", "95 %, corrected", "interval", to="high_all"),
    ],
    "modules": [
        Column("module", "module"),
        Column("runs", "runs", "number", 0),
        Column("alpha", "smallest α", "number"),
        Column("alpha_low", "95 %, corrected", "interval", to="alpha_high"),
        Column("alpha_least", "range over runs", "interval", to="alpha_most"),
        Column("lost", "training loss lost at α = 0, nats", "number"),
        Column("lost_low", "95 %, corrected", "interval", to="lost_high"),
        Column("moved", "α × distance", "number"),
    ],
    "averaged-layers": [
        Column("title", "pairs", "once"),
        Column("what", "averaged", "once"),
        Column("layer", "layer"),
        Column("layers", "layers", "number", 0),
        Column("runs", "pairs", "number", 0),
        Column("barrier", "barrier, nats", "number"),
        Column("low", "95 %", "interval", to="high"),
        Column("low_all", "95 %, corrected", "interval", to="high_all"),
        Column("error", "on test error, points", "number"),
    ],
    "transfer-barriers": [
        Column("title", "pairs"),
        Column("runs", "pairs", "number", 0),
        Column("barrier", "barrier, points", "number"),
        Column("low", "95 %", "interval", to="high"),
        Column("low_all", "95 %, corrected", "interval", to="high_all"),
        Column("loss", "on test loss, nats", "number"),
    ],
    "worth-of-pretraining": [
        Column("step", "side of shuffled blocks", "number", 0),
        Column("runs", "runs", "number", 0),
        Column("finetuned", "fine-tuned, %", "number"),
        Column("random", "from scratch, %", "number"),
        Column("difference", "difference, points", "signed"),
        Column("low", "95 %", "interval", to="high"),
        Column("low_all", "95 %, corrected", "interval", to="high_all"),
    ],
}


def _instability(answer: Answer, output: Folder) -> list[Drawing]:
    threshold = answer.facts["threshold"]
    words = "instability: highest test error between two copies − mean of both, points"
    figure = against_steps(
        answer.numbers, answer.facts["of_runs"], "instability", words, (threshold, f"stable below {threshold:g}")
    )
    return [output.draw("instability", figure, caption("instability"))]


def _set_back(answer: Answer, output: Folder) -> list[Drawing]:
    words = "test error gained when one layer is set back, points"
    beside = ("distance", "distance moved / √n")
    return [
        output.draw(
            f"layers-set-back-{arm}",
            layer_cells(of_arm, "to", "lost", words, beside),
            caption("set_back_to", title=of_arm["title"][0]),
        )
        for (arm,), of_arm in answer.numbers.group_by(["arm"], maintain_order=True)
    ]


def _modules(answer: Answer, output: Folder) -> list[Drawing]:
    marks = {row["module"]: row["alpha"] for row in answer.facts["rows"]}
    figure = heatmaps.layers(answer.facts["lines"], answer.facts["chance"], marks)
    return [output.draw("modules", figure, caption("modules", within=answer.facts["within"]))]


def _averaged(answer: Answer, output: Folder) -> list[Drawing]:
    return [
        output.draw(
            f"averaged-layers-{arm}",
            layers_averaged(of_arm, answer.facts["tolerance"]),
            caption("averaged_layers", title=of_arm["title"][0]),
        )
        for (arm,), of_arm in answer.numbers.group_by(["arm"], maintain_order=True)
    ]


def _transfer(answer: Answer, output: Folder) -> list[Drawing]:
    between = answer.facts["lines"]
    drawn = figures.parts(between, means(between), answer.facts["runs"], measure="error", columns=4)
    return [output.draw("transfer-barriers", drawn, caption("transfer_barriers"))]


def _worth(answer: Answer, output: Folder) -> list[Drawing]:
    words = "test accuracy, fine-tuned − from scratch, points"
    none = answer.numbers.select("step", "difference").clear()
    figure = against_steps(answer.numbers, none, "difference", words, axis="side of shuffled blocks, pixels (0: none)")
    return [output.draw("worth-of-pretraining", figure, caption("worth_of_pretraining"))]


DRAWINGS: Mapping[str, Callable[[Answer, Folder], list[Drawing]]] = {
    "instability": _instability,
    "layers-set-back": _set_back,
    "modules": _modules,
    "averaged-layers": _averaged,
    "transfer-barriers": _transfer,
    "worth-of-pretraining": _worth,
}
"""How the figures of an answer are drawn, by its name."""
