"""Tries what users reported, or the situations that are named: `python -m tests.support.reported [NAME ...]`.

Prints what came of each case, and how many there are of each kind; exits with 1 where one failed.
"""

from __future__ import annotations

import sys
from collections import Counter

from tests.support import (  # noqa: F401 - they register theirs
    fresh_calls,
    fresh_data,
    fresh_files,
    fresh_libraries,
    fresh_networks,
    fresh_states,
    further_networks,
    reported_data,
    reported_files,
    reported_networks,
    reported_values,
)
from tests.support.situations import SITUATIONS, judged

if __name__ == "__main__":
    verdicts = []
    for verdict in judged(sys.argv[1:] or SITUATIONS):
        verdicts.append(verdict)
        wrong = "" if verdict.passed else f" (FAILED: {verdict.outcome} is what has to come of it)"
        print(f"{verdict.kind:9} {verdict.situation}: {verdict.case}{wrong}  {verdict.said[:160]!r}", flush=True)
    kinds = dict(Counter(verdict.kind for verdict in verdicts))
    print(f"{len({verdict.situation for verdict in verdicts})} situations, {len(verdicts)} cases: {kinds}")
    sys.exit(not all(verdict.passed for verdict in verdicts))
