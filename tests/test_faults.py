"""What is counted under faults; the counts of a few real ones, and of a short soak, are those wished for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.faults.counting import Counts, Event, done_again, parse, points_lost, seconds_lost, table
from tests.support.faults.watched import Settings, _Watched

TRAININGS = frozenset({"t"})


def shares(process: int, *steps: tuple[float, float]) -> list[Event]:
    return [Event(at, process, "share", "t", share) for at, share in steps]


def test_events_are_read_as_they_were_noted() -> None:
    events = [Event(1.5, 7, "up"), Event(2.0, 7, "point", "w", 0.25)]
    assert parse(b"".join(json.dumps(event).encode() + b"\n" for event in events)) == events


def test_a_result_is_published_as_if_nobody_watched(tmp_path: Path) -> None:
    given = []
    put = _Watched(Settings(str(tmp_path / "log")), first=False).put(lambda *rest, **named: given.append((rest, named)))
    task = SimpleNamespace(key="t")
    put("store", task, "files", durable=False)
    assert given == [(("store", task, "files"), {"durable": False})]
    assert [event.kind for event in parse((tmp_path / "log").read_bytes())] == ["put"]


def test_what_is_done_although_it_is_published_is_counted() -> None:
    put = Event(1.0, 1, "put", "t")
    assert done_again([Event(0.0, 1, "begin", "t", 0), put]) == 0
    assert done_again([put, Event(2.0, 2, "begin", "t", 1)]) == 1
    assert done_again([put, put]) == 1
    assert done_again([put, Event(2.0, 9, "moved"), put]) == 0


def test_positions_are_lost_by_the_process_that_had_measured_them() -> None:
    first, again = ([Event(0.0, process, "point", "w", alpha) for alpha in (0.0, 0.5)] for process in (1, 2))
    assert points_lost(first) == 0
    assert points_lost([*first, again[1]]) == 1
    assert points_lost([*first, *again]) == 2
    assert points_lost([first[0], *again, Event(0.0, 3, "point", "w", 0.5)]) == 1  # one of each
    assert points_lost([*first, Event(1.0, 9, "moved"), *again]) == 0


def test_training_is_lost_beyond_where_the_next_process_goes_on() -> None:
    first = shares(1, (10.0, 0.1), (11.0, 0.2), (12.0, 0.3), (15.0, 0.4))
    assert seconds_lost([*first, *shares(2, (20.0, 0.5))], TRAININGS) == 0.0
    assert seconds_lost([*first, *shares(2, (20.0, 0.3))], TRAININGS) == 4.0
    assert seconds_lost([*first, *shares(2, (20.0, 0.1))], TRAININGS) == 5.0
    second = shares(2, (20.0, 0.3), (29.0, 0.9))
    assert seconds_lost([*first, *second, *shares(3, (40.0, 0.3))], TRAININGS) == 9.0
    assert seconds_lost([*first, *second], frozenset()) == 0.0
    assert seconds_lost([*first, Event(18.0, 9, "moved"), *second], TRAININGS) == 0.0


def test_anything_that_is_not_as_it_has_to_be_is_wrong() -> None:
    assert not Counts(runs=9, deaths=8, refused=7, failed=6, points=1, seconds=10.0).wrong
    for name in ("differ", "again", "tracebacks", "unfinished", "leftovers", "hung"):
        counts = Counts()
        setattr(counts, name, 1)
        assert counts.wrong
    assert Counts(points=2).wrong
    assert Counts(seconds=11.1).wrong
    total = Counts(runs=1, points=1, notes=["a"])
    total.add(Counts(runs=2, seconds=3.0, notes=["b"]))
    assert (total.runs, total.points, total.seconds, total.notes) == (3, 1, 3.0, ["a", "b"])
    assert table({"a fault": total}).splitlines()[-1].startswith("| a fault | 3 | 0 |")


def ran(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@pytest.mark.slow
@pytest.mark.parametrize("only", ["process", "clock", "helper", "store", "memory", "NaN", "disk", "long", "ray"])
def test_no_fault_changes_a_number_or_leaves_anything(only: str, tmp_path: Path) -> None:
    told = ran("tests.support.faults", "--moments", "3", "--damages", "0", "--only", only, "--json", folder=tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    came = {name: Counts(**counts) for name, counts in json.loads(told.stdout).items()}
    if not came:
        pytest.skip("needs ray, or the right to mount a small file system")
    assert sum(counts.runs for counts in came.values()) > len(came)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_soak_says_what_it_did(tmp_path: Path) -> None:
    told = ran("tests.support.soak", "--minutes", "0.1", "--seed", "1", folder=tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    summary = json.loads(told.stdout)
    assert (summary["seed"], summary["studies"], len(summary["faults"])) == (1, 1, 2)
    assert told.stderr.splitlines()[-1].endswith("wrong: none")
    assert not list(tmp_path.iterdir())
