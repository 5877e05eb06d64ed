"""What reading a study's results takes: each record once a run, and nothing that nobody needs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from linescape.analysis import tables
from linescape.errors import DamagedError
from linescape.studies.places.local import LocalFolder
from linescape.studies.store import Store
from linescape.studies.study import Arm, Run, Study
from tests.support.stored import LINE, PLAIN, TASK, fill


def test_each_file_is_read_once_and_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    study = Study("made-up", "", "Made up", "", (Arm("base", "base", "base", (Run(PLAIN, {"whole": LINE}),)),))
    read, counts = LocalFolder.read, Counter[str]()

    def counted(place: LocalFolder, name: str) -> bytes:
        counts[name] += 1
        return read(place, name)

    monkeypatch.setattr(LocalFolder, "read", counted)
    store = Store(tmp_path)
    expected = tables.read(study, store)
    files = {name.rpartition("/")[2]: number for name, number in counts.items() if "/" in name}
    assert files.keys() == {"done.json", "verified.json", "curve.safetensors", "log.parquet"}
    assert {name: number for name, number in counts.items() if "/" in name and number > 1} == {}
    store.record(TASK)
    store.record(TASK)
    assert counts[f"train/{TASK.key}/done.json"] == 3  # at any other time it is read anew
    assert tables.read(study, Store(tmp_path)).runs.equals(expected.runs)


def test_a_record_that_was_found_damaged_is_not_kept(tmp_path: Path) -> None:
    store = fill(tmp_path)
    with store.each_record_once():
        assert "moves" in store.record(TASK)
        (store.folder(TASK) / "log.parquet").write_bytes(b"")
        with pytest.raises(DamagedError):
            store.log(PLAIN)
        assert not store.has(TASK)
        store.decline(TASK, "done by another process", {})
        assert store.has(TASK)
        assert store.declined(TASK) == "done by another process"
