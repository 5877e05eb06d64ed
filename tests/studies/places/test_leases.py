from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from linescape.errors import StoreError
from linescape.studies.places import leases
from linescape.studies.places.leases import EXPIRES, Leases


class Bucket:
    """Objects in a dictionary, of which each request may fail."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fails = False

    def read(self, name: str) -> bytes:
        if self.fails:
            raise StoreError("no network")
        if name not in self.objects:
            raise FileNotFoundError(name)
        return self.objects[name]

    def write(self, name: str, content: bytes) -> None:
        if self.fails:
            raise StoreError("no network")
        self.objects[name] = content

    def create(self, name: str, content: bytes) -> bool:
        if self.fails:
            raise StoreError("no network")
        return self.objects.setdefault(name, content) is content

    def delete(self, *names: str) -> None:
        for name in names:
            self.objects.pop(name, None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_has_one_owner_until_it_is_released() -> None:
    bucket = Bucket()
    one, other = Leases(bucket), Leases(bucket)
    mine = one.acquire("a", wait=False) or pytest.fail("it was free")
    assert other.acquire("a", wait=False) is None
    assert one.acquire("a", wait=False) is None
    other_one = other.acquire("b", wait=False) or pytest.fail("it was free")
    other_one.release()
    mine.release()
    assert bucket.objects == {}
    again = other.acquire("a", wait=False) or pytest.fail("it was free again")
    again.release()


def test_a_lease_that_nobody_renews_is_free_after_a_time_of_ones_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "POLL", 0.01)
    bucket, clock = Bucket(), Clock()
    bucket.objects["a"] = json.dumps({"owner": "dead", "renewals": 3}).encode()
    other = Leases(bucket, clock)
    assert other.acquire("a", wait=False) is None  # however old it is: it was first seen now
    clock.now = EXPIRES - 1
    assert other.acquire("a", wait=False) is None
    bucket.objects["a"] = json.dumps({"owner": "dead", "renewals": 4}).encode()  # it lives
    clock.now = EXPIRES + 1
    assert other.acquire("a", wait=False) is None
    clock.now = 2 * EXPIRES + 1
    taken = other.acquire("a", wait=False) or pytest.fail("it had expired")
    assert json.loads(bucket.objects["a"])["owner"] != "dead"
    taken.release()


def test_a_lease_is_renewed_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.01)
    monkeypatch.setattr(leases, "POLL", 0.01)
    bucket = Bucket()
    mine = Leases(bucket).acquire("a", wait=False) or pytest.fail("it was free")
    bucket.fails = True  # a network that is down for a while ends nothing
    time.sleep(0.05)
    bucket.fails = False
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(Leases(bucket).acquire("a", wait=True)))
    waiting.start()
    while json.loads(bucket.objects["a"])["renewals"] < 3:
        time.sleep(0.01)
    assert not got
    mine.release()
    waiting.join(5)
    got[0].release()
    assert bucket.objects == {}


def test_a_lease_that_another_took_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.01)
    bucket = Bucket()
    mine = Leases(bucket).acquire("a", wait=False) or pytest.fail("it was free")
    theirs = json.dumps({"owner": "other", "renewals": 0}).encode()
    bucket.objects["a"] = theirs
    time.sleep(0.1)
    mine.release()
    assert bucket.objects["a"] == theirs


def test_an_answer_that_was_lost_is_not_taken_for_anothers() -> None:
    class Lossy(Bucket):
        def create(self, name: str, content: bytes) -> bool:
            super().create(name, content)
            return False  # the second try of a request whose first answer was lost

    bucket = Lossy()
    mine = Leases(bucket).acquire("a", wait=False) or pytest.fail("it is ours")
    assert Leases(bucket).acquire("a", wait=False) is None
    mine.release()


def test_a_lease_that_was_given_back_just_now_is_not_taken_from_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket()
    first = Leases(bucket).acquire("a", wait=False) or pytest.fail("it was free")
    read, looks, second = bucket.read, [1, 2], list[Any]()

    def passed_on(name: str) -> bytes:
        looks.pop()
        if looks:
            return read(name)
        monkeypatch.setattr(bucket, "read", read)
        first.release()
        try:
            return read(name)
        finally:
            second.append(Leases(bucket).acquire("a", wait=False))

    monkeypatch.setattr(bucket, "read", passed_on)
    assert Leases(bucket).acquire("a", wait=False) is None
    assert bucket.objects["a"] == second[0].content()
    second[0].release()


def test_of_two_that_see_a_lease_expire_one_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, clock, others = Bucket(), Clock(), list[Any]()
    bucket.objects["a"] = json.dumps({"owner": "dead", "renewals": 3}).encode()
    one = Leases(bucket, clock)
    assert one.acquire("a", wait=False) is None
    clock.now = EXPIRES + 1

    def meanwhile(seconds: float) -> None:
        assert seconds > 0
        bucket.delete("a")  # by another, which had read it before
        others.append(Leases(bucket).acquire("a", wait=False))

    monkeypatch.setattr(time, "sleep", meanwhile)
    assert one.acquire("a", wait=False) is None
    assert bucket.objects["a"] == others[0].content()
    others[0].release()
