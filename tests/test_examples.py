"""The examples run, at small sizes, and show what they are to show."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import nbformat
import pytest
from examples import before_merging, plain_pytorch
from scripts import gallery

from linescape import cli
from linescape.studies.executors import local

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_plain_pytorch_leaves_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe = plain_pytorch.main(epochs=1, images=300, folder=str(tmp_path / "run"))
    assert len(probe.curves["whole"].alphas) == 21
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert "The page: " in capsys.readouterr().out


def test_before_merging_finds_the_least_barrier_after_fine_tuning() -> None:
    heights = before_merging.main(epochs=1, images=500)
    assert heights["one fine-tuned from the other"] <= min(heights.values()) + 0.01


@pytest.mark.slow
def test_the_study_of_ones_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "ALONE_SECONDS", float("inf"))
    for words in (["run", str(EXAMPLES / "own_study.py")], ["report", str(EXAMPLES / "own_study.py")]):
        monkeypatch.setattr(sys, "argv", ["linescape", "study", *words])
        cli.main()
    assert "Does dropout change the line?" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize("notebook", sorted(gallery.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs_and_are_in_the_gallery(notebook: Path) -> None:
    made = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(made)
    for cell in made.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
            ast.parse("".join(line for line in cell.source.splitlines(keepends=True) if not line.startswith("%%")))
    page = (EXAMPLES.parent / "docs" / "gallery.md").read_text()
    assert made.cells[0].source.partition("\n")[2].strip() in page
    assert f"`{notebook.name}`" in page


@pytest.mark.slow
def test_all_notebooks_run_and_draw(tmp_path: Path) -> None:
    page = gallery.write(tmp_path)
    assert page.read_text() == (EXAMPLES.parent / "docs" / "gallery.md").read_text()
    pictures = list((tmp_path / "figures").iterdir())
    assert len(pictures) == len(list(gallery.NOTEBOOKS.glob("*.ipynb"))) == 4
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
