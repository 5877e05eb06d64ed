"""Folders import only from folders above them in the reading order of docs/architecture.md, and never in a circle."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "linescape"
MOST_LEVELS = 12


def reading_order() -> list[str]:
    text = (ROOT / "docs" / "architecture.md").read_text()
    tree = text.split("```text\n")[1].split("```")[0]
    return [match[1] for line in tree.splitlines() if (match := re.match(r"(\w+)(\.py|/) ", line))]


def modules() -> dict[str, Path]:
    """Dotted name below `linescape` -> file; a package goes by its folder's name."""
    named = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return named


MODULES = modules()


def imported(file: Path) -> set[str]:
    """Modules of linescape that a file imports, wherever in the file."""
    targets: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            targets |= {alias.name.removeprefix("linescape.") for alias in node.names if "linescape." in alias.name}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports hide the order"
            package, _, module = (node.module or "").partition(".")
            if package == "linescape":
                names = {f"{module}.{alias.name}".strip(".") for alias in node.names}
                targets |= {name if name in MODULES else module for name in names}
    return targets


def folder(module: str) -> str:
    return module.split(".")[0]


EDGES = {name: imported(file) - {name} for name, file in MODULES.items() if name not in ("", "__main__")}


def test_every_folder_stands_in_the_reading_order() -> None:
    assert {folder(name) for name in EDGES} == set(reading_order())
    assert len(reading_order()) <= 20


def test_folders_import_only_from_folders_above_them() -> None:
    order = reading_order()
    for name, targets in EDGES.items():
        assert "" not in targets, f"{name} imports from the package's face"
        above = order[: order.index(folder(name)) + 1]
        assert {folder(target) for target in targets} <= set(above), f"{name} imports from below: {targets}"


def test_no_circles() -> None:
    """Importing a module runs the packages around it too; they import their own modules, which is no circle."""
    inner = {
        name: {target for target in targets if not name.startswith(f"{target}.")} for name, targets in EDGES.items()
    }
    list(TopologicalSorter(inner).static_order())  # a CycleError names the circle


def test_the_longest_chain_of_folders() -> None:
    above: dict[str, set[str]] = {}
    for name, targets in EDGES.items():
        above.setdefault(folder(name), set()).update(folder(target) for target in targets)
    levels: dict[str, int] = {}
    for part in reading_order():
        levels[part] = 1 + max((levels[other] for other in above[part] - {part}), default=0)
    assert max(levels.values()) <= MOST_LEVELS, levels


def test_no_module_has_the_name_of_a_public_function_beside_it() -> None:
    for name, file in MODULES.items():
        beside = {other.split(".")[-1] for other in MODULES if other and other.rpartition(".")[0] == name}
        if file.name != "__init__.py":
            beside = {name.split(".")[-1]}
        functions: set[str] = set()
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                functions.add(node.name)
            elif isinstance(node, ast.ImportFrom) and file.name == "__init__.py":
                source = (node.module or "").removeprefix("linescape").strip(".")
                functions |= {
                    alias.asname or alias.name
                    for alias in node.names
                    if f"{source}.{alias.name}".strip(".") not in MODULES
                }
        assert not functions & beside, f"{file}: {functions & beside}"


def test_tests_mirror_the_package() -> None:
    tests = ROOT / "tests"
    folders = {
        folder.as_posix()
        for folder in {file.parent.relative_to(tests) for file in tests.rglob("*.py")}
        if folder.parts[:1] != ("support",)
    }
    packages = {file.parent.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("__init__.py")}
    assert folders - packages <= {"benchmarks"}


def test_what_tests_share_stands_in_support() -> None:
    """All but the fixtures of a folder, which stand in its conftest.py, where pytest finds them."""
    tests = ROOT / "tests"
    usual = r"test_\w+\.py|__init__\.py|conftest\.py"
    others = {file for file in tests.rglob("*.py") if not re.fullmatch(usual, file.name)}
    assert {file.relative_to(tests).parts[0] for file in others} == {"support"}
