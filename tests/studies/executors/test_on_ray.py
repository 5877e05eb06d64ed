"""Ray: the logic against a stand-in, and the same bits from a real cluster on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from linescape import studies
from linescape.errors import RecipeError
from linescape.studies import executors
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Task, Train
from tests.support import fake_clusters, optional
from tests.support.fake_clusters import FakeRay
from tests.support.own_study import as_file
from tests.support.small_study import FLAT, results, whole

TASKS: list[Task] = [Train(FLAT), whole(FLAT), whole(FLAT, alphas=3), whole(FLAT, alphas=5)]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    made = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", made)
    module = import_module("linescape.studies.executors.on_ray")  # which another test may have let be imported again
    monkeypatch.setattr(module, "find_spec", lambda _: made)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return made


def test_units_go_out_as_there_is_room(fake: FakeRay, tmp_path: Path) -> None:
    outcome = work(TASKS, Store(tmp_path), progress=False, executor=executors.named("ray", 2))
    assert (outcome.done, outcome.failed) == (4, {})
    assert (fake.most, len(fake.asked), fake.cancelled, fake.down) == (2, 4, [], True)
    assert fake.given["include_dashboard"] is False
    assert fake.given["address"] == "local"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert fake.asked[0] == {"num_cpus": 1, "num_gpus": 0.0, "memory": 1_500_000_000}  # half of what there is, at most


def test_an_address_is_connected_to(fake: FakeRay, tmp_path: Path) -> None:
    fake.node = "10.1.2.3"
    executor = executors.named("ray", None, "ray://head:10001")
    assert executor.capacity("cpu") == 256
    assert work(TASKS, Store(tmp_path), progress=False, executor=executor).done == 4
    assert fake.given["address"] == "ray://head:10001"
    assert "num_cpus" not in fake.given
    assert fake.asked[0]["memory"] == 2_000_000_000


@pytest.mark.parametrize(("started", "setting"), [("127.0.0.1:6379", "0"), ("192.0.2.7:6379", None), (None, None)])
def test_a_cluster_on_loopback_is_looked_for_there(
    fake: FakeRay, tmp_path: Path, started: str | None, setting: str | None
) -> None:
    fake.node = "127.0.0.1"
    os.environ.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)
    os.environ["RAY_TMPDIR"] = str(tmp_path)  # where `ray start` notes it
    if started:
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(started)
    outcome = work(TASKS[:1], Store(tmp_path / "store"), progress=False, executor=executors.named("ray", 2, "auto"))
    assert outcome.done == 1
    assert os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") == setting


def test_a_worker_that_is_lost_is_replaced(fake: FakeRay, tmp_path: Path) -> None:
    def fate(count: int) -> None:
        if count in (1, 2):
            raise fake_clusters.RayError("The worker died unexpectedly.\nAnd more.")

    fake.fate = fate
    assert work(TASKS, Store(tmp_path / "a"), progress=False, executor=executors.named("ray", 2)).done == 4

    def always(count: int) -> None:
        raise fake_clusters.OutOfMemoryError("no memory")

    fake.fate, fake.count = always, 0
    failed = work(TASKS, Store(tmp_path / "b"), progress=False, executor=executors.named("ray", 2)).failed
    assert len(failed) == 4
    assert fake.count == 3
    assert "signal 9, by Ray" in failed[TASKS[0]]

    def unread(count: int) -> None:
        raise fake_clusters.RayTaskError("no such function")

    fake.fate = unread
    failed = work(TASKS[:1], Store(tmp_path / "c"), progress=False, executor=executors.named("ray")).failed
    assert failed == {TASKS[0]: "no such function"}


def test_ctrl_c_cancels_what_is_in_flight(fake: FakeRay, tmp_path: Path) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    fake.fate = interrupted
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        work([TASKS[0], Train(FLAT)], store, progress=False, executor=executors.named("ray"))
    assert fake.down


def test_a_cluster_that_does_not_start_is_an_error(
    fake: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nAnd more.")  # as Ray does

    monkeypatch.setattr(fake, "init", init)
    with pytest.raises(RecipeError, match=r"no connection to a Ray cluster on this machine: .* during startup\.$"):
        work(TASKS, Store(tmp_path), progress=False, executor=executors.named("ray", 2))


def test_a_cluster_that_would_be_open_to_others_is_refused(fake: FakeRay, tmp_path: Path) -> None:
    fake.node = "192.0.2.7"
    with pytest.raises(RecipeError, match="open to others"):
        work(TASKS, Store(tmp_path), progress=False, executor=executors.named("ray"))
    assert fake.down


STUDY = """
import os, signal, subprocess, sys
from linescape import studies
from linescape.studies.executors import named
from linescape.studies.run import work
from linescape.studies.store import Store

study = studies.find("my_study.py")
if __name__ == "__main__":
    if len(sys.argv) > 1:
        import threading, time
        def kill():
            for _ in range(4):
                time.sleep(1.0)
                said = subprocess.run(["pgrep", "-f", "ray::answer"], capture_output=True, text=True).stdout.split()
                mine = [pid for pid in said if int(pid) != os.getpid()]
                if mine:
                    os.kill(int(mine[0]), signal.SIGKILL)
                    open("kills", "a").write("x")
        def look():
            while not os.path.exists("store/linescape.json"):
                time.sleep(0.1)
            open("listening", "w").write(subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout)
            kill()
        threading.Thread(target=look, daemon=True).start()
    outcome = work(study, Store("store"), progress=False, executor=named("ray", 2))
    print(outcome)
    assert not outcome.failed, outcome.failed
"""


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_a_real_cluster_gives_the_same_bits(killed: bool, tmp_path: Path) -> None:
    optional.load("ray")
    with as_file(tmp_path) as file:
        study = studies.find(str(file))
        (tmp_path / "run.py").write_text(STUDY)
        ran = subprocess.run(
            [sys.executable, "run.py", *["kill"] * killed],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert ran.returncode == 0, ran.stderr
        work(study, Store(tmp_path / "local"), progress=False, workers=1)
        assert results(Store(tmp_path / "store"), study.tasks()) == results(Store(tmp_path / "local"), study.tasks())
    if killed:
        assert (tmp_path / "kills").exists()
        listening = [line.split() for line in (tmp_path / "listening").read_text().splitlines()]
        of_ray = [line[3] for line in listening if any(name in line[-1] for name in ("ray", "gcs_server"))]
        assert of_ray
        assert all("127.0.0.1" in address or "[::1]" in address for address in of_ray), of_ray
