"""How a process computes is told by the bits of small products."""

from __future__ import annotations

import subprocess
import sys

from linescape.engine import arithmetic_digest


def test_it_is_the_same_in_another_process() -> None:
    code = "from linescape.engine import arithmetic_digest; print(arithmetic_digest())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == arithmetic_digest()
