from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import pytest
import torch
import torch.nn.functional as F
from msgspec.structs import replace
from torch import Tensor, nn

from linescape import data, models
from linescape.data import Dataset, Split
from linescape.errors import DataError, StateError
from linescape.geometry.state import State
from linescape.recipe import MLP, Data, Optimizer, Recipe, ResNet, Schedule
from linescape.training.initialisation import draw
from linescape.training.loop import Checkpoint, Progress, decay_sum, learning_rate, overruns, steps_per_epoch, train

SMALL = Recipe(
    data=Data("fashion-mini", size=8, fraction=0.01, augment="crop-flip"),
    model=ResNet(depth=8, width=4),
    optimizer=Optimizer(lr=0.1, weight_decay=5e-4, batch_size=32),
    schedule=Schedule(epochs=2, kind="cosine", warmup=0.5),
)
FLAT = Recipe(Data("spiral", fraction=0.05), MLP((8,)), Optimizer(lr=0.1, batch_size=32), Schedule(3))


def load(recipe: Recipe) -> Dataset:
    return data.load(recipe.data, recipe.seed)


def start(recipe: Recipe) -> State:
    dataset = load(recipe)
    return State.from_module(draw(recipe, dataset.shape, dataset.classes))


def last(recipe: Recipe, begin: State | Checkpoint, dataset: Dataset | None = None) -> Progress:
    *_, progress = train(recipe, dataset or load(recipe), begin)
    return progress


def same_tensors(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return set(left) == set(right) and all(torch.equal(left[name], right[name]) for name in left)


def same(left: Checkpoint, right: Checkpoint) -> bool:
    counts = (left.step, left.loss_sum, left.wrong, left.seen) == (right.step, right.loss_sum, right.wrong, right.seen)
    return counts and same_tensors(left.state, right.state) and same_tensors(left.optimizer, right.optimizer)


class Dropping(nn.Module):
    """Dropout and BatchNorm, the two layers whose state or draws are easily forgotten."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(math.prod(shape), 16)
        self.norm = nn.BatchNorm1d(16)
        self.last = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(F.dropout(self.norm(self.first(x.flatten(1))).relu(), 0.5, self.training))
        return logits


@pytest.mark.parametrize(
    "optimizer",
    [
        SMALL.optimizer,
        replace(SMALL.optimizer, momentum=0.0),
        Optimizer("adam", lr=0.01),
        Optimizer("adamw", lr=0.01, weight_decay=0.1),
        replace(SMALL.optimizer, precision="bfloat16"),
        Optimizer("adam", lr=0.01, precision="bfloat16"),
    ],
    ids=["momentum", "plain", "adam", "adamw", "bfloat16", "adam-bfloat16"],
)
def test_going_on_gives_the_same_bits_wherever_it_was_stopped(optimizer: Optimizer) -> None:
    recipe = replace(SMALL, optimizer=replace(optimizer, batch_size=64))
    dataset, begin = load(recipe), start(recipe)
    kept = [progress.checkpoint() for progress in train(recipe, dataset, begin)]
    assert [checkpoint.step for checkpoint in kept] == list(range(5))  # 2 batches of 100 examples in each of 2 epochs
    for checkpoint in kept:
        torch.rand(17)  # the global random state is not part of a training
        assert same(last(recipe, checkpoint, dataset).checkpoint(), kept[-1])
    # ... and stopped at every step of all
    going = Checkpoint(begin)
    while going.step < 4:
        steps = train(recipe, dataset, going)
        assert next(steps).step == going.step
        going = next(steps).checkpoint()
    assert same(going, kept[-1])


def test_mixtures_are_those_of_the_source() -> None:
    inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    mixed = data.mix(inputs, targets, 1.0, seed=3)
    order = [
        next(
            j
            for j in range(6)
            if torch.allclose(mixed.inputs[i], (1 - mixed.share) * inputs[j] + mixed.share * inputs[i], atol=1e-6)
        )
        for i in range(6)
    ]
    assert sorted(order) == list(range(6))
    assert mixed.partners.tolist() == targets[order].tolist()
    logits = torch.randn(6, 3)
    soft = mixed.share * F.one_hot(targets, 3) + (1 - mixed.share) * F.one_hot(mixed.partners, 3)
    assert mixed.loss(logits).item() == pytest.approx(F.cross_entropy(logits, soft).item(), rel=1e-6)
    assert data.mix(inputs, targets, 0.0, seed=3).inputs is inputs
    shares = [data.mix(inputs, targets, 0.5, seed).share for seed in range(2000)]
    assert sum(shares) / 2000 == pytest.approx(0.5, abs=0.03)
    assert sum((share - 0.5) ** 2 for share in shares) / 2000 == pytest.approx(1 / 8, abs=0.01)  # 1 / (4 (2a + 1))


def test_a_mixed_training_goes_on_with_the_same_bits() -> None:
    recipe = replace(SMALL, data=replace(SMALL.data, mixup=1.0))
    dataset, begin = load(recipe), start(recipe)
    kept = [progress.checkpoint() for progress in train(recipe, dataset, begin)]
    assert same(last(recipe, kept[3], dataset).checkpoint(), kept[-1])
    assert not same(last(SMALL, begin, dataset).checkpoint(), kept[-1])


def test_dropout_is_drawn_from_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "build", lambda spec, shape, classes: Dropping(shape, classes))
    dataset = load(FLAT)
    begin = State.from_module(Dropping(dataset.shape, dataset.classes))
    kept = [progress.checkpoint() for progress in train(FLAT, dataset, begin)]
    for at in (1, 5, 9):
        torch.rand(at)
        assert same(last(FLAT, kept[at], dataset).checkpoint(), kept[-1])


def test_a_checkpoint_is_a_copy() -> None:
    steps = train(FLAT, load(FLAT), start(FLAT))
    first = next(steps).checkpoint()
    weight = first.state["layers.0.weight"].clone()
    next(steps)
    assert torch.equal(first.state["layers.0.weight"], weight)
    assert first.optimizer == {}


def test_the_callers_random_state_and_start_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = start(SMALL)
    before = {name: value.clone() for name, value in begin.items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    for _ in train(SMALL, load(SMALL), begin):
        pass
    assert torch.equal(torch.rand(3), expected)
    assert same_tensors(begin, before)


def test_replicates_differ_in_order_and_augmentation() -> None:
    dataset, begin = load(SMALL), start(SMALL)
    one = [progress.loss for progress in train(SMALL, dataset, begin)]
    other = [progress.loss for progress in train(replace(SMALL, seed=1), dataset, begin)]
    assert one[1] != other[1]


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_one_batch_of_everything_is_gradient_descent(decay: float) -> None:
    recipe = replace(
        FLAT, model=MLP(()), optimizer=Optimizer(lr=0.5, momentum=0.9, weight_decay=decay, batch_size=1000)
    )
    dataset, begin = load(recipe), start(recipe)
    x, y = dataset.normalise(dataset.train.inputs).double(), F.one_hot(dataset.train.targets, 2).double()
    weight, bias = (begin[f"layers.0.{name}"].double() for name in ("weight", "bias"))
    speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for _ in range(3):
        apart = ((x @ weight.T + bias).softmax(1) - y) / len(x)
        gradient = [apart.T @ x + decay * weight, apart.sum(0) + decay * bias]
        speed = [0.9 * v + g for v, g in zip(speed, gradient, strict=True)]
        weight, bias = weight - 0.5 * speed[0], bias - 0.5 * speed[1]
    found = last(recipe, begin, dataset).checkpoint()
    torch.testing.assert_close(found.state["layers.0.weight"], weight.float())
    torch.testing.assert_close(found.state["layers.0.bias"], bias.float())


def test_the_logged_loss_is_the_mean_over_examples() -> None:
    recipe = replace(FLAT, optimizer=Optimizer(lr=0.0, momentum=0.0, batch_size=32), schedule=Schedule(1))
    dataset, begin = load(recipe), start(recipe)  # batches of 32, 32, 32 and 4
    network = models.build(recipe.model, dataset.shape, dataset.classes)
    begin.load_into(network)
    outputs = network(dataset.normalise(dataset.train.inputs))
    progress = last(recipe, begin, dataset)
    assert progress.loss == pytest.approx(float(F.cross_entropy(outputs, dataset.train.targets).detach()), rel=1e-6)
    assert progress.error == pytest.approx(100 * float((outputs.argmax(1) != dataset.train.targets).double().mean()))


def test_it_learns() -> None:
    recipe = Recipe(Data("digits"), MLP((32,)), Optimizer("adam", lr=0.01, batch_size=64), Schedule(4))
    found = [progress.error for progress in train(recipe, load(recipe), start(recipe)) if progress.epoch_finished]
    assert found[0] > 20 > 6 > found[-1]


def test_where_a_training_stands() -> None:
    seen = [(p.step, p.epochs, p.epoch_finished) for p in train(SMALL, load(SMALL), start(SMALL))]
    finished = [(i, i // 4, i in (4, 8)) for i in range(9)]
    assert seen == finished
    first = next(iter(train(SMALL, load(SMALL), start(SMALL))))
    assert math.isnan(first.loss)
    assert math.isnan(first.error)


def test_no_epochs_leave_the_start() -> None:
    recipe = replace(SMALL, schedule=Schedule(epochs=0))
    begin = start(recipe)
    progress = last(recipe, begin)
    assert (progress.step, progress.steps, progress.diverged) == (0, 0, False)
    assert same_tensors(progress.checkpoint().state, begin)


def test_a_last_batch_of_one_example_is_left_out() -> None:
    # BatchNorm after a linear layer has no variance of one example, and torch raises.
    recipe = replace(FLAT, model=MLP((8,), norm="batch"), optimizer=Optimizer(batch_size=33))
    dataset = load(recipe)
    assert len(dataset.train) % 33 == 1
    assert last(recipe, start(recipe), dataset).step == 3 * (len(dataset.train) // 33)


@pytest.mark.parametrize(
    ("examples", "batch", "steps"), [(100, 32, 4), (96, 32, 3), (97, 32, 3), (98, 32, 4), (5, 32, 1), (5, 1, 5)]
)
def test_steps_per_epoch(examples: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(examples, batch) == steps


def test_one_example_is_not_enough() -> None:
    with pytest.raises(DataError, match="There is 1 training example"):
        steps_per_epoch(1, 32)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(3), [1.0] * 6),
        (Schedule(3, "step", drops=(1, 2)), [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]),
        (Schedule(3, "step", drops=(2,), factor=0.5), [1.0, 1.0, 1.0, 1.0, 0.5, 0.5]),
        (Schedule(3, "cosine"), [(1 + math.cos(math.pi * k / 6)) / 2 for k in range(6)]),
        (Schedule(3, warmup=1.5), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]),
    ],
)
def test_learning_rates(schedule: Schedule, expected: list[float]) -> None:
    recipe = Recipe(optimizer=Optimizer(lr=2.0), schedule=schedule)
    assert [learning_rate(recipe, step, 2) / 2 for step in range(6)] == pytest.approx(expected)


def test_the_learning_rate_is_used() -> None:
    # With a rate of zero after the drop, nothing moves in the second epoch.
    recipe = replace(FLAT, schedule=Schedule(2, "step", drops=(1,), factor=0.0), optimizer=Optimizer(batch_size=32))
    states = [p.checkpoint().state for p in train(recipe, load(recipe), start(recipe))]
    middle = len(states) // 2
    assert not same_tensors(states[0], states[middle])
    assert same_tensors(states[middle], states[-1])


def test_a_training_ends_when_its_labels_are_learnt() -> None:
    recipe = Recipe(
        Data("digits"), MLP((32,)), Optimizer("adam", lr=0.01, batch_size=64), Schedule(9, until_error=10.0)
    )
    seen = list(train_errors(recipe, start(recipe)))
    errors = [error for error, _ in seen]
    assert all(error > 10.0 for error in errors[:-1])
    assert errors[-1] <= 10.0
    assert [ended for _, ended in seen] == [False] * (len(seen) - 1) + [True]
    assert 1 < len(seen) < 9


def test_a_training_that_learnt_its_labels_is_not_gone_on_with() -> None:
    recipe = Recipe(
        Data("digits"), MLP((32,)), Optimizer("adam", lr=0.01, batch_size=64), Schedule(9, until_error=10.0)
    )
    final = last(recipe, start(recipe))
    (again,) = list(train(recipe, load(recipe), final.checkpoint()))
    assert again.ended
    assert (again.step, again.error) == (final.step, final.error)


def train_errors(recipe: Recipe, begin: State) -> Iterator[tuple[float, bool]]:
    """Training error and whether the training ended, after each epoch."""
    for progress in train(recipe, load(recipe), begin):
        if progress.epoch_finished:
            yield progress.error, progress.ended


@pytest.mark.parametrize(
    ("optimizer", "schedule", "expected"),
    [
        (Optimizer(lr=0.1, momentum=0.9, weight_decay=5e-4), Schedule(100, "step", (33, 66)), 7.163),  # the source's
        (Optimizer(lr=0.1, momentum=0.0, weight_decay=1e-3), Schedule(10), 0.1 * 1e-3 * 3910),
        (Optimizer(lr=0.1, momentum=0.5, weight_decay=0.0), Schedule(10), 0.0),
    ],
)
def test_the_sum_through_which_weight_decay_acts(optimizer: Optimizer, schedule: Schedule, expected: float) -> None:
    recipe = Recipe(optimizer=optimizer, schedule=schedule)
    assert decay_sum(recipe, 50_000) == pytest.approx(expected, rel=1e-4)
    assert math.isnan(decay_sum(replace(recipe, optimizer=Optimizer("adam")), 50_000))


def test_the_sum_is_how_much_a_weight_without_gradient_shrinks() -> None:
    # w <- w - lr (momentum buffer of decay x w), step after step, in plain floats.
    recipe = Recipe(
        optimizer=Optimizer(lr=0.05, momentum=0.9, weight_decay=1e-3, batch_size=100),
        schedule=Schedule(20, "step", (10,)),
    )
    weight, buffer = 1.0, 0.0
    for step in range(20 * 50):
        buffer = 0.9 * buffer + 1e-3 * weight
        weight -= learning_rate(recipe, step, 50) * buffer
    assert weight == pytest.approx(math.exp(-decay_sum(recipe, 5_000)), rel=0.01)


def test_divergence_ends_a_training() -> None:
    recipe = replace(SMALL, optimizer=Optimizer(lr=1e30, batch_size=32), schedule=Schedule(2))
    progress = last(recipe, start(recipe))
    assert progress.diverged
    assert 0 < progress.step < progress.steps
    assert not math.isfinite(progress.loss)
    assert not progress.epoch_finished


def test_a_last_step_into_nan_is_divergence_too() -> None:
    recipe = replace(FLAT, optimizer=Optimizer(lr=1e300, momentum=0.0, batch_size=1000), schedule=Schedule(1))
    progress = last(recipe, start(recipe))
    assert progress.diverged
    assert progress.step == progress.steps
    assert progress.epoch_finished
    assert math.isfinite(progress.loss)


def test_a_start_of_nan_diverges_before_the_first_step() -> None:
    begin = start(FLAT)
    begin = begin.replace({"layers.0.weight": begin["layers.0.weight"] * math.nan})
    progress = last(FLAT, begin)
    assert progress.diverged
    assert (progress.step, progress.error) == (0, 100.0)


def test_bfloat16_learns_what_float32_learns_and_keeps_float32() -> None:
    recipe = replace(SMALL, data=Data("fashion-mini", size=8, fraction=0.1), schedule=Schedule(3))
    coarse = replace(recipe, optimizer=replace(recipe.optimizer, precision="bfloat16"))
    fine, rough = last(recipe, start(recipe)), last(coarse, start(recipe))
    held = rough.checkpoint()
    assert {tensor.dtype for tensor in (*held.state.parameters.values(), *held.optimizer.values())} == {torch.float32}
    assert rough.loss == pytest.approx(fine.loss, rel=0.1)
    assert rough.loss != fine.loss


def test_a_start_of_another_network_is_an_error() -> None:
    with pytest.raises(StateError, match=r"layers\.0\.weight"):
        next(iter(train(replace(FLAT, model=MLP((9,))), load(FLAT), start(FLAT))))


def test_data_stay_as_they_are() -> None:
    dataset = load(SMALL)
    before = dataset.train.inputs.clone()
    last(SMALL, start(SMALL), dataset)
    assert torch.equal(dataset.train.inputs, before)
    assert isinstance(dataset.train, Split)


def test_a_network_that_is_given_trains_as_a_new_one() -> None:
    network = draw(replace(SMALL, seed=7), load(SMALL).shape, load(SMALL).classes)
    *_, progress = train(SMALL, load(SMALL), start(SMALL), network=network)
    expected, given = last(SMALL, start(SMALL)).checkpoint(), progress.checkpoint()
    assert all(torch.equal(given.state[name], value) for name, value in expected.state.items())
    assert all(torch.equal(given.optimizer[name], value) for name, value in expected.optimizer.items())


@pytest.mark.parametrize(
    ("layer", "without_avx512"),
    [
        (nn.Conv2d(4, 8, 1, stride=2), True),
        (nn.Conv2d(8, 16, 1, stride=2), False),
        (nn.Conv2d(4, 8, 1), False),
        (nn.Conv2d(4, 8, 3, stride=2), False),
    ],
)
def test_convolutions_that_onednn_breaks_are_known(
    layer: nn.Module, without_avx512: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: False)
    assert overruns(nn.Sequential(layer), "cpu") == without_avx512
    assert not overruns(nn.Sequential(layer), "cuda")
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: True)
    assert not overruns(nn.Sequential(layer), "cpu")
