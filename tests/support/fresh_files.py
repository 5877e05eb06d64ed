"""Files, folders and interruptions that nobody has reported yet, looked for with fresh eyes."""

# mypy: disable-error-code="misc, no-untyped-call, attr-defined, operator, no-any-return"

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import linescape as ls
from linescape import checkpoints
from linescape.recipe import MLP, Data, Optimizer, Recipe, Schedule
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Moment, Scan
from tests.support.further_networks import Plain
from tests.support.situations import Answer, Case, anew, command, cross_entropy, examples, pair, saved, situation


def weights(path: Path, name: str = "first.weight") -> Answer:
    contents = checkpoints.read(path)
    return contents[name].float().flatten().numpy(), contents.notes


def average_of(start: Path, end: Path, out: Path, *settings: object) -> Answer:
    notes = command("average", start, end, "-o", out, *settings)[1]
    return weights(out)[0], [note for note in notes if "note:" in note]


@situation
def folders_of_weights(folder: Path) -> Iterator[Case]:
    start, end = pair(Plain)
    tensors = {name: value.contiguous() for name, value in start.state_dict().items()}
    first = {name: value for name, value in tensors.items() if name.startswith("first")}
    rest = {name: value for name, value in tensors.items() if name not in first}
    expected = start.first.weight.detach().flatten().numpy()

    def folder_of(name: str, **files: Any) -> Path:
        (folder / name).mkdir()
        for file, value in files.items():
            path = folder / name / file.replace("__", "-").replace("_safetensors", ".safetensors")
            save_file(value, path) if isinstance(value, dict) else path.write_text(value)
        return folder / name

    parts = {"model__00001__of__00002_safetensors": first, "model__00002__of__00002_safetensors": rest}
    without = folder_of("no index", **parts)
    yield Case("parts without an index", lambda: weights(without), None)
    places = {name: f"model-0000{1 + (name in rest)}-of-00002.safetensors" for name in tensors}

    def indexed(name: str, map_of: Any, **files: Any) -> Path:
        made = folder_of(name, **files)
        (made / "model.safetensors.index.json").write_text(json.dumps({"weight_map": map_of}))
        return made

    yield Case("parts and their index", lambda: weights(indexed("whole", places, **parts)), expected)
    lacking = indexed("a part lacks", places, model__00001__of__00002_safetensors=first)
    yield Case("a part is missing", lambda: weights(lacking), None)
    swapped = indexed("swapped", {**places, "first.weight": places["head.weight"]}, **parts)
    yield Case("the index names another part", lambda: weights(swapped), None)
    stale = folder_of("stale", model_safetensors=tensors)
    torch.save(end.state_dict(), stale / "pytorch_model.bin")

    def read_stale() -> Answer:
        values, notes = weights(stale)
        return values, [note for note in notes if "not what else is there" in note]

    yield Case("two formats of two networks", read_stale, expected)
    pointer = folder / "pointer.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 267954768\n")
    yield Case("a pointer of Git LFS", lambda: weights(pointer), None)
    page = folder / "page.pt"
    page.write_text("<!DOCTYPE html><html><body>Access denied</body></html>")
    yield Case("a page of HTML", lambda: weights(page), None)
    zero = folder / "global_step10"
    zero.mkdir()
    torch.save({"optimizer_state_dict": {}}, zero / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    torch.save({"module": start.state_dict(), "dp_world_size": 1}, zero / "mp_rank_00_model_states.pt")
    yield Case("a folder of DeepSpeed", lambda: weights(zero), None)
    yield Case("its file of the model", lambda: weights(zero / "mp_rank_00_model_states.pt"), expected)
    moments = torch.optim.AdamW(start.parameters())
    start(examples()[0]).sum().backward()
    moments.step()
    expected_after = start.first.weight.detach().flatten().numpy()
    optimizer = saved({"optimizer": moments.state_dict(), "scheduler": {"last_epoch": 3}}, folder / "optimizer.pt")
    yield Case("an optimizer alone", lambda: weights(optimizer), None)
    lora = {
        "base_model.model.first.lora_A.weight": torch.randn(2, 6),
        "base_model.model.first.lora_B.weight": torch.randn(5, 2),
    }
    adapter = folder_of("adapter", adapter_model_safetensors=lora, adapter_config="{}")
    (adapter / "adapter_config").rename(adapter / "adapter_config.json")
    yield Case("an adapter without its base", lambda: weights(adapter), None)
    numpy = folder / "weights.npz"
    np.savez(numpy, **{name: value.numpy() for name, value in start.state_dict().items()})
    yield Case("arrays of NumPy", lambda: weights(numpy), None)
    (folder / "loop").symlink_to(folder / "loop")
    yield Case("a link to itself", lambda: weights(folder / "loop"), None)
    names = ["new\nline.pt", "[bold red]é.pt", "$x$ 'quoted\" \u202e.pt", "-dash.pt", "日本.pt"]
    for name in names:
        yield Case(f"a file called {name!r}", lambda name=name: weights(saved(start, folder / name)), expected_after)


@situation
def averages_as_people_write_them(folder: Path) -> Iterator[Case]:
    start, end = pair(Plain)
    ends = [network.first.weight.detach().double() for network in (start, end)]
    middle = ((ends[0] + ends[1]) / 2).flatten().numpy()
    files = [saved(network, folder / f"{name}.pt") for name, network in zip("ab", (start, end), strict=True)]
    before = [file.read_bytes() for file in files]
    yield Case("into its first input", lambda: average_of(*files, files[0]), None)
    (folder / "link.pt").symlink_to(files[1])
    yield Case("into a link to its second", lambda: average_of(*files, folder / "link.pt"), None)
    os.link(files[0], folder / "hard.pt")
    yield Case("into a hard link", lambda: average_of(*files, folder / "hard.pt"), None)
    yield Case("the inputs stay", lambda: ([float([file.read_bytes() for file in files] == before)], []), [1.0])
    for alpha in ("nan", "inf", "-inf", "0,5"):
        yield Case(f"at {alpha}", lambda alpha=alpha: average_of(*files, folder / "x.pt", f"--alpha={alpha}"), None)
    half = saved({name: value.half() for name, value in start.state_dict().items()}, folder / "half.pt")
    mixed = (ends[0].half().double() + ends[1]) / 2
    yield Case(
        "of float16 and float32", lambda: average_of(half, files[1], folder / "wide.pt"), mixed.flatten().numpy()
    )
    double = saved(end.double(), folder / "double.pt")
    yield Case("of float32 and float64", lambda: average_of(files[0], double, folder / "double out.pt"), middle)
    end.float()
    base = torch.arange(200.0).reshape(10, 20)
    views = [{"first.weight": base[::2, 3:9] * k, "t": (base * k).t()} for k in (1.0, 3.0)]
    strided = [saved({**view, "again": view["t"]}, folder / f"views {i}.pt") for i, view in enumerate(views)]
    yield Case("of views", lambda: average_of(*strided, folder / "views.pt"), (base[::2, 3:9] * 2).flatten().numpy())
    yield Case(
        "of one file twice", lambda: average_of(files[0], files[0], folder / "same.pt"), ends[0].flatten().numpy()
    )
    yield Case("into a folder that is not there", lambda: average_of(*files, folder / "no" / "where" / "c.pt"), middle)
    yield Case("into a folder", lambda: average_of(*files, folder), None)
    yield Case("into /dev/full", lambda: average_of(*files, Path("/dev/full")), None)


@situation
def files_that_change_meanwhile(folder: Path) -> Iterator[Case]:
    start, end = pair(Plain)
    other = Plain()
    data = examples()
    files = [saved(network, folder / f"{name}.pt") for name, network in zip("ab", (start, end), strict=True)]
    expected = anew(Plain, start, end, cross_entropy(*data))
    content = saved(other, folder / "other.pt").read_bytes()
    done: list[int] = []

    def while_measured(change: Callable[[], None]) -> Answer:
        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            if not done:
                done.append(1)
                change()
            return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

        done.clear()
        probe = ls.compare(
            files[0], files[1], data, model=Plain(), measures=[loss], options=ls.ScanOptions(alphas=[0, 0.25, 0.5, 1])
        )
        return probe.curves["whole"]["test", "loss"].mean, []

    def in_place() -> None:
        time.sleep(0.01)
        with files[1].open("r+b") as file:
            file.write(content)

    def replaced() -> None:
        (folder / "new.pt").write_bytes(content)
        (folder / "new.pt").replace(files[1])

    yield Case("replaced by another file", lambda: while_measured(replaced), expected)
    saved(end, files[1])
    yield Case("deleted", lambda: while_measured(files[1].unlink), expected)
    saved(end, files[1])
    yield Case("written to in place", lambda: while_measured(in_place), None)


@situation
def keepers_in_one_folder(folder: Path) -> Iterator[Case]:
    data = {"test": examples()}

    def train(network: Any, keeper: ls.Keeper, steps: int = 2) -> None:
        for _ in range(steps):
            with torch.no_grad():
                network.head.bias += 1
            keeper.step()

    def two(overwrite: bool) -> Answer:
        first, second = pair(Plain)
        place = folder / f"two {overwrite}"
        with ls.Keeper(first, place, steps=1, data=data) as one:
            train(first, one)
            with ls.Keeper(second, place, steps=1, data=data, overwrite=overwrite) as other:
                train(second, other, 1)
        return [0.0], []

    yield Case("a second one", lambda: two(False), None)
    yield Case("a second one that overwrites", lambda: two(True), None)

    def odd(place: Path) -> Answer:
        network = pair(Plain)[0]
        start = float(network.head.bias.detach().sum())
        for _ in "twice":
            with ls.Keeper(network, place, data=data, overwrite=True, options=ls.ScanOptions(alphas=3)) as keeper:
                train(network, keeper)
        assert keeper.page is not None
        assert keeper.page.exists()
        kept = checkpoints.read(keeper.kept[2])["head.bias"]
        return [float(kept.sum()) - start], []

    for name in ("line\nbreak", "[red]é $x$", "日本"):
        yield Case(f"a folder called {name!r}", lambda name=name: odd(folder / name), [30.0])
    (folder / "real").mkdir()
    (folder / "linked").symlink_to(folder / "real")
    yield Case("a linked folder", lambda: odd(folder / "linked"), [30.0])

    def vanished() -> Answer:
        network = pair(Plain)[0]
        with ls.Keeper(network, folder / "gone", data=data) as keeper:
            train(network, keeper)
            shutil.rmtree(folder / "gone")
        return [0.0], []

    yield Case("a folder that is deleted meanwhile", vanished, None)

    def full() -> Answer:
        network = pair(lambda: nn.Sequential(Plain(), nn.Linear(3, 3)))[0]
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with ls.Keeper(network, folder / "full") as keeper:
            keeper.step()
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
            try:
                keeper.__exit__(None, None, None)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return [0.0], []

    yield Case("a full disk", full, None)


KILLED = """
import sys, torch, linescape as ls
from tests.support.further_networks import Plain
torch.manual_seed(2)
start, end = Plain(), Plain()
what, folder = sys.argv[1:]
data = {"test": (torch.randn(4000, 6, generator=torch.Generator().manual_seed(1)), torch.arange(4000) % 3)}
print("ready", flush=True)
if what == "probe":
    options = ls.ScanOptions(alphas=30, keep=folder + "/points")
    probe = ls.compare(start, end, data, options=options)
    probe.curves["whole"].save(folder + "/curve.safetensors")
else:
    options = ls.ScanOptions(alphas=5)
    with ls.Keeper(start, folder + "/run", steps=1, data=data, overwrite=True, options=options) as keeper:
        for _ in range(20):
            with torch.no_grad():
                start.head.bias += 0.1
            keeper.step()
    keeper.probe.curves["whole"].save(folder + "/curve.safetensors")
print("done", flush=True)
"""


def killed(what: str, folder: Path, after: float | None) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    root = Path(__file__).parents[2]
    command_line = [sys.executable, "-c", KILLED, what, str(folder)]
    process = subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root)
    if after is not None:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after)
        process.kill()
    return process


@situation
def killed_at_any_time(folder: Path) -> Iterator[Case]:
    def whole(what: str, place: Path) -> Answer:
        output, errors = killed(what, place, None).communicate()
        assert output.endswith("done\n"), errors
        return ls.Curve.load(place / "curve.safetensors")["test", "cross_entropy"].mean, []

    for what in ("probe", "keeper"):
        expected = whole(what, folder / f"{what} whole")[0]

        def under_kills(what: str = what) -> Answer:
            for after in (0.0, 0.03, 0.1, 0.3):
                killed(what, folder / what, after).communicate()
            return whole(what, folder / what)

        yield Case(f"{what}, killed four times", under_kills, expected)

        def at_once(what: str = what) -> Answer:
            both = [killed(what, folder / f"{what} at once", None) for _ in "ab"]
            outputs = [process.communicate() for process in both]
            assert any(output.endswith("done\n") for output, _ in outputs), outputs
            for _output, errors in outputs:
                assert "Traceback" not in errors or "linescape.errors" in errors, errors
            return ls.Curve.load(folder / f"{what} at once" / "curve.safetensors")["test", "cross_entropy"].mean, []

        yield Case(f"{what}, two at once", at_once, expected)


def study_tasks() -> tuple[Any, ...]:
    recipe = Recipe(Data("spiral", fraction=0.05), MLP((8,)), Optimizer(lr=0.1, batch_size=50), Schedule(2))
    scan = Scan(Moment(recipe, "start"), Moment(recipe), alphas=4, train_examples=20)
    return (scan,)


@situation
def stores_that_move(folder: Path) -> Iterator[Case]:
    tasks = study_tasks()

    def results(root: Path) -> Answer:
        outcome = work(tasks, Store(root), progress=False, workers=1)
        assert not outcome.failed
        series = Store(root).curve(tasks[0])
        return series["test", "cross_entropy"].mean, []

    first = folder / "store"
    expected = results(first)[0]

    def kept(root: Path) -> Answer:
        before = {path: path.read_bytes() for path in root.resolve().rglob("*") if path.is_file()}
        values = results(root)[0]
        after = {path: path.read_bytes() for path in root.resolve().rglob("*") if path.is_file()}
        assert before == after
        return values, []

    def moved() -> Answer:
        shutil.move(first, folder / "moved\n[red]é")
        return kept(folder / "moved\n[red]é")

    yield Case("moved to an odd name", moved, expected)
    place = folder / "moved\n[red]é"

    def linked() -> Answer:
        (folder / "linked").symlink_to(place)
        return kept(folder / "linked")

    yield Case("by a link", linked, expected)

    def copied() -> Answer:
        shutil.copytree(place, folder / "copied")
        return kept(folder / "copied")

    yield Case("copied", copied, expected)

    def of_another_time(time_of: float) -> Answer:
        for path in place.rglob("*"):
            os.utime(path, (time_of, time_of))
        return kept(place)

    for name, time_of in (("1970", 0.0), ("2100", 4102444800.0)):
        yield Case(f"files of {name}", lambda time_of=time_of: of_another_time(time_of), expected)
