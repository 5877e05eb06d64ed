"""Surface: the result of measuring a plane. Positions, per-example values, and provenance; to and from files."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress

from linescape import atomic, presentation, tensor_file
from linescape.errors import AlphaError, MeasureError, StateError, StoreError, check_type, suggest
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.planes import Plane
from linescape.geometry.tour import Tour
from linescape.interpolation.curve import Curve, Key
from linescape.interpolation.options import DEFAULT, ScanOptions
from linescape.interpolation.scanning import scan

if TYPE_CHECKING:
    import polars as pl

_FORMAT = "linescape-surface-1"

POINTS = 25
"""Positions on each side of a grid by default."""


class Lowest(NamedTuple):
    """Where a mean is lowest on a surface, and its value there."""

    x: float
    y: float
    value: float


@dataclass(frozen=True, eq=False, repr=False)
class Surface:
    """The result of `scan_plane`.

    Attributes:
        xs: first coordinates ``(n,)``, rising.
        ys: second coordinates ``(m,)``, rising.
        values: (data, measure, batchnorm) -> per-example values ``(m, n, examples)``, float32 or float64; NaN at
            positions without a network, see `scan_plane`.
        marks: name of each network in the plane -> its coordinates (x, y), which are positions of the grid.
        provenance: as of a `Curve`, and the plane (JSON-able).
    """

    xs: np.ndarray
    ys: np.ndarray
    values: Mapping[Key, np.ndarray]
    marks: Mapping[str, tuple[float, float]]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        series = ", ".join("/".join(key) for key in self.values)
        return f"<Surface of {len(self.xs)} x {len(self.ys)} positions: {series}>"

    def _repr_html_(self) -> str:
        html: str = presentation.report("notebook").of_surface(self)
        return html

    def __getitem__(self, key: str | tuple[str, ...]) -> np.ndarray:
        """Means over the examples ``(m, n)`` in float64, as ``surface["test", "cross_entropy"]``.

        Coordinates with one choice may be left out.

        Raises:
            MeasureError: there is no such series, or more than one.
        """
        parts = (key,) if isinstance(key, str) else key
        matching = [series for series in self.values if all(part in series for part in parts)]
        if len(matching) != 1:
            known = ["/".join(series) for series in (matching or self.values)]
            name = "/".join(parts)
            raise MeasureError(
                f"{len(matching)} series of this surface match {name!r}; name one. "
                + (f"They are: {', '.join(known)}." if matching else suggest(name, known))
            )
        return np.asarray(self.values[matching[0]].mean(axis=2, dtype=np.float64))

    def at(self, name: str, key: str | tuple[str, ...]) -> float:
        """The mean of a series at one of the networks.

        Raises:
            MeasureError: there is no such network or series.
        """
        if name not in self.marks:
            raise MeasureError(f"There is no network {name!r} in this plane. {suggest(name, self.marks)}")
        x, y = self.marks[name]
        return float(self[key][int(np.flatnonzero(self.ys == y)[0]), int(np.flatnonzero(self.xs == x)[0])])

    def lowest(self, key: str | tuple[str, ...]) -> Lowest:
        """Where the mean of a series is lowest; all NaN if it is finite nowhere."""
        means = self[key]
        if not np.isfinite(means).any():
            return Lowest(math.nan, math.nan, math.nan)
        row, column = np.unravel_index(int(np.nanargmin(means)), means.shape)
        return Lowest(float(self.xs[column]), float(self.ys[row]), float(means[row, column]))

    def frame(self) -> pl.DataFrame:
        """A row for each position and series.

        Columns: x, y, data, measure, batchnorm, mean, standard_error, examples, not_finite, network (its name, or
        null).
        """
        import polars as pl  # which takes half a second

        names = {place: name for name, place in self.marks.items()}
        rows: list[pl.DataFrame] = []
        for (data, measure, treatment), values in self.values.items():
            for y, of_row in zip(self.ys.tolist(), values, strict=True):
                curve = Curve(self.xs, {(data, measure, treatment): of_row}).frame()
                network = pl.Series("network", [names.get((x, y)) for x in self.xs.tolist()], pl.String)
                rows.append(curve.rename({"alpha": "x"}).with_columns(network, y=pl.lit(y)))
        frame = pl.concat(rows)
        return frame.select("x", "y", *(name for name in frame.columns if name not in ("x", "y")))

    def plot(
        self, data: str | None = None, batchnorm: str | None = None, style: Mapping[str, Any] | None = None
    ) -> Any:
        """Contours with the networks marked: a figure of matplotlib and its axes.

        Args:
            data: the data set to show; ``test`` by default, or else the first.
            batchnorm: the treatment of BatchNorm to show; by default the first.
            style: as for `Curve.plot`.

        Raises:
            RecipeError: a setting of `style` is unknown.
        """
        return presentation.report("plots").of_surface(self, data, batchnorm, style)

    def save(self, path: str | Path) -> None:
        """Write the surface; the suffix decides.

        ``.safetensors`` holds everything (read back by `Surface.load`); ``.csv`` and ``.parquet`` hold `frame`;
        ``.json`` holds `frame`'s rows, the marks and the provenance, with null for NaN and infinity.

        Raises:
            StoreError: the suffix is none of these, or the file cannot be written.
        """
        path = Path(path)
        match path.suffix:
            case ".safetensors":
                atomic.write(path, self.to_bytes())
            case ".csv":
                atomic.write(path, self.frame().write_csv().encode())
            case ".parquet":
                buffer = io.BytesIO()
                self.frame().write_parquet(buffer)
                atomic.write(path, buffer.getvalue())
            case ".json":
                content = {"provenance": self.provenance, "marks": self.marks, "rows": self.frame().to_dicts()}
                atomic.write(path, msgspec.json.format(msgspec.json.encode(content), indent=1))
            case other:
                raise StoreError(f"{path} ends in {other!r}. Use .safetensors, .csv, .parquet or .json.")

    def to_bytes(self) -> bytes:
        """Everything, as ``.safetensors`` holds it."""
        arrays = {"xs": self.xs, "ys": self.ys} | {str(i): v for i, v in enumerate(self.values.values())}
        note = {"format": _FORMAT, "series": list(self.values), "marks": self.marks, "provenance": self.provenance}
        return tensor_file.encode_sealed(tensor_file.from_arrays(arrays), note)

    @classmethod
    def from_bytes(cls, content: bytes) -> Surface:
        """What `to_bytes` gave; each bit of it is checked.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: it is damaged, or something else.
        """
        tensors, note = tensor_file.decode_sealed(content)
        values = {tuple(key): tensors[str(i)].numpy() for i, key in enumerate(note["series"])}
        xs, ys = tensors["xs"].numpy(), tensors["ys"].numpy()
        if note["format"] != _FORMAT or {v.shape[:2] for v in values.values()} != {(len(ys), len(xs))}:
            raise ValueError("its parts do not fit together")
        marks = {name: (float(x), float(y)) for name, (x, y) in note["marks"].items()}
        return cls(xs, ys, values, marks, dict(note["provenance"]))

    @classmethod
    def of(cls, curve: Curve, tour: Tour) -> Surface:
        """The surface of a grid that was walked as one path; NaN where there was no network."""
        columns = {x: number for number, x in enumerate(tour.xs.tolist())}
        rows = {y: number for number, y in enumerate(tour.ys.tolist())}
        at = [rows[y] for _, y in tour.places], [columns[x] for x, _ in tour.places]
        shape = (len(tour.ys), len(tour.xs))
        values = {key: np.full((*shape, array.shape[1]), np.nan, array.dtype) for key, array in curve.values.items()}
        for key, array in curve.values.items():
            values[key][at] = array
        return cls(tour.xs, tour.ys, values, tour.plane.marks, {**curve.provenance, **tour.describe()})

    @classmethod
    def load(cls, path: str | Path) -> Surface:
        """Read a surface that `save` wrote as ``.safetensors``; each bit of it is checked.

        Raises:
            StoreError: the file is missing, damaged or no surface.
        """
        try:
            return cls.from_bytes(Path(path).read_bytes())
        except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(
                f"{path} is not a surface that linescape wrote, or is damaged ({error}). Measure it again."
            ) from error


def scan_plane(plane: Plane, evaluator: Evaluator, options: ScanOptions = DEFAULT) -> Surface:
    """Measure a plane on a grid, row by row; each row is scanned as a path, both of its ends checked.

    Outside of the triangle of three networks interpolated running variances of BatchNorm can be below zero. There is no
    network at such positions: they are not measured, NaN in the result, and counted in its notes. With
    ``batchnorm="recalibrate"`` all are measured.

    Args:
        plane: from `linescape.geometry.planes`.
        evaluator: the network and its data.
        options: `alphas` is the least number of positions on each side (25 by default); further `batchnorm`, with
            ``interpolate``, ``recalibrate`` and ``batch``; `keep`, so that a scan that was stopped continues;
            `progress`.

    Raises:
        RecipeError: an argument is of another type.
        AlphaError: the options have positions instead of a number, or `adaptive` or `until`.
        MeasureError: a treatment of BatchNorm refers to the two ends of a line.
        EndsError: a row does not reproduce the networks at its ends.
        DataError, StateError, StoreError: as `scan`.
    """
    check_type(plane, Plane, "The plane", "Give a Plane(a, b, c), or Plane.random(network).")
    check_type(options, ScanOptions, "options", "Give ScanOptions, as in ScanOptions(alphas=25).")
    points = POINTS if options.alphas is None else options.alphas
    if options.economical or not isinstance(points, int | np.integer):
        raise AlphaError(
            "A plane is measured on a whole grid, and `adaptive`, `until` and single positions are for lines. Give "
            "ScanOptions(alphas=25), the number of positions on each side."
        )
    if of_ends := {"start", "end"}.intersection(options.treatments):
        raise MeasureError(
            f"The treatment {min(of_ends)!r} takes BatchNorm's statistics from one end of a line, and a plane has no "
            "ends. Choose interpolate, recalibrate or batch."
        )
    xs, ys = plane.grid(int(points))
    exact = "interpolate" in options.treatments
    rows: list[tuple[int, slice, Curve]] = []
    skipped = 0
    with Progress(console=Console(stderr=True), disable=not _shown(options), transient=True) as bar:
        for number, y in enumerate(bar.track(ys.tolist(), description="Rows of the plane")):
            places = plane.measurable(y, xs.tolist()) if exact else xs.tolist()
            skipped += len(xs) - (len(places) if len(places) > 1 else 0)
            if len(places) > 1:
                row = plane.row(y, places)
                first = xs.tolist().index(places[0])
                curve = scan(row, evaluator, with_changes(options, alphas=row.alphas, progress=False))
                rows.append((number, slice(first, first + len(places)), curve))
    if not rows:
        raise StateError(
            "Running variances of BatchNorm are below zero in the networks themselves, so none can be measured. Their "
            "files are damaged: use other checkpoints."
        )
    values = {
        key: np.full((len(ys), len(xs), array.shape[1]), np.nan, dtype=array.dtype)
        for key, array in rows[0][2].values.items()
    }
    for number, columns, curve in rows:
        for key, array in curve.values.items():
            values[key][number, columns] = array
    return Surface(xs, ys, values, plane.marks, _provenance(plane, [curve for *_, curve in rows], skipped))


def _shown(options: ScanOptions) -> bool:
    return Console(stderr=True).is_terminal if options.progress is None else options.progress


def _provenance(plane: Plane, curves: Sequence[Curve], skipped: int) -> dict[str, Any]:
    """That of the rows together: seconds are added, deviations are the largest, notes are all."""
    of_rows = [curve.provenance for curve in curves]
    notes = dict.fromkeys(note for row in of_rows for note in row["notes"])
    if skipped:
        notes[
            f"{skipped} positions have no network, since running variances of BatchNorm would be below zero there: "
            "they are NaN. --batchnorm recalibrate measures them with statistics of their own."
        ] = None
    deviations = [d for row in of_rows for d in row["largest_deviation_at_ends"].values() if d is not None]
    between = [row["largest_deviation_between"] for row in of_rows if row["largest_deviation_between"] is not None]
    of_line = ("path", "y", "moving", "at_rest", "not_interpolated", "found_anew")
    return {
        **{name: value for name, value in of_rows[0].items() if name not in of_line},
        "seconds": round(sum(row["seconds"] for row in of_rows), 3),
        "largest_deviation_at_ends": max(deviations, default=None),
        "largest_deviation_between": max(between, default=None),
        "compiled": of_rows[0]["compiled"],
        "notes": list(notes),
        **plane.describe(),
    }
