"""An average is written whole, over nothing that is there, and with about one tensor in memory."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from linescape import checkpoints
from linescape.checkpoints.formats import streaming
from linescape.errors import StoreError
from tests.support.averages import (
    FORMS,
    Tensors,
    average,
    distributed,
    tensors,
)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        torch.save(tensors(seed), tmp_path / name)
        distributed(tmp_path / f"{name}-folder", tensors(seed))
    before = (tmp_path / "b").read_bytes()
    for out in ("b", "a", "a-folder"):
        with pytest.raises(StoreError, match="is there already"):
            average(tmp_path / "a", tmp_path / "b", 0.5, tmp_path / out)
    assert (tmp_path / "b").read_bytes() == before
    (tmp_path / "new").mkdir()
    with pytest.raises(StoreError, match="is a folder"):
        average(tmp_path / "a", tmp_path / "b", 0.5, tmp_path / "new")
    average(tmp_path / "a", tmp_path / "b-folder", 0.5, tmp_path / "new")
    assert len(checkpoints.read(tmp_path / "new")) == 10


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_another_process_writes_meanwhile_is_not_written_over(kind: str, tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        if kind == "file":
            torch.save(tensors(seed), tmp_path / name)
        else:
            distributed(tmp_path / name, tensors(seed))
    out, like = tmp_path / "out", checkpoints.read(tmp_path / "b")

    def tensor(name: str) -> Tensor:
        if kind == "file":
            out.write_bytes(b"another")
        elif not out.exists():
            distributed(out, {"another": torch.zeros(1)})
        return like[name]

    with pytest.raises(StoreError, match="is there already"):
        streaming.write_like(like, tensor, out, {}, {name: value.dtype for name, value in like.items()})
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "out"}
    assert out.read_bytes() == b"another" if kind == "file" else list(checkpoints.read(out)) == ["another"]


@pytest.mark.parametrize(
    ("make", "kind"),
    [(os.mkfifo, stat.S_ISFIFO), (Path.touch, stat.S_ISREG), (lambda path: _listen(path), stat.S_ISSOCK)],
)
def test_what_is_there_and_has_no_size_is_not_replaced(
    make: Callable[[Path], Any], kind: Callable[[int], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a", "b")):
        torch.save(tensors(seed), name)
    make(Path("out"))
    with pytest.raises(StoreError, match="is there already"):
        average(Path("a"), Path("b"), 0.5, Path("out"))
    assert kind(Path("out").stat().st_mode)


def _listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("out", [".", "", "/"])
def test_a_place_without_a_name_is_refused(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(("a", "b")):
        distributed(tmp_path / name, tensors(seed))
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    with pytest.raises(StoreError, match="has no name of its own"):
        average(Path("../a"), Path("../b"), 0.5, Path(out))


@pytest.mark.parametrize("room", [3 << 20, (8 << 20) + 500])
@pytest.mark.parametrize("form", ["safetensors", "plain", "distributed"])
def test_a_full_disk_leaves_nothing(form: str, room: int, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    for name in ("a", "b"):
        FORMS[form][0]({f"layer{i}": torch.ones(1 << 18) for i in range(8)}, tmp_path / name)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(StoreError, match=r"out could not be written"):
            average(tmp_path / "a", tmp_path / "b", 0.5, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


MEASURED = """
import sys, threading, warnings
from pathlib import Path
import torch
from linescape import checkpoints
from linescape.checkpoints import averaging
from linescape.checkpoints.formats import streaming

def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

def average(folder, size):
    ends = [checkpoints.read(folder / size / end) for end in ("start", "end")]
    averaging.average(*ends, 0.3, folder / size / "out")

def watch():
    global most
    while not done.wait(0.001):
        most = max(most, anonymous())

warnings.simplefilter("ignore")
for folder in map(Path, sys.argv[1:]):
    average(folder, "small")  # imports all
    before, most, done = anonymous(), 0.0, threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    average(folder, "large")
    done.set()
    watcher.join()
    print(most - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured where Linux says it")
def test_about_one_tensor_is_in_memory(tmp_path: Path) -> None:
    def folder(held: Tensors, path: Path) -> None:
        path.mkdir()
        safetensors.torch.save_file(held, path / "model.safetensors", {"format": "pt"})

    writers = {name: FORMS[name][0] for name in ("safetensors", "plain", "distributed")} | {"hugging face": folder}
    for form, write in writers.items():
        for size, count in (("large", 1 << 20), ("small", 1)):  # 2 MiB a tensor, 40 in all
            (tmp_path / form / size).mkdir(parents=True)
            for seed, name in enumerate(("start", "end")):
                held = {f"layer{i}": torch.full((count,), seed + i / 20, dtype=torch.bfloat16) for i in range(20)}
                write(held, tmp_path / form / size / name)
    said = subprocess.run(
        [sys.executable, "-c", MEASURED, *(str(tmp_path / form) for form in writers)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert said.returncode == 0, said.stderr
    grown = dict(zip(writers, map(float, said.stdout.split()), strict=True))
    assert max(grown.values()) < 8, grown  # MiB
