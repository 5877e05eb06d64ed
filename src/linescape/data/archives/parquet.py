"""Tables with one example per row, such as the Parquet files in which Hugging Face publishes data sets.

The image is a column with the bytes of a PNG or JPEG file in its field ``bytes``. Paths of files
are followed in the user's own data sets only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from linescape.data.archives.files import MOST, Arrays, content, damaged, reading
from linescape.data.archives.pictures import decode_all
from linescape.errors import DataError, first_line

IMAGES = ("image", "img")
LABELS = ("fine_label", "label", "labels")

_MOST_ROWS = 1 << 24  # ImageNet-21k has 14 million images


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of one split of a data set, read from disk on access.

    Attributes:
        rows: all columns.
        source: what to call the table in a message.
    """

    rows: pl.LazyFrame
    source: str

    @classmethod
    def scan(cls, files: Sequence[Path]) -> Table:
        """The rows of Parquet files of the same columns, one file after another.

        Raises:
            DataError: one of them is no plain file.
        """
        for path in files:
            with reading(path):
                pass
        return cls(pl.scan_parquet(list(files), glob=False), ", ".join(map(str, files[:3])))

    def __len__(self) -> int:
        return int(self._collect(self.rows.select(pl.len())).item())

    @property
    def columns(self) -> list[str]:
        """The names of the columns.

        Raises:
            DataError: a file is damaged.
        """
        return self._collect(self.rows.limit(0)).columns

    def find(self, known: Sequence[str]) -> str | None:
        """The first of these names that is a column; None if there is none."""
        return next((name for name in known if name in self.columns), None)

    def labels(self, column: str) -> npt.NDArray[np.int64]:
        """A column of labels ``(n,)``.

        Raises:
            DataError: a file is damaged, there are too many rows, or labels are missing or no whole numbers.
        """
        if len(self) > _MOST_ROWS:
            damaged(self.source, f"announces {len(self)} rows, more than any data set that is read here")
        if not self._type(column).is_integer():
            raise DataError(
                f"{self.source} has no whole numbers in {column!r}, and labels are 0, 1, ... Number the classes, as "
                "`class_encode_column` of Hugging Face's datasets does."
            )
        labels = self._collect(self.rows.select(pl.col(column).cast(pl.Int64)))[column]
        if labels.null_count():
            damaged(self.source, "has rows without an image or a label")
        return labels.to_numpy()

    def pictures(
        self, column: str, chosen: npt.NDArray[np.int64], *, follow: bool = False
    ) -> Iterator[tuple[bytes, str]]:
        """For each selected row, the content of its image file and what to call it in a message.

        Args:
            column: where the images are.
            chosen: the rows, ascending ``(k,)``.
            follow: whether to read an image without bytes from the file at its path.

        Raises:
            DataError: a file is damaged, or images are missing.
        """
        if pl.Field("bytes", pl.Binary) not in getattr(self._type(column), "fields", ()):
            raise DataError(
                f"{self.source} has no bytes in {column!r}. Give the content of the image files in a field 'bytes', as "
                "Hugging Face's datasets saves them."
            )
        rows = self.rows.select(column).with_row_index("row").filter(pl.col("row").is_in(chosen.tolist()))
        for number, image in zip(chosen, self._collect(rows)[column], strict=True):
            picture, path = ((image or {}).get(field) for field in ("bytes", "path"))
            source = f"image {number} of {self.source}"
            if picture is None and follow and path and Path(path).is_file():
                source, picture = path, content(Path(path))
            if picture is None:
                damaged(self.source, "has rows without an image or a label")
            yield picture, source

    def texts(self, column: str) -> list[str]:
        """A column of texts; a missing text is empty.

        Raises:
            DataError: a file is damaged, or the column has no texts.
        """
        if self._type(column) != pl.String:
            raise DataError(f"{self.source} has no texts in {column!r}. Give a column of texts.")
        return self._collect(self.rows.select(pl.col(column).fill_null("")))[column].to_list()

    def _type(self, column: str) -> pl.DataType:
        return self._collect(self.rows.select(column).limit(0)).schema[column]

    def _collect(self, rows: pl.LazyFrame) -> pl.DataFrame:
        try:
            return rows.collect()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            damaged(self.source, f"is no readable Parquet file ({first_line(error)})")


def read_parquet(train: Sequence[Path], test: Sequence[Path]) -> tuple[Arrays, Arrays]:
    """Training and test split from the files of each, in the order given.

    Raises:
        DataError: a split is missing, a file is damaged or too large, or its columns are not an image and a label.
    """
    if not train or not test:
        folder = (train or test)[0].parent if train or test else "The folder"
        raise DataError(
            f"{folder} does not have train-*.parquet and test-*.parquet, so the data set is incomplete. Put both there."
        )
    return _read_split(train), _read_split(test)


def _read_split(files: Sequence[Path]) -> Arrays:
    for path in files:
        with reading(path):
            if path.stat().st_size > MOST:
                damaged(path, f"is larger than {MOST} bytes")
    table = Table.scan(files)
    image, label = table.find(IMAGES), table.find(LABELS)
    if image is None or label is None:
        damaged(table.source, f"has the columns {', '.join(table.columns[:8])}, not an image and a label")
    labels = table.labels(label)
    return decode_all(table.pictures(image, np.arange(len(labels)))), labels
