"""A probe as data frames and files, for two networks and for several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import polars as pl

from linescape import atomic
from linescape.interpolation.probing import Probe
from linescape.interpolation.summary import Summary
from linescape.report import page
from linescape.report.page import Folder
from linescape.report.text import caption
from linescape.report.verdict import in_words, value_unit
from linescape.shape import Estimate
from linescape.shape.definitions import DEFINITIONS


@dataclass(frozen=True)
class ProbeTables:
    """A probe as data frames.

    Attributes:
        probe: the probe.
        summary: its verdict.
        lines: a row for each position and series: as `Curve.frame`, and label; test data first.
        numbers: a row for each shape statistic: line, data, measure, batchnorm, number, value, low, high.
        verdicts: a row for each series of a line of whole networks, and of paths beside: line, data, measure,
            batchnorm, verdict, barrier (height of the hump) with low and high, at (its alpha), smallest_effect.
        blocks: a row for each series of a layer-wise line, what matters most first: block, data, measure, batchnorm;
            lost (when this block alone is set back to the start), share (of the whole gain) and barrier, with low and
            high each; verdict.
        moved: a row for each group or pair: group, distance, relative_distance, distance_per_parameter, parameters.
    """

    probe: Probe
    summary: Summary
    lines: pl.DataFrame
    numbers: pl.DataFrame
    verdicts: pl.DataFrame
    blocks: pl.DataFrame
    moved: pl.DataFrame

    @classmethod
    def of(cls, probe: Probe, smallest_effect: float | Mapping[str, float] | None = None) -> Self:
        """The data frames of a probe; `smallest_effect` as for `Probe.summary`."""
        summary, curves = probe.summary(smallest_effect), {**probe.curves, **probe.beside}
        lines = pl.concat(curve.frame().with_columns(label=pl.lit(label)) for label, curve in curves.items())
        moved = [
            {
                "group": group,
                "distance": distance.total,
                "relative_distance": distance.relative,
                "distance_per_parameter": distance.per_parameter,
                "parameters": distance.count,
            }
            for group, distance in probe.distances.items()
        ]
        ordered = pl.concat([lines.filter(pl.col("data") == "test"), lines.filter(pl.col("data") != "test")])
        frames = (ordered, _numbers(probe), _verdicts(summary), _blocks(summary), pl.DataFrame(moved))
        return cls(probe, summary, *frames)

    @property
    def shown(self) -> tuple[str, str]:
        """The data set and BatchNorm treatment that figures of several lines show: the first."""
        return self.lines["data"][0], self.lines["batchnorm"][0]

    @property
    def loss(self) -> str:
        """The measure whose shape is told in words and tables: the cross entropy, or else the first."""
        return self.summary.lines[0].loss.measure

    @property
    def measures(self) -> dict[str, str]:
        """The measures that are shown, `loss` and the error if there is one -> their name and unit in words."""
        error = self.summary.lines[0].error
        shown = (self.loss, *((error.measure,) if error else ()))
        return {measure: in_words(measure) + value_unit(measure, ",") for measure in shown}

    @property
    def unit(self) -> str:
        """The unit of `loss`, as text; empty where it has none."""
        return value_unit(self.loss).strip()

    def labelled(self, statistic: str) -> str:
        """The label of a statistic of `loss`, with its unit."""
        return ", ".join(filter(None, (DEFINITIONS[statistic].label, self.unit)))

    @property
    def where(self) -> str:
        """`shown` in words."""
        data, treatment = self.shown
        return caption("where", data=data, treatment=treatment if self.probe.treatments else "")

    @property
    def walks(self) -> pl.DataFrame:
        """A row for each line: how it was evaluated."""
        rows = [
            {
                **{name: curve.provenance.get(name) for name in ("linescape", "torch", "python", "device", "seconds")},
                "dtype": curve.provenance.get("precision", curve.provenance.get("dtype")),
                "batchnorm": ", ".join(curve.provenance.get("batchnorm", ())),
                "positions": len(curve.alphas),
                "test_examples": curve.provenance.get("examples", {}).get("test"),
                "train_examples": curve.provenance.get("examples", {}).get("train"),
            }
            for curve in self.probe.curves.values()
        ]
        return pl.DataFrame(rows)

    def write(self, output: Folder, title: str, notes: Sequence[str]) -> None:
        """Write ``tables/`` and ``probe.json``.

        Raises:
            StoreError: a file cannot be written.
        """
        tables = {"lines": self.lines, "numbers": self.numbers, "distances": self.moved, "verdicts": self.verdicts}
        for name, frame in (tables | ({"blocks": self.blocks} if self.blocks.height else {})).items():
            output.table(name, frame)
        content = {
            "title": title,
            "summary": self.summary.to_dict(),
            "lines": {
                label: {"rows": curve.frame().to_dicts(), "provenance": curve.provenance}
                for label, curve in (*self.probe.curves.items(), *self.probe.beside.items())
            },
            "numbers": self.numbers.to_dicts(),
            "blocks": self.blocks.to_dicts(),
            "distances": self.moved.to_dicts(),
            "notes": notes,
        }
        atomic.write(output.root / "probe.json", page.as_json(content))

    def explorer(self, classes: int | None) -> str:
        """The curves of the page's explorer."""
        level = {"cross_entropy": math.log(classes), "error": 100 * (1 - 1 / classes)} if classes else {}
        lines = self.lines.with_columns(arm=pl.lit("own"), title=pl.lit("this line"), seed=pl.lit(None, pl.Int64))
        return page.explorer(lines, {"own": level})


def _numbers(probe: Probe) -> pl.DataFrame:
    rows = [
        {
            "line": line,
            "data": data,
            "measure": measure,
            "batchnorm": treatment,
            "number": name,
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
        }
        for (line, data, measure, treatment), statistics in probe.statistics.items()
        for name, estimate in statistics.items()
    ]
    words = ("line", "data", "measure", "batchnorm", "number")
    schema = {**dict.fromkeys(words, pl.String), **dict.fromkeys(("value", "low", "high"), pl.Float64)}
    return pl.DataFrame(rows, schema=schema)


def _verdicts(summary: Summary) -> pl.DataFrame:
    rows: list[dict[str, str | float | None]] = []
    for line in (*summary.lines, *summary.beside):
        for series in line.series:
            verdict = series.verdict
            rows.append(
                {
                    "line": line.label,
                    "data": series.data,
                    "measure": series.measure,
                    "batchnorm": series.batchnorm,
                    "verdict": verdict.kind,
                    **_columns("barrier", verdict.height),
                    "at": verdict.places["top"].alpha if "top" in verdict.places else None,
                    "smallest_effect": verdict.smallest_effect,
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _blocks(summary: Summary) -> pl.DataFrame:
    rows = [
        {
            "block": block.block,
            "data": block.data,
            "measure": block.measure,
            "batchnorm": block.batchnorm,
            **_columns("lost", block.lost),
            **_columns("share", block.share),
            **_columns("barrier", block.verdict.height),
            "verdict": block.verdict.kind,
        }
        for block in summary.blocks
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """An estimate as columns: its name, and with _low and _high."""
    ends = (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
