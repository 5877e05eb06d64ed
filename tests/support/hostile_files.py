"""A hundred hostile checkpoints, names and settings, given to the command line; argument FOLDER.

Each must end in a result or in one message, with little memory and in little time. The last line of what is printed is
JSON: how many cases there were, what came of them, and those that ended otherwise. Commands run in a process of their
own, made by fork, as imports take longer than they do.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import signal
import struct
import sys
import time
import traceback
import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linescape import checkpoints, cli
from linescape.recipe import Recipe

MEMORY = 3 << 29
"""Bytes of address space beyond what the process has at the start; mapped files count too."""

SECONDS = 20
"""Of one core, for one command; and ten times as many on the clock, as other work may be running."""

Make = Callable[[int], bytes]
"""Which of the two ends -> the content of its file."""

PROBE = ["probe", "a", "b", "--alphas", "3", "--out", "out"]
BOTH = (["diff", "a", "b"], ["average", "a", "b", "--out", "out"])


def saved(thing: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(thing, buffer)
    return buffer.getvalue()


def drawn(end: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(end))


def network(end: int) -> dict[str, Tensor]:
    return {"fc.weight": drawn(end, 3, 4), "fc.bias": drawn(end, 3)}


def of(make: Callable[[int], Any]) -> Make:
    """A file of torch.save."""
    return lambda end: saved(make(end))


def named(name: str) -> Make:
    """Tensors under a name."""
    return of(lambda end: {**network(end), name: drawn(end, 2)})


def beside(**tensors: Callable[[int], Any]) -> Make:
    return of(lambda end: {**network(end), **{name: make(end) for name, make in tensors.items()}})


def archive(program: bytes) -> Make:
    """A pickle in an archive as torch.save makes them."""

    def make(_: int) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("archive/data.pkl", program)
            file.writestr("archive/data/0", bytes(64))
        return buffer.getvalue()

    return make


def text(content: str) -> bytes:
    return b"X" + struct.pack("<I", len(content)) + content.encode()


def integer(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def module(children: bytes, count: int) -> bytes:
    """The program of a pickled module whose children are the module before, several times and several deep."""
    empty = b"ca\nb\n)R}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}ubq\0"
    level = b"ca\nb\n)R}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}("
    return b"\x80\x02" + empty + (level + children + b"uubq\0") * count + b"."


def header(content: bytes) -> Make:
    return lambda _: struct.pack("<Q", len(content)) + content + bytes(64)


def noted(**changes: Any) -> Make:
    """A checkpoint of linescape whose recipe asks for something else."""
    import msgspec

    recipe = msgspec.to_builtins(Recipe())
    for key, value in changes.items():
        part, _, name = key.partition("__")
        recipe[part] = {**(recipe.get(part) or {}), name: value} if name else value
    text_of_note = json.dumps({"recipe": recipe})
    return lambda end: checkpoints.encode(network(end), {"linescape": text_of_note})


def cyclic(_: int) -> Any:
    inner: dict[str, Any] = {"epoch": 1}
    inner["model"] = inner
    return inner


def in_turn(end: int, depth: int) -> Any:
    thing: Any = network(end)
    for _ in range(depth):
        thing = {"a": thing}
    return thing


COLLIDING = 150_000
"""Keys of one hash: inserting them one after the other compares each with all before."""
PRIME = (1 << 61) - 1

CONTENTS: dict[str, Make] = {
    "optimizer": of(lambda end: torch.optim.Adam([drawn(end, 2).requires_grad_()]).state_dict()),
    "optimizer, stepped": of(lambda end: {"state": {0: {"exp_avg": drawn(end, 3)}}, "param_groups": [{"params": [0]}]}),
    "list": of(lambda end: [network(end)]),
    "list of two": of(lambda end: [network(end), network(end + 5)]),
    "list of pairs": of(lambda end: list(network(end).items())),
    "tuple": of(lambda end: (network(end), 3)),
    "tensor": of(lambda end: drawn(end, 3)),
    "nothing": of(lambda end: None),
    "number": of(lambda end: 3),
    "empty dictionary": of(lambda end: {}),
    "numpy": of(lambda end: {name: value.numpy() for name, value in network(end).items()}),
    "student and teacher": of(lambda end: {"student": network(end), "teacher": network(end + 3)}),
    "loose scalars": of(lambda end: {"generator": network(end), "step": torch.tensor(3.0), "best": torch.ones(1)}),
    "loose vector": of(lambda end: {"generator": network(end), "mean": torch.ones(3)}),
    "scalars only": of(lambda end: {"loss": torch.tensor(float(end)), "step": torch.tensor(3)}),
    "itself": of(cyclic),
    "nested eight times": of(lambda end: in_turn(end, 8)),
    "nested ninety times": of(lambda end: in_turn(end, 90)),
    "keys that are numbers": of(lambda end: {0: drawn(end, 2), 1: drawn(end, 3)}),
    "one name twice": of(lambda end: {1: drawn(end, 2), "1": drawn(end, 3)}),
    "keys with slashes": of(lambda end: {"a/b": network(end), "a": {"b": network(end + 1)}}),
    "empty key": of(lambda end: {"": network(end)}),
    "average only": of(lambda end: {"model_ema": network(end)}),
    "pickled network": of(lambda end: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))),
    "pickled network beside": of(lambda end: {"model": nn.Linear(2, 2), "epoch": 3}),
    "class of the user's": of(lambda end: Counter("abc")),
    "ordered": of(lambda end: OrderedDict(network(end))),
    "sparse": beside(adj=lambda end: torch.eye(3).to_sparse()),
    "sparse rows": beside(adj=lambda end: torch.eye(3).to_sparse_csr()),
    "quantised": beside(q=lambda end: torch.quantize_per_tensor(drawn(end, 3), 0.1, 0, torch.qint8)),
    "nested tensor": beside(n=lambda end: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
    "on meta": beside(m=lambda end: torch.empty(3, device="meta")),
    "lazy": of(lambda end: nn.LazyLinear(3).state_dict()),
    "packed fours": beside(f=lambda end: torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)),
    "conjugate": beside(c=lambda end: drawn(end, 3).to(torch.complex64).conj()),
    "complex half": beside(c=lambda end: drawn(end, 3).to(torch.complex32)),
    "complex at one end": beside(c=lambda end: drawn(end, 3).to(torch.complex64 if end else torch.float32)),
    "eight bits": beside(w=lambda end: drawn(end, 3).to(torch.float8_e4m3fn)),
    "eight bits at one end": beside(w=lambda end: drawn(end, 3).to(torch.float8_e5m2 if end else torch.float16)),
    "exponents": beside(w=lambda end: (end + torch.ones(3)).to(torch.float8_e8m0fnu)),
    "scaled integers": beside(
        weight=lambda end: torch.full((2, 2), end, dtype=torch.int8), SCB=lambda end: drawn(end, 2)
    ),
    "integers and floats": beside(w=lambda end: drawn(end, 3) if end else torch.ones(3, dtype=torch.int64)),
    "largest integers": beside(
        w=lambda end: torch.ones(3, dtype=torch.uint64) if end else torch.ones(3, dtype=torch.int64)
    ),
    "low rank": of(lambda end: {"q.lora_A.weight": drawn(end, 2, 4), "q.lora_B.weight": drawn(end, 4, 2)}),
    "infinite and equal": beside(mask=lambda end: torch.full((2, 2), -torch.inf).triu(1)),
    "infinite": beside(w=lambda end: torch.full((2,), torch.inf * (2 * end - 1))),
    "not a number": beside(w=lambda end: torch.full((2,), torch.nan)),
    "empty tensor": beside(w=lambda end: torch.empty(0, 3)),
    "another shape": beside(w=lambda end: drawn(end, 2 + end)),
    "another name": of(lambda end: {f"layer{end}.weight": drawn(end, 2)}),
    "counter missing": of(lambda end: dict(list(nn.BatchNorm1d(2).state_dict().items())[: 5 - end])),
    "state of a module": beside(_extra_state=lambda end: {"scale": torch.ones(2) * end}),
    "state of a module as bytes": beside(_extra_state=lambda end: torch.tensor([end], dtype=torch.uint8)),
    "variance": of(lambda end: {"bn.running_var": torch.full((2,), 1.0 + end), "bn.weight": drawn(end, 2)}),
    "colliding keys": archive(
        b"\x80\x02}(" + b"".join(integer(i * PRIME << 8) + b"N" for i in range(1, COLLIDING)) + b"u."
    ),
    "colliding keys of one tensor": archive(
        b"\x80\x02}(" + b"".join(integer(i * PRIME) + b"N" for i in range(1, COLLIDING)) + b"u."
    ),
    "networks in networks": archive(module(text("a") + b"h\0", 5000)),
    "networks doubled": archive(module(text("a") + b"h\0" + text("b") + b"h\0", 60)),
    "network without names": archive(module(b"NN", 1)),
    "dictionaries in dictionaries": archive(b"\x80\x02" + b"}" + (text("a") + b"}") * 100_000 + b"s" * 100_000 + b"."),
    "lists in lists": archive(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
    "a million dictionaries": archive(b"\x80\x02]" + b"(" + b"}" * 1_000_000 + b"e."),
    "a call": lambda end: pickle.dumps(print),
    "half of a file": lambda end: saved(network(end))[:300],
    "zeros": lambda end: bytes(1000),
    "one byte": lambda end: b"P",
    "empty": lambda end: b"",
    "header of nothing": header(b"{}"),
    "header of lists": header(b'{"a":' + b"[" * 100_000),
    "header with a name twice": header(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    ),
    "header with a surrogate": header(b'{"\\ud800":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}'),
    "header with a control": header(b'{"\\u001b[2J":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}'),
    **{
        f"name {name[:20]!r}": named(name)
        for name in (
            "[red]",
            "[/red]",
            "[link=file:///etc]x[/link]",
            "\x1b[2J\x1b]0;title\x07",
            "a\nb",
            "\r",
            "\x00",
            "\u202egnp.exe",
            ":smile:",
            "",
            ".",
            "..",
            "../../etc/passwd",
            "a..b",
            "x" * 100_000,
            "." * 20_000,
            "module.",
            "_extra_state",
            "running_var",
            "num_batches_tracked",
            "%s%n{0}{}",
            "$(touch x)",
        )
    },
}
RECIPES: dict[str, Make] = {
    "a layer of a billion": noted(model={"name": "mlp", "hidden": [10**9]}),
    "two layers of a million": noted(model={"name": "mlp", "hidden": [10**6, 10**6]}),
    "a layer beyond integers": noted(model={"name": "mlp", "hidden": [10**30]}),
    "a million layers": noted(model={"name": "mlp", "hidden": [1] * 10**6}),
    "a wide ResNet": noted(model={"name": "resnet", "depth": 18, "width": 10**8}),
    "a billion copies of the data": noted(data__poison={"copies": 10**9}),
    "images of a billion pixels": noted(data__size=10**9),
    "unknown data": noted(data__name="../../etc/passwd"),
    "a seed beyond integers": noted(seed=10**40),
    "a recipe that is text": noted(model="[/red]"),
}
COMMANDS: dict[str, list[str]] = {
    "no such file": ["diff", "nowhere", "b"],
    "a name too long": ["diff", "x" * 5000, "b"],
    "a name with a null": ["diff", "a\0b", "b"],
    "a folder": ["diff", ".", "b"],
    "a pattern that is none": ["average", "a", "b", "--out", "out", "--rename", "(=x"],
    "a pattern without end": ["average", "a", "b", "--out", "out", "--rename", "=x"],
    "a key that is not there": ["diff", "a", "b", "--key", "../[/red]"],
    "beyond the numbers": ["average", "a", "b", "--out", "out", "--alpha", "1e300"],
    "no position": ["average", "a", "b", "--out", "out", "--alpha", "nan"],
    "out is an input": ["average", "a", "b", "--out", "b"],
    "out is too long": ["average", "a", "b", "--out", "x" * 5000],
}


def cases() -> Iterator[tuple[str, Make, tuple[list[str], ...]]]:
    """Name, content of both files, commands."""
    for name, make in CONTENTS.items():
        yield name, make, BOTH
    for name, make in RECIPES.items():
        yield name, make, (PROBE,)
    for name, words in COMMANDS.items():
        yield name, of(network), (words,)


def outcome(words: list[str], folder: Path) -> str:
    """What a command came to: ``done``, ``refused``, ``hang``, or how it ended otherwise."""
    said = folder / "said"
    child = os.fork()
    if not child:
        _run(words, folder, said)
    begun = time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - begun > 10 * SECONDS:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang"
        time.sleep(0.01)
    printed = said.read_text(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGXCPU:
        return "hang"
    if "Traceback" in printed or code not in (0, 2):
        return f"ended with {code}: {printed[-1500:]}"
    return "refused" if code else "done"


def _run(words: list[str], folder: Path, said: Path) -> None:
    """Run a command in this process and end it."""
    code = 99
    try:
        os.chdir(folder)
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        sys.argv = ["linescape", *words]
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 99
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    from linescape import report  # noqa: F401 - imported here once, and not by each command
    from linescape.checkpoints import averaging  # noqa: F401

    counts: Counter[str] = Counter()
    otherwise: dict[str, str] = {}
    for number, (name, make, commands) in enumerate(cases()):
        place = folder / str(number)
        place.mkdir(parents=True)
        for end, file in enumerate("ab"):
            (place / file).write_bytes(make(end))
        results = [outcome(words, place) for words in commands]
        worst = next((result for result in results if result not in ("done", "refused")), None)
        counts["hangs" if worst == "hang" else "tracebacks" if worst else results[-1]] += 1
        if worst:
            otherwise[name] = worst
    print(json.dumps({"cases": sum(counts.values()), **counts, "otherwise": otherwise}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
