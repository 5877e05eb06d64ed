"""The plan's arithmetic with made-up times, so that nothing here is timed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from torch.utils.flop_counter import FlopCounterMode

import linescape.studies.planning
from linescape import data, models, studies
from linescape.data import sets
from linescape.errors import RecipeError
from linescape.recipe import (
    LSTM,
    MLP,
    Data,
    Everything,
    Midway,
    Model,
    OnCurve,
    Optimizer,
    Poison,
    Random,
    Recipe,
    Remaining,
    ResNet,
    Schedule,
    Subspace,
    Trained,
    Trains,
    Weights,
)
from linescape.studies import timing
from linescape.studies.costs import cost_of
from linescape.studies.kinds.line import ALIGNING, POINT
from linescape.studies.kinds.state import asked_of_trainings
from linescape.studies.paths import Aligned
from linescape.studies.planning import count, duration, plan
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Keep, Moment, Scan, Task, Train
from linescape.studies.timing import Workload
from linescape.studies.workloads import READING, TASK, _built, approximate_call
from linescape.training import interventions as change
from tests.support.stored import END

STEP, PASS = 0.5, 0.25
BASE = Recipe(Data("fashion-mini"), ResNet(8, 4), Optimizer(batch_size=64), Schedule(6))
PLAIN = Recipe(Data("fashion-mini"), MLP((8,)))
READ = 12_000 * 28 * 28 / READING
FIXED = TASK + READ
WHOLE = Scan(Moment(BASE, "start"), Moment(BASE))


class Fake:
    """In place of `Timer`: any step takes `STEP` seconds, any pass `PASS`."""

    asked: list[Workload]
    own, wall = 2.0, 3.0

    def __init__(self, device: str, beside: int) -> None:
        Fake.asked = []
        self.device, self.beside = device, beside

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def seconds(self, workload: Workload) -> float:
        Fake.asked.append(workload)
        return STEP if workload.kind == "step" else PASS


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.planning, "Timer", Fake)


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path / "empty")


def core_seconds(task: Task, store: Store) -> float:
    """Of one task alone: what it needs is taken off."""
    return -plan(task.needs(), store).core_seconds + plan([task], store).core_seconds


def test_a_training_takes_its_steps_and_its_measurements(empty: Store) -> None:
    # 157 steps an epoch; of 6 epochs every second is measured, since 5 measurements are wanted at most.
    expected = 6 * 157 * STEP + 3 * 2_000 * PASS / 500 + FIXED
    assert core_seconds(Train(BASE), empty) == pytest.approx(expected)
    assert {run.kind for run in Fake.asked} == {"step", "pass"}
    none = replace(BASE, schedule=Schedule(0))
    assert core_seconds(Train(none), empty) == pytest.approx(FIXED)


def test_what_is_trained_is_timed_with_the_step_and_counted(empty: Store) -> None:
    small = replace(PLAIN, optimizer=Optimizer(batch_size=4))
    trains: list[Trains] = [
        *(Subspace(50, projection) for projection in ("fastfood", "dense", "sparse")),
        OnCurve(),
        Remaining(Moment(small), 0.5),
    ]
    starts = Midway(Moment(small, "start"), Moment(replace(small, seed=1), "start"))
    tasks = [Train(replace(small, trains=of, init=starts if isinstance(of, OnCurve) else Random())) for of in trains]
    plan(tasks, empty)
    steps = [run for run in Fake.asked if run.kind == "step"]
    assert {type(run.recipe.trains) for run in steps} == {Everything, Subspace, OnCurve, Remaining}
    assert len(steps) == 1 + len(trains), "the base, which the curve and the pruned network need, is one"
    for run in steps:
        timing._prepared(run, "cpu")()
    counts = {run.recipe.trains: approximate_call(run) for run in steps}
    assert counts[Subspace(50)] > counts[Subspace(50, "sparse")] > counts[OnCurve()] == counts[Everything()]


def test_a_state_within_a_training_takes_no_time_of_its_own(empty: Store) -> None:
    early, late = Keep(Moment(BASE, "step", 100)), Keep(Moment(BASE, "epoch", 2))
    training = plan([Train(BASE)], empty)
    found = plan([early, Train(BASE), late], empty)
    assert found.core_seconds == training.core_seconds
    assert 3 * found.bytes == (3 + 2 + 2) * training.bytes  # a start, and ends and states with their momenta


def test_states_of_a_training_that_is_not_asked_for_take_one_run_to_the_last(empty: Store) -> None:
    early, late = Keep(Moment(BASE, "step", 100)), Keep(Moment(BASE, "epoch", 2))
    tasks: list[Task] = [early, late]
    assert plan(tasks, empty).core_seconds == pytest.approx(2 * 157 * STEP + FIXED)
    assert asked_of_trainings(tasks, empty, "cpu").steps == {early: 2 * 157}
    assert str(count(tasks, empty)) == (
        "0 of 0 trainings and 0 of 0 lines to do, shared ones counted once, and 2 of 2 states within trainings to keep"
    )


def test_the_best_state_takes_a_measurement_of_what_is_held_out_after_each_epoch(empty: Store) -> None:
    recipe = replace(BASE, data=Data("fashion-mini", held_out=0.1))
    training, best, early = Train(recipe), Keep(Moment(recipe, "best")), Keep(Moment(recipe, "step", 100))
    measured = 6 * 1_000 * PASS / 500
    alone = plan([training], empty).core_seconds
    assert plan([training, early], empty).core_seconds == pytest.approx(alone)
    assert plan([training, early, best], empty).core_seconds == pytest.approx(alone + measured)
    steps = 6 * math.ceil(9_000 / 64) * STEP
    assert plan([best], empty).core_seconds == pytest.approx(steps + measured + FIXED)
    empty.save_state(best, END, {})
    assert plan([training], empty).core_seconds == pytest.approx(alone + measured)


def test_a_training_that_continues_another_takes_the_steps_that_are_left(empty: Store) -> None:
    on = replace(BASE, init=Trained(BASE, at="step", number=100, schedule="continued"), order_seed=1)
    expected = (6 * 157 - 100) * STEP + 3 * 2_000 * PASS / 500 + FIXED
    assert core_seconds(Train(on), empty) == pytest.approx(expected)
    state = Keep(Moment(on, "step", 150))
    assert core_seconds(state, empty) == pytest.approx(50 * STEP + FIXED)


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({}, 50 * 3_000 + 2 * 3_000),
        ({"train_examples": 0}, 52 * 12_000),
        ({"train_examples": 99_999, "test_examples": 500}, 52 * 10_500),
        ({"alphas": 11, "batchnorm": ("interpolate", "batch")}, 11 * 2 * 3_000 + 2 * 3_000),
        ({"batchnorm": ("interpolate", "recalibrate")}, 50 * (2 * 3_000 + 1_000) + 2 * 3_000),
        ({"batchnorm": ("recalibrate",)}, 50 * (3_000 + 1_000)),
    ],
)
def test_a_line_takes_its_passes(changes: dict[str, object], passes: int, empty: Store) -> None:
    line = replace(WHOLE, **changes)
    expected = passes * PASS / 500 + line.alphas * POINT + FIXED
    assert core_seconds(line, empty) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("along", "examples"),
    [(Aligned(), 0), (Aligned("activations"), 2 * 1_000), (Aligned(repaired=True), 50 * 0.5 * 1_000)],
)
def test_an_aligned_line_takes_its_activations_and_moments_too(along: Aligned, examples: int, empty: Store) -> None:
    """Of 1,000 training examples; the network has one hidden layer, which is rescaled at each position."""
    straight = Scan(Moment(PLAIN, "start"), Moment(PLAIN))
    extra = core_seconds(replace(straight, along=along), empty) - core_seconds(straight, empty)
    assert extra == pytest.approx(ALIGNING + examples * PASS / 500)


def test_without_batchnorm_all_treatments_are_one(empty: Store) -> None:
    line = Scan(Moment(PLAIN, "start"), Moment(PLAIN), batchnorm=("interpolate", "recalibrate", "batch"))
    assert core_seconds(line, empty) == pytest.approx(52 * 3_000 * PASS / 500 + 50 * POINT + FIXED)


def test_what_is_shared_is_planned_once_and_what_is_done_not_at_all(tmp_path: Path) -> None:
    quick = Recipe(Data("spiral", fraction=0.05), MLP((8,)), Optimizer(batch_size=50), Schedule(1))
    line, other = (Scan(Moment(quick, "start"), Moment(quick), block=block, alphas=3) for block in ("", "fc"))
    tasks: list[Task] = [Train(quick), line, other, line, Train(change.partial(quick, "fc"))]
    found = plan(tasks, Store(tmp_path))
    assert (found.trainings, found.missing_trainings, found.scans, found.missing_scans) == (2, 2, 2, 2)
    assert not list(tmp_path.iterdir())
    work([Train(quick), line], Store(tmp_path), progress=False, workers=1)
    left = plan(tasks, Store(tmp_path))
    assert (left.trainings, left.missing_trainings, left.scans, left.missing_scans) == (2, 1, 2, 1)
    assert str(left).startswith("1 of 2 trainings and 1 of 2 lines to do, shared ones counted once\nAbout ")
    assert str(plan([line], Store(tmp_path))) == "1 trainings and 1 lines, all done"


def test_a_network_is_timed_once_for_all_that_its_time_does_not_depend_on(empty: Store) -> None:
    alike: list[Recipe] = [
        change.weight_decay(BASE, 0.1),
        change.learning_rate(BASE, 1.0),
        change.label_noise(BASE, 0.2),
    ]
    alike += [replace(BASE, seed=1), replace(BASE, schedule=Schedule(9, "cosine")), change.data_fraction(BASE, 0.5)]
    plan([Train(recipe) for recipe in [BASE, *alike]], empty)
    assert len(Fake.asked) == 2
    plan([Train(BASE), Train(change.batch_size(BASE, 32)), Train(change.augmentation(BASE, "crop"))], empty)
    assert [run.kind for run in Fake.asked].count("step") == 3


@pytest.mark.parametrize("model", [LSTM(6, 2), MLP((8,), "maxout")])
def test_multiplications_are_those_of_torchs_counter(model: Model) -> None:
    network = models.build(model, (1, 28, 28), 10).double().eval()  # in float32 a recurrent layer is one operation
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, 28, 28, dtype=torch.float64))
    assert _built(model, Data(), (1, 28, 28), 10).multiplications == counter.get_total_flops() / 2


def test_large_networks_are_timed_on_fewer_examples_on_the_cpu_and_that_is_said(empty: Store) -> None:
    large = Recipe(Data("cifar10"), ResNet(50, 64), Optimizer(batch_size=128), Schedule(1))
    reading = TASK + 60_000 * 3 * 32 * 32 / READING
    found = plan([Train(large)], empty)
    step, measured = (next(run for run in Fake.asked if run.kind == kind) for kind in ("step", "pass"))
    network = models.build(large.model, (3, 32, 32), 10).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    multiplications = counter.get_total_flops() / 2
    for examples, passes in ((step.recipe.optimizer.batch_size, 3), (measured.examples, 1)):
        assert passes * examples * multiplications < 5e10 < passes * (examples + 1) * multiplications
    expected = 391 * 128 / step.recipe.optimizer.batch_size * STEP + 10_000 * PASS / measured.examples + reading
    assert found.core_seconds == pytest.approx(expected)
    assert "Timed on few examples" in str(found)
    assert "ResNet-50 of width 64" in str(found)
    found = plan([Train(large)], empty, "cuda")
    assert found.core_seconds == pytest.approx(391 * STEP + 10_000 * PASS / 500 + reading)
    assert found.scaled == ()


def test_what_there_is_no_time_to_time_is_estimated_from_its_operations(
    empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, narrow = (replace(BASE, model=ResNet(8, width)) for width in (32, 4))
    monkeypatch.setattr(linescape.studies.planning, "BUDGET", 1e9)
    tasks = [Train(wide), Train(narrow)]
    asked: list[str] = []
    whole = plan(tasks, empty, report=lambda _, total, what: asked.append(f"{what} of {total}"))
    assert whole.untimed == 0.0
    assert len(Fake.asked) == 4
    assert "a step of 64 examples with ResNet-8 of width 32 of 4" in asked
    monkeypatch.setattr(linescape.studies.planning, "BUDGET", 0.0)
    found = plan(tasks, empty)
    assert [workload.recipe.model for workload in Fake.asked] == [wide.model] * 2, "what takes longest is timed"
    ratio = approximate_call(_step_of(narrow)) / approximate_call(_step_of(wide))
    assert 1 / 40 < ratio < 1 / 4
    fixed = core_seconds(Train(replace(BASE, schedule=Schedule(0))), empty)
    passes = found.core_seconds - 2 * fixed - 6 * 157 * STEP * (1 + ratio)
    assert 3 * 4 * PASS < passes < 2 * 3 * 4 * PASS
    assert found.untimed == pytest.approx(1 - (6 * 157 * STEP + 3 * 4 * PASS + 2 * fixed) / found.core_seconds)
    assert f"{found.untimed:.0%} of all" in str(found)


def _step_of(recipe: Recipe) -> Workload:
    return next(workload for workload in cost_of(Train(recipe), "cpu").calls if workload.kind == "step")


def test_one_network_of_each_type_is_timed_first(empty: Store) -> None:
    wide, narrow = (replace(BASE, model=ResNet(8, width)) for width in (32, 16))
    plan([Train(PLAIN), Train(narrow), Train(wide)], empty)
    assert {run.recipe.model for run in Fake.asked[:4]} == {wide.model, PLAIN.model}


@pytest.mark.parametrize("scale", ["mini", "cifar10"])
def test_tasks_are_counted_before_anything_is_timed(scale: str, empty: Store) -> None:
    study = studies.find("vlaar2022", scale)
    Fake.asked = []
    counts = count(study, empty)
    assert Fake.asked == []
    assert str(plan(study, empty)).splitlines()[0] == str(counts)


@pytest.mark.parametrize(
    "spec",
    [
        Data("fashion-mini", size=14, fraction=0.2),
        Data("fashion-mini", classes=(1, 3, 5), fraction=0.5),
        Data("fashion-mini", poison=Poison(2, 0.1)),
        Data("spiral", label_noise=0.1),
    ],
)
def test_sizes_and_shapes_are_those_of_the_data(spec: Data) -> None:
    loaded = data.load(spec)
    assert data.examples(spec) == pytest.approx((len(loaded.train), len(loaded.test)), rel=0.02)
    assert data.form(spec) == (loaded.shape, loaded.classes)


def test_other_programs_on_the_cores_are_told_apart(empty: Store) -> None:
    found = plan([Train(BASE)], empty)
    assert found.slowed == 1.5
    assert "Other programs use the cores now: while they run, it takes 1.5 times as long" in str(found)


def test_an_impossible_recipe_is_said(empty: Store) -> None:
    with pytest.raises(RecipeError, match="fraction is 2"):
        plan([Train(Recipe(Data("cifar10", fraction=2.0)))], empty)


@pytest.mark.parametrize("scale", studies.scales("vlaar2022"))
def test_every_scale_is_planned_without_its_data(
    scale: str, empty: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path / "absent"))  # not the sets that this machine may have
    study = studies.find("vlaar2022", scale)
    found = plan(study, empty, workers=2)
    assert found.trainings == found.missing_trainings > 0
    assert found.trainings + found.scans == len(study.tasks())
    assert found.core_seconds / 2 <= found.seconds < found.core_seconds
    needed = {t.recipe.data.name for t in study.tasks() if isinstance(t, Train)} - {"fashion-mini", "spiral", "digits"}
    assert {what.rsplit(" ", 1)[1] for what in found.absent if what.startswith("the data set")} == needed


def test_what_is_not_here_is_named_with_what_gets_it(
    empty: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path))
    recipe = Recipe(Data("cifar100"), ResNet(18), init=Weights("resnet18.pth", "0" * 64))
    assert str(plan([Train(recipe), Train(BASE)], empty)).splitlines()[-2:] == [
        "Not here yet: the data set cifar100. Get it with: linescape data get cifar100",
        f"Not here yet: the weights resnet18.pth. Put them into {tmp_path / 'weights'}",
    ]
    assert plan([Train(BASE)], empty).absent == ()


# -- calibrate -----------------------------------------------------------------------------------------------------


def test_runs_are_timed_while_helpers_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ENOUGH", 0.0)
    step = Workload("step", Recipe(Data("spiral"), MLP((4,)), Optimizer(lr=0.0, batch_size=8)), (2,), 2)
    images = Workload("pass", Recipe(Data("fashion-mini"), ResNet(8, 4)), (1, 8, 8), 10, 20)
    with timing.Timer("cpu", 1) as timer:
        assert timer.seconds(step) > 0
        (helper,) = timer.running
        assert timer.seconds(images) > 0
        assert helper.poll() is None
        helper.kill()
        helper.wait()
        assert timer.seconds(step) > 0, "one that died is done without"
    assert helper.returncode is not None


def test_made_up_inputs_have_the_form_of_the_set() -> None:
    for name in ("fashion-mini", "spiral"):
        known = sets.known(name)
        made = timing.made_up(Workload("pass", Recipe(Data(name)), known.shape, known.classes, 300))
        assert (made.shape, made.train.inputs.dtype) == (known.shape, data.load(Data(name)).train.inputs.dtype)
        assert len(made.test) == 300


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 s"), (119, "119 s"), (150, "2.5 min"), (8000, "2.2 h"), (1e6, "12 days")]
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
