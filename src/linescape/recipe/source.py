"""The part of a Python file that a function or class in it uses, which is what decides what it does.

The whole file would be too much: a study, its network and its data may be in one file of twenty lines, and one more arm
must not make all trainings anew. So a definition counts with all that it mentions in its file, and what these mention.
Where that cannot be seen from the text (`_UNSEEN`), the whole file counts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

_UNSEEN = frozenset(("eval", "exec", "globals", "locals", "vars", "importlib", "__import__", "sys"))
"""Names by which code reaches others without naming them."""


def used_by(name: str, source: str) -> str:
    """The statements at the top of a file that the definition of `name` uses, itself included, in their order.

    Names in texts count as mentioned, and so does what changes a name later: an attribute that is set, a call such as
    ``torch.set_default_dtype(...)``, a decorated function, a subclass of a class of this file. Comments between
    statements do not count, nor does what follows ``if __name__ == "__main__":``. Files that are imported are not
    looked into.

    Raises:
        SyntaxError: it is not Python.
        KeyError: nothing at the top of the file defines `name`.
    """
    statements = [statement for statement in ast.parse(source).body if not _is_main_guard(statement)]
    defined = {bound for statement in statements for bound in _defined(statement)}
    if name not in defined:
        raise KeyError(name)
    classes = {statement.name for statement in statements if isinstance(statement, ast.ClassDef)}
    functions = {statement.name for statement in statements if isinstance(statement, ast.FunctionDef)}
    used: set[ast.stmt] = {statement for statement in statements if _always(statement, functions)}
    reached = {name, *(word for statement in used for word in _mentioned(statement))}
    while new := {s for s in statements if s not in used and _changed(s, classes) & reached}:
        used |= new
        reached |= {word for statement in new for word in _mentioned(statement)}
    if reached & _UNSEEN:
        return source
    lines = source.splitlines()
    return "\n".join("\n".join(lines[_first(s) - 1 : s.end_lineno]) for s in statements if s in used)


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def _always(statement: ast.stmt, functions: set[str]) -> bool:
    """Whether a statement may change anything.

    These are a star import, a decorated definition, which may be registered, and a call of one of this file's
    `functions` for its effect.
    """
    if isinstance(statement, ast.ImportFrom):
        return any(alias.name == "*" for alias in statement.names)
    if any(isinstance(node, ast.Expr) and _mentioned(node) & functions for node in _inner(statement)):
        return True
    return bool(getattr(statement, "decorator_list", ()))


def _inner(statement: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that run when the file is run: not the bodies of functions and classes."""
    yield statement
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        for child in ast.iter_child_nodes(statement):
            yield from _inner(child)


def _defined(statement: ast.stmt) -> set[str]:
    """The names that a statement gives to something."""
    names: set[str] = set()
    for node in _inner(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
    return names


def _changed(statement: ast.stmt, classes: set[str]) -> set[str]:
    """The names whose meaning a statement decides: those that it defines and may change; `classes` are of this file."""
    names = _defined(statement)
    for node in _inner(statement):
        if isinstance(node, ast.Expr) or (
            isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load)
        ):
            names |= _mentioned(node)
        elif isinstance(node, ast.ClassDef):
            names |= {word for base in node.bases for word in _mentioned(base)} & classes
    return names


def _mentioned(node: ast.AST) -> set[str]:
    words = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    return words | {
        inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
    }


def _first(statement: ast.stmt) -> int:
    marks: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(mark.lineno for mark in marks)])
