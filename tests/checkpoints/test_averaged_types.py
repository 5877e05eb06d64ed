"""Averages of tensors of every type: what is written where types differ, are complex or overflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from linescape import checkpoints
from linescape.errors import AlphaError, StateError
from linescape.geometry import state
from tests.support.averages import (
    FORMS,
    average,
    contiguous,
    load,
    same,
    tensors,
)


def test_what_leaves_the_range_of_the_type_is_an_error(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        torch.save({"weight": torch.full((2,), 1e4 * seed, dtype=torch.float16)}, tmp_path / name)
    with pytest.raises(StateError, match="The network at alpha = 9 holds NaN or infinity"):
        average(tmp_path / "a", tmp_path / "b", 9.0, tmp_path / "out")
    with pytest.raises(AlphaError, match="alpha is nan"):
        average(tmp_path / "a", tmp_path / "b", float("nan"), tmp_path / "out")
    for value, name in ((1.0, "c"), (2.0, "d")):
        torch.save({"weight": torch.full((2,), value).to(torch.float8_e4m3fn)}, tmp_path / name)
    with pytest.raises(StateError, match="Convert both checkpoints to bfloat16"):
        average(tmp_path / "c", tmp_path / "d", 0.5, tmp_path / "out")
    average(tmp_path / "c", tmp_path / "c", 0.5, tmp_path / "out")  # what is equal stays
    assert torch.equal(load(tmp_path / "out")["weight"].float(), torch.ones(2))


@pytest.mark.parametrize("form", FORMS)
def test_where_types_differ_the_wider_one_is_written(form: str, tmp_path: Path) -> None:
    write, read = FORMS[form]
    changed = {"single": torch.float64, "half": torch.float16, "double": torch.float32, "count": torch.int32}
    start, end = tensors(1), tensors(2)
    safetensors.torch.save_file(
        contiguous({name: value.to(changed.get(name, value.dtype)) for name, value in start.items()}),
        tmp_path / "start",
    )
    write(end, tmp_path / "end")
    notes = average(tmp_path / "start", tmp_path / "end", 0.3, tmp_path / "out")
    assert "Converted to the wider of two types, and written so: half, single." in notes
    start = {name: value.to(changed.get(name, value.dtype)) for name, value in start.items()}
    types = {name: torch.promote_types(start[name].dtype, end[name].dtype) for name in end}
    expected = {name: state.lerp(start[name].to(types[name]), end[name].to(types[name]), 0.3) for name in end}
    if form.startswith("distributed"):  # which is read into tensors that are there
        found: Mapping[str, Tensor] = checkpoints.read(tmp_path / "out")
    else:
        found = read(tmp_path / "out")
    assert same(found, expected)
    assert {name: value.dtype for name, value in found.items() if value.dtype != end[name].dtype} == {
        "half": torch.float32,
        "single": torch.float64,
    }


@pytest.mark.parametrize("form", ["safetensors", "plain"])
def test_ends_whose_difference_overflows_have_a_mean(form: str, tmp_path: Path) -> None:
    for sign, name in ((-1, "a"), (1, "b")):
        FORMS[form][0]({"w": torch.tensor([sign * 3.2e38, 2.0 + sign])}, tmp_path / name)
    average(tmp_path / "a", tmp_path / "b", 0.75, tmp_path / "c")
    torch.testing.assert_close(FORMS[form][1](tmp_path / "c")["w"], torch.tensor([1.6e38, 2.5]))


@pytest.mark.filterwarnings("ignore::UserWarning")  # that complex32 is not finished
@pytest.mark.parametrize(
    ("of_start", "of_end", "written"),
    [
        (torch.int8, torch.bool, "I8"),
        (torch.uint8, torch.int16, "I16"),
        (torch.complex128, torch.float64, ""),
        (torch.float64, torch.complex64, ""),
        (torch.complex32, torch.float16, ""),
    ],
)
def test_safetensors_files_have_the_wider_type_or_say_that_they_cannot(
    of_start: torch.dtype, of_end: torch.dtype, written: str, tmp_path: Path
) -> None:
    torch.save({"w": torch.ones(3), "x": torch.ones(2).to(of_start)}, tmp_path / "a")
    safetensors.torch.save_file({"w": torch.zeros(3), "x": torch.zeros(2).to(of_end)}, tmp_path / "b")
    if not written:
        with pytest.raises(StateError, match="which safetensors files cannot have"):
            average(tmp_path / "a", tmp_path / "b", 0.5, tmp_path / "c")
        assert not (tmp_path / "c").exists()
        return
    average(tmp_path / "a", tmp_path / "b", 0.5, tmp_path / "c")
    with safe_open(tmp_path / "c", framework="pt") as file:
        assert file.get_slice("x").get_dtype() == written
        assert torch.equal(file.get_tensor("x"), torch.zeros(2).to(torch.promote_types(of_start, of_end)))


@pytest.mark.parametrize("form", FORMS)
def test_complex_tensors_and_infinite_masks(form: str, tmp_path: Path) -> None:
    if form.startswith("distributed"):
        read: Callable[[Path], Mapping[str, Tensor]] = checkpoints.read
    else:
        read = FORMS[form][1]
    masks = {"mask": torch.full((3, 3), -torch.inf).triu(1), "unknown": torch.tensor([torch.nan, 1.0])}
    ends = [
        {"w": torch.randn(5, 2, dtype=torch.complex64), "bias": torch.randn(3), **masks, "index": torch.arange(4)}
        for _ in range(2)
    ]
    for held, name in zip(ends, ("start", "end"), strict=True):
        FORMS[form][0](held, tmp_path / name)
    for number, alpha in enumerate((0.3, -1.0, 0.0)):
        average(tmp_path / "start", tmp_path / "end", alpha, tmp_path / str(number))
        found = read(tmp_path / str(number))
        exact = (1 - alpha) * ends[0]["w"].to(torch.complex128) + alpha * ends[1]["w"].to(torch.complex128)
        assert torch.allclose(found["w"].to(torch.complex128), exact, atol=1e-6)
        assert torch.equal(found["mask"], masks["mask"])
        assert torch.equal(found["unknown"].isnan(), masks["unknown"].isnan())
