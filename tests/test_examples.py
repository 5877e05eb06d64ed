"""The examples run, at small sizes, and show what they are to show."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from examples import before_merging, plain_pytorch
from scripts import gallery

from linescape import cli
from linescape.studies.executors import local
from tests.support import fake_clusters, optional
from tests.support.fake_clusters import FakeSubmitit

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


def example(name: str, *packages: str) -> Any:
    """An example, or skip where it imports what is not installed."""
    for package in packages:
        optional.load(package)
    return importlib.import_module(f"examples.{name}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's
def test_checkpoints_of_lightning_have_a_line_between_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe = example("lightning_checkpoints", "lightning").main(epochs=1, images=500, folder=str(tmp_path))
    assert len(probe.curves["whole"].alphas) == 21
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["seed-0.ckpt", "seed-1.ckpt"]
    assert probe.summary().headline in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # transformers'
def test_the_trainer_of_hugging_face_leaves_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = example("hugging_face_trainer", "transformers", "accelerate").main
    probe = main(steps=4, images=200, folder=str(tmp_path / "run"))
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert probe.summary().headline in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # transformers'
def test_the_language_model_learns_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    losses = example("language_model", "transformers").main(steps=60)
    assert losses["code"][-1] < losses["code"][0]
    assert f"Nats a character of the code: base {losses['code'][0]:.2f}, halfway" in capsys.readouterr().out


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")  # timm's
def test_a_network_of_timm_has_a_line_for_each_block(capsys: pytest.CaptureFixture[str]) -> None:
    probe = example("timm_layers", "timm").main(epochs=1, images=200)
    assert len(probe.curves) > 3
    assert f"the block {probe.summary().shown_blocks[0].block} costs most" in capsys.readouterr().out


@pytest.mark.slow
def test_a_study_goes_to_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = FakeSubmitit()
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "linescape.studies.executors.on_slurm", raising=False)
    monkeypatch.setenv("PATH", fake_clusters.programs(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    halfway = example("on_a_cluster").main("slurm")
    assert sorted(halfway) == ["base", "larger"]
    assert sum(count for count, _ in made.arrays) == 12  # six trainings and six lines
    assert example("on_a_cluster").main("local") == halfway  # from the store


def test_examples_are_short_have_one_sentence_of_what_they_show_and_are_in_the_gallery() -> None:
    page = (EXAMPLES.parent / "docs" / "gallery.md").read_text()
    for file in gallery.SCRIPTS:
        code = [line for line in file.read_text().splitlines() if line.strip() and not line.strip().startswith("#")]
        assert len(code) < 40, file
        assert gallery.told(file) in page


def test_all_notebooks_are_shown() -> None:
    assert {notebook.stem for notebook in gallery.NOTEBOOKS.glob("*.ipynb")} == set(gallery.SHOWN)


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
    assert gallery.link(notebook) in page


@pytest.mark.slow
def test_all_notebooks_run_and_draw(tmp_path: Path) -> None:
    page = gallery.write(tmp_path)
    assert page.read_text() == (EXAMPLES.parent / "docs" / "gallery.md").read_text()
    pictures = list((tmp_path / "figures").iterdir())
    assert len(pictures) == len(gallery.SHOWN)
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
