"""Parquet files as Hugging Face publishes image sets: train-*.parquet and test-*.parquet, a row an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from linescape.data.archives.files import MOST, Half, damaged, reading
from linescape.data.archives.pictures import decode_all
from linescape.errors import DataError, first_line

IMAGES = ("image", "img")
LABELS = ("fine_label", "label")

_MOST_ROWS = 1 << 20  # the largest of these sets have 70,000


def read_parquet(train: Sequence[Path], test: Sequence[Path]) -> tuple[Half, Half]:
    """Training and test half from the files of each, in the order given.

    The image is a column ``image`` or ``img`` with the bytes of a PNG or JPEG file in the field ``bytes``, the label
    a whole number in ``fine_label`` or ``label``. Paths in a file are not followed.

    Raises:
        DataError: a half is missing, a file is damaged or too large, or its columns are others.
    """
    if not train or not test:
        found = (train or test)[0].parent if train or test else "The folder"
        raise DataError(
            f"{found} does not have train-*.parquet and test-*.parquet, so the set is not whole. Put both there."
        )
    return _half(train), _half(test)


def _half(files: Sequence[Path]) -> Half:
    labels: list[np.ndarray] = []

    def pictures() -> Iterator[tuple[bytes, str]]:
        for path in files:
            rows = _rows(path)
            labels.append(rows["label"].to_numpy())
            for number, held in enumerate(rows["bytes"]):
                yield held, f"image {number} of {path}"

    pixels = decode_all(pictures())
    return pixels, np.concatenate(labels).astype(np.int64)


def _rows(path: Path) -> pl.DataFrame:
    """The columns ``bytes`` and ``label`` of a file."""
    with reading(path):
        if path.stat().st_size > MOST:
            damaged(path, f"is larger than {MOST} bytes")
        try:
            lazy = pl.scan_parquet(path, glob=False)
            schema = lazy.collect_schema()
            image = next((name for name in IMAGES if name in schema), None)
            label = next((name for name in LABELS if name in schema), None)
            if image is None or label is None:
                damaged(path, f"has the columns {', '.join(schema.names()[:8])}, not an image and a label")
            if not schema[label].is_integer() or pl.Field("bytes", pl.Binary) not in getattr(
                schema[image], "fields", ()
            ):
                damaged(path, f"has no bytes in {image!r} or no whole numbers in {label!r}")
            count = lazy.select(pl.len()).collect().item()
            if count > _MOST_ROWS:
                damaged(path, f"announces {count} rows, more than any set that is read here")
            rows = lazy.select(
                pl.col(image).struct.field("bytes").alias("bytes"), pl.col(label).cast(pl.Int64).alias("label")
            ).collect()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            damaged(path, f"is no readable Parquet file ({first_line(error)})")
    if rows.null_count().sum_horizontal().item():
        damaged(path, "has rows without an image or a label")
    return rows
