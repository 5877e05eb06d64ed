"""The documentation: its links lead somewhere, what is made of docstrings is whole, and what it shows works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
import torch
from scripts import docs_site, draw_methods, search_site
from scripts.intervention_notes import WHEN_IT_MISLEADS
from torch import nn

import linescape as ls
from linescape import cli
from linescape.interpolation import known
from linescape.interpolation.known import Check
from linescape.shape import definitions
from linescape.studies import executors
from linescape.studies import run as studies_run
from linescape.training import interventions
from tests.support import optional
from tests.support.adapters import network as with_lora

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WRITTEN = {page.relative_to(DOCS).as_posix(): page.read_text() for page in sorted(DOCS.rglob("*.md"))}
PAGES = {**docs_site.pages(), **WRITTEN}
SLOW = ("how-to/before-merging.md", "how-to/during-training.md", "how-to/fine-tuned.md")
HOW_TO = [
    pytest.param(page, marks=pytest.mark.slow) if page in SLOW else page for page in WRITTEN if page[:7] == "how-to/"
]

MINE = """
import torch
from torch import nn

def network():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

def data():
    inputs = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    return {name: (inputs, torch.arange(40) % 3) for name in ("train", "val", "test")}
"""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], flags=re.DOTALL)


def prose(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(text: str) -> set[str]:
    """Those that Markdown's headings get."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_and_headings_that_are_there(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[page])):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        place = (DOCS / page).parent.joinpath(file).resolve() if file else DOCS / page
        found = Path(os.path.relpath(place, DOCS)).as_posix()
        if page == "reference/linescape.md" and not file:
            assert f"\n::: {anchor}\n" in PAGES[page], target  # headings that mkdocstrings makes
            continue
        assert found in PAGES or place.is_file(), f"{page}: {target}"
        assert not anchor or anchor in anchors(PAGES[found]), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_lists_begin_after_an_empty_line(page: str) -> None:
    """Without one the site shows a list as a paragraph, though a repository's page does not."""
    before = "\n"
    for line in prose(PAGES[page]).splitlines(keepends=True):
        begins = line.startswith("- ") and not before.startswith(("- ", "  "))
        assert not begins or before == "\n", line
        before = line


def test_every_page_is_in_the_navigation_and_no_other() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    assert sorted(re.findall(r"(\S+\.md)$", nav, flags=re.MULTILINE)) == sorted(PAGES)


def test_each_statistic_and_intervention_has_a_card() -> None:
    cards = PAGES["methods/measurements.md"]
    for definition in (*definitions.DEFINITIONS.values(), *definitions.DISTANCES.values()):
        assert f"### {definition.label[0].upper()}{definition.label[1:]}\n\n    {definition.formula}\n" in cards
        assert definition.misleads in cards
    for name in interventions.names():
        assert f"\n## {name}\n" in PAGES["methods/interventions.md"]
    assert set(WHEN_IT_MISLEADS) == set(interventions.names())
    listed = [name for names in docs_site.FACE.values() for name in names]
    assert sorted(listed) == sorted(set(ls.__all__) - {"batchnorm", "groups", "shape", "LinescapeError"})


def test_pictures_of_methods_are_of_cards_and_have_words() -> None:
    drawn = {file.stem.removesuffix("-misleads"): file.read_text() for file in docs_site.PICTURES.glob("*.svg")}
    measured = {*definitions.DEFINITIONS, *definitions.LAYERWISE, *definitions.DISTANCES, "batchnorm"}
    assert measured <= set(drawn) <= measured | set(interventions.names())
    for svg in drawn.values():
        assert re.search(r"<title>[^<]{20,}</title>", svg)
        assert "<dc:date>" not in svg
    shown = "".join(PAGES[f"methods/{page}.md"] for page in ("measurements", "batchnorm", "interventions"))
    assert shown.count('<svg xmlns="') == shown.count('role="img"') >= len(drawn)


@pytest.mark.slow
def test_pictures_of_methods_are_drawn_by_what_they_show(tmp_path: Path) -> None:
    """Every one that is there, and no other; numbers may differ in the last digit between machines."""
    draw_methods.main(folder=tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in docs_site.PICTURES.iterdir()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages name: networks, data, checkpoints; known answers are not computed again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(known, "checks", lambda _: iter([Check("", 1.0, 1.0, 0.0)]))
    sys.modules.pop("mine", None)
    (tmp_path / "mine.py").write_text(MINE)
    for seed, name in enumerate(("a", "b", "c", "base", "tuned")):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        torch.save(network.state_dict(), tmp_path / f"{name}.pt")
    return tmp_path


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command.replace("cuda", "cpu").replace("--precision bfloat16", ""), comments=True)
    if words[1] == "probe":
        words += ["--alphas", "3"]
    elif words[1] == "plane":
        words += ["--points", "3"]
    Path("soup.pt").unlink(missing_ok=True)  # nothing is written over
    monkeypatch.setattr(sys, "argv", words)
    cli.main()


@pytest.mark.parametrize("page", HOW_TO)
@pytest.mark.usefixtures("folder")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # of the libraries that train
def test_what_the_pages_by_job_show_works(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in {"how-to/during-training.md": ("transformers", "accelerate", "lightning")}.get(page, ()):
        optional.load(package)
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(block, namespace)
    for block in blocks(page, "shell"):
        for command in block.strip().splitlines():
            if "cifar10" not in command:  # which is not here
                run(command, monkeypatch)


def commands(page: str) -> list[str]:
    """What a page tells its reader to type, and the whole commands that its tables and sentences name."""
    shown = "".join(block for language in ("sh", "shell", "bash") for block in blocks(page, language))
    outside = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    named = re.findall(r"`(linescape [^`\n\[]* [A-Z]+\b[^`\n\[]*)`", outside)
    return [line for line in [*shown.splitlines(), *named] if line.startswith("linescape ")]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_on_the_pages_are_understood(page: str) -> None:
    """Those that need a cluster or hours too: there is such a command, and it takes these words."""
    for line in commands(page):
        words = shlex.split(line.partition("|")[0], comments=True)[1:]
        if not {"COMMAND", "--install-completion"} & {*words}:
            given = [word for word in words if word not in ("--json", "--quiet")]
            cli.app.parse_args(given, exit_on_error=False, print_error=False)


def test_the_page_on_checkpoints_works(folder: Path) -> None:
    torch.manual_seed(0)
    exec(MINE, namespace := {})  # type: ignore[var-annotated]
    model = namespace["network"]()
    torch.save(model.state_dict(), folder / "before.pt")
    torch.save({"student": {}, "teacher": model.state_dict()}, folder / "dino.pt")
    for block in blocks("checkpoints.md", "python"):
        exec(block, namespace := {"model": model})
    assert torch.equal(namespace["start"]["0.weight"], model[0].weight)
    assert namespace["teacher"].keys() == namespace["contents"].keys() == model.state_dict().keys()


def test_a_study_in_python_takes_an_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the arguments of `executors.named` and `work`; Ray itself is called in tests/studies/executors."""
    (block,) = blocks("scaling.md", "python")
    calls = []
    for function in (executors.named, studies_run.work):
        stand_in = create_autospec(function)
        monkeypatch.setattr(f"{function.__module__}.{function.__name__}", stand_in)
        calls.append(stand_in)
    exec(block, {"study": ["task"], "store": "store"})
    calls[0].assert_called_once_with("ray", address="auto")
    calls[1].assert_called_once_with(["task"], "store", executor=calls[0].return_value)


def test_the_tutorial_works(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    whole = ls.data.load("fashion-mini").tensors()
    few = {name: (images[:300], labels[:300]) for name, (images, labels) in whole.items()}
    monkeypatch.setattr(ls.data, "load", lambda _: SimpleNamespace(tensors=lambda: few))
    namespace: dict[str, object] = {}
    first, *others = blocks("tutorial.md", "python")
    exec(first, namespace)
    assert (folder / "second.pt").is_file()
    for block in blocks("tutorial.md", "shell"):
        run(block, monkeypatch)
    for block in others:
        exec(block, namespace)
    said = capsys.readouterr().out
    assert "Averaging: halfway test loss is " in said  # as it is quoted; the numbers there are of all images
    assert "recalibrate" in said.splitlines()[-1]


@pytest.mark.slow
def test_what_the_page_on_planes_and_soups_shows_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = "--model mine:network --data mine:data"
    for block in blocks("beyond-the-line.md", "bash"):
        for command in re.findall(r"^linescape .*", block, flags=re.MULTILINE):
            run(command.replace("--model ... --data ...", named), monkeypatch)
    exec(MINE, namespace := {})  # type: ignore[var-annotated]
    networks = [namespace["network"]() for _ in range(3)]
    evaluator = ls.Evaluator(networks[0], namespace["data"]())
    inputs, targets = namespace["data"]()["train"]
    plain = [nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(2)]
    space: dict[str, object] = {"plain_evaluator": ls.Evaluator(plain[0], namespace["data"]())}
    space |= dict(zip(("plain_a", "plain_b"), plain, strict=True))
    factors = [with_lora("linear")[0].float() for _ in range(2)]
    space |= {"lora_evaluator": ls.Evaluator(factors[0], {"test": (torch.randn(8, 3), torch.arange(8) % 4)})}
    space |= dict(zip(("lora_a", "lora_b"), factors, strict=True))
    space |= {
        "ls": ls,
        "torch": torch,
        "evaluator": evaluator,
        "inputs": inputs,
        "targets": targets,
        **dict(zip("abc", networks, strict=True)),
    }
    for block in blocks("beyond-the-line.md", "python"):
        exec(block.replace("alphas=25", "alphas=3"), space)
    assert (folder / "plane.safetensors").is_file()


def test_fifteen_questions_of_users_have_a_page() -> None:
    asked = search_site.questions()
    assert len(asked) == len({words for words, _ in asked}) == 15
    assert {page for _, page in asked} <= set(PAGES)


@pytest.mark.slow
def test_the_search_of_the_site_answers_them_among_its_first_three_pages(tmp_path: Path) -> None:
    optional.load("mkdocs")  # of `make docs`
    built = subprocess.run([sys.executable, "-m", "mkdocs", "build", "-q", "-d", tmp_path], cwd=ROOT, check=False)
    assert built.returncode == 0
    pytest.importorskip("playwright")
    if not search_site.chromium():
        pytest.skip("needs a Chromium")
    assert search_site.main(tmp_path) == 0


def test_no_file_holds_what_a_merge_could_not_decide() -> None:
    marks = re.compile(r"^(<{7}|>{7}|={7}$)", flags=re.MULTILINE)
    folders = ("src", "tests", "scripts", "docs", "examples", "benchmarks", "dev")
    files = [*ROOT.glob("*.*"), *(file for name in folders for file in (ROOT / name).rglob("*"))]
    for file in files:
        if file.suffix in (".py", ".md", ".txt", ".toml", ".yml", ".c", ".html", ".css", ".js"):
            assert not marks.search(file.read_text()), file


def test_the_citation_and_the_workflow_name_what_is_there() -> None:
    assert f"\nversion: {ls.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"- run: (.+)$", workflow, flags=re.MULTILINE)
    assert (ROOT / ".ci" / "run").is_file()
    for command in set(commands) - {".ci/run"}:
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, flags=re.MULTILINE), command
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}" in allowed
