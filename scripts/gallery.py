"""Run the notebooks of examples, and write docs/gallery.md from them and the scripts: `python -m scripts.gallery`.

Notebooks are kept without outputs. The page shows of each its title, its first words, and a picture that it drew.
"""

from __future__ import annotations

import ast
import base64
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "examples" / "notebooks"
SHOWN = {
    "two_checkpoints": "Test loss and error along the lines of the whole network and of each block alone",
    "before_merging": "Test loss along three paths: as trained and the arc have a barrier, the aligned line has none",
    "own_study": "Test loss along the lines of three arms: base, dropout and a higher learning rate",
    "what_the_paper_found": "Test loss along the lines of four arms of the study, most with a plateau and a late fall",
}
"""Notebook -> the text alternative of its picture, in the order of the page."""
SCRIPTS = sorted(path for path in (ROOT / "examples").glob("*.py") if path.name != "__init__.py")
BEGINNING = """# Gallery

Notebooks and [scripts](#scripts) to copy from: the name below a picture is a link to its file. Each notebook runs from
top to bottom on a laptop, on the images that come with linescape.
"""
ENDING = """## Scripts

Each has less than 40 lines of code. `python plain_pytorch.py` trains for seconds and prints its answer; the others
take seconds to minutes. `own_study.py` is for `linescape study run`.
"""


def run(notebook: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in a folder; returns it with its outputs. Raises what a cell raises."""
    made: nbformat.NotebookNode = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(made, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return made


def picture(notebook: nbformat.NotebookNode) -> bytes:
    """The last picture that a notebook drew, as PNG."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    drawn: list[str] = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return base64.b64decode(drawn[-1])


def link(notebook: Path) -> str:
    """A notebook by its name, as a link from the page."""
    return f"[`{notebook.name}`](../examples/notebooks/{notebook.name})"


def told(script: Path) -> str:
    """A script by its name and the first words of its docstring, as an entry of a list."""
    words = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return f"- [`{script.name}`](../examples/{script.name}): {words.split(' `')[0]}"


def write(docs: Path) -> Path:
    """Run all notebooks, and write ``gallery.md`` and ``figures/gallery-*.png``; returns the page."""
    (docs / "figures").mkdir(parents=True, exist_ok=True)
    parts = [BEGINNING]
    for notebook, pictured in ((NOTEBOOKS / f"{name}.ipynb", words) for name, words in SHOWN.items()):
        with tempfile.TemporaryDirectory() as folder:
            done = run(notebook, Path(folder))
        name = f"gallery-{notebook.stem.replace('_', '-')}.png"
        (docs / "figures" / name).write_bytes(picture(done))
        title, _, words = done.cells[0].source.partition("\n")
        title = title.removeprefix("# ").strip()
        parts.append(f"## {title}\n\n{words.strip()}\n\n![{pictured}](figures/{name})\n\n{link(notebook)}\n")
    parts += [ENDING, "".join(f"{told(script)}\n" for script in SCRIPTS)]
    page = docs / "gallery.md"
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


if __name__ == "__main__":
    write(ROOT / "docs")
