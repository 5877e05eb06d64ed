"""Writes the tables and figures of docs/replication.md from benchmarks/results/cifar10-narrow/ and gpu/.

    python -m benchmarks.replication

No number on that page is typed by hand. A run counts as soon as `benchmarks.replicate` has written its results. The
unit of every interval is the run: 95 % t intervals over seeds, of differences between two arms paired by seed, since
T-All but RI-k of a seed starts from that seed's base training. With one run there is no interval, and every finding
about trainings is inconclusive.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from benchmarks.replicate import RESULTS
from linescape import shape
from linescape.analysis import inference
from linescape.report.figures.panel import BLUE, INK, RULE, SOFT, STYLE
from linescape.shape import TOLERANCE, Estimate
from linescape.studies.vlaar2022 import published

ROOT = Path(__file__).parents[1]
GPU = RESULTS.parent / "gpu"
PAGE = ROOT / "docs" / "replication.md"
FIGURES = ROOT / "docs" / "figures"
MARKED = re.compile(r"(<!-- (\w+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
ARMS = {
    "base": "from scratch",
    "partial-1": "T-All but RI-1",
    "partial-2": "T-All but RI-2",
    "partial-3": "T-All but RI-3",
    "partial-4": "T-All but RI-4",
    "double-length": "from scratch, twice the epochs",
    "no-weight-decay": "no weight decay",
    "adversarial": "random labels first, no weight decay",
    "data-20": "20 % of the data",
}
BLOCKS = ("layer1", "layer2", "layer3", "layer4", "fc")
CHANCE = math.log(10)


@dataclass(frozen=True)
class Run:
    """One complete run: its row of `tables.Results.runs`, and its mean curves by label on test cross entropy."""

    arm: str
    seed: int
    row: Mapping[str, Any]
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def statistic(self, label: str, name: str) -> float:
        """A statistic of one of the run's lines; NaN where that line was not measured."""
        if label not in self.curves:
            return math.nan
        alphas, losses = self.curves[label]
        return _STATISTICS[name](alphas, losses)


_STATISTICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "hump": lambda alphas, losses: float(shape.hump(alphas, losses)),
    "plateau": lambda alphas, losses: float(shape.plateau_loss(alphas, losses, CHANCE)),
    "start above end": lambda _, losses: float(losses[0] - losses[-1]),
    "depth below end": lambda alphas, losses: float(shape.tail_rise(alphas, losses)),
}


def folders(scale: str) -> list[Path]:
    """Where runs of a scale are: those of the source's own setting are made on GPUs, a folder for each device."""
    return sorted(GPU.glob("*/cifar10")) if scale == "cifar10" else [RESULTS / scale]


def read(*folders: Path) -> list[Run]:
    """The complete runs in some folders; of a run that was made twice, the first."""
    found: dict[tuple[str, int], Run] = {}
    for place in sorted(run for folder in folders for run in folder.glob("*/run.json")):
        row = json.loads(place.read_text())["run"]
        lines = pl.read_csv(place.parent / "lines.csv").filter(
            (pl.col("data") == "test") & (pl.col("measure") == "cross_entropy")
        )
        curves = {
            str(label): (own["alpha"].to_numpy(), own["mean"].to_numpy())
            for (label,), own in lines.group_by(["label"], maintain_order=True)
        }
        found.setdefault((row["arm"], row["seed"]), Run(row["arm"], row["seed"], row, curves))
    return list(found.values())


def of(runs: Sequence[Run], arm: str) -> dict[int, Run]:
    """The runs of an arm by seed."""
    return {run.seed: run for run in runs if run.arm == arm}


# -- tables ------------------------------------------------------------------------------------------------------


def main() -> None:
    writers: dict[str, Callable[[list[Run], str], Iterator[str]]] = {"summary": summary, "results": results}

    def fill(found: re.Match[str]) -> str:
        runs = read(*folders(found[3]))
        body = list(writers[found[2]](runs, found[3])) if runs else ["No run is complete yet."]
        return found[1] + "\n" + "\n".join(body).strip() + "\n\n" + found[4]

    PAGE.write_text(MARKED.sub(fill, PAGE.read_text()))


def summary(runs: list[Run], scale: str) -> Iterator[str]:
    """How many findings hold so far."""
    verdicts = Counter(claim.verdict() for claim in claims(runs))
    held, failed = verdicts["holds"], verdicts["does not hold"]
    yield (
        f"{count(len(runs))} of {len({run.arm for run in runs})} arms are complete at the scale `{scale}`. Of the "
        f"{verdicts.total()} findings that are tested by a mean over runs, {held} hold, {failed} do not, and "
        f"{verdicts.total() - held - failed} are inconclusive."
    )


def results(runs: list[Run], scale: str) -> Iterator[str]:
    """All that is shown of a scale."""
    parts = {"Findings": findings(runs), "Test accuracy": accuracy(runs), "Curves": curves(runs, scale)}
    for heading, body in parts.items():
        yield from (f"### {heading}", "", *body, "")


def accuracy(runs: list[Run]) -> Iterator[str]:
    stated = {entry.arm: entry for entry in published.ACCURACIES}
    base = of(runs, "base")
    yield "| arm | runs | test accuracy, % | minus from scratch, points | published, % | minus published from scratch |"
    yield "|---|---|---|---|---|---|"
    for arm, title in ARMS.items():
        own = of(runs, arm)
        if not own:
            continue
        entry = stated.get(arm)
        there = "" if entry is None else f"{entry.value}" + ("" if entry.spread is None else f" ± {entry.spread}")
        apart = "" if entry is None or arm == "base" else signed(entry.value - stated["base"].value)
        paired = difference(own, base, lambda run: float(run.row["test_accuracy"]))
        yield (
            f"| {title} | {len(own)} | {words(inference.mean([run.row['test_accuracy'] for run in own.values()]))} "
            f"| {'' if arm == 'base' else words(paired, sign=True)} | {there} | {apart} |"
        )


def curves(runs: list[Run], scale: str) -> Iterator[str]:
    base = of(runs, "base")
    if not base:
        yield "The base training is not complete yet."
        return
    lines = [line for line in published.LINES if line.arm == "base"]
    draw(base, lines, FIGURES / f"replication-{scale}.png")
    yield (
        "![Test loss along the lines of the whole network and of each block alone, published and measured]"
        f"(figures/replication-{scale}.png)"
    )
    yield ""
    yield (
        f"Thick lines are the mean of our {count(len(base))}, thin ones single runs. Circles are the published mean of "
        "10 runs, read off the authors' figures. The dotted line is the loss at chance level."
    )
    yield ""
    yield "Test loss in nats, ours minus the published one where they are compared:"
    yield ""
    yield "| line | RMSE | largest difference | at alpha | loss at alpha = 0 (published) | at alpha = 1 (published) |"
    yield "|---|---|---|---|---|---|"
    for line in lines:
        own = [run.curves[line.label] for run in base.values() if line.label in run.curves]
        if not own:
            continue
        alphas, mean = own[0][0], np.mean([losses for _, losses in own], axis=0)
        gaps = np.interp(line.alphas, alphas, mean) - np.array(line.losses)
        worst = int(np.abs(gaps).argmax())
        yield (
            f"| {line.label} | {math.sqrt(float(np.mean(gaps**2))):.2f} | {signed(gaps[worst])} "
            f"| {line.alphas[worst]:g} | {mean[0]:.2f} ({line.losses[0]:.2f}) "
            f"| {mean[-1]:.3f} ({line.losses[-1]:.3f}) |"
        )


# -- findings ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A finding of the source as a number whose sign or size decides it.

    Attributes:
        words: what the source found.
        number: what is measured here, in words.
        estimate: its mean over runs.
        low, high: the finding holds if the interval lies between them, and does not if it lies outside.
    """

    words: str
    number: str
    estimate: Estimate
    low: float = -math.inf
    high: float = math.inf

    def verdict(self) -> str:
        """Holds, does not hold, or inconclusive."""
        found = self.estimate
        if math.isnan(found.low):
            return "not measured yet" if math.isnan(found.value) else "inconclusive (no interval)"
        if self.low < found.low and found.high < self.high:
            return "holds"
        return "does not hold" if found.high <= self.low or found.low >= self.high else "inconclusive"


def claims(runs: list[Run]) -> Iterator[Claim]:
    """Each finding of the source that these arms can speak about."""
    arms = {arm: of(runs, arm) for arm in ARMS}
    base, undecayed = arms["base"], arms["no-weight-decay"]

    def accuracy_of(run: Run) -> float:
        return float(run.row["test_accuracy"])

    def over(own: Mapping[int, Run], label: str, name: str) -> Estimate:
        return inference.mean([run.statistic(label, name) for run in own.values()])

    def apart(arm: str, other: Mapping[int, Run], label: str, name: str) -> Estimate:
        return difference(arms[arm], other, lambda run: run.statistic(label, name))

    yield Claim(
        "The whole line stays at chance level for most of its length (0.93 of it).",
        "plateau of the base line, in alpha; above 0.5",
        over(base, "whole", "plateau"),
        low=0.5,
    )
    yield Claim(
        "The whole line has no hump (at most 0.03 nats) with weight decay 5e-4.",
        f"hump of the base line, nats; below {TOLERANCE:g}",
        over(base, "whole", "hump"),
        high=TOLERANCE,
    )
    yield Claim(
        "Without weight decay about half of the lines have a hump.",
        f"hump without weight decay, nats; above {TOLERANCE:g}",
        over(undecayed, "whole", "hump"),
        low=TOLERANCE,
    )
    yield Claim(
        "Weight decay raises test accuracy, though it lengthens the plateau.",
        "test accuracy with minus without, points; above 0",
        difference(base, undecayed, accuracy_of),
        low=0.0,
    )
    for k in (1, 2, 4):
        yield Claim(
            f"T-All but RI-{k} is less accurate than training from scratch.",
            "test accuracy minus from scratch, points; below 0",
            difference(arms[f"partial-{k}"], base, accuracy_of),
            high=0.0,
        )
    yield Claim(
        "T-All but RI-3 is about as accurate (92.35 against 92.2 %).",
        "test accuracy minus from scratch, points; within 0.5",
        difference(arms["partial-3"], base, accuracy_of),
        -0.5,
        0.5,
    )
    for block in ("layer2", "layer3"):
        yield Claim(
            f"The line of {block} alone has a late bump, though the whole line has none.",
            f"hump of the line of {block}, nats; above {TOLERANCE:g}",
            over(base, block, "hump"),
            low=TOLERANCE,
        )
    yield Claim(
        "The line of fc alone goes below the final loss (0.26 against 0.34 nats).",
        "final loss minus the lowest of the line of fc, nats; above 0",
        over(base, "fc", "depth below end"),
        low=0.0,
    )
    yield Claim(
        "Early blocks matter most: set back to their start, layer1 and layer2 lose more than layer4 and fc.",
        "smaller loss of layer1 and layer2 at alpha = 0 minus the larger of layer4 and fc, nats; above 0",
        inference.mean(
            [
                min(run.statistic(name, "start above end") for name in ("layer1", "layer2"))
                - max(run.statistic(name, "start above end") for name in ("layer4", "fc"))
                for run in base.values()
            ]
        ),
        low=0.0,
    )
    yield Claim(
        "Adversarial starts raise the barrier.",
        "hump minus that without weight decay, nats; above 0",
        apart("adversarial", undecayed, "whole", "hump"),
        low=0.0,
    )
    yield Claim(
        "Adversarial starts barely change test accuracy.",
        "test accuracy minus that without weight decay, points; within 1",
        difference(arms["adversarial"], undecayed, accuracy_of),
        -1.0,
        1.0,
    )
    yield Claim(
        "With 20 % of the data the network is worse.",
        "test accuracy minus from scratch, points; below 0",
        difference(arms["data-20"], base, accuracy_of),
        high=0.0,
    )
    yield Claim(
        "With 20 % of the data the line falls more gradually.",
        "plateau minus that from scratch, in alpha; below 0",
        apart("data-20", base, "whole", "plateau"),
        high=0.0,
    )


def findings(runs: list[Run]) -> Iterator[str]:
    yield "| the source found | measured here | mean (95 % interval) | verdict |"
    yield "|---|---|---|---|"
    for claim in claims(runs):
        yield f"| {claim.words} | {claim.number} | {words(claim.estimate)} | {claim.verdict()} |"
    yield ""
    yield from _across(runs)


def _across(runs: list[Run]) -> Iterator[str]:
    """The source's two main claims, which are about runs of many arms."""
    arms = [run.arm for run in runs]
    humps = [run.statistic("whole", "hump") for run in runs]
    moved = [float(run.row["relative_distance"]) for run in runs]
    risen = [hump > TOLERANCE for hump in humps]
    rho = inference.rank_correlation(humps, [float(run.row["test_accuracy"]) for run in runs], arms)
    area = inference.auc(moved, risen, arms)
    scope = f"{count(len(runs))} of {len(set(arms))} arms"
    yield (
        f"- *The shape of the line is no reliable indicator of test accuracy.* Rank correlation of the hump with test "
        f"accuracy over {scope}: {words(rho)}. {_includes(rho, 0.0)}"
    )
    yield (
        f"- *The distance moved is no reliable indicator of a line that is not monotone.* AUC of the relative distance "
        f"for humps above {TOLERANCE:g} nats over {scope}, {sum(risen)} of them with such a hump: {words(area)}. "
        f"{_includes(area, 0.5)}"
    )


def _includes(found: Estimate, none: float) -> str:
    if math.isnan(found.low):
        return "Inconclusive: too few arms or runs for an interval."
    if found.low <= none <= found.high:
        return f"Inconclusive: the interval includes {none:g}."
    return f"The interval excludes {none:g}: here there is such a relation."


# -- words and figures -------------------------------------------------------------------------------------------


def difference(own: Mapping[int, Run], base: Mapping[int, Run], value: Callable[[Run], float]) -> Estimate:
    """The mean over seeds of one arm's value minus the other's, with its t interval."""
    return inference.mean([value(own[seed]) - value(base[seed]) for seed in sorted(own) if seed in base])


def words(found: Estimate, sign: bool = False) -> str:
    """An estimate with its interval; empty where nothing is measured."""
    digits = 2 if sign or abs(found.value) >= 0.01 else 4  # a small number is not shown as none
    show = signed if sign else lambda value: f"{value:.{digits}f}"
    if math.isnan(found.value):
        return ""
    return show(found.value) + ("" if math.isnan(found.low) else f" ({show(found.low)} to {show(found.high)})")


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.2f}"


def count(runs: int) -> str:
    """A number of runs in words."""
    return f"{runs} run{'s' * (runs != 1)}"


def draw(base: Mapping[int, Run], lines: Sequence[published.Line], place: Path) -> None:
    """Single runs, their mean and the published points, a panel a line."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(10, 5.6), layout="constrained", sharex=True)
        for panel, line in zip(axes.flat, lines, strict=True):
            own = [run.curves[line.label] for run in base.values() if line.label in run.curves]
            for alphas, losses in own:
                panel.plot(alphas, losses, color=BLUE, lw=0.8, alpha=0.5)
            panel.plot(own[0][0], np.mean([losses for _, losses in own], axis=0), color=BLUE, lw=1.8, label="measured")
            panel.plot(line.alphas, line.losses, "o--", color=INK, mfc="none", ms=4, lw=0.6, label="published")
            panel.axhline(CHANCE, color=RULE, lw=0.8, ls=":")
            panel.set_title("whole network" if line.label == "whole" else f"{line.label} alone", loc="left", color=INK)
            panel.set_ylim(bottom=0)
            panel.spines[["top", "right"]].set_visible(False)
            panel.tick_params(colors=SOFT)
        axes[0, 0].legend(frameon=False)
        for panel in axes[-1]:
            panel.set_xlabel("alpha (0 = start, 1 = end)")
        for panel in axes[:, 0]:
            panel.set_ylabel("test loss, nats")
        place.parent.mkdir(exist_ok=True)
        figure.savefig(place, dpi=110)
        plt.close(figure)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # it takes no arguments but --help
    main()
