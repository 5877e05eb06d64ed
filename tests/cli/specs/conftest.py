"""A folder to work in, with networks and data of the user's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.specs import OWN


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    sys.modules.pop("own", None)
    before = list(sys.path)
    yield
    sys.path[:] = before
