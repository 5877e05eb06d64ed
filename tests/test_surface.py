"""The public surface: what `linescape` offers at the top, and that it stays deliberate."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import linescape
import linescape as ls


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded after some code has run in a new process."""
    code = f"import sys; {code}; print(*sys.modules, file=sys.stderr)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split())


def test_the_public_names_are_sorted_documented_and_all_there_is() -> None:
    assert linescape.__all__ == sorted(linescape.__all__)
    assert len(linescape.__all__) <= 50
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
    heavy = {"torchvision", "matplotlib", "scipy", "sklearn", "jinja2", "cyclopts", "polars", "pandas", "transformers"}
    assert not heavy & loaded_by("from linescape import *")
    assert not (heavy - {"polars"}) & loaded_by("import linescape.studies.run")  # by each process of a study


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


NETWORK = nn.Linear(3, 2)
STATE = ls.State.from_module(NETWORK)
LINE = ls.Line(STATE, ls.State.from_module(nn.Linear(3, 2)))
DATA = {"test": (torch.ones(4, 3), torch.arange(4) % 2)}
EVALUATOR = ls.Evaluator(NETWORK, DATA)
CURVE = ls.scan(LINE, EVALUATOR, ls.ScanOptions(alphas=3))
UNFIT: dict[str, tuple[Callable[..., Any], tuple[Any, ...], str]] = {
    "a state for a path": (ls.scan, (STATE, EVALUATOR), "The path is a State. Give a path"),
    "a network for a path": (ls.cost, (NETWORK, EVALUATOR), "The path is a Linear"),
    "a network for an evaluator": (ls.scan, (LINE, NETWORK), "The evaluator is a Linear. Give an Evaluator"),
    "data for an evaluator": (ls.walk, (LINE, DATA), "The evaluator is a dict"),
    "two in another order": (ls.scan, (EVALUATOR, LINE), "The path is a Evaluator"),
    "a number for options": (ls.scan, (LINE, EVALUATOR, 50), "options is a int. Give ScanOptions"),
    "nothing for options": (ls.scan, (LINE, EVALUATOR, None), "options is a NoneType"),
    "a curve for points": (ls.collect, (CURVE, LINE, EVALUATOR), "A point is a Series"),
    "a state for a network": (ls.Evaluator, (STATE, DATA), "The network is a State"),
    "a state dict for a network": (ls.Evaluator, (NETWORK.state_dict(), DATA), "The network is a OrderedDict"),
    "a network for a state": (EVALUATOR, (NETWORK,), "What is to be measured is a Linear. Give a State"),
    "a state dict for a state": (EVALUATOR, (NETWORK.state_dict(),), "What is to be measured is a OrderedDict"),
    "a number for a series": (CURVE.__getitem__, (3,), "0 series of this curve match '3'"),
    "a position for a series": (CURVE.__getitem__, ((0.5, "test"),), "0 series of this curve match '0.5/test'"),
    "words for numbers": (ls.shape.min_delta, ("alphas", "losses"), "must be arrays of numbers"),
    "complex numbers": (ls.shape.min_delta, ([0, 1], [1j, 2]), "must be arrays of numbers"),
    "a width in words": (ls.Until, ("small",), "until is a str"),
    "no statistics": (ls.Until, (0.1, None), "statistics is a NoneType"),
    "a statistic alone": (ls.Until, (0.1, "min_delta"), "statistics is a str. Give a list"),
    "no name for a measure": (ls.Until, (0.1, ("min_delta",), ls.error), "measure is a function"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_does_not_fit_is_named(what: str) -> None:
    function, arguments, message = UNFIT[what]
    with pytest.raises(ls.LinescapeError, match=re.escape(message)):
        function(*arguments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 leaves no example"),
        ({"batch_size": -3}, "batch_size=-3 leaves no example"),
        ({"batch_size": 2.5}, "batch_size is a float"),
        ({"batch_size": "8"}, "batch_size is a str"),
        ({"precision": "float16"}, "no precision 'float16'"),
        ({"precision": torch.bfloat16}, "no precision torch.bfloat16"),
        ({"memory": "2 GB"}, "memory is a str"),
    ],
)
def test_settings_of_an_evaluator_that_do_not_fit_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ls.LinescapeError, match=re.escape(message)):
        ls.Evaluator(NETWORK, DATA, **settings)


def test_folders_are_reached_from_the_package_and_not_taken_by_import_star() -> None:
    code = "import linescape as ls; assert ls.data.load and ls.checkpoints.read and ls.report.write_probe and ls.shape"
    loaded_by(code)
    assert not {"data", "checkpoints", "report"} & set(linescape.__all__)
