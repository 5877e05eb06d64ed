from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from linescape import checkpoints
from linescape.checkpoints import Contents
from linescape.checkpoints.align import Fit, pair
from linescape.checkpoints.diff import compare
from linescape.errors import CheckpointError, StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan


def net(classes: int = 3) -> nn.Module:
    return nn.Sequential(
        OrderedDict(body=nn.Linear(4, 8), norm=nn.BatchNorm1d(8), act=nn.ReLU(), head=nn.Linear(8, classes))
    )


def contents(tensors: dict[str, Tensor], path: str = "file") -> Contents:
    return Contents(tensors, path=path)


def test_a_new_head_stays_at_the_end(tmp_path: Path) -> None:
    base, tuned = net(10), net(3)
    start, end = contents(base.state_dict(), "base.pt"), contents(tuned.state_dict(), "tuned.pt")
    with pytest.raises(CheckpointError, match=r"(?s)base.pt and tuned.pt.*head.weight: \(10, 8\) and \(3, 8\)"):
        pair(start, end, module=tuned)
    for fit in (Fit(only_shared=True), Fit(allow_missing=["^head"])):
        first, last = pair(start, end, fit, tuned)
        assert first["head.weight"] is last["head.weight"]
        assert torch.equal(first["body.weight"], base.state_dict()["body.weight"])
        assert last.notes[0].startswith(
            "Held fixed, as only one checkpoint has them or their shapes differ: head.weight, head.bias."
        )
    line = Line(first.into(tuned), last.into(tuned))
    assert line.moving == {"body.weight", "body.bias"}
    data = torch.randn(20, 4), torch.randint(0, 3, (20,))
    curve = scan(line, Evaluator(tuned, {"test": data}), ScanOptions(alphas=3))
    mixed = net(3).eval()
    mixed.load_state_dict({**base.state_dict(), **{n: v for n, v in tuned.state_dict().items() if "head" in n}})
    expected = nn.functional.cross_entropy(mixed(data[0]), data[1])
    assert curve["test", "cross_entropy"].mean[0] == pytest.approx(float(expected.detach()), abs=1e-6)


def test_shapes_of_another_network_say_which_checkpoints_do_not_fit() -> None:
    base, tuned = contents(net(10).state_dict(), "base.pt"), contents(net(3).state_dict(), "tuned.pt")
    with pytest.raises(CheckpointError, match=r"The end, tuned.pt, is no checkpoint of .* swap the two"):
        pair(base, tuned, module=net(10))
    with pytest.raises(CheckpointError, match=r"Neither base.pt nor tuned.pt .*\(head.weight \(3, 8\) and \(5, 8\)"):
        pair(base, tuned, module=net(5))


def test_tensors_of_one_checkpoint_only() -> None:
    tensors = net().state_dict()
    less = {name: value for name, value in tensors.items() if name != "head.bias"}
    more = {**tensors, "ema_decay": torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"1 only in the end \(head.bias\)"):
        pair(contents(less), contents(tensors))
    with pytest.raises(CheckpointError, match=r"1 not in the network but in the start \(ema_decay\)"):
        pair(contents(more), contents(tensors))
    with pytest.raises(CheckpointError, match="ema_decay"):
        pair(contents(more), contents(less), Fit(allow_missing=["bias"]))
    first, last = pair(contents(less), contents(more), Fit(allow_missing=["head.bias", "decay"]), net())
    assert set(first) == set(last) == set(tensors)
    assert last.notes[1] == "Left out, as the network or the end has no such tensors: ema_decay."
    first, last = pair(contents(tensors), contents(less), Fit(only_shared=True), net())
    assert last["head.bias"] is tensors["head.bias"]


def test_names_are_replaced_by_pattern() -> None:
    tensors = net().state_dict()
    old = {name.replace("body", "trunk"): value for name, value in tensors.items()}
    first, last = pair(contents(old), contents(tensors), Fit(rename=[(r"^trunk\.", "body.")]))
    assert list(first) == list(last) == list(tensors)
    assert first.notes == ("Renamed 2 tensors.",)
    with pytest.raises(CheckpointError, match="would be called"):
        pair(contents(tensors), contents(tensors), Fit(rename=[("body|head", "x")]))
    with pytest.raises(CheckpointError, match="cannot be replaced"):
        pair(contents(tensors), contents(tensors), Fit(rename=[("body", r"\9")]))
    for fit in ({"allow_missing": ["("]}, {"rename": [("a", "b"), ("[", "x")]}):
        with pytest.raises(CheckpointError, match="is not a regular expression"):
            Fit(**fit)


def test_two_types_become_the_wider_one() -> None:
    tensors = net().state_dict()
    half = {name: value.bfloat16() if value.dtype.is_floating_point else value for name, value in tensors.items()}
    first, last = pair(contents(half), contents(tensors))
    assert first["body.weight"].dtype == torch.float32
    assert torch.equal(first["body.weight"], half["body.weight"].float())
    assert last.notes[-1].startswith("Converted to the wider of two types: body.bias, body.weight")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 5, bias=False)
        self.out.weight = self.embed.weight


def test_a_checkpoint_may_hold_tied_weights_once(tmp_path: Path) -> None:
    network = Tied()
    once = {"embed.weight": network.embed.weight.detach()}
    twice = {**once, "out.weight": once["embed.weight"]}
    for tensors in (once, twice, {"out.weight": once["embed.weight"]}):
        first, last = pair(contents(tensors), contents(twice), module=network)
        assert dict(first.into(network).tied) == {"out.weight": "embed.weight"}
        assert set(last.into(network)) == {"embed.weight"}
    torch.save(network.state_dict(), tmp_path / "tied.pt")
    assert compare(*[checkpoints.read(tmp_path / "tied.pt")] * 2).tied == (("embed.weight", "out.weight"),)


def test_a_comparison_names_what_is_not_finite() -> None:
    mask = torch.tensor([-torch.inf, 0.0])
    start = contents({"a": torch.ones(2), "b": torch.tensor([1.0, torch.nan]), "c": torch.zeros(2), "mask": mask})
    end = contents({"a": torch.zeros(2), "b": torch.ones(2), "c": torch.tensor([torch.inf, 0.0]), "mask": mask})
    found = compare(start, end)
    assert found.moves == ("a", "b", "c")
    assert found.not_finite == ("b", "c")
    assert "2 of these hold NaN or infinity, so there is no line: b, c" in str(found)
    assert not compare(start, start).not_finite


def test_counters_that_differ_are_counted_rather_than_listed() -> None:
    counters = [f"bn{index}.num_batches_tracked" for index in range(1, 5)]
    start, end = (
        contents(dict.fromkeys(counters, torch.tensor(steps)) | {"w": torch.ones(2) * steps}) for steps in (2, 3)
    )
    said = "    1 tensor moves\n    4 integers that differ, which do not move: bn1.num_batches_tracked and 3 more"
    assert said in str(compare(start, end))


def test_a_comparison_names_what_differs() -> None:
    base, tuned = net(10).state_dict(), net(3).state_dict()
    tuned["norm.num_batches_tracked"] += 3
    tuned["norm.running_mean"] += 1.0
    base["extra"], tuned["new"] = torch.ones(2), torch.ones(2)
    tuned["body.bias"] = tuned["body.bias"].half()
    found = compare(contents(base), contents(tuned))
    assert found.only_in_start == ("extra",)
    assert found.only_in_end == ("new",)
    assert found.shapes["head.weight"] == ((10, 8), (3, 8))
    assert found.dtypes == {"body.bias": ("float32", "float16")}
    assert found.moves == ("body.weight", "body.bias", "norm.running_mean")
    assert found.not_interpolated == ("norm.num_batches_tracked",)
    assert set(found.equal) == {"norm.weight", "norm.bias", "norm.running_var"}
    assert set(found.distances) == {"all", "body", "norm"}
    away = [tuned[name].double() - base[name].double() for name in ("body.weight", "body.bias")]
    expected = float(torch.cat([tensor.reshape(-1) for tensor in away]).norm())
    assert found.distances["body"].total == pytest.approx(expected, rel=1e-6)
    assert found.distances["all"].total == pytest.approx(expected, rel=1e-6)
    assert "    2 of another shape: head.weight (10, 8) and (3, 8), head.bias (10,) and (3,)" in str(found)


def test_a_missing_count_of_batches_is_no_difference() -> None:
    new = dict(net().state_dict())
    old = {name: value for name, value in net().state_dict().items() if name != "norm.num_batches_tracked"}
    for start, end in ((old, new), (new, old)):
        found = compare(contents(start), contents(end))
        assert (found.only_in_start, found.only_in_end, found.not_interpolated) == ((), (), ())
        for module in (None, net()):
            first, last = pair(contents(start), contents(end), module=module)
            assert set(first) == set(last)
        first.into(net())


def test_what_a_module_saves_besides_tensors_is_no_part_of_the_line() -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> Tensor:
            return torch.tensor([1, 2], dtype=torch.uint8)

        def set_extra_state(self, state: object) -> None:
            pass

    network = Extra(2, 2)
    first, last = pair(contents(network.state_dict()), contents(Extra(2, 2).state_dict()), module=network)
    line = Line(first.into(network), last.into(network))
    assert line.describe()["not_interpolated"] == ["_extra_state"]
    other = {**network.state_dict(), "_extra_state": torch.zeros(2, dtype=torch.uint8)}
    first, last = pair(contents(network.state_dict()), contents(other), module=network)
    with pytest.raises(StateError, match="_extra_state"):
        Line(first.into(network), last.into(network))


def test_types_without_a_common_one_are_refused_and_still_compared() -> None:
    start, end = ({"w": torch.ones(2), "n": torch.ones(2, dtype=dtype)} for dtype in (torch.int64, torch.float32))
    with pytest.raises(CheckpointError, match="'n' is torch.int64 in a and torch.float32 in b"):
        pair(contents(start, "a"), contents(end, "b"))
    found = compare(contents(start), contents(end))
    assert found.dtypes == {"n": ("int64", "float32")}
    assert found.equal == ("w",)


def test_differences_of_complex_of_narrow_and_of_packed_tensors() -> None:
    def held(scale: float) -> dict[str, Tensor]:
        return {
            "a.w": torch.tensor([scale * (3 + 4j)]),
            "b.w": torch.tensor([scale]).to(torch.float8_e4m3fn),
            "c.weight": torch.full((2,), int(scale), dtype=torch.int8),
            "c.SCB": torch.ones(2),
            "mask": torch.tensor([-torch.inf, 0.0]),
        }

    found = compare(contents(held(1.0)), contents(held(2.0)))
    assert found.moves == ("a.w", "b.w")
    assert found.equal == ("c.SCB", "mask")
    assert found.packed == ("c.weight (torch.int8, scaled by c.SCB)",)
    assert "of which distances are not those of the networks: c.weight" in str(found)
    assert found.distances["a"].total == pytest.approx(5)
    assert found.distances["b"].relative == pytest.approx(1)
    assert found.distances["all"].total == pytest.approx(26**0.5)
    assert "mask" not in found.distances


def test_tensors_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    network.register_buffer("adjacency", torch.eye(2).to_sparse())
    torch.save(network.state_dict(), tmp_path / "a")
    found = checkpoints.read(tmp_path / "a")
    assert found.unread == {"adjacency": "sparse_tensor"}
    assert any("sparse, quantised or of another class: adjacency" in note for note in found.notes)
    assert "not compared: adjacency (sparse_tensor)" in str(compare(found, found))
    assert list(found.into(network)) == ["0.weight", "0.bias"]  # the network has its own
    with pytest.raises(CheckpointError, match="what cannot be read: adjacency"):
        found.into(nn.Sequential(nn.Linear(3, 2)))
