"""Averages of two checkpoints: each format by the library that defines it, values to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from linescape import checkpoints
from linescape.checkpoints import averaging
from linescape.errors import StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry import state
from linescape.studies.encoding import recipe_of
from tests.support.averages import (
    FORMS,
    average,
    contiguous,
    load,
    prefixed,
    same,
    tensors,
)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, -0.5])
@pytest.mark.parametrize("form", FORMS)
def test_each_format_is_read_by_the_library_that_defines_it(form: str, alpha: float, tmp_path: Path) -> None:
    write, read = FORMS[form]
    safetensors.torch.save_file(contiguous(tensors(1)), tmp_path / "start")
    write(tensors(2), tmp_path / "end")
    notes = average(tmp_path / "start", tmp_path / "end", alpha, tmp_path / "out")
    start, end = tensors(1), tensors(2)
    assert same(read(tmp_path / "out"), {name: state.lerp(start[name], end[name], alpha) for name in end})
    assert f"Not floating, so taken from {'the end' if alpha else 'the start'}: " in " ".join(notes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["end", "out", "start"]
    again = checkpoints.read(tmp_path / "out")
    assert (again.file_format.kind, again.file_format.container) == (
        (kept := checkpoints.read(tmp_path / "end").file_format).kind,
        kept.container,
    )
    assert again.file_format.spelled == kept.spelled


def test_a_safetensors_file_keeps_its_order_and_texts(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        about = {"format": "pt", "linescape": json.dumps({"recipe": 3}), "of": name}
        safetensors.torch.save_file(contiguous(tensors(seed)), tmp_path / name, about)
    average(tmp_path / "a", tmp_path / "b", 0.5, tmp_path / "out")

    def header(name: str) -> dict[str, Any]:
        content = (tmp_path / name).read_bytes()
        length = int.from_bytes(content[:8], "little")
        assert not length % 8
        found: dict[str, Any] = json.loads(content[8 : 8 + length])
        return found

    expected, found = header("b"), header("out")
    texts = found.pop("__metadata__")
    expected.pop("__metadata__")
    assert found == expected
    assert (texts["format"], texts["of"]) == ("pt", "b")
    assert json.loads(texts["linescape"]) == {"recipe": 3, "average": {"start": "a", "end": "b", "alpha": 0.5}}


def test_tied_weights_stay_tied_and_fit_a_file_that_holds_them_once(tmp_path: Path) -> None:
    first, second = torch.ones(3, 2), torch.zeros(3, 2)
    torch.save({"embed": first, "head": first}, tmp_path / "a.pt")
    torch.save({"embed": second, "head": second}, tmp_path / "b.pt")
    safetensors.torch.save_file({"head": second}, tmp_path / "once.safetensors")
    average(tmp_path / "a.pt", tmp_path / "b.pt", 0.25, tmp_path / "both.pt")
    found = load(tmp_path / "both.pt")
    assert found["embed"].data_ptr() == found["head"].data_ptr()
    assert torch.equal(found["embed"], torch.full((3, 2), 0.75))
    average(tmp_path / "a.pt", tmp_path / "once.safetensors", 0.25, tmp_path / "out.safetensors")
    assert same(safetensors.torch.load_file(tmp_path / "out.safetensors"), {"head": torch.full((3, 2), 0.75)})
    average(tmp_path / "once.safetensors", tmp_path / "a.pt", 0.25, tmp_path / "out.pt")
    assert torch.equal(load(tmp_path / "out.pt")["embed"], torch.full((3, 2), 0.25))
    torch.save({"embed": first, "head": second}, tmp_path / "apart.pt")
    with pytest.raises(StateError, match="'head' and 'embed' are one tensor in .*b.pt"):
        average(tmp_path / "apart.pt", tmp_path / "b.pt", 0.25, tmp_path / "no.pt")


def test_prefixes_of_the_start_are_fitted_to_the_end(tmp_path: Path) -> None:
    torch.save({"state_dict": prefixed(tensors(1), "model.")}, tmp_path / "a.ckpt")
    torch.save(tensors(2), tmp_path / "b.pt")
    notes = average(tmp_path / "a.ckpt", tmp_path / "b.pt", 0.0, tmp_path / "c.pt")
    assert same(load(tmp_path / "c.pt"), tensors(1))
    assert "Took 'model.' off 10 names." in notes


def test_a_note_of_lists_in_lists_is_no_note(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        safetensors.torch.save_file(
            {"w": torch.full((3,), number * 1.0)}, tmp_path / name, {"linescape": "[" * 100_000, "by": "me"}
        )
    average(tmp_path / "a", tmp_path / "b", 0.5, tmp_path / "c")
    found = checkpoints.read(tmp_path / "c").metadata or {}
    assert json.loads(found["linescape"])["average"]["alpha"] == 0.5
    assert found["by"] == "me"
    assert recipe_of(checkpoints.read(tmp_path / "a").metadata or {}) is None


def test_a_missing_count_of_batches_is_that_of_the_end(tmp_path: Path) -> None:
    new = nn.BatchNorm1d(2).state_dict()
    old = {name: value for name, value in new.items() if name != "num_batches_tracked"}
    torch.save(new, tmp_path / "new")
    torch.save(old, tmp_path / "old")
    average(tmp_path / "old", tmp_path / "new", 0.5, tmp_path / "a")
    average(tmp_path / "new", tmp_path / "old", 0.5, tmp_path / "b")
    assert same(load(tmp_path / "a"), new)
    assert same(load(tmp_path / "b"), old)


def lived_in(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = network().train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(8, 3, 8, 8))
    return net


def test_statistics_of_batchnorm_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    before, after = lived_in(1), lived_in(2)
    torch.save({"state_dict": prefixed(before.state_dict(), "net.")}, tmp_path / "a")
    torch.save({"state_dict": prefixed(after.state_dict(), "net.")}, tmp_path / "b")
    images, labels = torch.randn(50, 3, 8, 8), torch.arange(50) % 3
    batches = DataLoader(TensorDataset(images, labels), batch_size=20)
    start, end = checkpoints.read(tmp_path / "a"), checkpoints.read(tmp_path / "b")
    measured = averaging.recalibrated(start, end, 0.3, after, Evaluator(after, {"train": batches}))
    notes = averaging.average(start, end, 0.3, tmp_path / "out", measured)
    assert any("were recomputed: net.1.num_batches_tracked, net.1.running_mean" in note for note in notes)

    first, last = before.state_dict(), after.state_dict()
    expected = network()
    expected.load_state_dict({name: state.lerp(first[name], last[name], 0.3) for name in last})
    norm = expected[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.reset_running_stats()
    norm.momentum = None
    expected.train()
    with torch.no_grad():
        for batch, _ in batches:
            expected(batch)
    found = {name.removeprefix("net."): value for name, value in load(tmp_path / "out")["state_dict"].items()}
    assert same(found, expected.state_dict())
    assert int(found["1.num_batches_tracked"]) == 3
    notes = average(tmp_path / "a", tmp_path / "b", 0.3, tmp_path / "without")
    assert any("not those of the averaged network" in note for note in notes)
    assert averaging.recalibrated(start, end, 0.3, nn.Linear(1, 1), Evaluator(nn.Linear(1, 1), {"train": []})) == {}
