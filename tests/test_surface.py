"""The public surface: what `linescape` offers at the top, and that it stays deliberate."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types

import linescape


def test_the_public_names_are_sorted_documented_and_all_there_is() -> None:
    assert linescape.__all__ == sorted(linescape.__all__)
    assert len(linescape.__all__) <= 33
    for name in linescape.__all__:
        assert inspect.getdoc(getattr(linescape, name)), f"{name} has no docstring"
    visible = {
        name
        for name, value in vars(linescape).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert visible <= set(linescape.__all__)


def test_importing_linescape_is_light_and_never_needs_torchvision() -> None:
    heavy = {"torchvision", "matplotlib", "scipy", "sklearn", "jinja2", "cyclopts"}
    code = "import sys, linescape; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)
