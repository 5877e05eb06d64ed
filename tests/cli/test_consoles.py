"""What is printed is text, whatever the names, the console and the moment of Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.command_line import Line

NAMES = (
    "[red]b[/]",
    "c\x1b[2J",
    "two\nlines",
    "$_$ {\\frac",
    "_hidden",
    "[/]",
    "<i>&'\"",
    ":skull:",
    "\u202eright",
    "Maß日",
)
"""Names of parts of a network, which steer something where they are not taken as text."""

NETWORK = """
import torch
from torch import nn

NAMES = {names!r}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        for name in NAMES:
            self.add_module(name, nn.Linear(4, 4))
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        for name in NAMES:
            x = x + torch.tanh(getattr(self, name)(x))
        return self.out(x)

def network():
    return Net()

def data():
    inputs = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    return {{"[b]se\\x1bt[/]$_$": (inputs, torch.arange(12) % 3)}}
"""
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")
OF_ODD = ("--model", "odd:network", "--data", "odd:data", "--alphas", "3")


def odd(folder: Path, names: tuple[str, ...] = NAMES) -> tuple[str, str]:
    """A network with such names as ``odd:network`` and two checkpoints of it, whose names are as odd."""
    (folder / "odd.py").write_text(NETWORK.format(names=names), encoding="utf-8")
    made: dict[str, Any] = {}
    exec(NETWORK.format(names=names), made)
    files = "[bold]a\udcff$_$.pt", "b\x1b[31m.pt"
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        torch.save(made["network"]().state_dict(), folder / "plain.pt")
        (folder / "plain.pt").rename(folder / file)
    sys.modules.pop("odd", None)
    return files


def command(*words: str, encoding: str = "utf-8", **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C", "COLUMNS": "100"}
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([sys.executable, "-m", "linescape", *words], env=environment, check=False, **given)


def test_names_are_text_in_tables_pages_and_files(line: Line, tmp_path: Path) -> None:
    files = odd(tmp_path)
    code, out, err = line("diff", *files)
    assert code == 0, err
    shown = [
        "[red]b[/]",
        r"c\x1b[2J",
        r"two\nlines",
        "$_$ {\\frac",
        "_hidden",
        "[/]",
        "<i>&'\"",
        ":skull:",
        r"\u202eright",
        "Maß日",
    ]
    for name in shown:
        assert name in out
    code, out, err = line("probe", *files, *OF_ODD, "--layers", "--pattern", r"\$_\$", "[red]", "--out", "o[/]\udcfe")
    assert code == 0, err
    for text in (out, err):
        assert not STEERING.search(text)
    for name in (*shown, r"\$_\$", "[red]", r"[b]se\x1bt[/]$_$"):
        assert name in err
    folder = tmp_path / "o[/]\udcfe"
    content = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
    assert content["title"] == r"[bold]a\udcff$_$.pt to b\x1b[31m.pt"
    assert set(content["lines"]) == {"whole", *shown, "out", r"\$_\$", "[red]"}
    with (folder / "tables" / "distances.csv").open(encoding="utf-8", newline="") as file:
        assert [row["group"] for row in csv.DictReader(file)] == ["all", *shown, "out", r"\$_\$", "[red]"]
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "<i>" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "&lt;i&gt;" in page
    assert not STEERING.search(page)
    drawn = (folder / "figures" / "layers.svg").read_text(encoding="utf-8")
    for name in ("_hidden", "$_$ {\\frac", r"c\x1b[2J", "&lt;i&gt;"):
        assert name in drawn


def test_a_part_that_is_named_as_the_whole_is_not_taken_for_it(line: Line, tmp_path: Path) -> None:
    files = odd(tmp_path, ("whole", "all"))
    code, out, err = line("diff", *files)
    assert code == 0, err
    counts = dict(re.findall(r"(?m)^ *(\w+(?: \(part\))?) {2,}(\d+) ", out))
    assert counts == {"all": "55", "all (part)": "20", "whole (part)": "20", "out": "15"}
    code, out, err = line("probe", *files, *OF_ODD, "--layers", "--pattern", "whole")
    assert code == 0, err
    content = json.loads((tmp_path / "probe" / "probe.json").read_text(encoding="utf-8"))
    assert {row["group"]: row["parameters"] for row in content["distances"]} == {k: int(v) for k, v in counts.items()}
    code, _, err = line("probe", *files, *OF_ODD, "--layers", "--pattern", "out")
    assert code == 0, err
    files = odd(tmp_path, ("part", "apart"))
    code, _, err = line("probe", *files, *OF_ODD, "--layers", "--pattern", "part")
    assert code == 2
    assert "Two groups are named 'part'" in err
    assert "move" not in err  # before the comparison


@pytest.mark.parametrize(
    "encoding", ["ascii", *(pytest.param(name, marks=pytest.mark.slow) for name in ("latin-1", "utf-16"))]
)
def test_a_console_of_any_encoding_takes_any_name(tmp_path: Path, encoding: str) -> None:
    files = odd(tmp_path)
    done = command("diff", *files, encoding=encoding, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Maß" in done.stdout.decode(encoding) or "Ma\\xdf" in done.stdout.decode(encoding)
    done = command("diff", "absent\udcfd日", files[1], encoding=encoding, cwd=tmp_path)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = command("data", "list", stdout=full)
    assert done.returncode == 2
    assert done.stderr == b"linescape: What is printed could not be written: No space left on device.\n"
    with Path("/dev/full").open("wb") as full:
        done = command("flatten", stderr=full)
    assert done.returncode == 2


@pytest.mark.parametrize("words", [("--help",), ("data", "list"), ("--version",)])
def test_a_pipe_that_nobody_reads_ends_in_silence(words: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = command(*words, stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_streams_do_no_harm(tmp_path: Path) -> None:
    for words in ("data list >&-", "--version 2>&-", "--version <&- >&- 2>&-"):
        done = subprocess.run(["sh", "-c", f"{sys.executable} -m linescape {words}"], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


INTERRUPT = """
import builtins, os, runpy, signal, sys
real, module = builtins.__import__, {module!r}

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["linescape", *{words!r}]
runpy.run_module("linescape", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("linescape.cli", ["--version"]),
        ("cyclopts", ["--version"]),
        ("rich.table", ["--version"]),
        ("torch", ["data", "list"]),
        ("numpy", ["diff", "a.pt", "b.pt"]),
        ("linescape.data.sources", ["data", "list"]),
    ],
)
def test_ctrl_c_during_imports_ends_with_130_and_no_traceback(module: str, words: list[str]) -> None:
    code = INTERRUPT.format(module=module, words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "linescape: interrupted.\n")


def test_ctrl_c_in_ones_own_code_says_that_work_is_kept(line: Line, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("def network():\n    raise KeyboardInterrupt\n")
    files = odd(tmp_path)
    code, _, err = line("probe", *files, "--model", "slow.py:network", "--data", "odd:data")
    assert code == 130
    assert "run the same command again" in err
