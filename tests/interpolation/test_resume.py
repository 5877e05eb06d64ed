"""Walks that are stopped and go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.engine import threads
from linescape.errors import MeasureError
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy, error
from linescape.geometry.groups import by_block
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation import resume
from linescape.interpolation.curve import Curve, Point
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.probing import Probe, between, probe
from linescape.interpolation.scanning import scan
from tests.support.networks import ConvNet, lived_in

Images = tuple[Tensor, Tensor]
Pair = tuple[nn.Module, State, State]


@dataclass
class Stopping:
    """Counts the positions that are measured, and stops a walk instead of the one after `left`."""

    measured: int = 0
    left: float = np.inf


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Stopping:
    state, real = Stopping(), resume.keep

    def keep(folder: Path, point: object) -> None:
        if state.left == 0:
            raise KeyboardInterrupt
        state.left -= 1
        state.measured += 1
        real(folder, point)  # type: ignore[arg-type]

    monkeypatch.setattr(resume, "keep", keep)
    return state


def assert_same(found: Mapping[str, Curve], expected: Mapping[str, Curve]) -> None:
    assert list(found) == list(expected)
    for label, curve in found.items():
        assert curve.alphas.tobytes() == expected[label].alphas.tobytes()
        assert {key: values.tobytes() for key, values in curve.values.items()} == {
            key: values.tobytes() for key, values in expected[label].values.items()
        }
        timed = {"seconds"}
        assert {k: v for k, v in curve.provenance.items() if k not in timed} == {
            k: v for k, v in expected[label].provenance.items() if k not in timed
        }


def test_kills_change_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.killing_probe", str(tmp_path)]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    # 4 lines of 5 points are 20 renames, of which a life does 4; the curves are 4 more, which the last life does.
    assert json.loads(ran.stdout)["deaths"] == 5
    curves = {
        name: {path.stem: Curve.load(path) for path in sorted((tmp_path / name).glob("*.safetensors"))}
        for name in ("whole", "killed")
    }
    assert len(curves["whole"]) == 4
    assert_same(curves["killed"], curves["whole"])


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("after", [1, 6])
def test_a_probe_loses_no_point(
    pair: Pair, images: Images, tmp_path: Path, stopping: Stopping, after: int, fast: bool
) -> None:
    net, start, end = pair

    def probed(keep: Path | None = None) -> Probe:
        evaluator = Evaluator(net, {"train": images, "test": [images]}, batch_size=10, fast=fast)
        return probe(
            start,
            end,
            evaluator,
            by_block(net),
            ScanOptions(alphas=4, batchnorm=("interpolate", "recalibrate", "end"), keep=keep),
        )

    stopping.left = after
    with pytest.raises(KeyboardInterrupt):
        probed(tmp_path)
    assert resume.count(tmp_path) == after
    stopping.left = np.inf
    assert_same(probed(tmp_path).curves, probed().curves)
    assert stopping.measured == 16
    assert_same(probed(tmp_path).curves, probed().curves)  # all of it is there
    assert stopping.measured == 16
    resume.clear(tmp_path)
    assert not tmp_path.exists()


def test_lines_between_several_lose_no_point(images: Images, tmp_path: Path, stopping: Stopping) -> None:
    net = ConvNet()
    states = {f"step-{number}": lived_in(net, images[0], number) for number in range(3)}

    def probed(keep: Path | None = None) -> Probe:
        return between(states, Evaluator(net, {"test": images}), "all", ScanOptions(alphas=3, keep=keep))

    stopping.left = 5
    with pytest.raises(KeyboardInterrupt):
        probed(tmp_path)
    stopping.left = np.inf
    assert_same(probed(tmp_path).curves, probed().curves)
    assert stopping.measured == 9


def test_points_of_another_grid_are_used(pair: Pair, images: Images, tmp_path: Path, stopping: Stopping) -> None:
    net, start, end = pair
    scan(Line(start, end), Evaluator(net, {"test": images}), ScanOptions(alphas=3, keep=tmp_path))
    fine = scan(Line(start, end), Evaluator(net, {"test": images}), ScanOptions(alphas=5, keep=tmp_path))
    assert stopping.measured == 5
    assert_same({"": fine}, {"": scan(Line(start, end), Evaluator(net, {"test": images}), ScanOptions(alphas=5))})


def spoil(place: Path) -> None:
    place.write_bytes(place.read_bytes()[:-1])


def flip(place: Path) -> None:
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)


def other(place: Path) -> None:
    place.write_bytes(b"{}")


def pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


DAMAGES = [spoil, flip, other, lambda place: place.write_bytes(b""), *([pipe] if hasattr(os, "mkfifo") else [])]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_points_are_measured_again_and_a_note_says_so(
    pair: Pair, images: Images, tmp_path: Path, stopping: Stopping, damage: Callable[[Path], None]
) -> None:
    net, start, end = pair

    def scanned() -> Curve:
        return scan(Line(start, end), Evaluator(net, {"test": images}), ScanOptions(alphas=4, keep=tmp_path))

    whole = scanned()
    (folder,) = tmp_path.iterdir()
    damage(folder / "0.0.safetensors")
    damage(folder / "1.0.safetensors")
    assert [point.alpha for point in resume.read(folder)] == [1 / 3, 2 / 3]
    again = scanned()
    assert again.provenance["notes"] == [*whole.provenance["notes"], resume.DAMAGED]
    again.provenance["notes"].remove(resume.DAMAGED)
    assert_same({"": again}, {"": whole})
    assert stopping.measured == 6
    assert_same({"": scanned()}, {"": whole})  # they are whole again


@pytest.mark.parametrize("damaged", [1, 5, 16])
def test_a_probe_says_once_that_points_were_damaged(pair: Pair, images: Images, tmp_path: Path, damaged: int) -> None:
    net, start, end = pair

    def probed() -> Probe:
        options = ScanOptions(alphas=4, keep=tmp_path)
        return probe(start, end, Evaluator(net, {"test": images}), by_block(net), options)

    before = probed().notes
    for place in sorted(tmp_path.rglob("*.safetensors"), key=lambda path: path.name)[:damaged]:
        flip(place)
    assert probed().notes == (*before, resume.DAMAGED)
    assert probed().notes == before


class Odd(nn.Module):
    """A network that is the same with the signs of its hidden units turned."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.inner, self.out, self.gain = nn.Linear(36, 4, bias=False), nn.Linear(4, 3), gain

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(torch.tanh(self.gain * self.inner(x.flatten(1))))
        return out


def test_points_of_anything_else_are_not_used(images: Images, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, start, end = Odd(), State.from_module(Odd()), State.from_module(Odd())
    turned = end.replace(
        {"inner.weight": -end["inner.weight"], "out.weight": -end["out.weight"], "out.bias": end["out.bias"]}
    )
    evaluator = Evaluator(net, {"test": images})
    for (_, now), before in zip(evaluator(turned).items(), evaluator(end).values(), strict=True):
        assert now.tobytes() == before.tobytes()  # one function, but another line
    line = Line(start, end)
    last = images[1].clone()
    last[-1] = (last[-1] + 1) % 3

    def named(path: Line | Only = line, treatments: tuple[str, ...] = ("interpolate",), **changes: object) -> Path:
        settings = {"model": net, "data": {"test": images}, "batch_size": 250} | changes
        return resume.folder_of(tmp_path, path, Evaluator(**settings), treatments)  # type: ignore[arg-type]

    one = named()
    assert named() == one
    assert named(Line(State.from_module(net).replace(start.state_dict()), end)) == one
    others = [
        named(Line(start, turned)),
        named(Line(turned, end)),
        named(Only(line, ["inner.weight"])),
        named(Only(line, ["inner.weight"], fixed=start)),
        named(treatments=("recalibrate",)),
        named(data={"test": (images[0], last)}),
        named(data={"test": (images[0][:36], images[1][:36])}),
        named(data={"other": images}),
        named(data={"test": images, "more": images}),
        named(batch_size=10),
        named(calibration="test"),
        named(precision="bfloat16"),
        named(measures=(error,)),
        named(measures=(error, cross_entropy)),
        named(model=Odd(gain=1.0001)),
    ]
    assert len({one, *others}) == 1 + len(others)


@pytest.mark.parametrize(
    "what", ["linescape.interpolation.resume.library_digest", "torch.backends.cpu.get_cpu_capability"]
)
def test_points_computed_with_anything_else_are_not_used(
    what: str, pair: Pair, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, start, end = pair

    def named() -> Path:
        return resume.folder_of(tmp_path, Line(start, end), Evaluator(net, {"test": images}), ("interpolate",))

    before = named()
    monkeypatch.setattr(what, lambda: "another")
    assert named() != before


def test_a_point_in_another_place_is_measured_again(
    pair: Pair, images: Images, tmp_path: Path, stopping: Stopping
) -> None:
    net, start, end = pair
    line, data = Line(start, end), {"test": images}
    whole = scan(line, Evaluator(net, data), ScanOptions(alphas=4, keep=tmp_path))
    scan(Line(end, start), Evaluator(net, data), ScanOptions(alphas=4, keep=tmp_path))
    one, other = sorted(tmp_path.iterdir())
    for name in ("0.0.safetensors", "1.0.safetensors"):
        contents = (one / name).read_bytes(), (other / name).read_bytes()
        (one / name).write_bytes(contents[1])
        (other / name).write_bytes(contents[0])
        assert len(resume.read(one)) == len(resume.read(other)) == (3 if name == "0.0.safetensors" else 2)
    again = scan(line, Evaluator(net, data), ScanOptions(alphas=4, keep=tmp_path))
    assert stopping.measured == 10
    again.provenance["notes"].remove(resume.DAMAGED)
    assert_same({"": again}, {"": whole})


def test_a_point_that_took_long_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = list[bool]()
    monkeypatch.setattr("linescape.atomic.write", lambda _path, _content, durable: flushed.append(durable))
    for seconds in (1e-4, 3.0):
        resume.keep(tmp_path, Point(0.0, {("test", "error", "end"): np.ones(2)}, seconds))
    assert flushed == [False, True]


def test_another_probe_in_the_same_folder_is_measured(pair: Pair, images: Images, tmp_path: Path) -> None:
    net, start, end = pair
    for first, last in ((start, end), (end, start)):
        evaluator = Evaluator(net, {"test": images})
        found = scan(Line(first, last), evaluator, ScanOptions(alphas=3, keep=tmp_path))
        assert_same({"": found}, {"": scan(Line(first, last), Evaluator(net, {"test": images}), ScanOptions(alphas=3))})
    assert resume.count(tmp_path) == 6


class Mixing(nn.Module):
    """Each example's output depends on the others', so that no graph stands for it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x.flatten(1))
        return out - out.mean(0)


def test_what_the_engine_found_is_said_again(images: Images, tmp_path: Path, stopping: Stopping) -> None:
    net, start, end = Mixing(), State.from_module(Mixing()), State.from_module(Mixing())
    first, again = (
        scan(Line(start, end), Evaluator(net, {"test": images}, fast=True), ScanOptions(alphas=3, keep=tmp_path))
        for _ in range(2)
    )
    assert stopping.measured == 3
    assert "called as it is" in first.provenance["notes"][0]
    assert_same({"": again}, {"": first})


def test_threads_are_taken_over(pair: Pair, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, start, end = pair
    monkeypatch.setattr("linescape.engine.threads.EACH", 1e-9)
    monkeypatch.setattr("linescape.engine.threads.using", lambda _: __import__("contextlib").nullcontext())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    scan(Line(start, end), Evaluator(net, {"test": images}), ScanOptions(alphas=3, keep=tmp_path))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    evaluator = Evaluator(net, {"test": images})
    scan(Line(start, end), evaluator, ScanOptions(alphas=5, keep=tmp_path))
    assert evaluator.threads == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_a_small_network_has_one_thread_whatever_the_folder_holds(pair: Pair, images: Images, tmp_path: Path) -> None:
    net, start, end = pair
    (tmp_path / "2-of-another-walk").mkdir()
    with threads.using(2):
        evaluator = Evaluator(net, {"test": images})
    assert resume.folder_of(tmp_path, Line(start, end), evaluator, ("interpolate",)).name.startswith("1-")
    assert evaluator.threads == 1


def test_nothing_is_left_where_nothing_was_measured(pair: Pair, images: Images, tmp_path: Path) -> None:
    net, start, end = pair
    with pytest.raises(MeasureError):
        scan(
            Line(start, end),
            Evaluator(net, {"test": images}),
            ScanOptions(alphas=3, batchnorm="recalibrat", keep=tmp_path / "points"),
        )
    scan(
        Line(start, end),
        Evaluator(net, {"test": images}),
        ScanOptions(alphas=3, adaptive=True, keep=tmp_path / "points"),
    )
    assert not list(tmp_path.iterdir())
    resume.clear(tmp_path / "points")


def test_only_what_was_kept_is_removed(tmp_path: Path) -> None:
    (tmp_path / "my-model").mkdir()
    own = tmp_path / "my-model" / "weights.safetensors"
    own.write_bytes(b"a network")
    scan_folder = tmp_path / f"1-{'a' * 64}"
    scan_folder.mkdir()
    (scan_folder / "0.5.safetensors").write_bytes(b"a point")
    resume.clear(tmp_path)
    assert own.read_bytes() == b"a network"
    assert not scan_folder.exists()
