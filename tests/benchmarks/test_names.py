"""Benchmarks that are run by hand name parts of linescape that are there."""

from __future__ import annotations

import pytest

from benchmarks import overhead


@pytest.mark.parametrize("where", [where for functions in overhead.PARTS.values() for where in functions])
def test_what_is_timed_is_there(where: str) -> None:
    owner, name = overhead.owner_of(where)
    assert callable(getattr(owner, name))
