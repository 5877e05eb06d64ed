"""Averages of two checkpoints: each format by the library that defines it, values to the bit, memory measured."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from linescape import checkpoints
from linescape.checkpoints import averaging
from linescape.checkpoints.formats import streaming
from linescape.errors import AlphaError, CheckpointError, StateError, StoreError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry import state
from linescape.studies.encoding import recipe_of
from tests.support import optional

Tensors = dict[str, Tensor]


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))


def tensors(seed: int) -> Tensors:
    """A network's, in several types and layouts."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "z.weight": drawn(5, 3),
        "half": drawn(7, 3).to(torch.bfloat16),
        "a.half": drawn(9).to(torch.float16),
        "double": drawn(3).double(),
        "single": drawn(1003),
        "last": drawn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "scalar": drawn(),
        "count": torch.tensor(seed),
        "mask": torch.tensor([True, bool(seed % 2)]),
        "empty": torch.empty(0, 3),
    }


def distributed(path: Path, held: Any) -> None:
    from torch.distributed import checkpoint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.save(held, checkpoint_id=path, no_dist=True)  # type: ignore[attr-defined]


def read_distributed(path: Path, like: Any) -> Any:
    from torch.distributed import checkpoint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.load(like, checkpoint_id=path, no_dist=True)  # type: ignore[attr-defined]
    return like


def empty(held: Mapping[str, Tensor]) -> Tensors:
    return {name: torch.zeros_like(value) for name, value in held.items()}


def load(path: Path) -> Any:
    return torch.load(path, weights_only=True)


FORMS: dict[str, tuple[Callable[[Tensors, Path], Any], Callable[[Path], Tensors]]] = {
    "safetensors": (
        lambda held, path: safetensors.torch.save_file(contiguous(held), path),
        safetensors.torch.load_file,
    ),
    "plain": (torch.save, load),
    "legacy": (lambda held, path: torch.save(held, path, _use_new_zipfile_serialization=False), load),
    "container": (
        lambda held, path: torch.save({"epoch": 3, "state_dict": prefixed(held, "module.")}, path),
        lambda path: {name.removeprefix("module."): value for name, value in load(path)["state_dict"].items()},
    ),
    "distributed": (
        lambda held, path: distributed(path, held),
        lambda path: dict(read_distributed(path, empty(tensors(0)))),
    ),
    "distributed container": (
        lambda held, path: distributed(path, {"model": held, "optimizer": {"step": torch.ones(2)}}),
        lambda path: dict(read_distributed(path, {"model": empty(tensors(0))})["model"]),
    ),
}


def contiguous(held: Tensors) -> Tensors:
    return {name: value.contiguous() for name, value in held.items()}


def prefixed(held: Tensors, prefix: str) -> Tensors:
    return {prefix + name: value for name, value in held.items()}


def average(start: Path, end: Path, alpha: float, out: Path) -> tuple[str, ...]:
    return averaging.average(checkpoints.read(start), checkpoints.read(end), alpha, out)


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    return set(found) == set(expected) and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in expected.items()
    )


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


def test_a_missing_count_of_batches_is_that_of_the_end(tmp_path: Path) -> None:
    new = nn.BatchNorm1d(2).state_dict()
    old = {name: value for name, value in new.items() if name != "num_batches_tracked"}
    torch.save(new, tmp_path / "new")
    torch.save(old, tmp_path / "old")
    average(tmp_path / "old", tmp_path / "new", 0.5, tmp_path / "a")
    average(tmp_path / "new", tmp_path / "old", 0.5, tmp_path / "b")
    assert same(load(tmp_path / "a"), new)
    assert same(load(tmp_path / "b"), old)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        torch.save(tensors(seed), tmp_path / name)
        distributed(tmp_path / f"{name}-folder", tensors(seed))
    before = (tmp_path / "b").read_bytes()
    for out in ("b", "a", "a-folder"):
        with pytest.raises(StoreError, match="is there already"):
            average(tmp_path / "a", tmp_path / "b", 0.5, tmp_path / out)
    assert (tmp_path / "b").read_bytes() == before
    (tmp_path / "new").mkdir()
    with pytest.raises(StoreError, match="is a folder"):
        average(tmp_path / "a", tmp_path / "b", 0.5, tmp_path / "new")
    average(tmp_path / "a", tmp_path / "b-folder", 0.5, tmp_path / "new")
    assert len(checkpoints.read(tmp_path / "new")) == 10


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


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_another_process_writes_meanwhile_is_not_written_over(kind: str, tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        if kind == "file":
            torch.save(tensors(seed), tmp_path / name)
        else:
            distributed(tmp_path / name, tensors(seed))
    out, like = tmp_path / "out", checkpoints.read(tmp_path / "b")

    def tensor(name: str) -> Tensor:
        if kind == "file":
            out.write_bytes(b"another")
        elif not out.exists():
            distributed(out, {"another": torch.zeros(1)})
        return like[name]

    with pytest.raises(StoreError, match="is there already"):
        streaming.write_like(like, tensor, out, {}, {name: value.dtype for name, value in like.items()})
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "out"}
    assert out.read_bytes() == b"another" if kind == "file" else list(checkpoints.read(out)) == ["another"]


@pytest.mark.parametrize(
    ("make", "kind"),
    [(os.mkfifo, stat.S_ISFIFO), (Path.touch, stat.S_ISREG), (lambda path: _listen(path), stat.S_ISSOCK)],
)
def test_what_is_there_and_has_no_size_is_not_replaced(
    make: Callable[[Path], Any], kind: Callable[[int], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a", "b")):
        torch.save(tensors(seed), name)
    make(Path("out"))
    with pytest.raises(StoreError, match="is there already"):
        average(Path("a"), Path("b"), 0.5, Path("out"))
    assert kind(Path("out").stat().st_mode)


def _listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("out", [".", "", "/"])
def test_a_place_without_a_name_is_refused(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(("a", "b")):
        distributed(tmp_path / name, tensors(seed))
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    with pytest.raises(StoreError, match="has no name of its own"):
        average(Path("../a"), Path("../b"), 0.5, Path(out))


@pytest.mark.parametrize("room", [3 << 20, (8 << 20) + 500])
@pytest.mark.parametrize("form", ["safetensors", "plain", "distributed"])
def test_a_full_disk_leaves_nothing(form: str, room: int, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    for name in ("a", "b"):
        FORMS[form][0]({f"layer{i}": torch.ones(1 << 18) for i in range(8)}, tmp_path / name)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(StoreError, match=r"out could not be written"):
            average(tmp_path / "a", tmp_path / "b", 0.5, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


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


def hugging_face(folder: Path, seed: int, **how: Any) -> Any:
    transformers = optional.load("transformers")
    torch.manual_seed(seed)
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=50, n_positions=16)
    model = transformers.GPT2LMHeadModel(config)  # which ties its embedding and head
    model.save_pretrained(folder, **how)
    return model


@pytest.mark.parametrize("shard", ["5GB", "4KB"])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_hugging_face_folder_is_loaded_by_from_pretrained(kind: str, shard: str, tmp_path: Path) -> None:
    transformers = optional.load("transformers")
    start = hugging_face(tmp_path / "a", 1)
    end = hugging_face(tmp_path / "b", 2, max_shard_size=shard)
    if kind == "bin":
        as_bin(tmp_path / "b")
    (tmp_path / "b" / "optimizer.pt").write_bytes(b"0" * 100)
    (tmp_path / "b" / "tokenizer.json").write_text("{}")
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "b" / "vocab.txt").symlink_to(tmp_path / "secret")
    notes = average(tmp_path / "a", tmp_path / "b", 0.3, tmp_path / "out")
    assert f"Not copied from {tmp_path / 'b'}: optimizer.pt, vocab.txt." in notes
    expected = {path.name for path in (tmp_path / "b").iterdir()} - {"optimizer.pt", "vocab.txt"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected
    found = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out", local_files_only=True)
    assert found.lm_head.weight is found.transformer.wte.weight
    first, last = start.state_dict(), end.state_dict()
    assert same(found.state_dict(), {name: state.lerp(first[name], last[name], 0.3) for name in last})
    if kind == "safetensors":
        for path in (tmp_path / "b").glob("*.safetensors"):
            with safe_open(path, "pt") as given, safe_open(tmp_path / "out" / path.name, "pt") as written:
                assert list(written.keys()) == list(given.keys())
                assert written.metadata()["format"] == "pt"


def as_bin(folder: Path) -> None:
    """As older versions of transformers wrote it, with both names of tied weights."""
    for path in folder.glob("model*.safetensors"):
        held = safetensors.torch.load_file(path)
        if "transformer.wte.weight" in held:
            held["lm_head.weight"] = held["transformer.wte.weight"]
        torch.save(held, path.with_name(path.name.replace("model", "pytorch_model").replace(".safetensors", ".bin")))
        path.unlink()
    index = folder / "model.safetensors.index.json"
    if index.exists():
        read = json.loads(index.read_text())
        places = read["weight_map"]
        places["lm_head.weight"] = places["transformer.wte.weight"]
        read["weight_map"] = {
            name: place.replace("model", "pytorch_model").replace(".safetensors", ".bin")
            for name, place in places.items()
        }
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(read))
        index.unlink()


def test_links_into_the_cache_of_hugging_face_are_followed(tmp_path: Path) -> None:
    transformers = optional.load("transformers")
    hugging_face(tmp_path / "a", 1)
    blobs, folder = tmp_path / "models--x" / "blobs", tmp_path / "models--x" / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    folder.mkdir(parents=True)
    for number, path in enumerate((tmp_path / "a").iterdir()):
        path.rename(blobs / str(number))
        (folder / path.name).symlink_to(Path("../../blobs") / str(number))
    average(folder, folder, 0.5, tmp_path / "out")
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)


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


MEASURED = """
import sys, threading, warnings
from pathlib import Path
import torch
from linescape import checkpoints
from linescape.checkpoints import averaging
from linescape.checkpoints.formats import streaming

def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

def average(folder, size):
    ends = [checkpoints.read(folder / size / end) for end in ("start", "end")]
    averaging.average(*ends, 0.3, folder / size / "out")

def watch():
    global most
    while not done.wait(0.001):
        most = max(most, anonymous())

warnings.simplefilter("ignore")
for folder in map(Path, sys.argv[1:]):
    average(folder, "small")  # imports all
    before, most, done = anonymous(), 0.0, threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    average(folder, "large")
    done.set()
    watcher.join()
    print(most - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured where Linux says it")
def test_about_one_tensor_is_in_memory(tmp_path: Path) -> None:
    def folder(held: Tensors, path: Path) -> None:
        path.mkdir()
        safetensors.torch.save_file(held, path / "model.safetensors", {"format": "pt"})

    writers = {name: FORMS[name][0] for name in ("safetensors", "plain", "distributed")} | {"hugging face": folder}
    for form, write in writers.items():
        for size, count in (("large", 1 << 20), ("small", 1)):  # 2 MiB a tensor, 40 in all
            (tmp_path / form / size).mkdir(parents=True)
            for seed, name in enumerate(("start", "end")):
                held = {f"layer{i}": torch.full((count,), seed + i / 20, dtype=torch.bfloat16) for i in range(20)}
                write(held, tmp_path / form / size / name)
    said = subprocess.run(
        [sys.executable, "-c", MEASURED, *(str(tmp_path / form) for form in writers)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert said.returncode == 0, said.stderr
    grown = dict(zip(writers, map(float, said.stdout.split()), strict=True))
    assert max(grown.values()) < 8, grown  # MiB
