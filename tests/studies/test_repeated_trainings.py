"""A state within a training that is repeated, damaged or stopped is that training's to the bit, or is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

import linescape.studies.trainings
import linescape.training.loop
from linescape.recipe import Optimizer, Recipe
from linescape.studies.doing import do
from linescape.studies.planning import plan
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Moment, Scan, Train
from tests.support.moments import FLAT, files, is_by_hand, keep, stop_after


@pytest.mark.parametrize(
    ("step", "factor", "reason"),
    [
        (0, 1.1, "its epoch 0 has the training loss"),
        (0, 1 + 1e-6, "its epoch 2 has the training loss"),  # other last bits of weights, which losses do not show yet
        (19, 1.1, "its end has other bits"),
    ],
)
def test_a_training_that_is_repeated_otherwise_keeps_nothing(
    step: int, factor: float, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = Store(tmp_path), keep(FLAT, "step", 3)
    work([Train(FLAT)], store, progress=False)
    before = files(store, Train(FLAT))
    rate = linescape.training.loop.learning_rate

    def other(recipe: Recipe, now: int, per_epoch: int) -> float:
        return rate(recipe, now, per_epoch) * (factor if now >= step else 1.0)

    monkeypatch.setattr(linescape.training.loop, "learning_rate", other)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "of another machine")
    line = Scan(asked.moment, Moment(FLAT), alphas=2)
    outcome = work([line], store, progress=False)
    assert list(outcome.failed) == [asked, line]
    assert f"could not be repeated to the bit: {reason}" in outcome.failed[asked]
    assert "It was computed with another cpu. Repeat it with" in outcome.failed[asked]
    assert not store.has(asked)
    assert store.kept(FLAT) == ()
    assert files(store, Train(FLAT)).items() >= before.items()
    monkeypatch.undo()
    assert work([line], store, progress=False).done == 2
    assert is_by_hand(store, asked, 3)


def test_elsewhere_a_training_is_repeated_to_its_end_which_proves_the_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    store, asked = Store(tmp_path), [keep(FLAT, "step", 3), keep(FLAT, "epoch", 2)]
    work([Train(FLAT)], store, progress=False)
    assert plan(asked, store, workers=1).repeated == 1
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "of another machine")
    steps.clear()
    assert work(asked, store, progress=False).done == 2
    assert steps == list(range(1, 21))
    assert all(is_by_hand(store, task, step) for task, step in zip(asked, (3, 10), strict=True))


def test_the_epoch_before_a_state_does_not_prove_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With one step in an epoch, the loss of epoch 0 is that of the start, whatever the step then does.
    recipe, store = replace(FLAT, optimizer=Optimizer(lr=0.1, batch_size=200)), Store(tmp_path)
    work([Train(recipe)], store, progress=False)
    rate = linescape.training.loop.learning_rate
    monkeypatch.setattr(linescape.training.loop, "learning_rate", lambda *step: rate(*step) * 1.5)
    (reason,) = work([keep(recipe, "epoch", 1)], store, progress=False).failed.values()
    assert "its epoch 1 has the training loss" in reason


def test_a_training_does_not_end_beside_a_state_that_was_kept_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = Store(tmp_path), keep(FLAT, "step", 3)
    with monkeypatch.context() as patch:
        rate = linescape.training.loop.learning_rate
        patch.setattr(linescape.training.loop, "learning_rate", lambda *step: rate(*step) * (1 + 1e-6))
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "of another machine")
        assert work([asked], store, progress=False).done == 1
    (reason,) = work([Train(FLAT)], store, progress=False).failed.values()  # which does not ask for that state
    assert "after step 3 of the training" in reason
    assert "was kept earlier and is another now" in reason
    assert "computed with another cpu" in reason
    shutil.rmtree(store.folder(asked))
    assert work([Train(FLAT), asked], store, progress=False).done == 2
    assert is_by_hand(store, asked, 3)


@pytest.mark.parametrize("name", ["state.safetensors", "optimizer.safetensors", "done.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_damaged_state_is_made_again(name: str, damage: str, finished: bool, tmp_path: Path) -> None:
    store, asked = Store(tmp_path), keep(FLAT, "epoch", 1)
    work([asked, *[Train(FLAT)] * finished], store, progress=False)
    path = store.folder(asked) / name
    content, middle = path.read_bytes(), len(path.read_bytes()) // 2
    path.write_bytes(content[:middle] + (bytes([content[middle] ^ 1]) + content[middle + 1 :]) * (damage == "flipped"))
    if damage == "gone":
        path.unlink()
    assert not store.has(asked)
    assert not Store(tmp_path).has(asked)
    assert Store(tmp_path).has(Train(FLAT)) == finished
    outcome = work([asked], Store(tmp_path), progress=False)
    assert (outcome.done, outcome.failed) == (1, {})
    assert is_by_hand(Store(tmp_path), asked, 5)
    if name != "done.json":
        assert "was done again" in outcome.remarks[asked]


def test_a_state_in_the_place_of_another_is_not_used(tmp_path: Path) -> None:
    store, one, two = Store(tmp_path), keep(FLAT, "step", 1), keep(FLAT, "step", 2)
    work([one, two], store, progress=False)
    shutil.rmtree(store.folder(two))
    shutil.copytree(store.folder(one), store.folder(two))
    assert store.has(one)
    assert not store.has(two)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.45, 0.6])
def test_ctrl_c_while_a_training_is_repeated_loses_little(
    share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 0.0)
    store, asked = Store(tmp_path), [keep(FLAT, "step", 3), keep(FLAT, "step", 6), keep(FLAT, "step", 13)]
    do(Train(FLAT), store)
    before = files(store, Train(FLAT))
    steps.clear()
    with pytest.raises(KeyboardInterrupt):
        do(asked[0], store, "cpu", stop_after(share), asked)
    for task in asked:
        if not store.has(task):
            do(task, store, "cpu", lambda _: None, asked)
    assert len(steps) <= 15 + 2  # what was under way, and its report
    assert all(is_by_hand(store, task, step) for task, step in zip(asked, (3, 6, 13), strict=True))
    assert files(store, Train(FLAT)) == before
    assert not list(tmp_path.rglob("resume.safetensors"))


@pytest.mark.parametrize("what", ["snapshot", "unchecked"])
def test_damaged_work_in_progress_is_not_used(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 0.0)
    store, asked = Store(tmp_path), keep(FLAT, "step", 6)
    do(Train(FLAT), store)
    with pytest.raises(KeyboardInterrupt):
        do(asked, store, report=stop_after(0.4))
    path = store.folder(Train(FLAT) if what == "snapshot" else asked) / "resume.safetensors"
    content = bytearray(path.read_bytes())
    content[-20] ^= 2
    path.write_bytes(content)
    steps.clear()
    do(asked, store)
    assert steps == list(range(1, 11))
    assert is_by_hand(store, asked, 6)


def test_what_was_stopped_beyond_a_state_is_not_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 0.0)
    store, asked = Store(tmp_path), keep(FLAT, "step", 3)
    with pytest.raises(KeyboardInterrupt):
        do(Train(FLAT), store, report=stop_after(0.6))
    steps.clear()
    assert work([asked], store, progress=False).done == 1
    assert steps == [13, *range(14, 21), *range(1, 6)]
    assert store.has(Train(FLAT))
    assert is_by_hand(store, asked, 3)


@pytest.mark.slow  # test_interrupted.py kills a study in the quick tests
@pytest.mark.parametrize("what", ["states", "best"])
def test_kills_and_company_change_no_state(what: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.killing", str(tmp_path), what, "1"]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["deaths"] > 10
    expected = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.safetensors")}
    assert len(expected) >= 10
    for name in ("killed", "shared"):
        found = {path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.safetensors")}
        assert found == expected
        for path in expected - {path for path in expected if path.name == "curve.safetensors"}:  # which names seconds
            assert (tmp_path / name / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()


def test_a_training_and_its_states_have_one_lock(tmp_path: Path) -> None:
    store, asked = Store(tmp_path), keep(FLAT, "step", 3)
    with store.claim(Train(FLAT)) as first, Store(tmp_path).claim(asked) as second:
        assert (first, second) == (True, False)
    with store.claim(asked) as first, Store(tmp_path).claim(Train(FLAT)) as second:
        assert (first, second) == (True, False)
