"""Points are used again only for the very same measures, code and data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation import identity, resume
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan


def scanned(folder: Path, data: Any, **settings: Any) -> Curve:
    torch.manual_seed(0)
    start, end = nn.Linear(6, 3), nn.Linear(6, 3)
    line = Line(State.from_module(start), State.from_module(end))
    return scan(line, Evaluator(start, {"test": data}, **settings), ScanOptions(alphas=4, keep=folder))


def clamped(most: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets).clamp(max=most)

    return loss


def batch(**others: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {"x": torch.randn(20, 6, generator=generator), "labels": torch.arange(20) % 3, **others}


def forward(model: nn.Module, given: Any) -> tuple[Any, Any]:
    return model(given["x"]) * given.get("scale", 1.0) + len(given.get("word", "")), given["labels"]


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "class weights": (
        {"measures": [partial(cross_entropy, weight=torch.tensor([1.0, 1.0, 5.0]))]},
        {"measures": [partial(cross_entropy, weight=torch.tensor([1.0, 5.0, 1.0]))]},
    ),
    "ignore_index": (
        {"measures": [partial(cross_entropy, ignore_index=1)]},
        {"measures": [partial(cross_entropy, ignore_index=2)]},
    ),
    "what a measure encloses": ({"measures": [clamped(2.0)]}, {"measures": [clamped(1.0)]}),
    "a number in a batch": ({"data": [batch(scale=1.0)]}, {"data": [batch(scale=2.0)]}),
    "a word in a batch": ({"data": [batch(word="a")]}, {"data": [batch(word="ab")]}),
    "an array in a batch": ({"data": [batch(scale=np.ones(1))]}, {"data": [batch(scale=2 * np.ones(1))]}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.filterwarnings("ignore:.*array.*")
def test_points_of_something_else_are_not_used(change: str, tmp_path: Path) -> None:
    def asked(settings: dict[str, Any], folder: Path) -> np.ndarray:
        settings = {"forward": forward, "data": [batch()], **settings}
        return np.asarray(next(iter(scanned(folder, settings.pop("data"), **settings))).values)

    first, second = CHANGES[change]
    asked(first, tmp_path / "kept")
    assert np.array_equal(asked(second, tmp_path / "kept"), asked(second, tmp_path / "new"))
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_what_cannot_be_identified_is_not_kept_and_said(tmp_path: Path) -> None:
    class Odd:
        __slots__ = ()

    curve = scanned(tmp_path, [batch(odd=Odd())], forward=forward)
    assert any("Points were not kept, as data or measures hold a Odd" in note for note in curve.provenance["notes"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(identity.UnidentifiedError):
        identity.add(hashlib.sha256(), torch.eye(2).to_sparse())


def test_a_kept_position_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = [batch()]
    expected = scanned(tmp_path, data, forward=forward)
    (folder,) = tmp_path.iterdir()
    monkeypatch.setattr(resume, "folder_of", lambda *_: folder)  # as if something had escaped it
    data[0]["labels"] = (data[0]["labels"] + 1) % 3
    curve = scanned(tmp_path, data, forward=forward)
    assert any("measured again" in note for note in curve.provenance["notes"])
    assert not np.array_equal(curve["test", "cross_entropy"].values[1], expected["test", "cross_entropy"].values[1])
    assert resume.read(folder)
