"""Files that repeat pyproject.toml agree with it, and what is built of it works where nothing else is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import linescape

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OF_CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base", "msgspec": "msgspec-python"}
"""Packages that conda-forge calls otherwise."""


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_the_recipe_of_conda_asks_for_what_pyproject_asks_for() -> None:
    recipe = read("recipe/meta.yaml")
    needed = [re.split(r"(?=>=)", requirement) for requirement in PROJECT["dependencies"]]
    expected = [f"{OF_CONDA.get(name, name)} {bound}" for name, bound in needed]
    assert recipe["requirements"]["run"] == [f"python {PROJECT['requires-python']}", *expected]
    assert recipe["package"] == {"name": PROJECT["name"], "version": linescape.__version__}
    assert recipe["build"]["entry_points"] == [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert recipe["about"]["summary"] == PROJECT["description"]
    assert recipe["about"]["license_file"] == PROJECT["license-files"]


def test_a_citation_names_this_version() -> None:
    citation = read("CITATION.cff")
    assert citation["version"] == linescape.__version__
    assert citation["license"] == PROJECT["license"]


def test_versions_of_constraints_are_within_the_bounds() -> None:
    constraints = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))
    optional = PROJECT["optional-dependencies"].values()
    for requirement in (*PROJECT["dependencies"], *(each for extra in optional for each in extra)):
        name, _, bound = requirement.partition(">=")
        if name in constraints:
            found, least = ([int(part) for part in version.split(".")] for version in (constraints[name], bound))
            assert found >= least, name


def test_workflows_and_forms_are_whole() -> None:
    jobs = read(".github/workflows/tests.yml")["jobs"]
    assert any(step.get("run") == ".ci/run" for step in jobs["linux"]["steps"])
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert all(command.removeprefix("make ") in targets for command in commands if command != ".ci/run")
    for form in ("wish", "wrong"):
        fields = read(f".github/ISSUE_TEMPLATE/{form}.yml")
        assert {"name", "description", "body"} <= set(fields)
        assert all({"type", "id", "attributes"} <= set(field) for field in fields["body"])


def call(*command: str | Path, folder: Path) -> str:
    """What a command prints, run outside of the repository without its sources on the path."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, f"{command}\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"
    return ran.stdout


def interpreter(version: str) -> Path:
    """Where a Python of this version is, on the path or in pyenv; the test is skipped without one."""
    on_path = shutil.which(f"python{version}")
    for found in ([Path(on_path)] if on_path else []) + [*Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]:
        if subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:  # no shim of pyenv
            return found
    pytest.skip(f"Python {version} is not installed")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive, and the wheel that is built out of it."""
    folder = tmp_path_factory.mktemp("built")
    call(sys.executable, "-m", "venv", "builder", folder=folder)
    python = folder / "builder" / "bin" / "python"
    asked = subprocess.run([python, "-m", "pip", "install", "-q", "hatchling"], capture_output=True, text=True)
    if asked.returncode:
        pytest.skip(f"the package index cannot be reached: {asked.stderr.strip().splitlines()[-1]}")
    archived = subprocess.run([python, "-m", "hatchling", "build", "-t", "sdist", "-d", folder], cwd=ROOT, check=False)
    assert archived.returncode == 0
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as contents:
        contents.extractall(folder / "sources", filter="data")
    (sources,) = (folder / "sources").iterdir()
    call(python, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=sources)
    (wheel,) = folder.glob("*.whl")
    return archive, wheel


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    archive, wheel = built
    with zipfile.ZipFile(wheel) as contents:
        names = set(contents.namelist())
    package = ROOT / "src" / "linescape"
    listed = subprocess.run(["git", "ls-files", "src/linescape"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {name.removeprefix("src/") for name in listed.stdout.split()}
    assert {name for name in names if name.startswith("linescape/")} == files
    assert (package / "py.typed").is_file()
    with tarfile.open(archive) as contents:
        kept = {name.partition("/")[2] for name in contents.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "tests/test_release.py"} <= kept


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_wheel_works_where_nothing_else_is_installed(
    version: str, built: tuple[Path, Path], tmp_path: Path
) -> None:
    """All that it depends on is installed anew, torch too, under the constraints."""
    call(interpreter(version), "-m", "venv", "clean", folder=tmp_path)
    bin_ = tmp_path / "clean" / "bin"
    install = "-m", "pip", "install", "--no-compile", "--constraint", str(ROOT / "constraints.txt"), str(built[1])
    subprocess.run(
        [str(bin_ / "python"), *install], cwd=tmp_path, check=True, capture_output=True
    )  # as pip is set up here
    place = call(bin_ / "python", "-c", "import linescape; print(linescape.__file__)", folder=tmp_path)
    assert Path(place.strip()).is_relative_to(tmp_path / "clean")
    assert "known answers are right" in call(bin_ / "linescape", "doctor", folder=tmp_path)
    small = ("--schedule", "constant,epochs=1", "--data", "fashion-mini,size=14,fraction=0.1")
    ends = call(bin_ / "linescape", "train", *small, folder=tmp_path).split()
    call(bin_ / "linescape", "probe", *ends, "--alphas", "5", folder=tmp_path)
    assert (tmp_path / "probe" / "index.html").is_file()
