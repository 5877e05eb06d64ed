"""Folders of images: FOLDER/train/CLASS and FOLDER/test/CLASS or val/CLASS, or FOLDER/CLASS, which is test data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from linescape.cli.specs.examples import Read, by_class, noted
from linescape.data.archives.files import content
from linescape.data.archives.folders import TESTS, classes, of_class
from linescape.data.archives.pictures import decode
from linescape.data.treatments import moments
from linescape.errors import DataError, RecipeError, suggest
from linescape.recipe.typed import name_and_settings

SETTINGS = ("size", "resize", "mean", "std")
"""What can be set of images."""

_MOST = 8e9
"""Bytes that images may take in memory, as float32."""

Pictures = Iterable[tuple[bytes, str]]
"""Image by image, its file's content and what to call it in a message."""


@dataclass(frozen=True)
class Preprocessing:
    """How images become inputs.

    Attributes:
        size: side of the square that is cut from the centre; None keeps images as they are.
        resize: what the shorter side is scaled to before (bilinear, antialiased); by default `size`.
        mean: by channel, pixels counted from 0 to 1; None is that of the training data.
        std: likewise.
    """

    size: int | None = None
    resize: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> Preprocessing:
        """From ``size=224``, ``resize=256``, ``mean=0.485/0.456/0.406``, ``std=...``.

        Raises:
            RecipeError: a value is impossible, or one of mean and std is missing.
        """
        try:
            size, resize = (int(settings[name]) if name in settings else None for name in ("size", "resize"))
            mean, std = (
                tuple(map(float, settings[name].split("/"))) if name in settings else None for name in ("mean", "std")
            )
        except ValueError as error:
            raise RecipeError(
                f"{error}: size and resize are whole numbers, mean and std one number a channel, as in 0.5/0.5/0.5."
            ) from error
        if (mean is None) != (std is None) or (std and min(std) <= 0):
            raise RecipeError("mean and std go together, and std is positive. Give both, or neither.")
        if (size is not None and size < 1) or (resize is not None and resize < (size or resize + 1)):
            raise RecipeError("size is the side that is cut out of images whose shorter side is resize: give both so.")
        return cls(size, resize, mean, std)

    def pixels(self, pictures: Pictures, count: int) -> npt.NDArray[np.uint8]:
        """The pictures, scaled and cut: ``(count, channels, height, width)``; grey ones among coloured get colours.

        Raises:
            DataError: a picture cannot be read, they differ in size, or take too much memory.
        """
        found: list[npt.NDArray[np.uint8]] = []
        for held, source in pictures:
            picture = self._cut(decode(held, source))
            if found and picture.shape[:2] != found[0].shape[:2]:
                raise DataError(
                    f"{source} has {picture.shape[1]} x {picture.shape[0]} pixels and the first image has "
                    f"{found[0].shape[1]} x {found[0].shape[0]}, but a network takes images of one size. Add size=224, "
                    "or another side."
                )
            if count * picture.size * 4 > _MOST:
                raise DataError(
                    f"{count:,} images of this size take {count * picture.size * 4 / 1e9:.0f} GB in memory. Give "
                    "fewer, or a DataLoader by module:callable."
                )
            found.append(picture)
        if any(picture.ndim == 3 for picture in found):
            found = [p if p.ndim == 3 else np.repeat(p[:, :, None], 3, axis=2) for p in found]
        stacked = np.stack(found)
        return stacked[:, None] if stacked.ndim == 3 else np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))

    def inputs(
        self, halves: Mapping[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]
    ) -> tuple[dict[str, tuple[Tensor, Tensor]], str]:
        """(inputs, labels) of each half, normalised, and a note on what was subtracted and divided by.

        Raises:
            DataError: halves have different channels, or mean and std others.
        """
        basis = "train" if "train" in halves else next(iter(halves))
        mean, std = (self.mean, self.std) if self.mean and self.std else moments(halves[basis][0])
        for name, (pixels, _) in halves.items():
            if {len(mean), len(std)} != {pixels.shape[1]}:
                raise DataError(
                    f"The images of {name!r} have {pixels.shape[1]} channels, but mean and std have {len(mean)} and "
                    f"{len(std)} numbers. Give one for each channel, as in mean=0.5/0.5/0.5."
                )
        shift, scale = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
        found = {
            name: ((torch.from_numpy(pixels).float() / 255 - shift) / scale, torch.from_numpy(labels))
            for name, (pixels, labels) in halves.items()
        }
        shown = "/".join(f"{value:.4g}" for value in mean), "/".join(f"{value:.4g}" for value in std)
        where = "as named" if self.mean else f"those of the {basis} images: name what the network was trained with"
        return found, f"Images were normalised with mean={shown[0]} and std={shown[1]}, {where}."

    def _cut(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """As torchvision's Resize and CenterCrop do."""
        if self.size is None:
            return picture
        image, short = Image.fromarray(picture), self.resize or self.size
        if min(image.size) != short:
            scaled = [int(short * side / min(image.size)) for side in image.size]
            image = image.resize((scaled[0], scaled[1]), Image.Resampling.BILINEAR)
        left, top = (round((side - self.size) / 2) for side in image.size)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))


def read(text: str) -> Read:
    """Data from ``FOLDER,size=224,mean=...,std=...``.

    Raises:
        RecipeError: a setting is unknown or impossible.
        DataError: the folder has no images in folders of classes, or one cannot be read.
    """
    name, settings = name_and_settings(text)
    for setting in settings:
        if setting not in SETTINGS:
            raise RecipeError(f"Images have no setting {setting!r}. {suggest(setting, SETTINGS)}")
    preprocessing, place = Preprocessing.of(settings), Path(name)
    if not place.is_dir():
        raise DataError(f"{place} is no folder. Name the one that holds train/CLASS and test/CLASS, or CLASS.")
    found = {half: place / half for half in ("train", *TESTS) if (place / half).is_dir()} or {"test": place}
    known = classes(next(iter(found.values())))
    halves, notes = {}, list[str]()
    for half, folder in found.items():
        if classes(folder) != known:
            differ = sorted(set(known) ^ set(classes(folder)))
            raise DataError(
                f"The folders of {place} do not have the same classes ({', '.join(differ[:5])}), so classes cannot be "
                "numbered. Put a folder for each class into all."
            )
        files = [(file, label) for label, name in enumerate(known) for file in of_class(folder / name)]
        if not files:
            raise DataError(f"{folder} has no folder of a class with PNG or JPEG files in it: there are no examples.")
        labels = np.array([label for _, label in files], np.int64)
        chosen = by_class(half, labels)
        notes += noted(half, chosen, len(files))
        pictures = ((content(files[at][0]), str(files[at][0])) for at in chosen)
        halves[half] = (preprocessing.pixels(pictures, len(chosen)), labels[chosen])
    data, note = preprocessing.inputs(halves)
    return data, (*notes, note)
