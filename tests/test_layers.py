"""Modules import only from modules above them in the reading order of docs/architecture.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "linescape"


def reading_order() -> list[str]:
    text = (ROOT / "docs" / "architecture.md").read_text()
    tree = text.split("```text\n")[1].split("```")[0]
    return [match[1] for line in tree.splitlines() if (match := re.match(r"(\w+)(\.py|/) ", line))]


def imported(file: Path) -> set[str]:
    """First components below `linescape` that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("linescape.")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "linescape":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports hide the order"
    return found - {"__version__"}


def test_every_module_stands_in_the_reading_order() -> None:
    present = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert present - {"__init__", "__main__"} == set(reading_order())


def test_modules_import_only_from_modules_above_them() -> None:
    order = reading_order()
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.name in ("__init__.py", "__main__.py") and file.parent == PACKAGE:
            continue
        own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        above = {*order[: order.index(own)], own}
        assert imported(file) <= above, f"{file.name} imports from below: {imported(file) - above}"
