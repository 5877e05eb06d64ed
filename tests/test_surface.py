"""The public surface: what `linescape` offers at the top, and that it stays deliberate."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import linescape


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded after some code has run in a new process."""
    code = f"import sys; {code}; print(*sys.modules, file=sys.stderr)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split())


def test_the_public_names_are_sorted_documented_and_all_there_is() -> None:
    assert linescape.__all__ == sorted(linescape.__all__)
    assert len(linescape.__all__) <= 42
    for name in linescape.__all__:
        assert inspect.getdoc(getattr(linescape, name)), f"{name} has no docstring"
    visible = {
        name
        for name, value in vars(linescape).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert visible <= set(linescape.__all__)
    assert set(linescape.__all__) <= set(dir(linescape))


def test_a_name_that_is_not_there_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="module 'linescape' has no attribute 'Lime'"):
        _ = linescape.Lime  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'Lime'"):
        from linescape import Lime  # type: ignore[attr-defined]  # noqa: F401


def test_importing_linescape_is_light_and_never_needs_torchvision() -> None:
    assert not {"torch", "numpy", "polars"} & loaded_by("import linescape; linescape.__version__; dir(linescape)")
    heavy = {"torchvision", "matplotlib", "scipy", "sklearn", "jinja2", "cyclopts"}
    assert not heavy & loaded_by("from linescape import *")


@pytest.mark.parametrize("words", ["--help", "--version", "probe --help", "study run --help", "data get --help"])
def test_help_and_version_load_nothing_heavy(words: str) -> None:
    heavy = {"torch", "numpy", "matplotlib", "polars", "scipy", "pandas", "jinja2"}
    loaded = loaded_by(f"from linescape import cli; sys.argv = ['linescape', *{words.split()}]; cli.main()")
    assert "cyclopts" in loaded
    assert not heavy & loaded


def test_functions_with_four_arguments_or_more_document_each() -> None:
    package = Path(linescape.__file__).parent
    for file in sorted(package.rglob("*.py")):
        tree = ast.parse(file.read_text())
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
        owners: tuple[ast.Module | ast.ClassDef, ...] = (tree, *classes)
        for owner in owners:
            for function in (node for node in owner.body if isinstance(node, ast.FunctionDef)):
                if function.name.startswith("_") and function.name != "__init__":
                    continue
                arguments = function.args
                names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
                names = [name for name in names if name not in ("self", "cls")]
                described = ast.get_docstring(function) or ""
                if function.name == "__init__" and isinstance(owner, ast.ClassDef):
                    described += ast.get_docstring(owner) or ""
                missing = [name for name in names if not re.search(rf"\b{name}\b[^\n]*:", described)]
                assert len(names) < 4 or not missing, f"{file.relative_to(package)}: {function.name} lacks {missing}"
