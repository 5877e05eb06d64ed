"""Decodes PNG and JPEG files with Pillow, with limits on the memory that a file can take."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image

from linescape.data.archives.files import damaged
from linescape.errors import DataError

Pixels = npt.NDArray[np.uint8]

MOST = 2_000_000_000
"""Bytes that the pictures of one split may take; four times as many as float32."""

MOST_PIXELS = 1 << 24
"""Pixels of one picture; Pillow alone would take 179 million."""


def decode(content: bytes, source: str) -> Pixels:
    """The pixels of a PNG or JPEG file: ``(height, width)`` if it is grey, ``(height, width, 3)`` if it has colours.

    Args:
        content: the whole file.
        source: what to call it in a message.

    Raises:
        DataError: it is damaged, too large, of another format, or has transparency, a palette or more than 8 bits.
    """
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            # This reads only the header, so the limit is checked before memory for the pixels is taken.
            image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
        if image.width * image.height > MOST_PIXELS:
            damaged(source, f"announces {image.width} x {image.height} pixels, more than any picture that is read here")
        if image.mode not in ("L", "RGB"):
            raise DataError(
                f"{source} has pixels of mode {image.mode!r}, which cannot be read without guessing their colours. "
                "Save it with 8 bits per channel, grey or RGB."
            )
        return np.asarray(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{source} unpacks to a huge picture ({error}). Do not use this file.") from error
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error) as error:  # all are Pillow's
        raise DataError(f"{source} is no readable PNG or JPEG file ({error}). Download it again.") from error


def decode_all(contents: Iterable[tuple[bytes, str]], change: Callable[[Pixels], Pixels] | None = None) -> Pixels:
    """Pictures of one size: ``(n, channels, height, width)``, three channels if any picture has colours, else one.

    Args:
        contents: file by file, its content and what to call it in a message.
        change: what is done to each picture, ``(height, width)`` or ``(height, width, 3)``, such as scaling.

    Raises:
        DataError: as in `decode`, or the pictures differ in size, or are too many for the memory.
    """
    pictures: list[Pixels] = []
    for content, source in contents:
        picture = decode(content, source)
        picture = change(picture) if change else picture
        if pictures and picture.shape[:2] != pictures[0].shape[:2]:
            raise DataError(
                f"{source} has {picture.shape[1]} x {picture.shape[0]} pixels and the first image has "
                f"{pictures[0].shape[1]} x {pictures[0].shape[0]}, but a network takes images of one size. Add "
                "size=224, or another side, to the data that you name, or scale the files."
            )
        if (len(pictures) + 1) * picture.size > MOST:
            raise DataError(
                f"{source} and the images before it take more than {MOST} bytes in memory. Give fewer, or a DataLoader "
                "by module:callable."
            )
        pictures.append(picture)
    if not pictures:
        return np.empty((0, 1, 1, 1), np.uint8)
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [p if p.ndim == 3 else np.repeat(p[:, :, None], 3, axis=2) for p in pictures]
    stacked = np.stack(pictures)
    return stacked[:, None] if stacked.ndim == 3 else np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))
