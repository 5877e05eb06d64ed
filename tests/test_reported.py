"""No situation that users reported gives a wrong number in silence, or a traceback."""

from __future__ import annotations

import pytest

from tests.support import reported
from tests.support.situations import SITUATIONS, judged


@pytest.mark.parametrize("name", SITUATIONS)
def test_reported_situations(name: str) -> None:
    assert reported
    failed = [verdict for verdict in judged([name]) if not verdict.passed]
    assert not failed
