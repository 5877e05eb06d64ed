"""PNG and JPEG files to arrays, by Pillow, with a limit on what a small file may unpack to."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image

from linescape.data.archives.files import MOST, damaged
from linescape.errors import DataError

MOST_PIXELS = 1 << 24
"""Pixels of one picture. CIFAR-10's strips of 10,000 images have 10.24 million; Pillow alone would take 179 million."""


def decode(content: bytes, source: str) -> npt.NDArray[np.uint8]:
    """The pixels of a PNG or JPEG file: ``(height, width)`` if it is grey, ``(height, width, 3)`` if it has colours.

    Args:
        content: the whole file.
        source: what to call it in a message.

    Raises:
        DataError: it is damaged, too large, of another format, or has transparency, a palette or more than 8 bits.
    """
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            # Only the header is read here; the limit stands before the memory for the pixels is taken.
            image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
        if image.width * image.height > MOST_PIXELS:
            damaged(source, f"announces {image.width} x {image.height} pixels, more than any picture that is read here")
        if image.mode not in ("L", "RGB"):
            raise DataError(
                f"{source} has pixels of mode {image.mode!r}, and which grey or colour each stands for is not said. "
                "Save it with 8 bits a channel, grey or RGB."
            )
        return np.asarray(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{source} unpacks to a huge picture ({error}). Do not use this file.") from error
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error) as error:  # all are Pillow's
        raise DataError(f"{source} is no readable PNG or JPEG file ({error}). Download it again.") from error


def decode_all(contents: Iterable[tuple[bytes, str]]) -> npt.NDArray[np.uint8]:
    """Pictures of one size: ``(n, channels, height, width)``; grey ones have one channel.

    Args:
        contents: file by file, its content and what to call it in a message.

    Raises:
        DataError: as in `decode`, or the pictures differ in size or channels, or are too many to be held.
    """
    found: list[npt.NDArray[np.uint8]] = []
    for content, source in contents:
        picture = decode(content, source)
        if found and picture.shape != found[0].shape:
            raise DataError(
                f"{source} has pixels {picture.shape} and the first picture has {found[0].shape}, but a network "
                "takes images of one size. Scale them to one size, all grey or all in colours."
            )
        if (len(found) + 1) * picture.size > MOST:
            damaged(source, f"and the pictures before it unpack to more than {MOST} bytes")
        found.append(picture)
    if not found:
        return np.empty((0, 1, 1, 1), np.uint8)
    stacked = np.stack(found)
    return stacked[:, None] if stacked.ndim == 3 else np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))
