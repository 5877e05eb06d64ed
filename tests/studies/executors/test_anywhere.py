"""What a unit comes to, in whatever process it is done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import linescape.studies.executors.anywhere
from linescape.errors import RecipeError
from linescape.studies import executors
from linescape.studies.executors.anywhere import Target, answer, do_unit, message, outcome_of
from linescape.studies.schedule import Outcome, Unit
from linescape.studies.store import Store
from linescape.studies.study import Keep, Moment, Train
from tests.support.small_study import FLAT, whole


def test_a_unit_goes_there_and_back_as_a_line_of_text(tmp_path: Path) -> None:
    store = Store(tmp_path / "st\udcff")
    unit = Unit(Train(FLAT), (Keep(Moment(FLAT, "step", 2)),))
    line = message(unit, Target.of(store, "cpu"))
    assert b"\n" not in line
    assert outcome_of(answer(line)) == Outcome("done")
    assert store.has(unit.task)
    assert store.has(unit.also[0])
    with store.claim(whole(FLAT)):
        assert outcome_of(answer(message(Unit(whole(FLAT)), Target.of(store, "cpu")))) == Outcome("elsewhere")


def no_room() -> None:
    torch.empty(2**56)


def no_memory() -> None:
    raise MemoryError


def no_gpu_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


@pytest.mark.parametrize("fault", [no_room, no_memory, no_gpu_memory])
def test_a_want_of_memory_is_that_tasks_failure(fault: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", lambda *_: fault())  # type: ignore[operator]
    outcome = do_unit(Unit(Train(FLAT)), Store(tmp_path), "cpu")
    assert outcome.kind == "failed"
    assert outcome.reason.startswith("There was not enough of ")
    assert ("the GPU's memory" in outcome.reason) == (fault is no_gpu_memory)
    assert "Traceback" not in outcome.reason


def test_other_mistakes_keep_their_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", lambda *_: torch.ones(2) @ torch.ones(3))
    assert "Traceback" in do_unit(Unit(Train(FLAT)), Store(tmp_path), "cpu").reason


def test_executors_are_named() -> None:
    assert executors.named("local", 3).capacity("cpu") == 3
    for arguments, said in (
        (("lokal",), "Did you mean 'local'"),
        (("local", 0), "would do nothing"),
        (("local", None, "auto"), "Add --executor ray"),
        (("ray", None, "", ("time=3",)), "Add --executor slurm"),
    ):
        with pytest.raises(RecipeError, match=said):
            executors.named(*arguments)


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_what_is_not_installed_is_said(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    monkeypatch.delitem(sys.modules, f"linescape.studies.executors.on_{name}", raising=False)
    with pytest.raises(RecipeError, match=rf"pip install 'linescape\[{name}\]'"):
        executors.named(name)
