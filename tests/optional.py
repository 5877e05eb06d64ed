"""Packages that linescape does not need by itself: imported where they are installed, else the test is skipped."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import pytest
import torch


@cache
def _declared() -> torch.library.Library:
    """torchvision's compiled operations need the torch that it was built for; their names are enough for the rest."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


@cache
def _works(name: str) -> bool:
    try:
        __import__(name)
    except RuntimeError:
        return False
    return True


def load(name: str) -> Any:
    """The package, or skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, of each other
        if name in ("torchvision", "timm", "lightning"):
            pytest.importorskip(name, exc_type=ModuleNotFoundError) if _fits() else _declared()
        return pytest.importorskip(name)


@cache
def _fits() -> bool:
    return hasattr(torch.ops, "torchvision") and hasattr(torch.ops.torchvision, "nms")
