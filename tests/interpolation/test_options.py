from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from linescape.errors import AlphaError, LinescapeError, MeasureError, RecipeError
from linescape.interpolation.options import MOST, ScanOptions, grid
from linescape.interpolation.stopping import Until


def test_grids_hold_both_ends() -> None:
    assert grid(50) == tuple(float(a) for a in np.linspace(0, 1, 50))
    assert grid(50)[49] == 1.0
    assert grid(np.int64(3)) == (0.0, 0.5, 1.0)  # type: ignore[arg-type]
    assert grid([0.5]) == (0.0, 0.5, 1.0)
    assert grid([-0.5, 0.0, 2.1]) == (-0.5, 0.0, 1.0, 2.1)


@pytest.mark.parametrize(
    ("alphas", "said"),
    [
        (1, "two ends"),
        ([], "empty"),
        ([0.2, math.nan], "NaN"),
        ([0.5, 0.2], "rise"),
        ([0.1, 0.1], "rise"),
        (10**12, "1,000,000,000,000 positions, and 100,000 are the most"),
        (MOST + 1, "a pass over all data"),
        (np.linspace(0, 1, MOST + 1), "100,001 positions"),
        ("10", "Give a number of positions"),
        (5.5, "Give a whole number"),
        (1e12, "Give a whole number"),
        ([0.5, None], "Give a whole number"),
        (["half"], "Give a whole number"),
        ([0.5j], "Give a whole number"),
        (torch.zeros(2, 2), "Give a whole number"),
    ],
)
def test_bad_alphas_are_refused(alphas: Any, said: str) -> None:
    with pytest.raises(AlphaError, match=said):
        grid(alphas)
    with pytest.raises(AlphaError, match=said):
        ScanOptions(alphas=alphas)


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"alphas": [-0.5, 0.5], "adaptive": True}, AlphaError, "chooses from 0 to 1"),
        ({"batchnorm": "recalibrat"}, MeasureError, "Did you mean 'recalibrate'"),
        ({"batchnorm": ("end", "end")}, MeasureError, "repeat"),
        ({"batchnorm": ()}, MeasureError, "empty"),
        ({"until": -1.0}, RecipeError, "no half width"),
        ({"until": "0.1"}, RecipeError, "until is a str"),
        ({"until": True}, RecipeError, "until is a bool"),
        ({"until": [0.1]}, RecipeError, "until is a list"),
        ({"batchnorm": None}, RecipeError, "batchnorm is a NoneType"),
        ({"batchnorm": [3]}, RecipeError, "treatment of BatchNorm is a int"),
        ({"batchnorm": [["end"]]}, RecipeError, "treatment of BatchNorm is a list"),
        ({"keep": 3}, RecipeError, "keep is a int"),
    ],
)
def test_impossible_options_are_refused_when_made(
    fields: dict[str, Any], kind: type[LinescapeError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        ScanOptions(**fields)


def test_as_many_positions_as_a_scan_can_have() -> None:
    assert len(ScanOptions(alphas=MOST).positions) == MOST


def test_options_are_completed() -> None:
    assert ScanOptions().positions == grid(50)
    assert ScanOptions(adaptive=True).positions == grid(101)
    assert ScanOptions(batchnorm="end").treatments == ("end",)
    assert ScanOptions(batchnorm=["start", "end"]).treatments == ("start", "end")
    assert ScanOptions().stopping_rule is None
    assert ScanOptions(until=0.1).stopping_rule == Until(0.1)
    assert [ScanOptions(until=0.1).economical, ScanOptions(adaptive=True).economical] == [True, True]
    assert not ScanOptions().economical


def test_options_are_named_and_stay_as_they_are() -> None:
    with pytest.raises(TypeError):
        ScanOptions(11)  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError):
        ScanOptions().alphas = 11  # type: ignore[misc]
