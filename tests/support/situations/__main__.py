"""Prints what came of each case, and how many there are of each kind; exits with 1 where one failed."""

from __future__ import annotations

import sys
from collections import Counter

from tests.support.situations import judged

verdicts = []
for verdict in judged(sys.argv[1:] or None):
    verdicts.append(verdict)
    print(f"{verdict.kind:9} {verdict.situation}: {verdict.case}  {verdict.said[:160]!r}", flush=True)
print(
    f"{len({v.situation for v in verdicts})} situations, {len(verdicts)} cases:",
    dict(Counter(v.kind for v in verdicts)),
)
sys.exit(not all(verdict.passed for verdict in verdicts))
