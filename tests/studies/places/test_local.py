from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from linescape.errors import StoreError
from linescape.studies.places import opened
from linescape.studies.places.local import LocalFolder


def test_names_and_signatures(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path / "new")
    assert place.names() == place.names("no/folder") == []
    assert place.signatures(deep=True) == {}
    signature = place.write("a/b.json", b"12")
    place.write("a/c/d.json", b"345", durable=False)
    assert place.names("a") == ["b.json", "c"]
    assert place.signatures("a") == {"b.json": signature}
    assert {name: size for name, (size, *_) in place.signatures(deep=True).items()} == {"a/b.json": 2, "a/c/d.json": 3}
    place.delete("a/b.json", "a/none.json")
    assert place.names("a") == ["c"]
    assert place.read("a/c/d.json") == b"345"
    with pytest.raises(FileNotFoundError):
        place.read("a/b.json")


def test_every_write_has_a_signature_of_its_own(tmp_path: Path) -> None:
    """Also where two fall into one tick of the file system's clock and are of one size."""
    place = LocalFolder(tmp_path)
    signatures = {place.write("a", bytes([number])) for number in range(50)}
    assert len(signatures) == 50
    last = place.write("a", b"x")
    (tmp_path / "a").write_bytes(b"y")  # at once, by somebody else
    assert place.signatures()["a"] != last


def test_a_copy_has_another_signature_even_with_its_times_kept(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    signature = place.write("a", b"x")
    shutil.copy2(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").stat().st_mtime_ns == (tmp_path / "b").stat().st_mtime_ns
    assert place.signatures()["b"] != signature


def test_times_of_just_now_are_not_steady(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    (tmp_path / "a").write_bytes(b"x")
    assert not place.is_steady(place.signatures()["a"])
    os.utime(tmp_path / "a", (1, 1))  # the time of the last change of its entry is still of now
    assert not place.is_steady(place.signatures()["a"])
    assert place.is_steady((1, 10**9, 10**9))


def test_links_out_of_the_store_are_not_followed(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path / "store")
    place.write("a", b"x")
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "store" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "store" / "within").symlink_to("a")
    with pytest.raises(OSError, match="a link to .*secret, outside of the store"):
        place.read("out")
    assert place.read("within") == b"x"


def test_an_address_that_pathlib_shortened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="left out a slash. Give it as text"):
        opened(Path("s3://bucket/folder"))
    assert opened(f"file://{tmp_path}").address() == opened(tmp_path).address() == str(tmp_path)
