"""Curve: the result of a scan. Positions, per-example values, and provenance.

Per-example values are kept, so that intervals and tests need no second pass.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from torch import Tensor

from linescape import atomic, presentation, tensor_file
from linescape.errors import MeasureError, RecipeError, StoreError, abbreviate, plural, suggest

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Plot = tuple[Figure, Axes | Sequence[Axes]]

Key = tuple[str, str, str]
"""(data, measure, batchnorm), such as ``("test", "cross_entropy", "interpolate")``."""

_PLAIN, _SEALED = "linescape-curve-1", "linescape-curve-2"
"""Formats: inside a store, which has digests of its files, and of before there were others; and with a digest."""


@dataclass(frozen=True, eq=False)
class Point:
    """One position of a scan.

    Attributes:
        alpha: the position.
        values: (data, measure, batchnorm) -> per-example values ``(examples,)``.
        seconds: time it took.
    """

    alpha: float
    values: dict[Key, np.ndarray]
    seconds: float

    def __repr__(self) -> str:
        return f"Point(alpha={self.alpha:g}: {abbreviate(['/'.join(key) for key in self.values])})"


@dataclass(frozen=True, eq=False)
class Series:
    """One measure on one data set under one BatchNorm treatment along a path.

    Attributes:
        alphas: positions ``(n,)``, rising.
        values: per-example values ``(n, examples)`` in the measure's unit; NaN and infinity are kept.
        data: name of the data.
        measure: name of the measure.
        batchnorm: treatment of BatchNorm statistics.
    """

    alphas: np.ndarray
    values: np.ndarray
    data: str
    measure: str
    batchnorm: str

    def __repr__(self) -> str:
        name = "/".join((self.data, self.measure, self.batchnorm))
        return f"Series({name}: {len(self.alphas)} positions, {self.values.shape[1]} examples)"

    def plot(self, ax: Axes | None = None, label: str = "", style: Mapping[str, Any] | None = None) -> Plot:
        """Draw the mean along the path, with a band of 1.96 standard errors; returns the figure and its axes.

        Args:
            ax: axes of matplotlib to draw into; by default those of a new figure, which pyplot does not know.
            label: in the legend; by default the name of the data.
            style: as for `Curve.plot`.

        Raises:
            RecipeError: as `Curve.plot`.
        """
        curve = Curve(self.alphas, {(label or self.data, self.measure, self.batchnorm): self.values})
        return curve.plot(ax, style)

    @property
    def mean(self) -> np.ndarray:
        """Mean over the examples at each alpha ``(n,)``, in float64; NaN where an example is NaN."""
        return np.asarray(self.values.mean(axis=1, dtype=np.float64))

    @property
    def perplexity(self) -> np.ndarray:
        """Exponential of the mean cross entropy at each alpha ``(n,)``: as if the model chose among that many tokens.

        Raises:
            MeasureError: the measure is no cross entropy.
        """
        if not self.measure.endswith("cross_entropy") or self.measure == "binary_cross_entropy":
            raise MeasureError(
                f"Perplexity is the exponential of the mean cross entropy, but this series is of {self.measure!r}. Use "
                "the series of the measure 'cross_entropy'."
            )
        with np.errstate(over="ignore"):  # infinite beyond what can be written
            return np.asarray(np.exp(self.mean))

    @property
    def standard_error(self) -> np.ndarray:
        """Standard error of the mean ``(n,)``: sample deviation over ``sqrt(examples)``; NaN for one example."""
        count = self.values.shape[1]
        if count < 2:
            return np.full(len(self.alphas), math.nan)
        with np.errstate(invalid="ignore"):  # infinite values have no deviation: NaN
            return np.asarray(self.values.std(axis=1, ddof=1, dtype=np.float64) / math.sqrt(count))

    @property
    def not_finite(self) -> np.ndarray:
        """Number of examples at each alpha whose value is NaN or infinite ``(n,)``."""
        return np.asarray((~np.isfinite(self.values)).sum(axis=1))


@dataclass(frozen=True, eq=False)
class Curve:
    """The result of a scan.

    Attributes:
        alphas: positions ``(n,)``, rising, 0 and 1 among them.
        values: (data, measure, batchnorm) -> per-example values ``(n, examples)``.
        provenance: versions, device, type, seconds, number of examples, what did not move, notes (JSON-able).
    """

    alphas: np.ndarray
    values: Mapping[Key, np.ndarray]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        names = "; ".join(abbreviate(list(dict.fromkeys(names))) for names in zip(*self.values, strict=True))
        notes = self.provenance.get("notes", ())
        told = f"; {plural(len(notes), 'note')} in its provenance" if notes else ""
        return f"Curve({len(self.alphas)} positions; {names}{told})"

    def _repr_html_(self) -> str:
        html: str = presentation.report("notebook").of_curve(self)
        return html

    def __getitem__(self, key: str | tuple[str, ...]) -> Series:
        """The series ``curve["test", "cross_entropy", "recalibrate"]``; coordinates with one choice may be left out.

        Raises:
            MeasureError: there is no such series, or more than one.
        """
        parts = key if isinstance(key, tuple) else (key,)
        matching = [series for series in self.values if all(part in series for part in parts)]
        if len(matching) != 1:
            known = ["/".join(series) for series in (matching or self.values)]
            name = "/".join(map(str, parts))
            raise MeasureError(
                f"{len(matching)} series of this curve match {name!r}; name one. "
                + (f"They are: {', '.join(known)}." if matching else suggest(name, known))
            )
        return Series(self.alphas, self.values[matching[0]], *matching[0])

    def __iter__(self) -> Any:
        """All series."""
        return (self[key] for key in self.values)

    @property
    def perplexities(self) -> dict[tuple[str, str], np.ndarray]:
        """(data, batchnorm) -> `Series.perplexity`, of data with a target for each position, such as tokens."""
        positions = self.provenance.get("positions_per_example", {})
        return {
            (data, treatment): self[data, measure, treatment].perplexity
            for data, measure, treatment in self.values
            if measure == "cross_entropy" and data in positions
        }

    def frame(self) -> pl.DataFrame:
        """A row for each position and series.

        Columns: alpha, data, measure, batchnorm, mean, standard_error, examples, not_finite.
        """
        import polars as pl  # which takes half a second

        every, positions = list(self), self.alphas.size
        counts = [series.values.shape[1] for series in every]
        return pl.DataFrame(  # in one, as a frame of a few rows takes as long as one of many
            {
                "alpha": np.tile(self.alphas, len(every)),
                "data": [series.data for series in every for _ in range(positions)],
                "measure": [series.measure for series in every for _ in range(positions)],
                "batchnorm": [series.batchnorm for series in every for _ in range(positions)],
                "mean": np.concatenate([series.mean for series in every]),
                "standard_error": np.concatenate([series.standard_error for series in every]),
                "examples": pl.Series(np.repeat(counts, positions), dtype=pl.Int32),
                "not_finite": np.concatenate([series.not_finite for series in every]),
            }
        )

    def to_pandas(self) -> pd.DataFrame:
        """`frame` as a DataFrame of pandas.

        Raises:
            RecipeError: pandas is not installed.
        """
        return as_pandas(self.frame())

    def plot(self, ax: Axes | Sequence[Axes] | None = None, style: Mapping[str, Any] | None = None) -> Plot:
        """Draw a panel for each measure, with a line for each data set and BatchNorm treatment.

        Lines are means over examples, bands 1.96 standard errors. ``figure, axes = curve.plot()`` has the figure and
        its axes, of several panels a list; as the last line of a notebook's cell ``curve.plot()`` is the picture.

        Args:
            ax: axes of matplotlib to draw into, one for each measure; by default those of a new figure, which pyplot
                does not know (``figure.savefig`` writes it).
            style: of a new figure, in matplotlib's rcParams: ``{"figure.figsize": (6, 3), "font.size": 10,
                "font.family": "serif"}``. Colours and widths can be changed on the axes.

        Raises:
            RecipeError: a setting of `style` is unknown, or is for axes that are given; or there are more or fewer axes
                than measures.
        """
        plots = presentation.report("plots")
        plot: Plot = plots.of_curve(self, style) if ax is None else plots.into(ax, self, style)
        return plot

    def save(self, path: str | Path) -> None:
        """Write the curve; the suffix decides.

        ``.safetensors`` holds everything (read back by `Curve.load`); ``.csv`` and ``.parquet`` hold `frame`; ``.json``
        holds `frame`'s rows and the provenance, with null for NaN and infinity (``not_finite`` counts them).

        Raises:
            StoreError: the suffix is none of these, or the file cannot be written.
        """
        path = Path(path)
        match path.suffix:
            case ".safetensors":
                atomic.write(path, tensor_file.encode_sealed(*self._content(_SEALED)))
            case ".csv":
                atomic.write(path, self.frame().write_csv().encode())
            case ".parquet":
                buffer = io.BytesIO()
                self.frame().write_parquet(buffer)
                atomic.write(path, buffer.getvalue())
            case ".json":
                whole = {"provenance": self.provenance, "rows": self.frame().to_dicts()}
                atomic.write(path, msgspec.json.format(msgspec.json.encode(whole), indent=1))
            case other:
                raise StoreError(f"{path} ends in {other!r}. Use .safetensors, .csv, .parquet or .json.")

    def to_bytes(self) -> bytes:
        """The whole curve as a safetensors file."""
        return tensor_file.encode_with_note(*self._content(_PLAIN))

    def _content(self, written_as: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        arrays = {"alphas": self.alphas} | {str(i): values for i, values in enumerate(self.values.values())}
        note = {"format": written_as, "series": list(self.values), "provenance": self.provenance}
        return tensor_file.from_arrays(arrays), note

    @classmethod
    def load(cls, path: str | Path) -> Curve:
        """Read a curve that `save` wrote as ``.safetensors``; each bit of it is checked.

        Files of before linescape sealed them are read too, and are checked for shapes only.

        Raises:
            StoreError: the file is missing, damaged or no curve.
        """
        try:
            return cls.from_bytes(atomic.read(Path(path)))
        except (OSError, LookupError, TypeError, ValueError) as error:
            raise StoreError(
                f"{path} is not a curve that linescape wrote, or is damaged ({error}). Walk it again."
            ) from error

    @classmethod
    def from_bytes(cls, content: bytes) -> Curve:
        """The curve in a file that `to_bytes` or `save` made.

        Raises:
            LookupError, TypeError, ValueError: the file is damaged or no curve.
        """
        tensors, note = tensor_file.decode_with_note(content)
        if note["format"] != _PLAIN:
            tensors, note = tensor_file.decode_sealed(content)
        values = {tuple(key): tensors[str(i)].numpy() for i, key in enumerate(note["series"])}
        alphas, provenance = tensors["alphas"].numpy(), note["provenance"]
        shapes = {array.shape[0] if array.ndim == 2 else -1 for array in values.values()}
        if note["format"] not in (_PLAIN, _SEALED) or shapes != {len(alphas)} or not isinstance(provenance, dict):
            raise ValueError("its parts do not fit together")
        return cls(alphas, values, provenance)


def as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    """A frame of polars as one of pandas.

    Raises:
        RecipeError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise RecipeError(
            "pandas is not installed, so there is no DataFrame of it. Run: pip install pandas. `frame()` gives one of "
            "polars, which needs nothing else."
        ) from None
    return pd.DataFrame(frame.to_dict(as_series=False), columns=frame.columns)
