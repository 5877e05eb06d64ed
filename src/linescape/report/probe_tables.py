"""A probe as data frames and files, for two networks and for several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import polars as pl
from markupsafe import Markup

from linescape import atomic
from linescape.interpolation.probing import Probe
from linescape.report import page
from linescape.report.page import Folder
from linescape.report.text import caption
from linescape.shape.definitions import DEFINITIONS


@dataclass(frozen=True)
class ProbeTables:
    """A probe as data frames.

    Attributes:
        probe: the probe.
        lines: a row for each position and series: as `Curve.frame`, and label; test data first.
        numbers: a row for each shape statistic: line, data, measure, batchnorm, number, value, low, high.
        moved: a row for each group or pair: group, distance, relative_distance, distance_per_parameter, parameters.
    """

    probe: Probe
    lines: pl.DataFrame
    numbers: pl.DataFrame
    moved: pl.DataFrame

    @classmethod
    def of(cls, probe: Probe) -> Self:
        """The data frames of a probe."""
        curves = {**probe.curves, **probe.beside}
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
        return cls(probe, ordered, _numbers(probe), pl.DataFrame(moved))

    @property
    def shown(self) -> tuple[str, str]:
        """The data set and BatchNorm treatment that figures of several lines show: the first."""
        return self.lines["data"][0], self.lines["batchnorm"][0]

    @property
    def loss(self) -> str:
        """The measure whose shape is told in words and tables: the cross entropy, or else the first."""
        measures = self.lines["measure"].unique(maintain_order=True).to_list()
        return "cross_entropy" if "cross_entropy" in measures else str(measures[0])

    @property
    def unit(self) -> str:
        """The unit of `loss`, as text; empty where it has none."""
        return "%" if self.loss in ("error", "binary_error") else "nats" if self.loss.endswith("cross_entropy") else ""

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
        for name, frame in (("lines", self.lines), ("numbers", self.numbers), ("distances", self.moved)):
            output.table(name, frame)
        content = {
            "title": title,
            "lines": {
                label: {"rows": curve.frame().to_dicts(), "provenance": curve.provenance}
                for label, curve in (*self.probe.curves.items(), *self.probe.beside.items())
            },
            "numbers": self.numbers.to_dicts(),
            "distances": self.moved.to_dicts(),
            "notes": notes,
        }
        atomic.write(output.root / "probe.json", page.as_json(content))

    def explorer(self, classes: int | None) -> Markup:
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
