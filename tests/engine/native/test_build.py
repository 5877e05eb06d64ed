"""The library is compiled once, kept under a seal, and made again where it is damaged; without it torch computes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from torch import nn

from linescape import Evaluator, Line, ScanOptions, scan
from linescape.engine.native import build
from linescape.interpolation.curve import Curve
from tests.support.engine import assert_close, drawn, labels, needs_compiler, state


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which the library is not there yet; the process's own library is as before afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.compiled.cache_clear()
    yield tmp_path / "cache"
    build.compiled.cache_clear()


def kept(cache: Path) -> Path:
    (file,) = (cache / "linescape" / "compiled").iterdir()
    return file


@needs_compiler
def test_the_library_is_compiled_once_and_again_where_it_was_spoiled(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build.kernels()
    file = kept(own_cache)
    whole = file.read_bytes()
    for spoiled in (b"no library", b"", whole[:-1], whole[:9000] + bytes([whole[9000] ^ 4]) + whole[9001:]):
        file.write_bytes(spoiled)
        with monkeypatch.context() as patch:  # compiling takes a second
            patch.setattr(build, "_made", lambda *_: build.Compiled(None, "made again"))
            build.compiled.cache_clear()
            assert build.compiled().note == "made again"
    build.compiled.cache_clear()
    assert build.kernels()
    assert file.read_bytes() == whole
    written = file.stat().st_mtime_ns
    build.compiled.cache_clear()
    assert build.kernels()
    assert file.stat().st_mtime_ns == written


@needs_compiler
@pytest.mark.parametrize("obstacle", ["a file in its way", "no home", "no user"])
def test_where_nothing_can_be_kept_the_library_is_made_for_the_process(
    own_cache: Path, obstacle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if obstacle == "a file in its way":
        own_cache.write_text("a file")
    else:  # older versions of platformdirs give a relative path
        monkeypatch.setattr(
            build, "user_cache_path", (lambda *_, **__: Path("~/.cache")) if obstacle == "no home" else no_home
        )
    library, note, _ = build.compiled()
    assert library
    assert "compiles linescape's kernels anew" in note
    assert [entry.name for entry in tmp_path.iterdir()] == (["cache"] if obstacle == "a file in its way" else [])


def no_home(*_: object, **__: object) -> NoReturn:
    """As newer versions of platformdirs."""
    raise RuntimeError("could not determine the home directory")


FAKES = {
    "missing": ("", "no C compiler"),
    "fails": ("exit 1", "ended with code 1"),
    "prints a lot and fails": ("yes | head -c 30000000; yes | head -c 30000000 >&2; exit 4", "ended with code 4"),
    "is killed": ("kill -9 $$", "ended with code -9"),
    "hangs": ("sleep 600 & wait", "took more than 0.5 seconds"),
    "makes nothing": ("exit 0", "crashes or computes something else"),
    "makes an empty file": (': > "$out"', "crashes or computes something else"),
    "makes garbage": ('head -c 70000 /dev/urandom > "$out"', "crashes or computes something else"),
    "makes half a library": (
        'gcc "$@"; case "$1" in -shared) truncate -s 30000 "$out"; esac',
        "crashes or computes something else",
    ),
    "makes another library": (
        'echo \'int nothing(void) { return 0; }\' > "$out.c"; gcc -shared -fPIC "$out.c" -o "$out"',
        "crashes or computes something else",
    ),
    "makes one that crashes": (
        "echo '__attribute__((constructor)) void f(void) { *(volatile int *)0 = 0; }' > \"$out.c\"; "
        'gcc -shared -fPIC "$out.c" -o "$out"',
        "crashes or computes something else",
    ),
    "makes one that computes wrongly": (
        'for at; do case $at in *.c) sed -i "s/(a + c) . 6/(a + c) \\/ 7/" "$at";; esac; done; gcc "$@"',
        "crashes or computes something else",
    ),
}
"""What a compiler does, as a shell script, and what the note says."""


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    layers = nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3))


def curve_of(network: nn.Module) -> Curve:
    line, data = Line(state(network, 1), state(network, 2)), (drawn(40, 3, 9, 9), labels(40))
    return scan(line, Evaluator(network, {"d": data}, fast=True), ScanOptions(alphas=3))


@pytest.fixture(scope="module")
def compiled_curve(network: nn.Module) -> Curve:
    curve = curve_of(network)
    assert curve.provenance["compiled"]
    return curve


@needs_compiler
@pytest.mark.parametrize("kind", FAKES)
def test_a_compiler_that_fails_is_one_note_and_the_same_results(
    compiled_curve: Curve,
    own_cache: Path,
    tmp_path: Path,
    kind: str,
    network: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script, message = FAKES[kind]
    if script:
        fake = tmp_path / "fake"
        last = 'out="";\nfor word; do out="$word"; done\n'
        fake.write_text(f"#!/bin/sh\n{last}{script}\n")
        fake.chmod(0o755)
        monkeypatch.setenv("CC", str(fake))
    else:
        monkeypatch.setattr(build, "compiler", lambda: None)
    if kind == "hangs":
        monkeypatch.setattr(build, "_TIMEOUT", 0.5)
    found = curve_of(network)
    assert [note for note in found.provenance["notes"] if message in note and "torch does their work" in note]
    assert not found.provenance["compiled"]
    assert_close(found, compiled_curve)
    assert not list(own_cache.rglob("*.kernels"))


@needs_compiler
def test_a_folder_for_temporary_files_that_cannot_be_used_is_one_note(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    library, note, _ = build.compiled()
    assert library is None
    assert "could not be compiled" in note


@needs_compiler
def test_a_network_without_convolutions_has_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "compiled", lambda: build.Compiled(None, "There is no compiler."))
    network = nn.Linear(3, 2)
    line = Line(state(network, 1), state(network, 2))
    curve = scan(line, Evaluator(network, {"d": (drawn(8, 3), labels(8, 2))}, fast=True), ScanOptions(alphas=3))
    assert "There is no compiler." not in curve.provenance["notes"]


@needs_compiler
@pytest.mark.slow
def test_no_damage_to_the_library_is_used_or_ends_the_process() -> None:
    words = [sys.executable, "-m", "tests.support.library_damage"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["damages"] >= 50
    assert counts["wrong"] == counts["signals"] == []
    # Not in the place of a folder or of a link to a device, nor while it is in use.
    assert counts["kept again"] >= counts["damages"] - 4
