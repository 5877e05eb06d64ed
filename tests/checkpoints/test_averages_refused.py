"""Checkpoints that have no average are refused, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from linescape import checkpoints
from linescape.checkpoints import averaging
from linescape.errors import CheckpointError, StateError, StoreError
from tests.support.averages import (
    FORMS,
    Tensors,
    average,
    contiguous,
    tensors,
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda held: held.pop("half"), r"1 only in the end \(half\)"),
        (lambda held: held.update(more=torch.ones(1)), r"1 only in the start \(more\)"),
        (lambda held: held.update(half=torch.ones(7, 4).bfloat16()), "one shape in the start"),
        (lambda held: held.update(count=torch.tensor(1.0)), "'count' is torch.float32 at the start and torch.int64"),
        (lambda held: held["half"][1].fill_(float("nan")), "start holds NaN or infinity in 'half'"),
        (lambda held: held["a.half"].mul_(1e9), "start holds NaN or infinity in 'a.half'"),
    ],
)
@pytest.mark.parametrize("form", ["safetensors", "plain", "distributed"])
def test_ends_that_do_not_fit_are_an_error_and_nothing_is_left(
    form: str, change: Callable[[Tensors], Any], said: str, tmp_path: Path
) -> None:
    start = tensors(1)
    change(start)
    torch.save(start, tmp_path / "start")
    FORMS[form][0](tensors(2), tmp_path / "end")
    with pytest.raises(StateError, match=said):
        average(tmp_path / "start", tmp_path / "end", 0.5, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["end", "start"]


REFUSED: dict[str, tuple[Callable[[float], Tensors], str]] = {
    "lora": (
        lambda value: {f"q.lora_{factor}.weight": torch.full((2, 2), value) for factor in "AB"},
        "q.lora_A.weight and q.lora_B.weight.*Merge each adapter",
    ),
    "scaled integers": (
        lambda value: {"fc.weight": torch.full((2, 2), value).to(torch.int8), "fc.SCB": torch.full((2,), value)},
        "fc.weight .torch.int8, scaled by fc.SCB",
    ),
    "sparse": (
        lambda value: {"w": torch.full((2,), value), "adj": torch.eye(3).to_sparse()},
        "cannot be averaged: adj .sparse_tensor",
    ),
    "quantised": (
        lambda value: {
            "w": torch.full((2,), value),
            "q": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        },
        "cannot be averaged: q .qtensor",
    ),
    "a mask that differs": (
        lambda value: {"mask": torch.tensor([value, -torch.inf])},
        "start holds NaN or infinity in 'mask'",
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # that quantised tensors are going away
@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_average_is_refused(kind: str, tmp_path: Path) -> None:
    make, said = REFUSED[kind]
    for value, name in ((1.0, "start"), (2.0, "end")):
        torch.save(make(value), tmp_path / name)
    with pytest.raises(StateError, match=said):
        average(tmp_path / "start", tmp_path / "end", 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_negative_variances_are_named_and_recomputed_ones_are_not(tmp_path: Path) -> None:
    for value, name in ((1.0, "start"), (3.0, "end")):
        held = {"a.running_var": torch.full((2,), value), "a.weight": torch.ones(2), "b.running_var": torch.ones(2)}
        torch.save(held, tmp_path / name)
    with pytest.raises(StateError, match=r"alpha = -1 running variances .* negative: a.running_var"):
        average(tmp_path / "start", tmp_path / "end", -1.0, tmp_path / "out")
    ends = [checkpoints.read(tmp_path / name) for name in ("start", "end")]
    averaging.average(ends[0], ends[1], -1.0, tmp_path / "out", {"a.running_var": torch.ones(2)})
    average(tmp_path / "start", tmp_path / "end", -0.4, tmp_path / "near")


def test_files_of_a_training_that_goes_on_have_no_mean(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        torch.save(tensors(seed), tmp_path / name)
    members = [checkpoints.read(tmp_path / name) for name in "abc"]
    content = (tmp_path / "a").read_bytes()
    with (tmp_path / "a").open("r+b") as file:
        file.write(content)
    with pytest.raises(CheckpointError, match="a was written to while it was read"):
        averaging.mean(members, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("changed", [{"half": torch.ones(7, 3)}, {"more": torch.ones(2)}])
def test_a_file_that_has_changed_is_an_error(changed: Tensors, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file", tmp_path / "folder" / "model.safetensors"):
        safetensors.torch.save_file(contiguous(tensors(1)), path)
    for name in ("file", "folder"):
        held = replace(found := checkpoints.read(tmp_path / name), tensors={**found, **changed})
        with pytest.raises(CheckpointError, match="no longer has the tensors"):
            averaging.average(held, held, 0.5, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    ("form", "out", "ending"), [("plain", "c.safetensors", ".pt"), ("safetensors", "c.bin", ".safetensors")]
)
def test_a_name_with_the_ending_of_another_format_is_refused(form: str, out: str, ending: str, tmp_path: Path) -> None:
    for seed, name in enumerate(("start", "end")):
        FORMS[form][0](tensors(seed), tmp_path / name)
    with pytest.raises(StoreError, match=rf"could not read it. Let .*{out} end in {ending}"):
        average(tmp_path / "start", tmp_path / "end", 0.5, tmp_path / out)
    assert not (tmp_path / out).exists()
    average(tmp_path / "start", tmp_path / "end", 0.5, tmp_path / f"c{ending}")
