"""Situations of users, each tried and judged; `python -m tests.support.reported` does those that were reported.

A situation yields cases: what the library is asked, the number that it should give, by a plain loop, and what has to
come of it: it is right, refused by a `LinescapeError`, or noted (another number, with a note). Anything else is a
failure: to refuse what was right before is one too.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cyclopts import CycloptsError
from torch import Tensor, nn

import linescape as ls
from linescape.cli import app

Values = Sequence[float] | np.ndarray
Answer = tuple[Values, Sequence[str]]
"""Values, and the notes beside them."""


@dataclass(frozen=True)
class Case:
    """One thing that the library is asked.

    Attributes:
        name: what is asked.
        ask: gives values and notes, or raises.
        expected: the values; None where there are none.
        outcome: what has to come of it; by default right where values are expected, and else refused.
    """

    name: str
    ask: Callable[[], Answer]
    expected: Values | None
    outcome: Literal["right", "refused", "noted"] | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of a case: ``right``, ``refused`` or ``noted``, or else ``wrong``, ``accepted`` or ``traceback``."""

    situation: str
    case: str
    outcome: str
    kind: str
    said: str = ""

    @property
    def passed(self) -> bool:
        return self.kind == self.outcome


Situation = Callable[[Path], Iterable[Case]]
SITUATIONS: dict[str, Situation] = {}


def situation(function: Situation) -> Situation:
    SITUATIONS[function.__name__] = function
    return function


def judged(names: Iterable[str]) -> Iterator[Verdict]:
    """What comes of each case of some situations, one after another."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                for case in SITUATIONS[name](Path(folder)):
                    outcome = case.outcome or ("refused" if case.expected is None else "right")
                    yield Verdict(name, case.name, outcome, *_judged(case))
            except pytest.skip.Exception:  # a package that it needs is not installed
                continue


def _judged(case: Case) -> tuple[str, str]:
    try:
        got, notes = case.ask()
    except ls.LinescapeError as error:
        return ("refused" if str(error).strip() else "traceback"), str(error)
    except Exception as error:  # whatever comes through is what a user would see
        return "traceback", f"{type(error).__name__}: {error}"
    if case.expected is None:
        return "accepted", f"{got}"
    close = np.shape(got) == np.shape(case.expected) and np.allclose(got, case.expected, rtol=1e-4, atol=1e-6)
    said = "; ".join(notes)
    return ("right" if close else "noted" if said else "wrong"), said if close else f"{got} for {case.expected}; {said}"


ALPHAS = (0.0, 0.25, 0.5, 1.0)


def examples(width: int = 6, classes: int = 3, count: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(count, width, generator=generator)
    return inputs, torch.randint(0, classes, (count,), generator=generator)


def pair(make: Callable[[], Any]) -> tuple[Any, Any]:
    torch.manual_seed(2)
    return make(), make()


def walked(start: Any, end: Any, given: Any, measure: str = "cross_entropy", **settings: Any) -> Answer:
    """The means along the line between two networks."""
    line = ls.Line(ls.State.from_module(start), ls.State.from_module(end))
    curve = ls.scan(line, ls.Evaluator(start, {"test": given}, **settings), ls.ScanOptions(alphas=ALPHAS))
    return curve["test", measure].mean, curve.provenance["notes"]


def anew(make: Callable[[], Any], start: Any, end: Any, loss: Callable[[Any], Tensor]) -> list[float]:
    """The losses of networks that are made anew at each position, loaded, put into eval mode, and in float64."""
    losses = []
    for alpha in ALPHAS:
        network = make()
        ends = zip(start.state_dict().items(), end.state_dict().values(), strict=True)
        network.load_state_dict({name: _between(first, last, alpha) for (name, first), last in ends})
        with torch.no_grad():
            losses.append(float(loss(network.double().eval())))
    return losses


def _between(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    if torch.is_floating_point(end) or torch.is_complex(end):
        return start + alpha * (end - start)
    return end if alpha else start  # what is no number on a line, as a switch or a counter


def cross_entropy(inputs: Tensor, targets: Tensor) -> Callable[[Any], Tensor]:
    return lambda network: F.cross_entropy(network(inputs.double()), targets)


def command(*arguments: object) -> Answer:
    """Runs a command line: 0 for success, and what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)
        except CycloptsError as error:
            raise ls.LinescapeError(str(error)) from error
    return [0.0], [out.getvalue(), err.getvalue()]


def saved(network: nn.Module | dict[str, Any], file: Path) -> Path:
    torch.save(network.state_dict() if isinstance(network, nn.Module) else network, file)
    return file
