"""No file runs code, and what is damaged or made to harm is refused without much memory or time."""

from __future__ import annotations

import copyreg
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata, MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_saver import save

from linescape import checkpoints
from linescape.checkpoints.formats import inert, mapped, pickled
from linescape.errors import CheckpointError


def text(content: str) -> bytes:
    return b"X" + struct.pack("<I", len(content)) + content.encode()


def archive(path: Path, program: bytes, numbers: bytes = bytes(64), **how: Any) -> None:
    """A pickle in an archive as torch.save makes them."""
    with zipfile.ZipFile(path, "w", **how) as file:
        file.writestr("archive/data.pkl", program)
        file.writestr("archive/data/0", numbers)


def within(name: str, make: Callable[[Path], Any], folder: Callable[[Path], Any] = Path.mkdir) -> Callable[[Path], Any]:
    """A folder with one file more."""

    def made(path: Path) -> None:
        folder(path)
        make(path / name)

    return made


def storage(count: int = 16) -> bytes:
    return b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K" + bytes([count]) + b"tQ"


def integer(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def integers(*values: int) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(offset: int = 0, size: bytes = integers(4, 4), stride: bytes = integers(4, 1)) -> bytes:
    rest = b"\x89" + b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + integer(offset) + size + stride + rest + b"tR"


def state(name: bytes = text("fc.weight"), value: bytes = tensor(), before: bytes = b"") -> bytes:
    return b"\x80\x02" + before + b"}" + name + value + b"s."


# What would run code. Each is shown to do so under `pickle.loads`.


class ByReduce:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (self.command,))


class ByBuild:
    def __init__(self, command: str) -> None:
        self.command = command

    def __setstate__(self, state: dict[str, str]) -> None:
        os.system(state["command"])


copyreg.add_extension("os", "system", 0x7F11)
PROGRAMS: dict[str, Callable[[str], bytes]] = {
    "reduce": lambda command: pickle.dumps(ByReduce(command), 2),
    "reduce by stack": lambda command: pickle.dumps(ByReduce(command), 4),
    "nested": lambda command: pickle.dumps({"state_dict": {"a": [ByReduce(command)]}}, 2),
    "build": lambda command: pickle.dumps({"model": ByBuild(command)}, 4),
    "key": lambda command: b"\x80\x02}cos\nsystem\n" + text(command) + b"\x85RK\1s.",
    "dotted": lambda command: (
        b"\x80\x04" + text("torch.serialization") + text("os.system") + b"\x93" + text(command) + b"\x85R."
    ),
    "exec": lambda command: b"\x80\x02cbuiltins\nexec\n" + text(f"import os; os.system({command!r})") + b"\x85R.",
    "inst": lambda command: b"\x80\x02(" + text(command) + b"ios\nsystem\n.",
    "obj": lambda command: b"\x80\x02(cos\nsystem\n" + text(command) + b"o.",
    "extension": lambda command: b"\x80\x02\x83\x11\x7f" + text(command) + b"\x85R.",
    "getattr": lambda command: (
        b"\x80\x02cbuiltins\ngetattr\ncos\n_wrap_close\n".replace(
            b"cos\n_wrap_close\n", b"(cbuiltins\n__import__\n" + text("os") + b"\x85R" + text("system") + b"tR"
        )
        + text(command)
        + b"\x85R."
    ),
}
PLACES: dict[str, Callable[[Path, bytes], Any]] = {
    "archive": archive,
    "before 1.6": lambda path, program: path.write_bytes(
        b"".join(pickle.dumps(thing, 2) for thing in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
        + program
        + pickle.dumps([], 2)
    ),
    "pickle": lambda path, program: path.write_bytes(program),
    "plan": lambda path, program: within(".metadata", lambda file: file.write_bytes(program))(path),
    "part": lambda path, program: within("pytorch_model.bin", lambda file: archive(file, program))(path),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_is_run(program: str, tmp_path: Path) -> None:
    flag = tmp_path / "was here"
    attack = PROGRAMS[program](f"touch '{flag}'")
    pickle.loads(attack)
    assert flag.exists()
    flag.unlink()
    for place, make in PLACES.items():
        make(tmp_path / place, attack)
        with pytest.raises(CheckpointError, match=place):
            checkpoints.read(tmp_path / place)
    beside = b"\x80\x02}(" + text("x") + attack[2:-1] + text("fc.weight") + tensor() + b"u."
    archive(tmp_path / "beside", beside)
    try:
        assert list(checkpoints.read(tmp_path / "beside")) == ["fc.weight"]
    except CheckpointError as error:
        assert program in ("inst", "obj", "extension"), error  # noqa: PT017 - operations that torch.save never writes
    assert not flag.exists()


def test_a_name_in_a_file_is_not_imported(tmp_path: Path) -> None:
    sys.modules.pop("antigravity", None)
    archive(tmp_path / "a.pt", state(before=b"cantigravity\nfly\n0"))
    assert any("antigravity.fly" in note for note in checkpoints.read(tmp_path / "a.pt").notes)
    assert "antigravity" not in sys.modules


# What would take memory or time, or end the process.


def header(content: bytes, rest: bytes = bytes(64)) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(struct.pack("<Q", len(content)) + content + rest)


def tensors_header(**entries: Any) -> Callable[[Path], Any]:
    made = {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | about for name, about in entries.items()}
    return header(json.dumps(made).encode())


def program(content: bytes) -> Callable[[Path], Any]:
    return lambda path: archive(path, content)


def index(content: Any, name: str = "model.safetensors") -> Callable[[Path], Any]:
    def make(path: Path) -> None:
        path.mkdir()
        checkpoints.write(path / "a", {"weight": torch.ones(2)})
        held = content if isinstance(content, bytes) else json.dumps({"weight_map": content}).encode()
        (path / f"{name}.index.json").write_bytes(held)

    return make


def plan(change: Callable[[Metadata], Any]) -> Callable[[Path], Any]:
    """A distributed checkpoint with something else in its plan."""

    def make(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            save({"weight": torch.ones(256, 64)}, checkpoint_id=path)
        found = pickle.loads((path / ".metadata").read_bytes())
        change(found)
        (path / ".metadata").write_bytes(pickle.dumps(found))

    return make


def elsewhere(**where: Any) -> Callable[[Metadata], Any]:
    def change(found: Metadata) -> None:
        (key,) = found.storage_data
        found.storage_data[key] = replace(found.storage_data[key], **where)

    return change


def in_parts(count: int, rows: int, step: int) -> Callable[[Metadata], Any]:
    """The one part that there is, as several of a larger tensor."""

    def change(found: Metadata) -> None:
        about = found.state_dict_metadata["weight"]
        assert isinstance(about, TensorStorageMetadata)
        (where,) = found.storage_data.values()
        begins = [torch.Size([place * step, 0]) for place in range(count)]
        about.size = torch.Size([rows, 64])
        about.chunks = [ChunkStorageMetadata(begin, torch.Size([256, 64])) for begin in begins]
        found.storage_data = {MetadataIndex("weight", begin): where for begin in begins}

    return change


def resized(path: Path, entry: str, size: int) -> None:
    """An archive with another size for an entry in its list."""
    archive(path, state())
    content = bytearray(path.read_bytes())
    place = content.rindex(entry.encode()) - 46
    content[place + 20 : place + 28] = struct.pack("<II", size, size)
    path.write_bytes(content)


def many_entries(path: Path) -> None:
    """A list of 800,000 entries, each of the bytes that an entry takes."""
    name = b"archive/data/0"
    entry = b"PK\1\2" + bytes(24) + struct.pack("<H", len(name)) + bytes(16) + name
    listed = entry * 800_000
    end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 800_000, 800_000, len(listed), 0)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(listed), 1)
    path.write_bytes(
        listed + end64 + locator + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    )


def doubled(key: bool) -> bytes:
    """A tuple of twice the tuple before, sixty times: its hash and its text take 2 ** 60 steps."""
    made = b")q\0" + b"h\0\x86q\0" * 60
    return b"\x80\x02}" + (made + b"K\1s." if key else text("model") + made + b"s.")


N = 100_000
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "header length": (lambda path: path.write_bytes(struct.pack("<Q", 1 << 60) + b"{" + bytes(99)), "announces"),
    "header of 99 MB, spaces": (header(b"{" + b" " * 99_000_000 + b"!"), "has a header of"),
    "header of 16 MB": (header(b"{" + b" " * 16_000_000 + b"!"), "damaged"),
    "header of 99 MB, tensors": (
        header(
            b"{"
            + b",".join([b'"%062d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(840_000)])
            + b"}"
        ),
        "has a header of",
    ),
    "header nested": (header(b'{"a":' + b"[" * 1_000_000), "damaged"),
    "header nested objects": (header(b'{"a":' * 1_000_000), "damaged"),
    "shape": (tensors_header(a={"shape": [1 << 40, 1 << 40]}), "damaged"),
    "shape negative": (tensors_header(a={"shape": [-1]}), "damaged"),
    "offsets overlap": (tensors_header(a={}, b={}), "damaged"),
    "offsets outside": (tensors_header(a={"shape": [1 << 20], "data_offsets": [0, 1 << 22]}), "damaged"),
    "offsets backwards": (tensors_header(a={"data_offsets": [4, 0]}), "damaged"),
    "offsets huge": (tensors_header(a={"data_offsets": [(1 << 64) - 4, 1 << 64]}), "damaged"),
    "dtype": (tensors_header(a={"dtype": "F3"}), "damaged"),
    "metadata": (header(b'{"__metadata__":{"a":[1]}}'), "damaged"),
    "deflated bomb": (lambda path: archive(path, bytes(1 << 26), compression=zipfile.ZIP_DEFLATED), "compressed"),
    "program size": (lambda path: resized(path, "archive/data.pkl", 2**32 - 2), "cut short"),
    "storage size": (lambda path: resized(path, "archive/data/0", 2**32 - 2), "cut short"),
    "entries": (many_entries, "list of entries"),
    "program endless": (program(b"\x80\x02" + b"]" * 10), "damaged"),
    "program behind its end": (program(b"\x80\x02}" + text("a" * 30)[:-10]), "damaged"),
    "offset": (program(state(value=tensor(offset=1))), "does not fit"),
    "offset negative": (program(state(value=tensor(offset=-1))), "does not fit"),
    "offset huge": (program(state(value=tensor(offset=1 << 80))), "does not fit"),
    "stride": (program(state(value=tensor(stride=integers(5, 1)))), "does not fit"),
    "stride negative": (program(state(value=tensor(stride=integers(-4, 1)))), "does not fit"),
    "stride huge": (program(state(value=tensor(size=integers(1), stride=integers(1 << 80)))), "does not fit"),
    "size negative": (program(state(value=tensor(size=integers(-4, -4)))), "does not fit"),
    "size overflows": (
        program(state(value=tensor(size=integers(0, 1 << 62, 1 << 62), stride=integers(1, 1, 1)))),
        "damaged",
    ),
    "expanded": (program(state(value=tensor(size=integers(1 << 40), stride=integers(0)))), "any amount of memory"),
    "dimensions": (program(state(value=tensor(size=integers(*[1] * 65), stride=integers(*[1] * 65)))), "no shape"),
    "size is no number": (program(state(value=tensor(size=b"}"))), "no shape"),
    "size of tuples": (program(state(value=tensor(size=doubled(False)[13:-2]))), "no shape"),
    "storage unknown": (program(state().replace(text("0"), text("1"))), "damaged"),
    "persistent": (program(b"\x80\x02" + text("os.system") + b"Q."), "no storage"),
    "memo": (program(b"\x80\x02Kq" + b"r\xff\xff\xff\xff" * 2 + b"."), "holds a int"),
    "list many times": (
        program(b"\x80\x02](" + b"K\1K\2\x86" * N + b"eq\0(" + b"ccollections\nOrderedDict\nh\0\x85R" * 9000 + b"l."),
        "holds a list",
    ),
    "size many times": (
        program(b"\x80\x02](" + b"K\1" * N + b"eq\0(" + tensor(size=b"h\0", stride=b"h\0") * 9000 + b"l."),
        "no shape",
    ),
    "text longer than the file": (program(b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"."), "cut short"),
    "text too long for seek": (program(b"\x80\x04\x8d" + b"\xff" * 8 + b"."), "damaged"),
    "names of classes": (program(b"\x80\x02(" + b"".join(b"ca\n%d\n" % i for i in range(N)) + b"l."), "holds a list"),
    "itself": (
        program(b"\x80\x02}q\0" + text("state_dict") + b"h\0s" + text("model") + b"h\0s."),
        "no tensors by name",
    ),
    "itself as list": (program(b"\x80\x02]q\0h\0ah\0a."), "holds a list"),
    "tuples nested": (program(b"\x80\x02)" + b"\x85" * N + b"."), "holds a tuple"),
    "tuples nested in a key": (program(b"\x80\x02})" + b"\x85" * N + b"K\1s."), "no tensors by name"),
    "lists nested": (program(b"\x80\x02" + b"]" * N + b"a" * (N - 1) + b"."), "holds a list"),
    "dictionaries nested": (
        program(b"\x80\x02" + b"}" + (text("model") + b"}") * N + b"s" * N + b"."),
        "no tensors by name",
    ),
    "states nested": (program(b"\x80\x02" + b"ca\nb\n)R" * N + b"b" * (N - 1) + b"."), "a.b"),
    "calls nested": (
        program(b"\x80\x02" + b"(ctorch._tensor\n_rebuild_from_type_v2\nN" * 9000 + b")" + b"tq\0" * 9000 + b"."),
        "holds a tuple",
    ),
    "tuples doubled": (program(doubled(False)), "no tensors by name"),
    "tuples doubled in a key": (program(doubled(True)), "no tensors by name"),
    "name too long": (program(state(text("module." * 100_000))), "no tensors by name"),
    "pipe": (os.mkfifo, "no plain file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "no plain file"),
    "link to itself": (lambda path: path.symlink_to(path.name), "could not be opened"),
    "index up": (index({"weight": "../a"}), "outside its folder"),
    "index absolute": (index({"weight": "/etc/passwd"}), "outside its folder"),
    "index dots": (index({"weight": ".."}), "outside its folder"),
    "index of nothing": (index({}), "names no tensors"),
    "index of no text": (index({"weight": [["a"]]}), "could not be opened"),
    "index zero byte": (index({"weight": "a\0b"}), "could not be opened"),
    "index surrogate": (index(b'{"weight_map": {"a": "\\ud800"}}'), "could not be opened"),
    "index too long": (index({"weight": "a" * 5000}), "could not be opened"),
    "index missing": (index({"weight": "b"}), "could not be opened"),
    "index of folder": (within("c", Path.mkdir, index({"weight": "c"})), "no plain file"),
    "index nested": (index(b"[" * 1_000_000), "no index"),
    "index large": (index(b"[" + b"[]," * (12 << 20) + b"0]"), "more than"),
    "index pipe": (within("p", os.mkfifo, index({"weight": "p"})), "no plain file"),
    "plan up": (plan(elsewhere(relative_path="../a")), "outside its folder"),
    "plan absolute": (plan(elsewhere(relative_path="/etc/passwd")), "outside its folder"),
    "plan missing": (plan(elsewhere(relative_path="b")), "could not be opened"),
    "plan pipe": (within("p", os.mkfifo, plan(elsewhere(relative_path="p"))), "no plain file"),
    "plan offset": (plan(elsewhere(offset=-1)), "no shape"),
    "plan outside": (plan(elsewhere(offset=1 << 62)), "damaged"),
    "plan length": (plan(elsewhere(length=1 << 62)), "damaged"),
    "plan transformed": (plan(elsewhere(transform_descriptors=["zstd"])), "compressed"),
    "plan of many times one part": (plan(in_parts(4000, 256 * 4000, 256)), "share bytes of a file"),
    "plan parts overlap": (plan(in_parts(2, 512, 128)), "overlap"),
    "plan parts outside": (plan(in_parts(2, 512, 300)), "not all of it"),
    "plan huge": (plan(in_parts(1, 1 << 50, 0)), "not all of it"),
    "plan endless": (within(".metadata", lambda file: file.write_bytes(b"\x80\x02}")), "cut short"),
    "plan of tuples": (
        within(".metadata", lambda file: file.write_bytes(doubled(True))),
        "no plan|not the plan",
    ),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[str, float]]:
    """What came of each attack, in a process that has little memory."""
    folder = tmp_path_factory.mktemp("attacks")
    for name, (make, _) in REFUSED.items():
        make(folder / name)
    command = [sys.executable, "-m", "tests.support.contained", str(folder)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    found = {name: (said, seconds) for name, said, seconds in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, f"ended after {list(found)[-1:]} with {done.returncode}: {done.stderr[-2000:]}"
    return found


@pytest.mark.parametrize("attack", REFUSED)
def test_an_attack_is_refused_with_little_memory(attack: str, outcomes: Mapping[str, tuple[str, float]]) -> None:
    said, seconds = outcomes[attack]
    assert re.search(f"(?s)attacks.*/{attack}.*(?:{REFUSED[attack][1]})", said), said
    assert "Memory" not in said
    assert "Traceback" not in said
    assert len(said) < 6000
    assert seconds < 10


def test_links_that_the_user_has_are_followed(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "blobs" / "0123", {"weight": torch.ones(2)})  # as Hugging Face's cache has them
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "model.safetensors").symlink_to("../blobs/0123")
    assert list(checkpoints.read(tmp_path / "net")) == ["weight"]


def test_a_file_that_has_become_shorter_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "a.pt")
    monkeypatch.setattr(mapped, "plain", lambda path: 1 << 20)
    with pytest.raises(CheckpointError, match=r"a\.pt could not be mapped"):
        checkpoints.read(tmp_path / "a.pt")


def test_a_pickle_has_so_many_operations_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pickled.load(io.BytesIO(state())).foreign == []
    monkeypatch.setattr(pickled, "OPERATIONS", 20)
    with pytest.raises(inert.UnreadableError, match="more than 20 operations"):
        pickled.load(io.BytesIO(state()))


def test_names_of_many_parts_take_no_more_time(tmp_path: Path) -> None:
    archive(tmp_path / "a.pt", state(text("module." * 9000 + "fc.weight")))
    found = checkpoints.read(tmp_path / "a.pt")
    assert len(found.notes) == 8
    assert list(found.named_as(["fc.weight"])) == list(found)


def test_names_do_not_steer_the_terminal(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2), "\x1b[2J\x1b]0;title\x07": 3, "x" * 100_000: 4}, tmp_path / "a.pt")
    (note,) = checkpoints.read(tmp_path / "a.pt").notes
    assert note.isprintable()
    assert len(note) < 500
