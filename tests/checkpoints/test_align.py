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
from linescape.errors import CheckpointError
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
        pair(contents(tensors), contents(tensors), Fit(rename=[("(", "x")]))
    with pytest.raises(CheckpointError, match="is not a regular expression"):
        pair(contents(old), contents(tensors), Fit(allow_missing=["("]))


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
