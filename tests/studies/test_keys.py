"""The keys that name results, and the defaults that are part of their meaning."""

from __future__ import annotations

import msgspec
import pytest

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
from linescape.studies.study import Keep, Moment, Scan, Task, Train, hump_line
from tests.support.stored import LINE, PLAIN, TASK


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
