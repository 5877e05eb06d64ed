"""Damaged checkpoints, as many as wanted: `python -m tests.support.fuzzing COUNT SEED FOLDER`.

Each is a valid one of some format with a few changes, and has to be read as tensors that can be touched, or be refused
by a `CheckpointError`. Anything else ends the process, and FOLDER has the input that did it: so does a crash.
"""

from __future__ import annotations

import io
import json
import pickletools
import random
import re
import resource
import shutil
import struct
import sys
import time
import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict_saver import save

from linescape import checkpoints
from linescape.errors import CheckpointError

MEMORY = 1 << 30
"""Bytes of address space beyond what the process has at the start."""

Files = dict[str, bytes]
EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    (1 << 63) - 1,
    1 << 63,
    -1,
    -8,
)
OPERATIONS = [
    *(b"(", b".", b"0", b"1", b"2", b"N", b"\x88", b"]", b"}", b")", b"\x8f", b"t", b"l", b"d", b"a", b"e", b"s", b"u"),
    *(
        b"R",
        b"b",
        b"Q",
        b"\x81",
        b"\x85",
        b"\x86",
        b"\x87",
        b"\x90",
        b"\x91",
        b"\x92",
        b"\x93",
        b"\x94",
        b"o",
        b"\x82\1",
    ),
    *(
        b"K\0",
        b"K\xff",
        b"J\0\0\0\x80",
        b"M\xff\xff",
        b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
        b"\x8a\x01\xff",
        b"G" + bytes(8),
    ),
    *(
        b"h\0",
        b"h\1",
        b"q\xff",
        b"r\xff\xff\xff\xff",
        b"j\0\0\0\0",
        b"U\1a",
        b"X\1\0\0\0b",
        b"\x8c\0",
        b"\x8c\1c",
        b"C\1d",
    ),
    *(b"T\xff\xff\xff\xff", b"\x8d" + b"\xff" * 8, b"\x96" + b"\x7f" * 8, b"B\0\0\1\0", b"\x95" + b"\xff" * 8, b"P1\n"),
    *(b"cos\nsystem\n", b"ctorch\nload\n", b"ccollections\nOrderedDict\n", b"ctorch\nSize\n", b"(ios\nsystem\n"),
    *(
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch._utils\n_rebuild_tensor_v3\n",
        b"ctorch\nqint8\n",
        b"ctorch\nbits8\n",
    ),
    *(b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctorch\nFloatStorage\n", b"ctorch\ncomplex32\n", b"X\5\0\0\0model"),
]


def tensors() -> dict[str, Tensor]:
    return {
        "fc.weight": torch.arange(12.0).reshape(3, 4),
        "fc.bias": torch.ones(3, dtype=torch.bfloat16),
        "count": torch.tensor(3),
        "turned": torch.arange(6, dtype=torch.int8).reshape(2, 3).T,
        "narrow": torch.ones(2, 2).to(torch.float8_e4m3fn),
    }


def saved(thing: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer, **how)
    return buffer.getvalue()


def valid(folder: Path) -> list[Files]:
    """One checkpoint of each format, by its files; a single file is called ``file``."""
    held = tensors()
    named = {f"module.{name}": value for name, value in held.items()}
    training = {"epoch": 3, "model": OrderedDict(held), "model_ema": named, "at": Path("a"), "x": {1, 2}, "y": b"123"}
    contents: list[bytes] = []
    for protocol in (2, 4):
        for zipped in (True, False):
            contents += [
                saved(thing, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
                for thing in (held, training)
            ]
    contents += [saved({"n_averaged": torch.tensor(3), **named}), checkpoints.encode(held, {"format": "pt"})]
    half = dict(list(held.items())[:2]), dict(list(held.items())[2:])
    index = json.dumps({"metadata": {}, "weight_map": {name: f"{i}" for i, part in enumerate(half) for name in part}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save({"model": held, "optim": {"a": torch.ones(2)}, "epoch": 3}, checkpoint_id=folder)
    plan = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    return [
        *({"file": content} for content in contents),
        {"pytorch_model.bin": contents[0]},
        {
            "model.safetensors.index.json": index.encode(),
            **{f"{i}": checkpoints.encode(part) for i, part in enumerate(half)},
        },
        {"pytorch_model.bin.index.json": index.encode(), **{f"{i}": saved(part) for i, part in enumerate(half)}},
        plan,
    ]


class Damage:
    """Ways to change some bytes, all drawn from one source."""

    def __init__(self, source: random.Random, others: list[bytes]) -> None:
        self.draw = source
        self.others = others
        self.ways: list[Callable[[bytearray], bytes | bytearray]] = [
            *(self.flip, self.cut, self.insert, self.leave_out, self.splice, self.extreme, self.extreme_at_end),
            *(self.pickled, self.pickled, self.pickled, self.worded),
        ]

    def of(self, content: bytes) -> bytes:
        damaged = bytearray(content)
        for _ in range(self.draw.choice((1, 1, 1, 2, 3))):
            damaged = bytearray(self.draw.choice(self.ways)(damaged))
        return bytes(damaged)

    def flip(self, content: bytearray) -> bytearray:
        for _ in range(self.draw.randint(1, 8) if content else 0):
            content[self.draw.randrange(len(content))] = self.draw.randrange(256)
        return content

    def cut(self, content: bytearray) -> bytearray:
        return content[: self.draw.randint(0, len(content))]

    def insert(self, content: bytearray) -> bytearray:
        place = self.draw.randint(0, len(content))
        return content[:place] + self.draw.randbytes(self.draw.randint(1, 64)) + content[place:]

    def leave_out(self, content: bytearray) -> bytearray:
        place = self.draw.randint(0, len(content))
        return content[:place] + content[place + self.draw.randint(1, 64) :]

    def splice(self, content: bytearray) -> bytes:
        other = self.draw.choice(self.others)
        return bytes(content[: self.draw.randint(0, len(content))]) + other[self.draw.randint(0, len(other)) :]

    def extreme(self, content: bytearray, first: int = 0) -> bytearray:
        width = self.draw.choice((1, 2, 4, 8))
        number = (self.draw.choice(EXTREMES) % (1 << 8 * width)).to_bytes(width, "little")
        place = self.draw.randint(first, max(first, len(content) - width))
        content[place : place + width] = number
        return content

    def extreme_at_end(self, content: bytearray) -> bytearray:
        """Where an archive has its list."""
        return self.extreme(content, max(0, len(content) - 200))

    def pickled(self, content: bytearray) -> bytes | bytearray:
        """Other operations in a pickle, in an archive that is right otherwise."""
        if content[:2] == b"PK":
            try:
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    entries = {info.filename: archive.read(info) for info in archive.infolist()}
            except Exception:
                return self.flip(content)
            made = io.BytesIO()
            with zipfile.ZipFile(made, "w") as archive:
                for name, held in entries.items():
                    archive.writestr(zipfile.ZipInfo(name), self.operations(held) if name.endswith(".pkl") else held)
            return made.getvalue()
        begin = content.find(b"\x80", len(content) // 8 if self.draw.random() < 0.5 else 0)
        return content if begin < 0 else bytes(content[:begin]) + self.operations(bytes(content[begin:]))

    def operations(self, content: bytes) -> bytes:
        try:
            places = [place for _, _, place in pickletools.genops(content) if place is not None]
        except Exception:
            return bytes(self.flip(bytearray(content)))
        ends = [*places[1:], places[-1] + 1]
        parts = [content[begin:end] for begin, end in zip(places, ends, strict=True)]
        for _ in range(self.draw.randint(1, 4)):
            place = self.draw.randrange(len(parts))
            other = self.draw.choice(OPERATIONS if self.draw.random() < 0.6 else parts)
            match self.draw.randrange(4):
                case 0:
                    parts[place] = other
                case 1:
                    parts.insert(place, other)
                case 2:
                    parts.insert(place, parts[self.draw.randrange(len(parts))] * self.draw.choice((1, 2, 50)))
                case 3 if len(parts) > 1:
                    del parts[place]
        return b"".join(parts) + content[ends[-1] :]

    def worded(self, content: bytearray) -> bytes:
        """Other numbers and words in a JSON text, with the header of a safetensors file as long as it says."""
        begin = 8 if content[8:9] == b"{" else 0
        end = 8 + struct.unpack("<Q", content[:8])[0] if begin else len(content)
        if content[begin : begin + 1] != b"{" or end > len(content):
            return bytes(self.flip(content))
        text = bytes(content[begin:end])
        found = list(re.finditer(rb'\d+|"[^"]*"|[\[\]{},:]', text))
        one = self.draw.choice(found)
        words = [
            str(self.draw.choice(EXTREMES)).encode(),
            b'"../a"',
            b'"/etc/passwd"',
            b'"U8"',
            b'"F4"',
            b'"F8_E8M0"',
            b"[]",
        ]
        new = self.draw.choice(
            [*words, b"", b"[" * 200, b'"C64"', b'"\\ud800"', b'"a\\u0000"', self.draw.choice(found)[0]]
        )
        text = text[: one.start()] + new + text[one.end() :]
        return (struct.pack("<Q", len(text)) if begin else b"") + text + bytes(content[end:])


def touch(path: Path, ema: bool) -> str:
    """Read a checkpoint and all numbers of it; in a word, what came of it."""
    try:
        found = checkpoints.read(path, ema)
    except CheckpointError as error:
        if str(path) not in str(error):
            raise
        return "refused"
    for tensor in found.values():
        tensor.contiguous().reshape(-1).view(torch.uint8).sum()
    return "read"


def main(count: int, seed: int, folder: Path) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    seeds = valid(folder)
    for place, files in enumerate(seeds):  # undamaged, so that what is loaded once is loaded
        assert touch(written(folder, files), False) == "read", place
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source = random.Random(seed)
    damage = Damage(source, [content for files in seeds for content in files.values()])
    outcomes: Counter[str] = Counter()
    begun = time.monotonic()
    for _ in range(count):
        files = dict(source.choice(seeds))
        name = source.choice(list(files))
        files[name] = damage.of(files[name])
        outcomes[touch(written(folder, files), source.random() < 0.1)] += 1
    seconds = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({**outcomes, "per second": round(count / seconds), "peak MB": peak}))


def written(folder: Path, files: Files) -> Path:
    """The only checkpoint in a folder, as its single file or as the folder."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / "file" if "file" in files else folder


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
