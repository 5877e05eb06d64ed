"""A small study that is done, and trainings whose steps are counted."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

import linescape.studies.executors.local
import linescape.studies.trainings
from linescape.data import sets
from linescape.recipe import Recipe
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.training.loop import Checkpoint, Progress, train
from tests.support.small_study import study


@pytest.fixture
def no_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies are done in the test's own process alone."""
    monkeypatch.setattr(linescape.studies.executors.local, "ALONE_SECONDS", math.inf)


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The small study, done; tests read it, and change copies only."""
    store = Store(tmp_path_factory.mktemp("done"))
    outcome = work(study(), store, progress=True)
    assert (outcome.done, outcome.before, outcome.failed, outcome.declined) == (6, 0, {}, {})
    return store


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own MNIST, for a slow test that repeats a published number; skipped where it is not there."""
    monkeypatch.delenv("LINESCAPE_DATA")
    if sets.locate("mnist") is None:
        pytest.skip("needs MNIST: linescape data get mnist")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that trainings of the studies go through, in order."""
    gone: list[int] = []

    def counted(recipe: Recipe, dataset: object, start: Checkpoint, *rest: object) -> Iterator[Progress]:
        for progress in train(recipe, dataset, start, *rest):  # type: ignore[arg-type]
            if progress.step > start.step:
                gone.append(progress.step)
            yield progress

    monkeypatch.setattr(linescape.studies.trainings, "train", counted)
    return gone
