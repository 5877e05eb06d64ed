from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from linescape import report
from linescape.errors import DamagedError, StoreError
from linescape.studies.inventory import check
from linescape.studies.places import leases, remote
from linescape.studies.places.remote import RemoteFolder
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Moment, Task, Train
from tests.support import optional
from tests.support.small_study import FLAT, results, study, whole
from tests.support.stored import CURVE, END, LINE, PLAIN, ROWS, STATE, TASK, same

ROOT = Path(__file__).parents[3]
SMALL: list[Task] = [Train(FLAT), whole(FLAT)]


@pytest.fixture
def address() -> str:
    return f"memory://{uuid.uuid4().hex}/results"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a server on this machine."""
    optional.load("s3fs")
    server = optional.load("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    system = fsspec.filesystem("s3")
    bucket = uuid.uuid4().hex  # the server's buckets outlive it in this process
    system.mkdir(bucket)
    yield f"s3://{bucket}/some/results"
    server.stop()
    type(system).clear_instance_cache()


def filled(address: str) -> Store:
    store = Store(address)
    store.save_training(TASK, STATE, END, ROWS, {"seconds": 1.0})
    store.save_curve(LINE, CURVE, {"seconds": 2.0})
    return store


def test_results_are_read_back_and_damage_is_found(address: str) -> None:
    assert not Store(address).exists()
    store, other = filled(address), Store(address)
    for each in (store, other):
        assert each.exists()
        assert each.has(TASK)
        assert each.has(LINE)
        assert same(each.state(Moment(PLAIN)), STATE)
        assert set(each.tasks()) == {TASK, LINE}
    name = f"train/{TASK.key}/end.safetensors"
    store.place.write(name, store.place.read(name)[:-1] + b"x")
    for each in (store, other):
        with pytest.raises(DamagedError, match=rf"memory:///.*/{name} is damaged"):
            each.state(Moment(PLAIN))
        assert not each.has(TASK)
    store.save_training(TASK, STATE, END, ROWS, {})
    assert other.has(TASK)
    assert "was done again" in other.record(TASK)["remarks"][0]


def test_what_the_place_vouches_for_is_not_read_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "verified.json" not in filled(address).place.names(f"train/{TASK.key}")  # a time in memory is no ETag
    monkeypatch.setattr(RemoteFolder, "is_steady", lambda self, signature: True)
    store = filled(f"{address}-steady")
    monkeypatch.setattr(Store, "verify", None)
    assert Store(f"{address}-steady").has(TASK)
    assert store.has(LINE)


def test_a_place_of_something_else_is_left_alone(address: str) -> None:
    RemoteFolder(address).write("thesis.tex", b"x")
    with pytest.raises(StoreError, match="not empty and has no linescape.json"):
        Store(address)
    above = address.removesuffix("/results")
    with pytest.raises(StoreError, match="not empty"):
        Store(above)


def test_addresses_that_cannot_be_used_say_why(address: str) -> None:
    with pytest.raises(StoreError, match="Protocol not known: s4. Check the address"):
        Store("s4://bucket")
    with pytest.raises(StoreError, match="address within another"):
        Store("simplecache::s3://bucket")
    with pytest.raises(StoreError, match=r"in the memory of this process.*workers=1"):
        Store(address).address  # noqa: B018
    with pytest.raises(StoreError, match="in no folder of this machine"):
        Store(address).path(Moment(PLAIN))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with pytest.raises(StoreError, match=r"pip install 'linescape\[s3\]'"):
        Store("s3://bucket")


def test_a_small_study_has_the_same_bits_as_in_a_folder(address: str, tmp_path: Path) -> None:
    work(SMALL, store := Store(address), progress=False, workers=1)
    work(SMALL, local := Store(tmp_path), progress=False, workers=1)
    for name in ("start", "end", "optimizer"):
        file = f"train/{SMALL[0].key}/{name}.safetensors"
        assert store.place.read(file) == local.place.read(file)
    ours, theirs = store.curve(whole(FLAT)), local.curve(whole(FLAT))
    assert {key: v.tobytes() for key, v in ours.values.items()} == {
        key: v.tobytes() for key, v in theirs.values.items()
    }
    assert check(store).whole == 2
    assert not [name for name in store.place.signatures(deep=True) if "lease" in name or "points" in name]


def test_a_result_that_another_made_meanwhile_is_left(address: str) -> None:
    store = filled(address)
    before = store.place.read(f"train/{TASK.key}/done.json")
    Store(address).save_training(TASK, STATE, END, ROWS, {"seconds": 99.0})  # by one that had lost its claim
    assert store.place.read(f"train/{TASK.key}/done.json") == before


def test_what_fails_on_the_way_is_tried_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0))
    store = filled(address)
    failures = [2]
    real = type(store.place._system).cat_file  # type: ignore[attr-defined]

    def unsteady(self: object, path: str, *rest: Any, **options: Any) -> bytes:
        failures[0] -= 1
        if failures[0] >= 0:
            raise TimeoutError("the network is slow")
        content: bytes = real(self, path, *rest, **options)
        return content

    monkeypatch.setattr(type(store.place._system), "cat_file", unsteady)  # type: ignore[attr-defined]
    assert same(store.state(Moment(PLAIN)), STATE)
    failures[0] = 1000
    with pytest.raises(StoreError, match=r"cannot be read: the network is slow. Check the address") as caught:
        store.state(Moment(PLAIN))
    assert not isinstance(caught.value, DamagedError)
    assert failures[0] == 997
    failures[0] = 1000
    with pytest.raises(StoreError, match="the network is slow"):
        Store(address)  # at first it may be the address, so it is said at once
    assert failures[0] == 999


def test_a_place_that_may_not_be_written_is_an_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(address)

    def refuse(self: object, path: str, *rest: Any, **options: Any) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(store.place._system), "pipe_file", refuse)  # type: ignore[attr-defined]
    for write in (lambda: store.decline(Train(FLAT), "no", {}), lambda: store.claim(Train(FLAT)).__enter__()):
        with pytest.raises(StoreError, match=r"cannot be written: Access Denied.*Everything written before is intact"):
            write()
    assert store.has(TASK)


def test_half_done_work_is_found_again(address: str) -> None:
    store = Store(address)
    store.half_done(TASK, {"device": "cpu"}).save_training(END, ROWS[:1])
    half = Store(address).half_done(TASK, {"device": "cpu"})
    found, rows, _ = half.training(STATE) or pytest.fail("nothing to resume")
    assert same(found.state, STATE)
    assert rows == ROWS[:1]
    half.drop()
    assert half.training(STATE) is None
    assert half.remarks == []


def test_a_report_is_written_from_afar(address: str, tmp_path: Path) -> None:
    store = Store(address)
    page = report.write(study(), store, tmp_path)
    assert page.is_file()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def process(address: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.remote_study", address, *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=pipe, stderr=pipe, text=True)


@pytest.mark.slow
def test_an_object_is_put_once_and_known_by_its_etag(s3: str) -> None:
    store = filled(s3)
    assert store.place.create("a/.lease", b"1")  # type: ignore[attr-defined]
    assert not store.place.create("a/.lease", b"2")  # type: ignore[attr-defined]
    assert store.place.read("a/.lease") == b"1"
    noted = json.loads(store.place.read(f"train/{TASK.key}/verified.json"))["signatures"]
    assert noted["end.safetensors"][0] == "ETag"
    reads: list[str] = []
    other = Store(s3)
    real = other.place.read
    other.place.read = lambda name: reads.append(name) or real(name)  # type: ignore[method-assign, func-returns-value]
    assert other.has(TASK)
    assert not [name for name in reads if name.endswith((".safetensors", ".parquet"))]
    name = f"train/{TASK.key}/end.safetensors"
    store.place.write(name, real(name)[:-1] + b"x")
    assert not other.has(TASK)
    assert "end.safetensors is damaged" in other.damaged[TASK]


@pytest.mark.slow
def test_a_bucket_that_is_missing_is_not_made(s3: str) -> None:
    with pytest.raises(StoreError, match="bucket does not exist"):
        filled("s3://no-bucket/results")
    assert not fsspec.filesystem("s3").exists("no-bucket")


@pytest.mark.slow
def test_killed_processes_on_s3_change_nothing(s3: str, tmp_path: Path) -> None:
    tasks = study().tasks()
    work(tasks, Store(tmp_path), progress=False, workers=1)
    deaths, did = 0, -1
    while did < 0:
        ran = process(s3, "--kill", str(4 + 2 * deaths))
        out, err = ran.communicate(timeout=300)
        if ran.returncode == -signal.SIGKILL:
            deaths += 1
            assert deaths < 40
        else:
            assert ran.returncode == 0, err
            did = int(out)
    assert deaths > 5
    local, store = Store(tmp_path), Store(s3)
    expected = results(local, tasks)
    found: dict[str, object] = {}
    for task in tasks:
        assert store.has(task)
        if isinstance(task, Train):
            for name in ("start", "end", "optimizer"):
                found[f"{task.key} {name}"] = store.place.read(f"train/{task.key}/{name}.safetensors")
            found[f"{task.key} log"] = store.log(task.recipe).drop("seconds").rows()
        else:
            curve = store.curve(task)  # type: ignore[arg-type]
            found[f"{task.key} alphas"] = curve.alphas.tobytes()
            found |= {f"{task.key} {key}": values.tobytes() for key, values in curve.values.items()}
    assert found == expected
    assert not store.damaged
    assert not [name for name in store.place.signatures(deep=True) if "/points/" in name or "resume" in name]


@pytest.mark.slow
def test_two_processes_on_s3_do_no_task_twice(s3: str) -> None:
    both = [process(s3, "--slow", "1") for _ in range(2)]
    ended = [(each.communicate(timeout=300), each.returncode) for each in both]
    assert [code for _, code in ended] == [0, 0], ended
    assert sum(int(out) for (out, _), _ in ended) == len(study().tasks())
    assert check(Store(s3)).whole == len(study().tasks())


@pytest.mark.slow
def test_a_server_that_is_away_for_a_while_ends_nothing(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.2)
    store = filled(s3)
    system = store.place._system  # type: ignore[attr-defined]
    real, left = type(system).pipe_file, [3]

    def unsteady(self: object, *rest: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(5, "Connection was closed")
        return real(self, *rest, **options)

    monkeypatch.setattr(remote, "WAITS", (0.1,) * 5)
    monkeypatch.setattr(type(system), "pipe_file", unsteady)
    work(SMALL, store, progress=False, workers=1)
    assert check(store).whole == 4


def test_whether_a_folder_is_claimed_is_seen(address: str) -> None:
    place, other = RemoteFolder(address), RemoteFolder(address)
    assert not other.is_claimed("scan/a")
    for part in ("", "0-2"):
        with place.claim("scan/a", part) as claimed:
            assert claimed
            assert other.is_claimed("scan/a")
        assert not other.is_claimed("scan/a")
