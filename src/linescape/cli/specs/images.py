"""Folders of images as inputs: which are read, scaled, cut and normalised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from linescape.cli.specs.examples import Read, by_class, noted
from linescape.data.archives.files import content
from linescape.data.archives.folders import find_images
from linescape.data.archives.pictures import Pixels, decode_all
from linescape.data.treatments import moments
from linescape.errors import DataError, RecipeError, suggest
from linescape.recipe.typed import name_and_settings

SETTINGS = ("size", "resize", "mean", "std")
"""The settings of images."""


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of images.

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
            RecipeError: a setting is unknown, a value is impossible, or one of mean and std is missing.
        """
        for setting in settings:
            if setting not in SETTINGS:
                raise RecipeError(f"Images have no setting {setting!r}. {suggest(setting, SETTINGS)}")
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

    def inputs(
        self, splits: Mapping[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]
    ) -> tuple[dict[str, tuple[Tensor, Tensor]], str]:
        """Normalised inputs and labels of each split, and a note with the mean and standard deviation used.

        Raises:
            DataError: splits have different numbers of channels, or mean and std have.
        """
        basis = "train" if "train" in splits else next(iter(splits))
        mean, std = (self.mean, self.std) if self.mean and self.std else moments(splits[basis][0])
        for name, (pixels, _) in splits.items():
            if {len(mean), len(std)} != {pixels.shape[1]}:
                raise DataError(
                    f"The images of {name!r} have {pixels.shape[1]} channels, but mean and std have {len(mean)} and "
                    f"{len(std)} numbers. Give one for each channel, as in mean=0.5/0.5/0.5."
                )
        shift, scale = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
        data = {
            name: ((torch.from_numpy(pixels).float() / 255 - shift) / scale, torch.from_numpy(labels))
            for name, (pixels, labels) in splits.items()
        }
        shown = "/".join(f"{value:.4g}" for value in mean), "/".join(f"{value:.4g}" for value in std)
        where = "as named" if self.mean else f"those of the {basis} images: name what the network was trained with"
        return data, f"Images were normalised with mean={shown[0]} and std={shown[1]}, {where}."

    def cut(self, picture: Pixels) -> Pixels:
        """A picture ``(height, width[, 3])`` scaled and cut as torchvision's Resize and CenterCrop do."""
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
    preprocessing = Preprocessing.of(settings)
    splits, notes = {}, list[str]()
    for split, images in find_images(Path(name)).items():
        labels = np.array([label for _, label in images], np.int64)
        chosen = by_class(split, labels)
        notes += noted(split, chosen, len(images))
        files = (images[at][0] for at in chosen)
        splits[split] = (decode_all(((content(file), str(file)) for file in files), preprocessing.cut), labels[chosen])
    data, note = preprocessing.inputs(splits)
    return data, (*notes, note)
