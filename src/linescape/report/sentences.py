"""An answer in words; ``templates/answers/`` has a template for each question."""

from __future__ import annotations

from dataclasses import dataclass

from linescape.analysis.answers import Answer
from linescape.report import text


@dataclass(frozen=True)
class Sentences:
    """An answer in plain text.

    Attributes:
        question: as a sentence.
        verdict: what the intervals show, a line for each part.
        method: how it was estimated, and which runs are excluded.
        headline: the verdict in one or two sentences, for the main questions; else empty.
        comparison: the primary contrast and the reason for it; empty where there is none.
        here: the outcome of the primary contrast in a few words.
        published: what the source of the study reports, and `here`; empty where the study repeats no other work.
    """

    question: str
    verdict: str
    method: str
    headline: str = ""
    comparison: str = ""
    here: str = ""
    published: str = ""


def of(answer: Answer) -> Sentences:
    """The sentences of an answer."""
    values = {**answer.facts, "outcomes": answer.outcomes}
    written = text.sections(f"answers/{answer.name}", values)
    finding = written.pop("finding", "") or answer.finding
    if not answer.numbers.height:
        written["here"] = "not measured"
    here = written.get("here", "")
    if finding:
        written["published"] = text.sentence(
            "answers/shared", "published", finding=finding, here=here, seeds=answer.seeds
        )
    return Sentences(**written)
