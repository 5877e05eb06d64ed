"""Every kind of task has its row in the table, and a new one is a class and its row: here, how large weights are."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import get_args

import pytest

from linescape.recipe import MLP, Data, Moment, Recipe, Schedule
from linescape.studies import kinds
from linescape.studies.exchange import export_results, import_results
from linescape.studies.garbage import UNNEEDED, find_garbage
from linescape.studies.inventory import check
from linescape.studies.job import Job
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.layout import folder_of, words
from linescape.studies.planning import count, plan
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.tasks import Keep, Scan, Task, Train, any_task, describe
from linescape.studies.workloads import Cost, beginning
from tests.studies.test_planning import Fake

RECIPE = Recipe(Data("spiral"), MLP((4,)), schedule=Schedule(1))


class Size(Task, frozen=True, tag_field="task", tag="size"):
    """Task: the largest weight at the end of a training."""

    recipe: Recipe
    result = "the largest weight"
    work = "measure the weights of"

    def needs(self) -> tuple[Task, ...]:
        return (Train(self.recipe),)


def do(task: Size, job: Job, also: Collection[Task], part: Part | None) -> None:
    assert not also
    assert part is None
    largest = max(float(value.abs().max()) for value in job.store.state(Moment(task.recipe)).values())
    job.store.save(task, {"size.json": json.dumps(largest).encode()}, job.record())


def cost(task: Size, device: str, asked: Asked) -> Cost:
    return Cost({}, beginning(task.recipe) + 1.0, 20)


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(kinds.KINDS)
    table[Size] = Kind(Size, do, cost)
    monkeypatch.setattr(kinds, "KINDS", table)


def test_the_table_has_every_kind() -> None:
    assert set(kinds.KINDS) == set(get_args(any_task()))
    assert {kind.task for kind in kinds.KINDS.values()} == set(kinds.KINDS)
    assert {Train, Keep, Scan} < set(kinds.KINDS)


def test_a_new_kind_is_planned_done_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linescape.studies.planning.Timer", Fake)
    task, store = Size(RECIPE), Store(tmp_path / "store")
    assert str(count([task], store)) == (
        "1 of 1 trainings and 0 of 0 lines to do, shared ones counted once, and 1 of 1 other tasks"
    )
    alone = plan([Train(RECIPE)], store)
    planned = plan([task], store)
    assert planned.missing == 2
    assert planned.core_seconds == pytest.approx(alone.core_seconds + beginning(RECIPE) + 1.0)
    assert planned.bytes == alone.bytes + 20
    summary = work([task], store, progress=False, workers=1)
    assert (summary.done, summary.failed) == (2, {})
    assert str(count([task], store)) == "1 trainings and 0 lines and 1 other tasks, all done"
    assert 0 < json.loads(store.read(task, "size.json")) < 10

    assert set(store.tasks()) == {task, Train(RECIPE)}
    assert check(store).whole == 2
    assert folder_of(task) in {each.folder for each in find_garbage(store, []) if each.reason == UNNEEDED}
    assert describe(task) == "measure the weights of MLP on spiral, seed 0"
    assert words(task) == f"the largest weight {task.key}"
    export_results(store, tmp_path / "all.zip")
    other = Store(tmp_path / "other")
    assert import_results(other, tmp_path / "all.zip").taken == 2
    assert other.read(task, "size.json") == store.read(task, "size.json")


def test_a_new_kind_is_made_again_where_it_is_damaged(tmp_path: Path) -> None:
    task, store = Size(RECIPE), Store(tmp_path)
    work([task], store, progress=False, workers=1)
    whole = store.read(task, "size.json")
    (store.folder(task) / "size.json").write_bytes(b"0.5")
    again = Store(tmp_path)
    summary = work([task], again, progress=False, workers=1)
    assert list(summary.remarks) == [task]
    assert again.read(task, "size.json") == whole
