from __future__ import annotations

import errno
import json
import math
import os
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from linescape import checkpoints
from linescape.errors import DamagedError, StoreError
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.recipe import (
    LSTM,
    MLP,
    VGG,
    Barrier,
    Data,
    EfficientNetLite,
    Optimizer,
    Poison,
    Random,
    Recipe,
    ResNet,
    Schedule,
    Trained,
    Weights,
)
from linescape.studies.places.local import LocalFolder
from linescape.studies.store import LOG, Row, Store, recipe_of
from linescape.studies.study import Keep, Moment, Scan, Task, Train, hump_line
from linescape.training.loop import Checkpoint

PLAIN = Recipe(Data("digits"), MLP((3,)), schedule=Schedule(2))
TASK = Train(PLAIN)
LINE = hump_line(PLAIN)
ROWS: list[Row] = [
    dict(zip(LOG, (0, 2.0, 90.0, None, None, 0.1, 1.5), strict=True)),
    dict(zip(LOG, (1, math.nan, 100.0, math.inf, 100.0, 0.1, 1.5), strict=True)),
]
STATE = State(
    {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([0.1, math.nan])},
    {"mean": torch.ones(2), "count": torch.tensor(7)},
    {"tied": "w"},
)
END = Checkpoint(STATE, 12, {"momentum_buffer/w": torch.ones(2, 3)}, loss_sum=0.1 + 0.2, wrong=3, seen=5)
CURVE = Curve(np.array([0.0, 1.0]), {("test", "error", "interpolate"): np.array([[1.0, 2], [np.nan, 4]])}, {"a": 1})


# The keys of published results. If a line here has to change, every store in the world loses that result: find
# another way (a new field needs a default that does nothing).
@pytest.mark.parametrize(
    ("thing", "key"),
    [
        (Recipe(), "44136fa355b3678a"),
        (Recipe(seed=1), "fbe47f6d82b435a8"),
        (PLAIN, "e00c88110fc4c7f1"),
        (
            Recipe(
                Data("fashion-mini", 14, (0, 2), 0.2, 0.1, Poison(2), "crop-flip"),
                ResNet(8, 8, norm="none"),
                Optimizer("adamw", 1e-3, weight_decay=5e-4),
                Schedule(30, "step", (10, 20), warmup=1),
                Random("orthogonal", 2.0),
            ),
            "770163e3a8d405a2",
        ),
        (Recipe(optimizer=Optimizer(precision="bfloat16")), "bfa2706574655341"),
        (Recipe(optimizer=Optimizer(native=True)), "bfb97af0036f016a"),
        (Recipe(init=Trained(PLAIN, ("fc",), "own", False, "kept")), "ff661f87e1af313a"),
        (Recipe(init=Barrier(PLAIN)), "d0bb8183475f1113"),
        (Recipe(init=Weights("resnet18-f37072fd.pth", "f37072fd")), "eeff52edc7659484"),
        (Recipe(model=EfficientNetLite(64), init=Weights("/a/b.pth", "57934424", ("stem", "fc"))), "816242a42a5b4841"),
        (Recipe(order_seed=1), "0198ed1d3ed91509"),
        (Recipe(init=Trained(PLAIN, at="epoch", number=3, schedule="continued")), "428fedc41b873cd3"),
        (Recipe(init=Trained(PLAIN, order="shared")), "c27d26a5f193be62"),
        (Keep(Moment(PLAIN, "step", 5)), "268a8eab533cfc85"),
        (Keep(Moment(PLAIN, "epoch", 5)), "ecf8b0d05b6c99b8"),
        (Scan(Moment(PLAIN, "step", 5), Moment(PLAIN)), "fb6d3161f3b1057c"),
        (TASK, "38deae04bfaf7957"),
        (LINE, "5b76714d2b608a14"),
        (
            Scan(Moment(PLAIN), Moment(Recipe(), "start"), "layer1", "start", 11, ("recalibrate",), 100),
            "49d65d90038091e9",
        ),
    ],
)
def test_keys_are_frozen(thing: Recipe | Task, key: str) -> None:
    assert thing.key == key


def test_writing_defaults_out_changes_no_key() -> None:
    written = msgspec.convert(msgspec.to_builtins(LINE), Scan)
    assert written.key == LINE.key
    assert Scan(LINE.start, LINE.end, "", "end", 50, ("interpolate",), 1000).key == LINE.key
    assert Recipe(Data(fraction=1), ResNet(), Optimizer(), Schedule(), Random(), 0).key == Recipe().key


def test_weights_are_named_by_their_content() -> None:
    one, moved, other = (Recipe(init=Weights(*at)) for at in (("a", "0" * 8), ("/b/c", "0" * 8), ("a", "1" * 8)))
    assert one.key == moved.key != other.key
    assert one.needs() == ()
    assert Train(one).needs() == ()


def test_defaults_are_part_of_the_keys_meaning() -> None:
    # A default that changes would keep the key and mean something else: old results would pass for new ones.
    assert msgspec.to_builtins(hump_line(Recipe()))["end"] == {
        "recipe": {
            "data": {
                "name": "fashion-mini",
                "size": 0,
                "classes": (),
                "fraction": 1.0,
                "label_noise": 0.0,
                "poison": None,
                "augment": "none",
                "mixup": 0.0,
                "shuffled_blocks": 0,
                "held_out": 0.0,
                "own": None,
            },
            "model": {
                "name": "resnet",
                "depth": 18,
                "width": 64,
                "norm": "batch",
                "skips": True,
                "stem": "cifar",
                "resolution": 0,
                "identity": False,
            },
            "optimizer": {
                "name": "sgd",
                "lr": 0.1,
                "momentum": 0.9,
                "weight_decay": 0.0,
                "batch_size": 128,
                "precision": "float32",
                "native": False,
            },
            "schedule": {
                "epochs": 100,
                "kind": "constant",
                "drops": (),
                "factor": 0.1,
                "warmup": 0.0,
                "until_error": 0.0,
            },
            "init": {"from": "random", "scheme": "default", "scale": 1.0},
            "seed": 0,
            "order_seed": 0,
            "trains": {"trained": "everything"},
        },
        "at": "end",
        "number": None,
    }
    rest = {name: value for name, value in msgspec.to_builtins(LINE).items() if name not in ("start", "end", "task")}
    examples = {"train_examples": 1000, "test_examples": 0}
    along = {"along": {"path": "line"}, "positions": (), "blocks": ()}
    assert rest == {"block": "", "rest": "end", "alphas": 50, "batchnorm": ("interpolate",)} | examples | along
    other = {"reset": (), "to": "fresh", "statistics": True, "optimizer": "new"}
    other |= {"at": "end", "number": None, "schedule": "new", "order": "own"}
    assert {**msgspec.to_builtins(Trained(PLAIN)), "recipe": 0} == {"from": "trained", "recipe": 0, **other}
    weights = {"from": "weights", "file": "a", "sha256": "0" * 8, "reset": ("fc",)}
    assert msgspec.to_builtins(Weights("a", "0" * 8)) == weights
    assert msgspec.to_builtins(EfficientNetLite()) == {"name": "efficientnet-lite", "resolution": 0}
    assert msgspec.to_builtins(Poison()) == {"copies": 1, "zeroed": 0.1}
    mlp = {"name": "mlp", "hidden": (200, 200), "activation": "relu", "norm": "none", "pieces": 5, "bias": "all"}
    assert msgspec.to_builtins(MLP()) == mlp
    assert msgspec.to_builtins(LSTM()) == {"name": "lstm", "hidden": 128, "layers": 1}
    assert msgspec.to_builtins(VGG()) == {"name": "vgg", "depth": 16, "width": 64, "norm": "batch", "head": "cifar"}


def same(left: State, right: State) -> bool:
    assert list(left) == list(right)
    assert (list(left.buffers), dict(left.tied)) == (list(right.buffers), dict(right.tied))
    return all(torch.equal(left[name].nan_to_num(5.5), right[name].nan_to_num(5.5)) for name in left)


def fill(root: Path) -> Store:
    store = Store(root)
    store.save_training(TASK, STATE, END, ROWS, {"seconds": 1.0, "diverged": True})
    store.save_curve(LINE, CURVE, {"seconds": 2.0})
    return store


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    store = fill(tmp_path / "new")
    assert store.has(TASK)
    assert store.has(LINE)
    assert same(store.state(Moment(PLAIN, "start")), STATE)
    trained = store.checkpoint(Moment(PLAIN))
    assert same(trained.state, STATE)
    assert (trained.step, list(trained.optimizer)) == (12, ["momentum_buffer/w"])
    log = store.log(PLAIN)
    assert log.schema == LOG
    assert log["test_loss"].to_list() == [None, math.inf]
    assert math.isnan(log["train_loss"][1])
    assert store.diverged(PLAIN)
    assert store.declined(TASK) is None
    assert np.array_equal(store.curve(LINE)["test"].values, CURVE["test"].values, equal_nan=True)
    assert store.record(LINE)["seconds"] == 2.0


def test_a_store_says_in_words_what_it_holds(tmp_path: Path) -> None:
    store = fill(tmp_path)
    assert msgspec.json.decode((store.folder(TASK) / "task.json").read_bytes(), type=Train) == TASK
    assert msgspec.json.decode((store.folder(LINE) / "task.json").read_bytes(), type=Scan) == LINE


def test_its_checkpoints_are_checkpoints_like_any_other(tmp_path: Path) -> None:
    found = checkpoints.read(fill(tmp_path).path(Moment(PLAIN)))
    assert set(found) == set(STATE)
    assert recipe_of(found.metadata or {}) == PLAIN
    assert recipe_of({}) is None
    assert recipe_of({"linescape": json.dumps({"recipe": {"data": 3}})}) is None


def test_what_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.has(TASK)
    with pytest.raises(StoreError, match="no result for the training .* yet. Run its study first"):
        store.state(Moment(PLAIN))
    with pytest.raises(StoreError, match="no result for the line"):
        store.curve(LINE)
    assert list(tmp_path.iterdir()) == []


def test_a_declined_task_is_settled_and_says_why(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.decline(LINE, "its end diverged", {})
    assert store.has(LINE)
    assert store.declined(LINE) == "its end diverged"
    with pytest.raises(StoreError, match="its end diverged"):
        store.curve(LINE)


@pytest.mark.parametrize("name", ["start.safetensors", "end.safetensors", "optimizer.safetensors", "log.parquet"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", *(["pipe", "link"] if hasattr(os, "mkfifo") else [])])
def test_a_damaged_result_is_noticed(name: str, damage: str, tmp_path: Path) -> None:
    store = fill(tmp_path)
    path = store.folder(TASK) / name
    content = path.read_bytes()
    if damage in ("gone", "pipe", "link"):
        path.unlink()
        if damage == "pipe":
            os.mkfifo(path)
        if damage == "link":
            path.symlink_to("nowhere")
    else:
        middle = len(content) // 2
        path.write_bytes(
            content[:middle] + (bytes([content[middle] ^ 1]) + content[middle + 1 :]) * (damage == "flipped")
        )

    def read() -> None:
        store.state(Moment(PLAIN, "start"))
        store.checkpoint(Moment(PLAIN))
        store.log(PLAIN)

    with pytest.raises(DamagedError, match=f"{name} is damaged .* Run the study again, which does that task anew"):
        read()
    assert not store.has(TASK)
    assert not Store(tmp_path).has(TASK)
    assert name in store.damaged[TASK]
    store.save_training(TASK, STATE, END, ROWS, {})
    assert store.has(TASK)
    assert store.damaged == {}
    assert store.record(TASK)["remarks"][0].startswith(f"was done again: {path} is damaged")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"{}", b"\xff", b"\0" * 30, b'{"files": {}}', b'{"files": []}', b"[" * 99999]
)
def test_a_damaged_record_is_noticed(content: bytes, tmp_path: Path) -> None:
    store = fill(tmp_path)
    (store.folder(LINE) / "done.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"(done\.json|curve\.safetensors) is damaged"):
        store.curve(LINE)


def test_every_field_of_a_record_counts(tmp_path: Path) -> None:
    store = fill(tmp_path)
    path = store.folder(TASK) / "done.json"
    whole = json.loads(path.read_bytes())
    assert (whole["task"], set(whole["files"])) == (
        TASK.key,
        {f"{n}.safetensors" for n in ("start", "end", "optimizer")} | {"log.parquet"},
    )
    edits = [{**whole, "seconds": 1.5}, {**whole, "diverged": False}, {**whole, "more": 1}, {**whole, "declined": "no"}]
    edits += [{key: value for key, value in whole.items() if key != left_out} for left_out in whole]
    for edited in edits:
        path.write_text(json.dumps(edited))
        with pytest.raises(DamagedError, match=r"done\.json is damaged"):
            store.record(TASK)
        assert not store.has(TASK)
    path.write_text(json.dumps(whole))  # spaces do not count
    assert store.has(TASK)


def test_no_bit_of_a_record_may_flip(tmp_path: Path) -> None:
    store = fill(tmp_path)
    expected, path = store.record(LINE), store.folder(LINE) / "done.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            assert store.record(LINE) == expected  # only a space or a line's end
        except DamagedError:
            continue


def earlier(store: Store, task: Task) -> None:
    """Make a record as it was before records had a digest."""
    path = store.folder(task) / "done.json"
    record = json.loads(path.read_bytes())
    del record["task"], record["digest"]
    record.pop("moves", None)
    computed = {
        "device": "cpu",
        "compiler": True,
        "versions": {"torch": "2.13.0+cpu"},
        "finished": "2026-11-28T03:49:05",
    }
    path.write_text(json.dumps({**computed, "native_convolutions": False, **record}, indent=1))


def test_records_of_before_the_digest_are_read(tmp_path: Path) -> None:
    store = fill(tmp_path)
    for task in (TASK, LINE):
        earlier(store, task)
        assert Store(tmp_path).has(task)
    assert same(store.state(Moment(PLAIN)), STATE)
    (store.folder(LINE) / "task.json").write_text("{")  # only words
    assert Store(tmp_path).has(LINE)
    path = store.folder(TASK) / "done.json"
    path.write_bytes(path.read_bytes().replace(b"diverged", b"divergeD"))
    assert not store.has(TASK)


@pytest.mark.parametrize("old", [False, True])
def test_results_in_another_tasks_place_are_refused(tmp_path: Path, old: bool) -> None:
    store, other = fill(tmp_path), Recipe(seed=3)
    store.save_training(Train(other), STATE, END, [], {})
    store.save_curve(hump_line(other), CURVE, {})
    store.decline(Train(Recipe(seed=4)), "why not", {})
    for task, misplaced in ((TASK, Train(other)), (LINE, hump_line(other)), (Train(Recipe(seed=4)), TASK)):
        if old:
            earlier(store, task)
        aside = tmp_path / "aside"
        shutil.copytree(store.folder(misplaced), aside)
        shutil.rmtree(store.folder(misplaced))
        shutil.copytree(store.folder(task), store.folder(misplaced))
        assert not store.has(misplaced)
        assert "another task" in store.damaged[misplaced]
        assert store.has(task)
        shutil.rmtree(store.folder(misplaced))
        aside.rename(store.folder(misplaced))


def test_what_may_not_be_read_is_not_taken_for_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(tmp_path)

    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(
            StoreError, match=r"done\.json cannot be read: Permission denied. Check its permissions"
        ) as caught:
            store.has(TASK)
    assert not isinstance(caught.value, DamagedError)
    assert store.damaged == {}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        with pytest.raises(StoreError, match="cannot be read: Permission denied"):
            store.has(TASK)
    assert store.has(TASK)


def test_results_are_read_whole_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(tmp_path)
    assert store.has(TASK)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", None)
        assert store.has(TASK)
    (store.folder(TASK) / "log.parquet").unlink()
    assert not store.has(TASK)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="not empty and has no linescape.json"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="is a file. Results need a folder"):
        Store(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_another_process_makes_meanwhile_is_one_of_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LocalFolder.read

    def just_before(self: LocalFolder, name: str) -> bytes:
        monkeypatch.setattr(LocalFolder, "read", read)
        fill(tmp_path)
        raise FileNotFoundError(name)

    monkeypatch.setattr(LocalFolder, "read", just_before)
    assert Store(tmp_path).has(TASK)


def test_a_newer_or_damaged_mark_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "linescape.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="written in format 99, but this linescape knows format 1"):
        Store(tmp_path)
    for content in ("", "[]", "{}", "[" * 99999):
        (tmp_path / "linescape.json").write_text(content)
        with pytest.raises(DamagedError, match=r"linescape\.json is damaged"):
            Store(tmp_path)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full. Free some"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "no. Check the disk and the folder"),
        (errno.EFBIG, "larger than is allowed here"),
    ],
)
def test_a_failed_write_loses_nothing(number: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    room, real = [0], Path.replace

    def replace(self: Path, target: Path) -> Path:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(number, "no")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    other = State({"w": torch.zeros(1)})

    def save(new: Recipe) -> None:
        store.save_training(Train(new), other, Checkpoint(other), [], {"seconds": 0})
        store.save_curve(hump_line(new), CURVE, {})

    for renames in range(11):  # seven files of the training, four of the curve
        room[0] = renames
        with pytest.raises(StoreError, match=said):
            save(new := Recipe(seed=9 + renames))
        assert not store.has(hump_line(new))
        assert store.has(Train(new)) == (renames >= 7)
        assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]
        assert all(path.read_bytes() == content for path, content in before.items())


def test_a_place_where_no_folder_can_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "no", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    store = Store(tmp_path / "new")
    with pytest.raises(StoreError, match="you may not write there"), store.claim(TASK):
        pass
    with pytest.raises(StoreError, match="you may not write there"):
        store.save_curve(LINE, CURVE, {})


def test_a_task_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    with one.claim(TASK) as held:
        assert held
        with other.claim(TASK) as also:
            assert not also
        with other.claim(LINE) as different:
            assert different
    with other.claim(TASK) as now:
        assert now


def test_left_overs_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.claim(TASK):
        left = store.folder(TASK) / ".end.safetensors.123-4.partial"
        left.write_bytes(b"half")
    with store.claim(TASK):
        assert not left.exists()


@pytest.mark.parametrize("moment", ["signatures", "read"])
def test_a_result_that_is_removed_while_it_is_looked_at_is_missing(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store, look = fill(tmp_path).folder(TASK), Store(tmp_path), getattr(LocalFolder, moment)

    def just_before(self: LocalFolder, *given: object) -> object:
        found = look(self, *given)
        shutil.rmtree(folder, ignore_errors=True)
        return found

    monkeypatch.setattr(LocalFolder, moment, just_before)
    assert not store.has(TASK)
    assert store.damaged == {}
