"""How results reach what shows them: sentences, figures and tables are made by `linescape.report`.

Curves and probes are defined far below reports and never import them. Methods such as ``plot`` ask for a module of
``linescape.report`` here, when they are called: so results need no matplotlib until somebody looks at them.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def report(module: str) -> ModuleType:
    """The module of `linescape.report` with this name."""
    return import_module(f"linescape.report.{module}")
