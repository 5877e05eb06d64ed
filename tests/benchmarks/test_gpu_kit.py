"""`python -m benchmarks.gpu`, at toy size on the CPU: it stops by the clock, goes on, and keeps what it found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from benchmarks.contest import PLAIN, Walk
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import captures, lines, marked, memory, packing, settings, study, together, toy
from benchmarks.gpu import kept as keeping
from benchmarks.gpu.settings import FULL, ROOT, TOY, Settings, slug
from benchmarks.gpu.steps import Step

from benchmarks import machine, pairs, plain, runs
from linescape import studies
from linescape.data.sets import read
from linescape.engine import replay
from linescape.errors import DamagedError, DataError
from linescape.studies.store import Store
from linescape.studies.study import Train
from tests.support.replaying import Emulator


def at_toy_size(folder: Path, seconds: float = 600.0, **changes: Any) -> Settings:
    size = replace(TOY, **{"arms": ("base", "partial-4"), **changes})
    return Settings("cpu", True, folder / "state", folder / "out" / "cpu", time.monotonic() + seconds, size)


# -- the set in parts ---------------------------------------------------------------------------------------------


@pytest.fixture
def files() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    half = (random.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8), np.arange(10))
    return packing.as_binary(half, half)


def test_a_set_is_whole_again(files: dict[str, bytes], tmp_path: Path) -> None:
    written = packing.pack_files(files, tmp_path / "parts", part_bytes=9000)
    assert len(written) > 3
    assert all(file.stat().st_size <= 9000 for file in written)
    packing.join(tmp_path / "parts", tmp_path / "set")
    assert {file.name: file.read_bytes() for file in (tmp_path / "set").iterdir()} == files


def test_the_users_set_is_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = read("fashion-mini")  # its images made as large and as colourful
    coloured = [(np.pad(x[:20], ((0, 0), (0, 0), (2, 2), (2, 2))).repeat(3, 1), y[:20]) for x, y in halves]
    monkeypatch.setattr(packing, "read", lambda *_: coloured)
    assert command.main(["pack", str(tmp_path / "parts")]) == 0
    packing.join(tmp_path / "parts", tmp_path / "data" / "cifar10")
    monkeypatch.setattr("linescape.data.sets.checked", lambda _, found: found)
    for found, given in zip(read("cifar10", tmp_path / "data"), coloured, strict=True):
        assert all(map(np.array_equal, found, given))


@pytest.mark.parametrize("damage", ["missing", "other", "more", "manifest", "no manifest"])
def test_what_was_not_packed_is_refused(files: dict[str, bytes], tmp_path: Path, damage: str) -> None:
    _, first, *_ = packing.pack_files(files, tmp_path / "parts", part_bytes=9000)
    manifest = tmp_path / "parts" / packing.MANIFEST
    held = json.loads(manifest.read_text())
    if damage == "missing":
        first.unlink()
    elif damage == "other":
        first.write_bytes(first.read_bytes()[::-1])
    elif damage == "more":
        del held["files"]["test_batch.bin"]
    elif damage == "manifest":
        held["files"]["test_batch.bin"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(held))
    if damage == "no manifest":
        manifest.unlink()
    with pytest.raises(DataError, match=r"part-1|more than|test_batch\.bin|manifest\.json"):
        packing.join(tmp_path / "parts", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_parts_come_before_the_users_own_set(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path / "none"))
    full = replace(at_toy_size(tmp_path), toy=False)
    assert study.run(full) == "failed"
    assert "python -m benchmarks.gpu pack" in capsys.readouterr().out
    packing.pack_files(files, full.state / "parts")
    study.place_data(full)
    study.place_data(full)  # it is whole by now
    assert packing.at_hand()


# -- steps and their units ----------------------------------------------------------------------------------------


def test_units_are_kept_and_those_that_failed_are_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def unit(name: str) -> dict[str, Any]:
        asked.append(name)
        if asked == ["first", "second"]:
            raise RuntimeError("the device is lost")
        return {"value": len(asked)}

    names = ("first", "second", "third")
    step = Step("some", lambda _: {name: lambda name=name: unit(name) for name in names}, lambda r: str(r["value"]), 60)  # type: ignore[misc]
    told = at_toy_size(tmp_path)
    assert step.run(told) == "failed"
    assert "failed: RuntimeError: the device is lost" in capsys.readouterr().out
    assert step.run(told) == "done"
    assert step.run(told) == "done"
    assert asked == ["first", "second", "third", "second"]
    written = json.loads((told.out / "some.json").read_text())
    assert written["device"] == "cpu"
    assert {name: unit["result"] for name, unit in written["units"].items()} == {
        "first": {"value": 1},
        "second": {"value": 4},
        "third": {"value": 3},
    }
    assert written["units"]["first"]["made"].keys() >= {"device", "torch", "date", "command"}
    assert (told.state / "results" / "some.json").read_text() == (told.out / "some.json").read_text()
    # Another machine of the kind has the results and not the state.
    assert step.run(replace(told, state=tmp_path / "fresh")) == "done"
    assert len(asked) == 4


def test_no_unit_is_begun_that_may_not_end_in_time(tmp_path: Path) -> None:
    step = Step("some", lambda _: {"one": dict}, str, seconds=60)
    assert step.run(replace(at_toy_size(tmp_path, seconds=50), toy=False)) == "to be continued"
    assert not (tmp_path / "out").exists()
    assert step.run(replace(at_toy_size(tmp_path, seconds=70), toy=False)) == "done"


def test_all_tests_for_a_gpu_are_found() -> None:
    found = {file.name for file in (ROOT / "tests").rglob("test_*.py") if marked.MARK.search(file.read_text())}
    assert found >= {"test_gpu.py", "test_step.py"}
    skipping = {file.name for file in (ROOT / "tests").rglob("test_*.py") if "cuda.is_available" in file.read_text()}
    assert skipping <= {"test_gpu_kit.py"}, "mark them gpu"


@pytest.mark.parametrize(
    ("kind", "layer_wise"),
    [
        ("float32", False),
        ("bfloat16", False),
        ("float32", True),
        pytest.param("bfloat16", True, marks=pytest.mark.slow),
    ],
)
def test_lines_are_compared_with_float64(
    kind: lines.Arithmetic, layer_wise: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "MADE", tmp_path / "pairs")
    monkeypatch.setattr(machine, "SIDES", {"cpu": (16, 32)})
    before = torch.backends.cudnn.allow_tf32
    result = lines.compare(at_toy_size(tmp_path, width=2, images=5, alphas=3), kind, layer_wise)
    assert torch.backends.cudnn.allow_tf32 == before
    assert len(result["lines"]) == (10 if layer_wise else 1)
    for name in ("linescape", "plain loop"):
        apart = result["from_float64"][name]
        assert 0 < apart["relative"] < (1e-5 if kind == "float32" else 0.02)
        assert result["contenders"][name]["seconds"] > 0


def test_the_plain_loop_in_bfloat16_has_the_weights_of_each_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "MADE", tmp_path / "pairs")
    pair = lines.pair_on("cpu", 2, 5)
    exact = plain.loop(pair, 3)[1]
    with lines.autocast("bfloat16", "cpu"):
        rounded = plain.loop(pair, 3)[1]
    assert np.allclose(rounded, exact, rtol=0.02)
    assert rounded != exact


def test_lines_with_and_without_captures_have_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MADE", tmp_path / "pairs")
    monkeypatch.setattr(machine, "SIDES", {"cpu": (16, 32)})
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(replay, "capturer_on", lambda _: Emulator())
    result = captures.compare(at_toy_size(tmp_path, alphas=9), "MLP 2 x 200")
    assert result["graphs_that_were_captured"] == 1
    assert result["same_bits"]
    assert set(result["contenders"]) == {PLAIN, captures.CAPTURED, captures.SINGLE}
    assert "peak_bytes" not in result["contenders"][PLAIN]


@pytest.mark.parametrize("case", together.CASES)
def test_several_networks_at_once_give_what_each_gives(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "MADE", tmp_path / "pairs")
    ways = together.compare(at_toy_size(tmp_path), case)["ways"]
    assert list(ways) == [together.ONE, "2 at once", "5 at once"]
    assert all(way["largest_difference"] < 1e-5 for way in ways.values())


def test_peaks_of_memory_are_of_a_contender_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def walk(_: int) -> Walk:
        nonlocal taken
        taken += 7
        return Walk([0.0], [1.0], 1.0)

    def reset() -> None:
        nonlocal taken
        taken = 100

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: taken)
    peaks = list[int]()
    for _ in range(2):
        memory.watched(walk, "cuda", peaks)(3)
    assert peaks == [107, 107]
    assert lines.with_peaks({"a": {"ratio": 1.0}, "b": {}}, {"a": peaks, "b": []}) == {
        "a": {"ratio": 1.0, "peak_bytes": 107},
        "b": {},
    }


# -- the study ----------------------------------------------------------------------------------------------------


def test_toys_are_what_the_study_is() -> None:
    whole = studies.find("vlaar2022", study.SCALE)
    assert set(FULL.arms) <= {arm.name for arm in whole.arms}
    base, partial = (toy.shrunk(whole.only(arm, seeds=(0,))) for arm in ("base", "partial-4"))
    assert set(partial.arms[0].runs[0].lines) >= {"whole"}
    assert Train(runs.recipe(base)) in Train(runs.recipe(partial)).needs()
    assert runs.recipe(base).model.stem == runs.recipe(whole.only("base", seeds=(0,))).model.stem  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    told = at_toy_size(tmp_path_factory.mktemp("unstopped"))
    assert study.run(told) == "done"
    return told


def kept(told: Settings) -> dict[str, pl.DataFrame]:
    """Results without times."""
    found = {}
    for file in sorted((told.out / study.SCALE).glob("*/*.csv")):
        frame = pl.read_csv(file, infer_schema_length=None)
        found[f"{file.parent.name}/{file.name}"] = frame.drop("seconds", strict=False)
    return found


def test_complete_runs_are_written(unstopped: Settings) -> None:
    found = kept(unstopped)
    files = ("distances.csv", "heights.csv", "layers.csv", "lines.csv", "log.csv")
    assert list(found) == [f"{name}/{file}" for name in ("base-0", "partial-4-0") for file in files]
    about = json.loads((unstopped.out / study.SCALE / "base-0" / "run.json").read_text())
    assert about["trained"]["device"] == "cpu"
    assert about["run"]["status"] == "done"


@pytest.mark.slow
def test_a_call_stops_by_the_clock_and_the_next_goes_on(
    unstopped: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("linescape.studies.trainings.SNAPSHOT_SECONDS", 0.0)
    told, calls = at_toy_size(tmp_path), 0
    for calls in count(1):
        ticks = count()

        def monotonic(ticks: Any = ticks) -> float:
            return 0.0 if next(ticks) < 18 else told.ends

        monkeypatch.setattr(settings, "time", SimpleNamespace(monotonic=monotonic))
        if study.run(told) == "done":
            break
        assert "out of time" in capsys.readouterr().out
        assert calls < 100
    assert calls > 3
    found = kept(told)
    assert found.keys() == kept(unstopped).keys()
    for name, frame in kept(unstopped).items():
        assert frame.equals(found[name]), name


def test_what_another_machine_did_is_not_done_again(
    unstopped: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = replace(unstopped, state=tmp_path / "state", out=unstopped.out.parent / "another")
    monkeypatch.setattr(study, "do", lambda *_: pytest.fail("it was done"))
    assert study.run(elsewhere) == "done"


def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(told: Settings, one: Any, store: Any, keep: bool) -> None:
        if runs.name(one) == "base-0":
            raise RuntimeError("the device is lost")
        tried.append(runs.name(one))

    tried: list[str] = []
    monkeypatch.setattr(study, "complete", breaks)
    assert study.run(at_toy_size(tmp_path)) == "failed"
    assert tried == ["partial-4-0"]


def test_another_machine_starts_from_what_was_kept(
    unstopped: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = at_toy_size(tmp_path)
    shutil.copytree(unstopped.state / "kept", bare.state / "kept")
    shutil.copytree(unstopped.out / study.SCALE / "base-0", bare.out / study.SCALE / "base-0")
    assert study.run(bare) == "done"
    said = capsys.readouterr().out
    assert "base-0: the end of its training is restored" in said
    assert "base-0: train" not in said
    found = kept(bare)
    for name, frame in kept(unstopped).items():
        assert frame.equals(found[name]), name


@pytest.mark.parametrize("damage", ["note", "piece missing", "another recipe", "bytes"])
def test_only_what_was_kept_is_restored(unstopped: Settings, tmp_path: Path, damage: str) -> None:
    (base,) = keeping.starts(list(study.wanted(unstopped)))
    keeping.keep(base, Store(unstopped.state / "store"), tmp_path, piece_bytes=50_000)
    note, last = tmp_path / "base-0.json", sorted(tmp_path.glob("base-0.[0-9]*"))[-1]
    assert len(list(tmp_path.glob("base-0.[0-9]*"))) > 3
    fresh = Store(tmp_path / "store")
    if damage == "note":
        note.unlink()
    elif damage == "piece missing":
        last.unlink()
    elif damage == "another recipe":
        note.write_text(note.read_text().replace(runs.recipe(base).key, "0" * 16))
    else:
        last.write_bytes(last.read_bytes()[::-1])
        with pytest.raises(DamagedError, match="the checksum differs"):
            keeping.restore(base, fresh, tmp_path)
        return
    assert not keeping.restore(base, fresh, tmp_path)


# -- the command --------------------------------------------------------------------------------------------------


def test_a_dry_run_writes_no_results(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--dry", "--out", str(settings.RESULTS / "somewhere")])
    assert "Name another folder" in capsys.readouterr().err


def test_folders_are_named_by_the_device() -> None:
    assert slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


@pytest.mark.parametrize("outcome", ["done", "to be continued", "failed"])
def test_a_step_says_how_it_ended(outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(command.STEPS, "lines", lambda _: outcome)
    given = ["--here", "--dry", "--only", "lines", "--state", str(tmp_path)]
    assert command.main(given) == {"done": 0, "to be continued": 3, "failed": 1}[outcome]


def test_a_step_that_does_not_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "GRACE", 0.0)
    assert command._apart("study", at_toy_size(tmp_path, seconds=0.2)) == "failed"
    assert "so it was killed" in capsys.readouterr().out
    assert command._apart("study", at_toy_size(tmp_path, seconds=0.0)) == "to be continued"


@pytest.mark.slow
def test_the_whole_dry_run(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "benchmarks.gpu", "--dry", "--state", str(tmp_path)]
    first = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stdout + first.stderr
    begun = time.monotonic()
    again = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert time.monotonic() - begun < 120
