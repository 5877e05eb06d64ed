"""A study is watched: a line for each change, a picture in a terminal, and how it ends."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from linescape import studies
from linescape.cli import watch
from linescape.recipe import Recipe
from linescape.studies.store import Store
from linescape.studies.study import Train
from linescape.studies.watching import Observer
from tests.support.command_line import Line
from tests.support.own_study import FILE

PART = ["my_study.py", "--arms", "base", "--runs", "1", "--store", "results"]


@pytest.fixture
def store(line: Line, tmp_path: Path) -> Store:
    """A store of which nothing of the study is done yet."""
    (tmp_path / "my_study.py").write_text(FILE)
    made = Store(tmp_path / "results")
    made.decline(Train(Recipe()), "so that there is one", {})
    return made


def test_each_change_is_a_line(line: Line, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = iter(studies.find("my_study.py").only("base", runs=1).tasks())
    monkeypatch.setattr(time, "sleep", lambda _: store.save(next(tasks), {}, {"seconds": 1.0}))
    code, out, err = line("study", "watch", *PART)
    assert (code, err) == (0, "")
    assert out.splitlines() == [*(f"{n} of 4 tasks done, {4 - n} waiting" for n in range(4)), "4 of 4 tasks done"]
    code, out, _ = line("study", "watch", *PART, "--json")
    assert json.loads(out) == {"done": 4, "running": 0, "waiting": 0, "failed": 0}


def test_failures_end_it_with_their_reason(line: Line, store: Store, tmp_path: Path) -> None:
    (tmp_path / "my_study.py").write_text(FILE.replace("return self.head(", "raise ValueError('no way') ; return ("))
    assert line("study", "run", *PART)[0] == 3
    code, out, err = line("study", "watch", *PART)
    assert code == 3
    assert out == "0 of 4 tasks done, 4 failed\n"
    assert "4 tasks failed when last tried. To try again: linescape study run my_study.py" in err
    assert "raised ValueError: no way" in err


def test_the_interrupt_key_ends_it_without_words(line: Line, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    assert line("study", "watch", *PART) == (130, "0 of 4 tasks done, 4 waiting\n", "")


def test_looks_take_a_fifth_of_the_time_but_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first imports what an estimate needs; four times as long passed until the second."""
    clock, pauses = [0.0], list[float]()

    def look() -> SimpleNamespace:
        clock[0] += 5.0
        return SimpleNamespace(is_over=len(pauses) == 2)

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", pauses.append)
    observer: Any = SimpleNamespace(look=look)
    assert len(list(watch._states(observer))) == 3
    assert pauses == [watch.PAUSE, 20.0]


def test_there_is_nothing_to_watch_where_nothing_was_run(line: Line, tmp_path: Path) -> None:
    code, out, err = line("study", "watch", "vlaar2022", "--store", "mistyped")
    assert (code, out) == (2, "")
    assert "mistyped has no results, so there is nothing to watch" in err
    assert not (tmp_path / "mistyped").exists()


def test_a_terminal_shows_what_runs_what_failed_and_what_waits(store: Store) -> None:
    study = studies.find("my_study.py").only("base", "wide", runs=1)
    first, *_, last = [task for task in study.tasks() if isinstance(task, Train)]
    observer = Observer(study, store)

    def picture() -> str:
        console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
        console.print(watch.picture_of(observer.look(), "linescape study run my_study.py"))
        return str(console.file.getvalue())  # type: ignore[attr-defined]

    assert "No process works on it now; 8 tasks wait. To go on: linescape study run my_study.py" in picture()
    store.note_failure(last, "Traceback\nValueError: no way")
    with store.claim(first):
        seen = picture()
    assert "training 0 1 0 1" in " ".join(seen.split())
    assert "line 0 0 3 3" in " ".join(seen.split())
    assert "0 of 8 tasks done" in seen
    assert "now: train Net on waves, seed 0" in seen
    assert "ValueError: no way" in seen
    assert "No process" not in seen
