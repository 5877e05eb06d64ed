"""Damages the compiled library that is kept, in many ways, and uses it each time in a child process.

    python -m tests.support.library_damage

Prints how many damages there were, how many gave a wrong number, how many ended a child by a signal, and after how many
a whole library was kept again. A damage's result is compared with that of the whole library, to the bit, and with a
convolution in float64. Children are forked, so that torch is imported once.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from linescape.engine.native import build, winograd

Damage = Callable[[Path, bytes], object]
"""Takes the path of the kept library, which it may replace, and its whole content."""


def flip(bit: int) -> Damage:
    def damage(kept: Path, whole: bytes) -> None:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        kept.write_bytes(content)

    return damage


def cut(length: int) -> Damage:
    return lambda kept, whole: kept.write_bytes(whole[:length])


def filled(begin: int, end: int, byte: bytes) -> Damage:
    def damage(kept: Path, whole: bytes) -> None:
        kept.write_bytes(whole[:begin] + byte * len(whole[begin:end]) + whole[end:])

    return damage


def sealed(source: str) -> Damage:
    """Another library in its place, with a seal that holds."""

    def damage(kept: Path, _: bytes) -> None:
        (kept.parent / "other.c").write_text(source)
        other = kept.parent / "other.so"
        words = ["gcc", "-O3", "-march=native", "-fopenmp", "-fPIC", "-c", str(kept.parent / "other.c"), "-o"]
        subprocess.run([*words, f"{other}.o"], check=True, capture_output=True)
        subprocess.run(["gcc", "-shared", f"{other}.o", "-o", str(other)], check=True, capture_output=True)
        kept.write_bytes(build._sealed(full_key(kept), other.read_bytes()))

    return damage


def full_key(kept: Path) -> str:
    """The key of which the file's name has the first digits, as `build` computes it."""
    keys = list[str]()
    real = build._kept

    def noted(key: str) -> Path:
        keys.append(key)
        return real(key)

    build._kept = noted
    try:
        build.compiled.__wrapped__()
    finally:
        build._kept = real
    assert keys[0].startswith(kept.stem)
    return keys[0]


def resealed(kept: Path, whole: bytes) -> None:
    """The seal of another key: the library of another source, in this one's place."""
    kept.write_bytes(build._sealed("0" * 64, whole.partition(b"\n")[2]))


def in_its_place(make: Callable[[Path], object]) -> Damage:
    def damage(kept: Path, _: bytes) -> None:
        kept.unlink()
        make(kept)

    return damage


def damages(whole: bytes) -> Iterator[tuple[str, Damage]]:
    numbers = random.Random(14)
    head, size = whole.index(b"\n") + 1, len(whole)
    source = Path(build.__file__).with_name("kernels.c").read_text()
    for part, begin, end, count in (("seal", 0, head, 6), ("header", head, head + 64, 6), ("code", head, size, 10)):
        for _ in range(count):
            yield f"a bit of the {part}", flip(numbers.randrange(8 * begin, 8 * end))
    for length in (0, 1, head - 1, head, head + 64, head + 4096, size // 2, size - 4096, size - 1):
        yield f"cut to {length} bytes", cut(length)
    for begin, end in ((size - 4096, size), (head + 4096, head + 8192), (head, head + 64), (0, head), (head, size)):
        yield f"bytes {begin} to {end} zeroed", filled(begin, end, b"\0")
    yield "a page of ones", filled(size // 2, size // 2 + 4096, b"\xff")
    yield "bytes added", lambda kept, content: kept.write_bytes(content + b"\0" * 100)
    yield "twice", lambda kept, content: kept.write_bytes(content * 2)
    yield "no seal", lambda kept, content: kept.write_bytes(content[head:])
    yield "an empty line first", lambda kept, content: kept.write_bytes(b"\n" + content)
    yield "digest in capitals", lambda kept, content: kept.write_bytes(content[:head].upper() + content[head:])
    yield "digest of nothing", lambda kept, content: kept.write_bytes(build._sealed("", b"")[:-1] + content[head:])
    yield "length edited", lambda kept, content: kept.write_bytes(b"1" + content)
    yield "seal of another key", resealed
    yield "a library without the symbols", sealed("int nothing(void) { return 0; }\n")
    yield "a library that computes something else", sealed(source.replace("(a + c) / 6", "(a + c) / 7"))
    yield "a library of other gradients", sealed(source.replace("a / 4 - near", "a / 5 - near"))
    yield "a library that mixes wrongly", sealed(source.replace("vec value = mixed + get", "vec value = mixed - get"))
    yield "text", in_its_place(lambda kept: kept.write_text("no library\n"))
    yield "a folder", in_its_place(Path.mkdir)
    yield "a link to nothing", in_its_place(lambda kept: kept.symlink_to(kept.parent / "absent"))
    yield "a link to itself", in_its_place(lambda kept: kept.symlink_to(kept))
    yield "a link to an endless file", in_its_place(lambda kept: kept.symlink_to("/dev/zero"))
    yield "a pipe", in_its_place(os.mkfifo)


def result() -> torch.Tensor:
    """A convolution by the kernels."""
    x, weight = drawn()
    return winograd.convolution(x, winograd.transformed(weight, torch.empty(36 * 64 * 64)), None, None, relu=False)


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 64, 9, 9, generator=generator), torch.randn(64, 64, 3, 3, generator=generator)


def child(body: Callable[[], bool]) -> int:
    """The status of a child that does `body`: 0 where it is true."""
    process = os.fork()
    if process == 0:
        try:
            os._exit(0 if body() else 1)
        finally:
            os._exit(2)
    return os.waitpid(process, 0)[1]


def main() -> None:
    torch.set_num_threads(1)  # a process with more cannot be forked safely
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        assert child(lambda: build.kernels() is not None) == 0, "there is no compiler here"
        (kept,) = Path(folder).rglob("*.kernels")
        whole = kept.read_bytes()
        expected = Path(folder) / "expected.pt"
        assert child(lambda: not torch.save(result(), expected)) == 0  # type: ignore[func-returns-value]
        x, weight = drawn()
        exact = F.conv2d(x.double(), weight.double(), padding=1)
        bits = torch.load(expected, weights_only=True)
        assert float((bits - exact).norm() / exact.norm()) < 5e-6

        def right(damage: Damage | None = None) -> bool:
            """Whether the result is that of the whole library, before and after a damage while it is in use."""
            alike = torch.equal(result(), bits)
            if damage is not None:
                damage(kept, whole)
            return alike and torch.equal(result(), bits)

        in_use = {"cut while in use": cut(0), "zeroed while in use": filled(0, len(whole), b"\0")}
        wrong, signals, anew, count = list[str](), list[str](), 0, 0
        for name, damage in (*damages(whole), *in_use.items()):
            if name not in in_use:
                damage(kept, whole)
            status = child(partial(right, damage if name in in_use else None))
            count += 1
            if status:
                (signals if os.WIFSIGNALED(status) else wrong).append(name)
            anew += kept.is_file() and kept.read_bytes() == whole
            if kept.is_dir():
                kept.rmdir()
            kept.unlink(missing_ok=True)
            kept.write_bytes(whole)
    print(json.dumps({"damages": count, "wrong": wrong, "signals": signals, "kept again": anew}))


if __name__ == "__main__":
    main()
