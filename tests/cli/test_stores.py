"""Commands on a store: what they print, what they leave, and how they end."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from linescape.recipe import Recipe
from linescape.studies.study import Train
from tests.support.command_line import Line
from tests.support.stored import LINE, TASK, fill


def test_a_store_is_checked(line: Line, tmp_path: Path) -> None:
    store = fill(tmp_path / "runs")
    code, out, err = line("store", "check")
    assert (code, err) == (0, "")
    assert out.startswith("2 results are whole")
    (store.folder(LINE) / "curve.safetensors").write_bytes(b"x")
    code, out, err = line("store", "check", "runs")
    assert code == 3
    assert "1 result is whole" in out
    assert "Damaged: runs/scan" in out.replace(f"{tmp_path}/", "")
    assert "1 result is damaged" in err
    code, out, err = line("store", "check", "runs", "--json", "--quiet")
    assert code == 3
    assert list(json.loads(out)["damaged"]) == [f"scan/{LINE.key}"]
    (tmp_path / "figures").mkdir()
    (tmp_path / "runs" / "figures").symlink_to(tmp_path / "figures")
    code, out, err = line("store", "check")
    assert code == 3
    assert "1 result is whole" in out
    assert "note: figures is a link to another folder and no part of the store" in err
    code, out, err = line("store", "check", "nothing")
    assert (code, out) == (2, "")
    assert "nothing has no results" in err


def test_results_go_to_another_store(line: Line, tmp_path: Path) -> None:
    store = fill(tmp_path / "runs")
    code, out, err = line("store", "export", "all.zip")
    assert (code, out.strip()) == (0, "all.zip"), err
    code, out, err = line("store", "import", "all.zip", "--store", "other", "--json")
    assert code == 0, err
    assert json.loads(out)["taken"] == 2
    code, _, err = line("store", "import", "all.zip", "--store", f"memory://{uuid.uuid4().hex}")
    assert code == 0, err
    assert "2 results taken" in err
    (store.folder(TASK) / "end.safetensors").write_bytes(b"x")
    code, out, err = line("store", "export", "some.zip")
    assert code == 3, err
    assert (tmp_path / "some.zip").is_file()
    code, _, err = line("store", "export", "none.zip", "--arms", "base")
    assert code == 2
    assert "Name the study after the archive" in err
    code, _, err = line("store", "export", "part.zip", "vlaar2022", "--arms", "mlp-spiral", "--runs", "1")
    assert code == 0
    assert "0 results written" in err
    assert "tasks of the study are not done" in err


def test_what_can_go_is_said_first(line: Line, tmp_path: Path) -> None:
    store, other = fill(tmp_path / "runs"), Train(Recipe(seed=4))
    store.decline(other, "why not", {})
    (tmp_path / "mine.py").write_text(
        "from linescape.recipe import MLP, Data, Recipe, Schedule\nfrom linescape.studies.study import Study\n"
        "study = Study.of('s', Recipe(Data('digits'), MLP((3,)), schedule=Schedule(2)), {}, seeds=1)\n"
    )
    code, _, err = line("store", "gc")
    assert code == 0
    assert "nothing that can go" in err
    code, out, err = line("store", "gc", "--keep", "mine.py")
    assert code == 0, err
    assert out.startswith(f"train/{other.key}: ")
    assert "Remove it with --delete" in err
    assert store.has(other)
    code, out, err = line("store", "gc", "--keep", "mine.py", "--delete", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["deleted"], [each["folder"] for each in told["garbage"]]) == (True, [f"train/{other.key}"])
    assert not store.has(other)
    assert store.has(TASK)
    assert store.has(LINE)
