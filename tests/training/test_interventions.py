from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import asdict, replace

from linescape import data, models
from linescape.errors import CheckpointError, GroupError, RecipeError
from linescape.geometry.groups import by_block
from linescape.recipe import (
    MLP,
    VGG,
    Barrier,
    Data,
    EfficientNetLite,
    LeNet,
    Model,
    Optimizer,
    Poison,
    Random,
    Recipe,
    ResNet,
    Schedule,
    Trained,
    Weights,
)
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Moment, Train
from linescape.training import interventions as change

BASE = Recipe(
    Data("fashion-mini", augment="crop-flip"),
    ResNet(20, 16),
    Optimizer(weight_decay=5e-4),
    Schedule(100, "step", drops=(33, 66), warmup=2.0),
    seed=3,
)


def differing(recipe: Recipe) -> set[str]:
    """Which fields, one level down, an intervention changed."""
    found = set()
    for part, held in asdict(BASE).items():
        other = getattr(recipe, part)
        if type(held) is not type(other) or not hasattr(held, "__struct_fields__"):
            found |= {part} if held != other else set()
        else:
            found |= {f"{part}.{name}" for name, value in asdict(held).items() if value != getattr(other, name)}
    return found


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("init_scheme=orthogonal", {"init.scheme"}),
        ("init_scale=0.5", {"init.scale"}),
        ("noise", {"init.scheme"}),
        ("zeros", {"init.scheme"}),
        ("pretrained=cifar10", {"init"}),
        ("adversarial", {"init"}),
        ("restart_at_barrier", {"init"}),
        ("partial=layer1", {"init"}),
        ("data_fraction=0.2", {"data.fraction"}),
        ("label-noise=0.4", {"data.label_noise"}),
        ("augmentation=none", {"data.augment"}),
        ("mixup=0.2", {"data.mixup"}),
        ("weight_decay=0", {"optimizer.weight_decay"}),
        ("learning_rate=0.01", {"optimizer.lr"}),
        ("batch_size=32", {"optimizer.batch_size"}),
        ("momentum=0", {"optimizer.momentum"}),
        ("optimizer=adam,lr=0.001", {"optimizer.name", "optimizer.lr"}),
        ("schedule=cosine", {"schedule.kind", "schedule.drops"}),
        ("length=10", {"schedule.epochs", "schedule.drops", "schedule.warmup"}),
        ("depth=32", {"model.depth"}),
        ("width=8", {"model.width"}),
        ("norm=none", {"model.norm"}),
        ("skips=false", {"model.skips"}),
    ],
)
def test_an_intervention_changes_what_it_names(text: str, changed: set[str]) -> None:
    assert differing(change.apply(BASE, text)) == changed


def test_every_intervention_has_a_name_and_a_source_or_reason() -> None:
    tested = {"init_scheme", "skips", "partial", "pretrained", "length"}
    assert tested < set(change.names())
    public = {
        name
        for name, value in vars(change).items()
        if inspect.isfunction(value) and value.__module__ == change.__name__ and not name.startswith("_")
    }
    assert public - {"names", "by_name", "apply"} == set(change.names())
    assert all(change.by_name(name).__doc__ for name in change.names())


def test_equal_levels_are_equal_recipes() -> None:
    assert change.weight_decay(BASE, 0).key == replace(BASE, optimizer=Optimizer(weight_decay=0.0)).key
    assert change.apply(BASE, "weight_decay=5e-4").key == BASE.key
    assert change.apply(BASE, "data_fraction=1").key == BASE.key


def test_pre_training_replaces_the_head() -> None:
    found = change.pretrained(BASE, Data("cifar10"), schedule=Schedule(5), seed=0)
    assert found.init == Trained(replace(BASE, data=Data("cifar10"), schedule=Schedule(5), seed=0), ("fc",))
    assert replace(found, init=Random()) == BASE


def test_adversarial_pre_training_is_plain_sgd_on_poison() -> None:
    found = change.adversarial(change.weight_decay(BASE, 0), copies=2, epochs=50)
    assert isinstance(found.init, Trained)
    other = found.init.recipe
    assert other.data == Data("fashion-mini", poison=Poison(2, 0.1))
    assert other.optimizer == Optimizer(momentum=0.0)
    assert other.schedule == Schedule(50, "step", drops=(21, 36), until_error=0.01)
    source = change.adversarial(BASE).init
    assert isinstance(source, Trained)
    assert source.recipe.schedule == Schedule(350, "step", drops=(150, 250), until_error=0.01)
    assert (source.recipe.optimizer.lr, source.recipe.optimizer.weight_decay) == (0.1, 0.0)
    few = change.adversarial(change.mixup(BASE), fraction=0.1)
    assert isinstance(few.init, Trained)
    assert few.init.recipe.data == Data("fashion-mini", fraction=0.1, poison=Poison(1, 0.1))
    assert few.data.mixup == 1.0
    assert found.init.reset == ()
    assert found.data == BASE.data
    assert change.apply(BASE, "adversarial=1,lr=0.05").init.recipe.optimizer.lr == 0.05  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("model", "images", "epochs"),
    [(MLP((100,)), 200, 60), pytest.param(ResNet(8, 8), 300, 60, marks=pytest.mark.slow)],
)
def test_small_networks_learn_the_random_labels_of_a_few_hundred_poisoned_images(
    model: Model, images: int, epochs: int, tmp_path: Path
) -> None:
    # Of 10,000 images of 14 x 14: the MLP took 28 to 53 epochs in six trials, the ResNet 42 in one.
    base = Recipe(Data("fashion-mini", size=14), model, Optimizer(batch_size=32))
    source = change.adversarial(base, fraction=images / 10_000).init
    assert isinstance(source, Trained)
    store = Store(tmp_path)
    assert work([Train(source.recipe)], store, progress=False).failed == {}
    log = store.log(source.recipe)
    assert (log["train_error"].to_numpy() > 0.01).tolist() == [True] * (len(log) - 1) + [False]
    assert len(log) <= epochs
    dataset = data.load(source.recipe.data)
    network = models.draw(model, dataset.shape, 10, Random(), 0).eval()
    store.state(Moment(source.recipe)).load_into(network)
    with torch.no_grad():
        wrong = network(dataset.normalise(dataset.train.inputs)).argmax(1) != dataset.train.targets
    assert len(wrong) == images
    assert 100 * float(wrong.float().mean()) <= 0.01
    assert log["test_error"][-1] > 70, "nothing of the true labels was learnt"


def test_partial_pre_training_repeats_the_recipe() -> None:
    assert change.partial(BASE, "layer1", "fc").init == Trained(BASE, ("layer1", "fc"))
    found = change.apply(BASE, "partial=layer1,layer2,to=own,statistics=false,optimizer=kept")
    assert found.init == Trained(BASE, ("layer1", "layer2"), "own", False, "kept")
    assert replace(found, init=Random()) == BASE


def test_a_file_is_named_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "weights").mkdir(parents=True)
    inside, outside = tmp_path / "data" / "weights" / "a.pth", tmp_path / "b.pth"
    torch.save(models.draw(BASE.model, (1, 28, 28), 10, Random(), 0).state_dict(), inside)
    outside.write_bytes(inside.read_bytes())
    digest = hashlib.sha256(inside.read_bytes()).hexdigest()
    for typed in ("a.pth", str(inside)):
        assert change.apply(BASE, f"from_file={typed}") == replace(BASE, init=Weights("a.pth", digest))
    elsewhere = change.from_file(BASE, str(outside))
    assert elsewhere.init == Weights(str(outside), digest)
    assert elsewhere.key == change.from_file(BASE, "a.pth").key
    monkeypatch.chdir(tmp_path)
    assert change.apply(BASE, "from_file=b.pth,reset=stem/fc").init == Weights(str(outside), digest, ("stem", "fc"))
    assert change.apply(BASE, "from_file=b.pth,reset=").init == Weights(str(outside), digest, ())


def test_a_file_that_does_not_fit_is_noticed_at_once(tmp_path: Path) -> None:
    torch.save(models.draw(BASE.model, (3, 32, 32), 100, Random(), 0).state_dict(), tmp_path / "a.pth")
    file = str(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"'conv1\.weight' is \(16, 3, 3, 3\) and here \(16, 1, 3, 3\)"):
        change.from_file(BASE, file)
    assert change.from_file(BASE, file, ("stem", "fc")).init.reset == ("stem", "fc")  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match=r"'fc\.weight' is \(100, 64\) and here \(10, 64\)"):
        change.from_file(replace(BASE, data=Data("cifar10", size=16)), file, ())
    with pytest.raises(CheckpointError, match="lacks 'layer1.3.conv1.weight'"):
        change.from_file(change.depth(BASE, 32), file)
    with pytest.raises(CheckpointError, match="There is no file"):
        change.from_file(BASE, file + "t")
    with pytest.raises(GroupError, match="no group 'layer7'"):
        change.from_file(BASE, file, ("layer7",))


def test_a_restart_begins_on_its_own_line() -> None:
    assert change.restart_at_barrier(BASE) == replace(BASE, init=Barrier(BASE))


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_a_schedule_without_drops_has_no_factor(kind: str) -> None:
    stepped = replace(BASE, schedule=Schedule(9, "step", (3, 6), factor=0.5))
    assert change.apply(stepped, f"schedule={kind},warmup=0").schedule == Schedule(9, kind)  # type: ignore[arg-type]


def test_a_step_schedule_drops_at_thirds() -> None:
    assert change.schedule(replace(BASE, schedule=Schedule(100)), "step").schedule.drops == (33, 66)
    assert change.schedule(BASE, "step", warmup=0).schedule == replace(BASE.schedule, warmup=0.0)


@pytest.mark.parametrize(
    ("model", "blocks"),
    [
        (ResNet(20, 16), ("stem", "layer3", "fc")),
        (MLP((5, 5)), ("layer1", "layer2", "fc")),
        (VGG(11, 4), ("block5", "fc")),
    ],
)
def test_blocks_are_the_networks(model: Any, blocks: tuple[str, ...]) -> None:
    recipe = replace(BASE, model=model)
    assert set(blocks) <= set(by_block(models.build(model, (3, 32, 32), 10)))
    assert change.partial(recipe, *blocks).init == Trained(recipe, blocks)


def test_width_of_an_mlp_is_that_of_every_hidden_layer() -> None:
    assert change.width(replace(BASE, model=MLP((5, 6))), 7).model == MLP((7, 7))


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (lambda: change.depth(replace(BASE, model=MLP()), 3), "A MLP has no depth to change. Use a ResNet or VGG"),
        (lambda: change.depth(BASE, 19), "19"),
        (lambda: change.depth(replace(BASE, model=VGG()), 12), "12"),
        (lambda: change.width(replace(BASE, model=LeNet()), 3), "A LeNet has no width"),
        (lambda: change.width(replace(BASE, model=EfficientNetLite()), 3), "A EfficientNetLite has no width"),
        (lambda: change.norm(replace(BASE, model=EfficientNetLite()), "none"), "has no normalisation"),
        (lambda: change.width(BASE, 0), "0"),
        (lambda: change.norm(replace(BASE, model=LeNet()), "none"), "A LeNet has no normalisation"),
        (lambda: change.norm(replace(BASE, model=MLP()), "group"), "group"),
        (lambda: change.norm(BASE, "bach"), "bach"),  # type: ignore[arg-type]
        (lambda: change.skips(replace(BASE, model=VGG()), False), "A VGG has no residual connections"),
        (lambda: change.partial(BASE), "no block '' to set back. Known: 'stem'"),
        (lambda: change.partial(BASE, "layer9"), "Did you mean 'layer"),
        (lambda: change.data_fraction(BASE, 0.0), r"fraction is 0.0, .*, in \(0, 1\]"),
        (lambda: change.data_fraction(BASE, float("nan")), "nan"),
        (lambda: change.label_noise(BASE, 1.5), "label_noise is 1.5"),
        (lambda: change.weight_decay(BASE, -1), "weight_decay is -1"),
        (lambda: change.batch_size(BASE, 0), "batch_size is 0"),
        (lambda: change.momentum(BASE, 1.0), "momentum is 1.0"),
        (lambda: change.length(BASE, -1), "epochs is -1"),
        (lambda: change.optimizer(BASE, "lamb"), "lamb"),  # type: ignore[arg-type]
        (lambda: change.init_scale(change.restart_at_barrier(BASE), 2.0), "starts from another training's result"),
    ],
)
def test_what_is_impossible_is_an_error(do: Callable[[], Recipe], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        do()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wait_decay=0", "no intervention 'wait_decay'. Did you mean 'weight_decay'"),
        ("", "no intervention ''"),
        ("weight_decay", "missing a required argument: 'value'. Write it as weight_decay=VALUE"),
        ("weight_decay=much", "'much' is no value for 'value'"),
        ("weight_decay=1,2", "too many positional"),
        ("batch_size=1.5", "'1.5' is no value"),
        ("skips=perhaps", "'perhaps' is no value"),
        ("optimizer=sgdd", "'sgdd' is no value for 'name'"),
        ("optimizer=adam,rl=1", "has the setting 'rl=1'.*Did you mean 'lr'.*Write it as optimizer=NAME,lr=None"),
        ("noise=3", "noise takes no value"),
        ("pretrained=cifar10,seed=1", "has the setting 'seed=1'"),
        ("from_file", "missing a required argument: 'path'. Write it as from_file=PATH,reset=fc"),
    ],
)
def test_what_is_typed_wrong_is_an_error_with_the_usage(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        change.apply(BASE, text)
