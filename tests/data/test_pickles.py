"""The machine that reads pickles as data; `tests/checkpoints/test_safety.py` has more of what it refuses."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any, ClassVar

import pytest

from linescape.data.pickles import Foreign, Machine, UnreadableError
from tests.support.sets_on_disk import no_large_allocation


class Plain(Machine):
    functions: ClassVar = {"collections.OrderedDict": lambda: {}}
    longest = 1 << 16


def read(content: bytes) -> Any:
    return Plain(io.BytesIO(content)).run(100_000)


@pytest.mark.parametrize("protocol", [3, 4, 5])  # 2 calls a function for bytes
def test_plain_data_are_read_as_pickle_reads_them(protocol: int) -> None:
    value = {"a": [1, -2, 300, 2**40, 0.5, None, True], "b": (b"x", "y", ()), "c": {"d": [[]]}, 3: (1, 2, 3, 4)}
    assert read(pickle.dumps(value, protocol)) == pickle.loads(pickle.dumps(value, protocol))
    assert read(pickle.dumps(OrderedDict(a=1), protocol)) == {"a": 1}


def test_objects_are_described_and_not_made() -> None:
    machine = Plain(io.BytesIO(pickle.dumps(pytest.approx(1.0))))
    described = machine.run(1000)
    assert isinstance(described, Foreign)
    assert described.state["expected"] == 1.0
    assert any("ApproxScalar" in name for name in machine.foreign)


def test_long_names_take_no_more_memory_than_the_file() -> None:
    # Three operations of five bytes would make a name of 120,000 characters again and again.
    texts = b"".join(b"X" + (60_000).to_bytes(4, "little") + b"a" * 60_000 + code for code in (b"q\x00", b"q\x01"))
    with no_large_allocation(), pytest.raises(UnreadableError, match="no name"):
        read(b"\x80\x04" + texts + b"h\x00h\x01\x93" * 2000 + b".")
