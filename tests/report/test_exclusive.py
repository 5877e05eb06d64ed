"""Two reports that are written to one folder at the same time, and one that is interrupted."""

from __future__ import annotations

import threading
from pathlib import Path

import polars as pl
import pytest

from linescape import report
from linescape.errors import StoreError
from linescape.report import exclusive, page, planes
from linescape.report.exclusive import reserved
from tests.support.probes import sample_probe


def elsewhere(folder: Path) -> list[str]:
    """The error that a second thread gets when it asks for the folder, as a second process would."""
    told: list[str] = []

    def ask() -> None:
        try:
            with reserved(folder):
                told.append("")
        except StoreError as error:
            told.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return told


def test_one_at_a_time_has_a_folder_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    with reserved(folder):
        with reserved(folder), reserved(tmp_path / "other"):
            assert list(folder.iterdir()) == []
        assert "Another process is writing a report to" in elsewhere(folder)[0]
        assert elsewhere(tmp_path / "third") == [""]
    assert elsewhere(folder) == [""]
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_not_written_into_the_midst_of_another(tmp_path: Path) -> None:
    told: list[str] = []

    def write() -> None:
        with pytest.raises(StoreError) as raised:
            report.write_probe(sample_probe(), tmp_path, "another")
        told.append(str(raised.value))

    with reserved(tmp_path):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert "Another process" in told[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("check", [report.check_place, planes.check_place])
def test_a_folder_that_another_leaves_empty_meanwhile_is_made_again(
    check: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lock = tmp_path / "report", exclusive._lock

    def removed(root: Path) -> int | None:
        monkeypatch.setattr(exclusive, "_lock", lock)
        root.rmdir()
        return lock(root)

    monkeypatch.setattr(exclusive, "_lock", removed)
    assert callable(check)
    check(folder)
    assert list(tmp_path.iterdir()) == []


def test_where_folders_cannot_be_locked_reports_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusive, "_lock", lambda _: None)
    with reserved(tmp_path / "report"):
        (tmp_path / "report" / "index.html").write_bytes(page.UNFINISHED)
    assert (tmp_path / "report" / "index.html").exists()


def test_the_page_of_an_earlier_report_does_not_stay_beside_new_tables(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(page.UNFINISHED + b"the earlier report")
    output = page.Folder(tmp_path)
    assert (tmp_path / "index.html").read_bytes() != page.UNFINISHED  # it may still fail before it writes anything
    output.table("runs", pl.DataFrame({"a": [1]}))
    assert (tmp_path / "index.html").read_bytes() == page.UNFINISHED
