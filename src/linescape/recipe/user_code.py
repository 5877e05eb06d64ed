"""Finds and names the user's own code: ``module:name`` and ``path/to/file.py:name``.

Nothing is run but what the user names. A name is written into recipes, so it must mean the same in another process; and
the text of the code goes with it, so that a result never goes by the name of code that did not make it.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from linescape import atomic
from linescape.errors import LinescapeError, RecipeError, first_line, suggest
from linescape.recipe.source import used_by

SCHEMES = ("torchvision", "timm", "hf", "linescape", "images", "hf-data", "text")
"""The schemes before the colon, besides modules and files."""

_PREFIX = "linescape_given_"
_loading: dict[Path, ModuleType] = {}
_sources: dict[str, str] = {}
_added = set[str]()
"""Folders that were put into the search path for the files of the user."""


class Named(NamedTuple):
    """Code by its name.

    Attributes:
        where: a module, or the absolute path of a file.
        function: a function or class at the top of it.
        sha256: of the text that decides what it does, see `recipe.source`.
    """

    where: str
    function: str
    sha256: str


def module(where: str) -> ModuleType:
    """A module by its name, looked for in the working folder too, or a Python file by its path.

    Raises:
        RecipeError: it is not there, or cannot be run.
    """
    return _file(Path(where)) if where.endswith(".py") else _module(where)


def attribute(where: str, name: str) -> Any:
    """What a module or file calls `name`.

    Raises:
        RecipeError: it has nothing of this name, or cannot be run.
    """
    found = module(where)
    try:
        return getattr(found, name)
    except AttributeError as error:
        names = [known for known, value in vars(found).items() if not isinstance(value, ModuleType)]
        later = f" It must stand above the line that uses it in {where}." if found in _loading.values() else ""
        raise RecipeError(f"{where!r} has no {name!r}. {suggest(name, names)}{later}") from error


def name(given: str | Callable[..., Any]) -> Named:
    """The name of a function or class, by which every process finds it, and the digest of its text.

    Args:
        given: the function or class itself, or its name, ``module:name`` or ``file.py:name``.

    Raises:
        RecipeError: it cannot be named, its text is not there, or is not the text that was run.
    """
    function = given
    if isinstance(given, str):
        where, colon, word = given.rpartition(":")
        if not colon:
            raise RecipeError(f"{given!r} names no function. Write module:name or path/to/file.py:name.")
        function = attribute(where, word)
    if not isinstance(function, FunctionType | type):
        raise RecipeError(
            f"{given!r} is a {type(function).__name__}, which has no name by which another process finds it. Write a "
            "function of settings at the top of a file and pass it, or 'file.py:name'."
        )
    word, home = function.__qualname__, sys.modules.get(function.__module__)
    file = getattr(home, "__file__", None)
    if home is not None and home.__name__ == "__main__" and file is None:
        raise RecipeError(
            f"{word} was defined in a notebook or an interactive session, where other processes do not find it. Write "
            f"it to a file (in a notebook begin the cell with `%%writefile net.py`), and pass 'net.py:{word}'."
        )
    if not word.isidentifier() or home is None or getattr(home, word, None) is not function:
        raise RecipeError(
            f"{word} of {function.__module__} is a lambda, is defined within something else, or its name stands for "
            "something else now, so other processes do not find it. Define it with def or class at the top of a file, "
            "take what varies as settings, and pass it, or 'file.py:name'."
        )
    own_file = home.__name__ == "__main__" or home.__name__.startswith(_PREFIX)
    where = str(Path(str(file)).resolve()) if own_file else home.__name__
    return Named(where, word, _digest(home, word))


@cache
def find(code: Named) -> Callable[..., Any]:
    """The function or class of this name, whose text must be what it was.

    Raises:
        RecipeError: it is not there, or its code has changed.
    """
    function = attribute(code.where, code.function)
    if (found := name(function)).sha256 != code.sha256:
        raise RecipeError(
            f"The code of {found.where}:{code.function} is not that of this recipe any more (SHA-256 "
            f"{found.sha256[:8]} instead of {code.sha256[:8]}), so its result would go by the wrong name. Make the "
            "study anew: run its file again."
        )
    return function  # type: ignore[no-any-return]


def explained(error: Exception, what: str) -> RecipeError:
    """What the user's code raised, as a message with the place."""
    line = traceback.extract_tb(error.__traceback__)[-1]
    return RecipeError(
        f"{what} raised {type(error).__name__}: {first_line(error)} (line {line.lineno} of {line.filename})."
    )


def is_loading() -> bool:
    """Whether a file of the user is being run at this moment, to find something in it."""
    return bool(_loading)


# -- modules and files ------------------------------------------------------------------------------------------


def search_path() -> list[str]:
    """Folders that another process, which runs the same code, has to look for modules in from its start.

    Those of the user's files (`own_folders`) are not among them: they would come before Python's own, whose place a
    file such as ``random.py`` would then take.
    """
    return [folder for folder in sys.path if folder and folder not in _added]


def own_folders() -> list[str]:
    """Folders of the user's files, which another process has to look in once it has imported linescape."""
    return [folder for folder in sys.path if folder in _added]


def look_in(folder: Path) -> None:
    """Look for modules in a folder, before all others."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        _added.add(str(folder))


def _module(where: str) -> ModuleType:
    look_in(Path.cwd())  # as `python -m` does: users keep their model next to their checkpoints
    try:
        return importlib.import_module(where)
    except (ImportError, ValueError) as error:
        close = difflib.get_close_matches(where, SCHEMES, n=1, cutoff=0.75)
        raise RecipeError(
            f"{where!r} could not be imported ({error}). "
            + (f"Did you mean {close[0]!r}? " if close else "")
            + f"Run linescape where `python -c 'import {where}'` works."
        ) from error


def _file(path: Path) -> ModuleType:
    try:
        atomic.size(path)  # nothing but a plain file is opened
        path = path.resolve()
        main = sys.modules["__main__"]
        if (running := getattr(main, "__file__", None)) and Path(running).resolve() == path:
            return main
        return _loading.get(path) or _loaded(path, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} could not be opened: {error.strerror or error}.") from error
    except (ImportError, SyntaxError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"{path} could not be run ({first_line(error)}). Run linescape where `python {path}` works."
        ) from error


@lru_cache
def _loaded(path: Path, source: str) -> ModuleType:
    """A Python file as a module, run again only if its text has changed, which its time need not show."""
    look_in(path.parent)  # as `python path` does: it may import its neighbours
    version = hashlib.sha256(f"{path}/{source}".encode(errors="surrogateescape")).hexdigest()[:8]
    made = ModuleType(f"{_PREFIX}{path.stem}_{version}")  # others of this name, and earlier ones, stay what they are
    made.__file__ = str(path)
    sys.modules[made.__name__] = made  # data classes look themselves up there
    _sources[made.__name__] = source
    _loading[path] = made
    try:  # not by Python's loader, which takes compiled code for this text if the file's second and size are the same
        exec(compile(source, path, "exec"), vars(made))  # noqa: S102 - the user named this file to be run
    except (LinescapeError, ImportError, SyntaxError):
        raise
    except Exception as error:
        raise explained(error, str(path)) from error
    finally:
        del _loading[path]
    return made


# -- the text of code -------------------------------------------------------------------------------------------


def _digest(home: ModuleType, word: str) -> str:
    """SHA-256 of the text that a definition uses, which must be what this process runs."""
    where = home.__file__ or home.__name__
    try:
        source = _sources.get(home.__name__) or Path(inspect.getsourcefile(home) or where).read_text(encoding="utf-8")
        text = used_by(word, source)
        compiled = {code.co_qualname: code for code in _codes(compile(source, where, "exec"))}
    except (OSError, TypeError, ValueError, SyntaxError, KeyError) as error:
        raise RecipeError(
            f"The text of {word} could not be read from {where} ({first_line(error)}), but a result is named by it. "
            "Write a function in a Python file of yours that calls it, and pass that."
        ) from error
    for inside in vars(home).values():
        for function in _functions(inside, home.__name__):
            written = compiled.get(function.__qualname__)
            if written is not None and function.__name__ in text and not _alike(function.__code__, written):
                raise RecipeError(
                    f"{function.__qualname__} in {where} is not what this process runs: the file has changed since it "
                    "was imported. Start Python anew."
                )
    return hashlib.sha256(text.encode()).hexdigest()


def _functions(value: object, home: str) -> list[FunctionType]:
    if isinstance(value, FunctionType) and value.__module__ == home:
        return [value]
    if isinstance(value, type) and value.__module__ == home:
        return [inside for inside in vars(value).values() if isinstance(inside, FunctionType)]
    return []


def _codes(code: CodeType) -> list[CodeType]:
    return [code, *(inner for part in code.co_consts if isinstance(part, CodeType) for inner in _codes(part))]


def _alike(left: CodeType, right: CodeType) -> bool:
    """Whether two pieces of code do the same, wherever they stand in their files."""
    if (left.co_code, left.co_names, len(left.co_consts)) != (right.co_code, right.co_names, len(right.co_consts)):
        return False
    pairs = zip(left.co_consts, right.co_consts, strict=True)
    return all(
        _alike(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else repr(a) == repr(b) for a, b in pairs
    )
