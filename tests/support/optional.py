"""Packages that linescape does not need by itself: imported where they are installed, else the test is skipped."""

from __future__ import annotations

import gc
import importlib
import warnings
from functools import cache
from typing import Any

import pytest
import torch


def load(name: str) -> Any:
    """The package, or skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, of each other
        if not _torchvision_fits():
            _declared()
        extra = name in ("torchvision", "timm")
        reason = f"needs {name}, which `make test-extras` installs beside a torch that it fits" if extra else None
        package = pytest.importorskip(name, reason=reason)
    gc.freeze()  # as in conftest, for what was imported now
    return package


@cache
def _torchvision_fits() -> bool:
    try:
        importlib.import_module("torchvision")
    except RuntimeError:  # "operator torchvision::nms does not exist"
        return False
    except ModuleNotFoundError:
        pass
    return True


@cache
def _declared() -> torch.library.Library:
    """The wheel of torchvision is for torch with CUDA; beside another, the names of two operations are enough."""
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    return library
