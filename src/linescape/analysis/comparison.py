"""The claims of the study and of the other works side by side: which hold at one scale, by what a store has."""

from __future__ import annotations

from dataclasses import dataclass

from linescape import studies
from linescape.analysis import tables
from linescape.analysis.answers import Claim, answers, claims
from linescape.studies import works
from linescape.studies.study import Study
from linescape.studies.vlaar2022 import published


@dataclass(frozen=True)
class Work:
    """A work's claims beside what was found here.

    Attributes:
        study: its study at this scale.
        claims: of all its answers.
        done: how many of its runs are done.
        runs: how many there are.
    """

    study: Study
    claims: tuple[Claim, ...]
    done: int
    runs: int

    @property
    def missing(self) -> bool:
        """Whether runs are missing. A claim may stay unmeasured without: a scale need not have the arms it is about."""
        return self.done < self.runs


def compare(scale: str, store: tables.Source) -> tuple[Work, ...]:
    """Each work's claims and verdicts, which are those of its own answers; `hu2021` claims nothing about lines.

    Args:
        scale: of all studies, whose trainings are shared where they are the same.
        store: with results; what is missing or damaged counts as not measured.

    Raises:
        RecipeError: there is no such scale.
    """
    found = []
    for name in (published.STUDY, *works.NAMES):
        results = tables.read(studies.find(name, scale), store)
        made = answers(results)
        own = tuple(claim for answer in made for claim in answer.claims)
        if name == published.STUDY:
            own = claims.of_source(results.study, made)
        states = results.runs["status"].to_list()
        if own:
            found.append(Work(results.study, own, len(states) - states.count("missing"), len(states)))
    return tuple(found)
