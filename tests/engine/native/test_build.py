"""The library is compiled once, kept, and made again where it is damaged."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from linescape.engine.native import build
from tests.support.engine import needs_compiler


@pytest.fixture
def own_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A folder in which the library is not there yet; the process's own library is as before afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.kernels.cache_clear()
    yield tmp_path
    build.kernels.cache_clear()


@needs_compiler
def test_the_library_is_compiled_once_and_again_where_it_was_spoiled(own_cache: pathlib.Path) -> None:
    assert build.kernels()
    (kept,) = (own_cache / "linescape" / "compiled").iterdir()
    whole = kept.read_bytes()
    for spoiled in (b"no library", b""):
        kept.unlink()  # the process has it loaded, so it is not written to
        kept.write_bytes(spoiled)
        build.kernels.cache_clear()
        assert build.kernels()
        assert kept.read_bytes() == whole
    written = kept.stat().st_mtime_ns
    build.kernels.cache_clear()
    assert build.kernels()
    assert kept.stat().st_mtime_ns == written


@needs_compiler
def test_where_nothing_can_be_kept_the_library_is_made_for_the_process(own_cache: pathlib.Path) -> None:
    (own_cache / "linescape").write_text("a file")
    assert build.kernels()


@needs_compiler
def test_a_compiler_that_fails_is_no_error(own_cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    assert not build.kernels()
    assert not list(own_cache.rglob("*.so"))
