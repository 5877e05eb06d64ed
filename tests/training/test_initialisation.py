from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from linescape import checkpoints, data, models
from linescape.errors import CheckpointError, GroupError, RecipeError
from linescape.geometry.state import State, lerp
from linescape.models.efficientnet import own_names
from linescape.recipe import (
    MLP,
    Data,
    EfficientNetLite,
    Model,
    Optimizer,
    Random,
    Recipe,
    ResNet,
    Schedule,
    Trained,
    Weights,
)
from linescape.studies.doing import do
from linescape.studies.states import state
from linescape.studies.store import Store
from linescape.studies.study import Moment, Train
from linescape.training import weight_files
from linescape.training.initialisation import at_barrier, carried_over, draw, from_file
from linescape.training.loop import Checkpoint, train

OTHER = Recipe(
    Data("fashion-mini", size=8, fraction=0.01), ResNet(8, 4), Optimizer(batch_size=50, weight_decay=0.1), Schedule(1)
)
SHAPE = (1, 8, 8)


def drawn(recipe: Recipe, shape: tuple[int, ...], classes: int) -> State:
    return State.from_module(draw(recipe, shape, classes))


@pytest.fixture(scope="module")
def ends() -> tuple[State, Checkpoint]:
    begin = drawn(OTHER, SHAPE, 10)
    *_, last = train(OTHER, data.load(OTHER.data, OTHER.seed), begin)
    return begin, last.checkpoint()


def follow(init: Trained, ends: tuple[State, Checkpoint], classes: int = 10) -> Checkpoint:
    return carried_over(init, draw(replace(OTHER, init=init), SHAPE, classes), *ends)


def sources(found: State, **states: State) -> dict[str, set[str]]:
    """Which tensors of a state are those of which others (those that are equal in all are left out)."""
    differ = [name for name in found if not all(torch.equal(s[name], found[name]) for s in states.values())]
    return {key: {name for name in differ if torch.equal(state[name], found[name])} for key, state in states.items()}


def test_a_draw_depends_on_the_whole_recipe_and_nothing_else() -> None:
    first = drawn(OTHER, SHAPE, 10)
    torch.rand(3)
    assert torch.equal(drawn(OTHER, SHAPE, 10)["conv1.weight"], first["conv1.weight"])
    for other in (replace(OTHER, seed=1), replace(OTHER, optimizer=Optimizer())):
        assert not torch.equal(drawn(other, SHAPE, 10)["conv1.weight"], first["conv1.weight"])


def test_a_draw_follows_the_scheme() -> None:
    assert not any(value.any() for value in drawn(replace(OTHER, init=Random("zeros")), SHAPE, 10).parameters.values())


def test_everything_is_kept_unless_it_is_set_back(ends: tuple[State, Checkpoint]) -> None:
    found = follow(Trained(OTHER), ends)
    assert all(torch.equal(found.state[name], value) for name, value in ends[1].state.items())
    assert (found.step, found.optimizer, found.loss_sum, found.seen) == (0, {}, 0.0, 0)


@pytest.mark.parametrize("to", ["fresh", "own"])
@pytest.mark.parametrize("statistics", [True, False])
def test_a_block_is_set_back(ends: tuple[State, Checkpoint], to: str, statistics: bool) -> None:
    init = Trained(OTHER, ("layer1",), to, statistics)  # type: ignore[arg-type]
    found = follow(init, ends).state
    fresh = drawn(replace(OTHER, init=init), SHAPE, 10)
    got = sources(found, end=ends[1].state, own=ends[0], fresh=fresh)
    weights = {name for name in got[to] if ".conv" in name}
    assert weights == {"layer1.0.conv1.weight", "layer1.0.conv2.weight"}
    assert not any(name.startswith("layer1.") for name in got["end"] if "running" not in name and "num_" not in name)
    assert {name for name in found if "running_mean" in name} - got["end"] == (
        {"layer1.0.bn1.running_mean", "layer1.0.bn2.running_mean"} if statistics else set()
    )
    assert (int(found["layer1.0.bn1.num_batches_tracked"]) == 0) == statistics
    assert {"conv1.weight", "fc.weight", "layer3.0.bn1.weight"} <= got["end"]


def test_a_kept_optimizer_forgets_the_blocks_that_were_set_back(ends: tuple[State, Checkpoint]) -> None:
    found = follow(Trained(OTHER, ("layer1",), optimizer="kept"), ends)
    assert set(found.optimizer) == set(ends[1].optimizer)
    for key, value in found.optimizer.items():
        assert bool(value.any()) != ("/layer1." in key)
    *_, last = train(OTHER, data.load(OTHER.data, 0), found)
    assert not last.diverged


def test_an_optimizer_of_another_kind_cannot_be_kept() -> None:
    with pytest.raises(RecipeError, match="'adam' here and 'sgd' in the training"):
        replace(OTHER, init=Trained(OTHER, optimizer="kept"), optimizer=Optimizer("adam"))


def test_other_labels_need_another_head(ends: tuple[State, Checkpoint]) -> None:
    assert follow(Trained(OTHER, ("fc",)), ends, classes=7).state["fc.weight"].shape == (7, 16)
    with pytest.raises(RecipeError, match=r"'fc\.weight' is \(7, 16\).*has it as \(10, 16\).*Set back block 'fc'"):
        follow(Trained(OTHER), ends, classes=7)
    with pytest.raises(RecipeError, match="Set back block 'fc'"):
        follow(Trained(OTHER, ("fc",), "own"), ends, classes=7)


def test_another_network_cannot_be_carried_over(ends: tuple[State, Checkpoint]) -> None:
    init = Trained(OTHER)
    with pytest.raises(RecipeError, match=r"layers\.0\.weight.*lacks it"):
        carried_over(init, draw(replace(OTHER, init=init, model=MLP()), SHAPE, 10), *ends)
    with pytest.raises(RecipeError, match=r"no block 'layer9' to set back. Did you mean"):
        follow(Trained(OTHER, ("layer9",)), ends)


def test_the_barrier_is_the_top_of_the_hump(ends: tuple[State, Checkpoint]) -> None:
    begin, end = ends[0], ends[1].state
    found = at_barrier(begin, end, np.array([0, 0.25, 0.5, 0.75, 1]), np.array([2.3, 2.0, 2.9, 1.0, 0.1]))
    for name, value in found.items():
        assert torch.equal(value, lerp(begin[name], end[name], 0.5))


# -- from a file ----------------------------------------------------------------------------------------------------


def other_file(path: Path, classes: int = 7) -> dict[str, torch.Tensor]:
    """A network of as many classes, written as other programs do."""
    state = State.from_module(models.draw(OTHER.model, SHAPE, classes, Random(scale=2.0), 5)).state_dict()
    torch.save(state, path)
    return state


def start(path: Path, *reset: str, model: Model = OTHER.model, sha256: str = "") -> State:
    init = Weights(str(path), sha256 or weight_files.digest(path), reset)
    return from_file(init, draw(replace(OTHER, model=model, init=init), SHAPE, 10))


def test_a_file_is_taken_over_but_for_the_blocks_that_are_drawn_anew(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    theirs = other_file(file)
    found = start(file, "fc", "layer1")
    init = Weights(str(file), weight_files.digest(file), ("fc", "layer1"))
    fresh = drawn(replace(OTHER, init=init), SHAPE, 10)
    for name, value in found.items():
        assert torch.equal(value, fresh[name] if name.startswith(("fc.", "layer1.")) else theirs[name])
    assert list(found) == list(fresh)
    assert found["fc.weight"].shape == (10, 16)
    other = replace(OTHER, init=init, seed=1)
    assert not torch.equal(from_file(init, draw(other, SHAPE, 10))["fc.weight"], found["fc.weight"])


def test_a_training_begins_at_the_file_and_its_line_too(tmp_path: Path) -> None:
    theirs = other_file(tmp_path / "a.pth")
    recipe = replace(OTHER, init=Weights(str(tmp_path / "a.pth"), weight_files.digest(tmp_path / "a.pth")))
    store = Store(tmp_path / "runs")
    begin = Moment(recipe, "start")
    untrained = state(begin, store)
    do(Train(recipe), store)
    (tmp_path / "a.pth").unlink()  # what is trained needs the file no more
    for found in (untrained, store.state(begin), state(begin, store)):
        assert torch.equal(found["layer3.0.conv2.weight"], theirs["layer3.0.conv2.weight"])
        assert torch.equal(found["fc.weight"], untrained["fc.weight"])
    assert not torch.equal(store.state(Moment(recipe))["conv1.weight"], theirs["conv1.weight"])


def test_nothing_need_be_drawn_anew(tmp_path: Path) -> None:
    theirs = other_file(tmp_path / "a.pth", classes=10)
    found = start(tmp_path / "a.pth")
    assert all(torch.equal(found[name], value) for name, value in theirs.items())


def test_counts_of_batches_may_be_missing_and_half_precision_is_widened(tmp_path: Path) -> None:
    half = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float16)
    theirs = other_file(tmp_path / "a.pth") | {"bn1.weight": half}
    torch.save({name: value for name, value in theirs.items() if "num_batches" not in name}, tmp_path / "a.pth")
    found = start(tmp_path / "a.pth", "fc")
    assert torch.equal(found["bn1.weight"], half.float())
    assert int(found["bn1.num_batches_tracked"]) == 0


def test_safetensors_and_wrapped_names_are_read(tmp_path: Path) -> None:
    theirs = other_file(tmp_path / "a.pth")
    checkpoints.write(tmp_path / "a.st", {f"module.{name}": value for name, value in theirs.items()})
    assert torch.equal(start(tmp_path / "a.st", "fc")["conv1.weight"], theirs["conv1.weight"])


@pytest.mark.parametrize("of", ["timm", "the package"])
def test_efficientnets_names_are_translated(of: str, tmp_path: Path) -> None:
    model = EfficientNetLite()
    state = State.from_module(models.draw(model, SHAPE, 3, Random(), 1))
    theirs = {ours: name for name, ours in own_names().items() if name.startswith("_") == (of == "the package")}
    renamed = {}
    for name, value in state.items():
        layer, _, leaf = name.rpartition(".")
        renamed[f"{theirs.get(layer, layer)}.{leaf}"] = value
    torch.save(renamed, tmp_path / "a.pth")
    found = start(tmp_path / "a.pth", "fc", model=model)
    assert torch.equal(found["stage6.3.conv_pwl.weight"], state["stage6.3.conv_pwl.weight"])
    assert torch.equal(found["bn2.bias"], state["bn2.bias"])
    assert found["classifier.bias"].shape == (10,)


def test_files_are_found_by_name_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    theirs = other_file(tmp_path / "weights" / "mine.pth")
    found = start(Path("mine.pth"), "fc", sha256=weight_files.digest(tmp_path / "weights" / "mine.pth")[:8])
    assert torch.equal(found["conv1.weight"], theirs["conv1.weight"])
    with pytest.raises(
        CheckpointError, match=f"no file {tmp_path}/weights/yours.pth, .* Put the file there, or name it"
    ):
        start(Path("yours.pth"), "fc", sha256="0" * 64)


def test_another_file_of_the_same_name_is_refused(tmp_path: Path) -> None:
    other_file(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="has the SHA-256 .*, but the recipe names a file with 00000000"):
        start(tmp_path / "a.pth", "fc", sha256="00000000")
    for unchecked in (" ", "1234567", "ABCDEF01", "../weight"):
        with pytest.raises(RecipeError, match=f"given as '{unchecked}'.*its first 8 digits or more"):
            start(tmp_path / "a.pth", "fc", sha256=unchecked)


def test_a_file_of_another_network_is_an_error_that_names_tensors(tmp_path: Path) -> None:
    other_file(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"in 2 of 56 tensors: 'fc\.weight' is \(7, 16\) and here \(10, 16\)"):
        start(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"'conv1\.weight' is \(4, 1, 3, 3\) and here \(8, 1, 3, 3\)"):
        start(tmp_path / "a.pth", "fc", model=ResNet(8, 8))
    with pytest.raises(CheckpointError, match=r"lacks 'layer1\.1\.conv1\.weight', .* and \d+ more"):
        start(tmp_path / "a.pth", "fc", model=ResNet(14, 4))
    torch.save(other_file(tmp_path / "b.pth") | {"aux.weight": torch.ones(1)}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"It has 'aux\.weight', which this ResNet has not"):
        start(tmp_path / "b.pth", "fc")
    with pytest.raises(GroupError, match="'fcc'"):
        start(tmp_path / "a.pth", "fcc")


def test_a_file_that_is_written_to_later_leaves_the_start_as_it_was(tmp_path: Path) -> None:
    """As by a training of the user's that goes on: a start is kept, and its line measured, hours later."""
    checkpoints.write(tmp_path / "a.st", {name: value + 1 for name, value in other_file(tmp_path / "b.pth").items()})
    found = start(tmp_path / "a.st", "fc")
    before = {name: value.clone() for name, value in found.items()}
    with (tmp_path / "a.st").open("r+b") as file:
        file.seek(-4000, 2)
        file.write(bytes(4000))
    assert all(torch.equal(value, before[name]) for name, value in found.items())


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_file_that_is_written_to_while_it_is_read_is_refused(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_file(tmp_path / "a.pth")
    read, sha256 = checkpoints.read, weight_files.digest(tmp_path / "a.pth")

    def while_it_is_saved(path: Path) -> checkpoints.Contents:
        if moment == "before":
            other_file(tmp_path / "a.pth", classes=8)
        found = read(path)
        if moment == "after":
            other_file(tmp_path / "a.pth", classes=8)
        return found

    monkeypatch.setattr(checkpoints, "read", while_it_is_saved)
    with pytest.raises(CheckpointError, match="was written to while it was read"):
        weight_files.read(Weights(str(tmp_path / "a.pth"), sha256))
