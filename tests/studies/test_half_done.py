from __future__ import annotations

import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from linescape.errors import StoreError
from linescape.geometry.state import State
from linescape.interpolation.curve import Point
from linescape.recipe import Recipe
from linescape.studies.half_done import Best
from linescape.studies.places.local import LocalFolder
from linescape.studies.store import Store
from linescape.studies.study import Scan, Train, hump_line
from linescape.training.loop import Checkpoint
from tests.support.stored import CURVE, END, LINE, ROWS, STATE, TASK, same

CONDITIONS = {"device": "cpu", "native_library": None, "versions": {"torch": "2"}}
OTHERS: list[dict[str, Any]] = [
    {**CONDITIONS, "native_library": "d1"},
    {**CONDITIONS, "versions": {"torch": "3"}},
    {name: value for name, value in CONDITIONS.items() if name != "device"},
]


@pytest.mark.parametrize("other", OTHERS)
def test_a_training_is_not_resumed_with_anything_else(tmp_path: Path, other: dict[str, Any]) -> None:
    store = Store(tmp_path)
    store.half_done(TASK, other).save_training(END, ROWS[:1])
    assert store.half_done(TASK, other).training(STATE)
    half_done = store.half_done(TASK, CONDITIONS)
    assert half_done.training(STATE) is None
    (remark,) = half_done.remarks
    assert re.search(r"began anew, .* computed with another (native_library|versions|device)$", remark)


def test_a_training_is_not_resumed_from_that_of_another_task(tmp_path: Path) -> None:
    store, other = Store(tmp_path), Train(Recipe(seed=3))
    store.half_done(other, CONDITIONS).save_training(END, ROWS[:1])
    store.folder(TASK).mkdir(parents=True)
    shutil.copy(store.folder(other) / "resume.safetensors", store.folder(TASK))
    assert store.half_done(TASK, CONDITIONS).training(STATE) is None


@pytest.mark.parametrize(
    "start",
    [
        State({"w": torch.zeros(3, 2), "b": torch.zeros(2)}, STATE.buffers, STATE.tied),
        State({"w": torch.zeros(2, 3)}, STATE.buffers, STATE.tied),
        State({**STATE.parameters, "more": torch.zeros(1)}, STATE.buffers, STATE.tied),
    ],
)
def test_a_training_is_not_resumed_on_another_network(tmp_path: Path, start: State) -> None:
    store = Store(tmp_path)
    store.half_done(TASK, CONDITIONS).save_training(END, ROWS[:1])
    assert store.half_done(TASK, CONDITIONS).training(start) is None


@pytest.mark.parametrize(
    "optimizer",
    [{"momentum_buffer/w": torch.ones(3)}, {"momentum_buffer/v": torch.ones(2, 3)}, {"step/w/x": END.state["w"]}],
)
def test_an_optimizer_that_does_not_fit_is_not_used(tmp_path: Path, optimizer: dict[str, Tensor]) -> None:
    store = Store(tmp_path)
    store.half_done(TASK, CONDITIONS).save_training(Checkpoint(STATE, 12, optimizer), [])
    assert store.half_done(TASK, CONDITIONS).training(STATE) is None


def test_a_training_is_resumed_to_the_bit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.half_done(TASK, CONDITIONS).training(STATE) is None
    store.half_done(TASK, CONDITIONS).save_training(END, ROWS[:1])
    found, rows, _ = store.half_done(TASK, CONDITIONS).training(STATE) or pytest.fail("nothing to resume")
    assert same(found.state, STATE)
    assert torch.equal(found.optimizer["momentum_buffer/w"], torch.ones(2, 3))
    assert (found.step, found.loss_sum, found.wrong, found.seen) == (12, 0.1 + 0.2, 3, 5)
    assert rows == ROWS[:1]
    zeros = STATE.replace({"w": torch.zeros(2, 3)})
    for best in (Best(), Best(Checkpoint(zeros, 6, END.optimizer, 0.5, 1, 2), 0.3)):
        store.half_done(TASK, CONDITIONS).save_training(END, ROWS[:1], best)
        found, _, again = store.half_done(TASK, CONDITIONS).training(STATE) or pytest.fail("nothing to resume")
        assert same(found.state, STATE)
        assert again is not None
        assert again.loss == best.loss
        if best.checkpoint is None or again.checkpoint is None:
            assert again.checkpoint is best.checkpoint
            continue
        saved = again.checkpoint
        assert same(saved.state, zeros)
        assert torch.equal(saved.optimizer["momentum_buffer/w"], torch.ones(2, 3))
        assert (saved.step, saved.loss_sum, saved.wrong, saved.seen) == (6, 0.5, 1, 2)
    store.save_training(TASK, STATE, END, ROWS, {})
    assert store.half_done(TASK, CONDITIONS).training(STATE) is None


KEY = ("test", "error", "end")


def kept(store: Store, conditions: dict[str, Any] = CONDITIONS, task: Scan = LINE, size: int = 2) -> list[Point]:
    return store.half_done(task, conditions).points(np.linspace(0, 1, 50).tolist(), {KEY: (size,)})


def test_points_are_kept_until_the_curve_is(tmp_path: Path) -> None:
    store, alphas = Store(tmp_path), np.linspace(0, 1, 50).tolist()
    points = [Point(alphas[k], {KEY: np.array([k, np.nan], np.float32)}, 0.5) for k in (3, 1)]
    for point in points:
        store.half_done(LINE, CONDITIONS).save_point(point)
    found = {point.alpha: point for point in kept(store)}
    assert set(found) == {alphas[1], alphas[3]}
    for point in points:
        ((key, values),) = found[point.alpha].values.items()
        assert key == KEY
        assert values.dtype == np.float32
        assert np.array_equal(values, point.values[key], equal_nan=True)
    assert kept(store, {**CONDITIONS, "device": "other"}) == []
    assert kept(store, size=3) == []
    half_done = store.half_done(LINE, {})
    assert half_done.points(alphas, {KEY: (2,)}) == []
    assert "measured 2 positions again" in half_done.remarks[0]
    store.save_curve(LINE, CURVE, {})
    assert kept(store) == []


def test_points_in_another_place_are_not_used(tmp_path: Path) -> None:
    store, other = Store(tmp_path), hump_line(Recipe(seed=3))
    for alpha in (0.0, 1.0):
        store.half_done(LINE, CONDITIONS).save_point(Point(alpha, {KEY: np.array([alpha, 2])}, 0.5))
    shutil.copytree(store.folder(LINE) / "points", store.folder(other) / "points")
    assert kept(store, task=other) == []
    (store.folder(LINE) / "points" / "0.0.safetensors").replace(store.folder(LINE) / "points" / "1.0.safetensors")
    assert kept(store) == []


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"x" * 500])
def test_damaged_work_in_progress_is_done_again(content: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.half_done(TASK, CONDITIONS).save_training(END, ROWS)
    store.half_done(LINE, CONDITIONS).save_point(Point(0.0, {KEY: np.ones(2)}, 0.5))
    assert kept(store)
    whole = (store.folder(TASK) / "resume.safetensors").read_bytes()
    for damaged in (content, whole[:-3], whole[:-8] + bytes(8), whole + b"x"):
        (store.folder(TASK) / "resume.safetensors").write_bytes(damaged)
        assert store.half_done(TASK, CONDITIONS).training(STATE) is None
    (store.folder(LINE) / "points" / "0.0.safetensors").write_bytes(content)
    assert kept(store) == []


def test_no_bit_of_work_in_progress_may_flip(tmp_path: Path) -> None:
    store, rng = Store(tmp_path), random.Random(0)
    store.half_done(TASK, CONDITIONS).save_training(END, ROWS)
    store.half_done(LINE, CONDITIONS).save_point(Point(0.0, {KEY: np.ones(2)}, 0.5))
    for path in tmp_path.rglob("*.safetensors"):
        whole = path.read_bytes()
        for place in rng.sample(range(len(whole)), min(len(whole), 200)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :])
            assert (
                (kept(store) == [])
                if path.name == "0.0.safetensors"
                else not store.half_done(TASK, CONDITIONS).training(STATE)
            )
        path.write_bytes(whole)
    assert kept(store)
    assert store.half_done(TASK, CONDITIONS).training(STATE)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_in_place_of_work_in_progress_is_not_waited_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.half_done(TASK, CONDITIONS).save_training(END, ROWS)
    store.half_done(LINE, CONDITIONS).save_point(Point(0.0, {KEY: np.ones(2)}, 0.5))
    for path in list(tmp_path.rglob("*.safetensors")):
        path.unlink()
        os.mkfifo(path)
    half_done = store.half_done(TASK, CONDITIONS)
    assert half_done.training(STATE) is None
    assert "no plain file but a pipe" in half_done.remarks[0]
    assert kept(store) == []
    half_done.save_training(END, ROWS)
    assert half_done.training(STATE)


def test_what_cannot_be_read_for_a_while_is_not_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as where a network is down: hours of training would begin anew."""
    store, point = Store(tmp_path), Point(0.5, {("test", "error", "interpolate"): np.zeros(2, np.float32)}, 1.0)
    training, walk = store.half_done(TASK, CONDITIONS), store.half_done(LINE, CONDITIONS)
    training.save_training(END, ROWS[:1])
    walk.save_point(point)
    with monkeypatch.context() as patched:
        patched.setattr(LocalFolder, "read", lambda *_: (_ for _ in ()).throw(StoreError("cannot be read")))
        with pytest.raises(StoreError, match="cannot be read"):
            training.training(STATE)
        with pytest.raises(StoreError, match="cannot be read"):
            walk.points([0.5], {("test", "error", "interpolate"): (2,)})
    assert training.training(STATE)
    assert len(walk.points([0.5], {("test", "error", "interpolate"): (2,)})) == 1
