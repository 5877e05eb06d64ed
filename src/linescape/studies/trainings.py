"""Does a training, from where it was stopped, and keeps the states within it that are asked for.

A training keeps them as it passes. One that is finished is repeated up to there, and compared with its log.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from torch import nn

from linescape.data import Dataset
from linescape.errors import RecipeError, StateError
from linescape.geometry.state import State
from linescape.geometry.tensors import identical
from linescape.recipe import Moment, Recipe
from linescape.studies.half_done import Best, HalfDone, Snapshot
from linescape.studies.job import Job, check_network, load, measuring
from linescape.studies.states import steps_in_epoch, theta_0, what_is_trained
from linescape.studies.store import Row, Store
from linescape.studies.tasks import Keep, Train
from linescape.training.initialisation import draw
from linescape.training.loop import Checkpoint, Progress, learning_rate, train
from linescape.training.what_is_trained import WhatIsTrained

SNAPSHOT_SECONDS = 10.0
"""Seconds between snapshots of a training, which is what a kill may cost."""

TEST_MEASUREMENTS = 5
"""Number of epochs of a training after which the test half is measured, evenly spread, the last among them."""


@dataclass(frozen=True)
class Training:
    """A training that is about to run, from its start or from where it was stopped.

    Attributes:
        task: the training.
        job: with the digest of the data.
        dataset: the recipe's data.
        network: the recipe's, which is trained.
        start: theta_0, with its step and momenta where it continues another training.
        half_done: what is there of it.
        trained: how the network's weights follow from what is trained.
    """

    task: Train
    job: Job
    dataset: Dataset
    network: nn.Module
    start: Checkpoint
    half_done: HalfDone
    trained: WhatIsTrained

    @classmethod
    def prepare(cls, task: Train, job: Job) -> Training:
        """Load its data, draw its network and find where it starts."""
        recipe = task.recipe
        dataset = load(recipe.data, recipe.seed)
        job = replace(job, conditions={**job.conditions, "data": dataset.digest})
        network = draw(recipe, dataset.shape, dataset.classes)  # the only one: building a network takes long
        check_network(recipe, network, dataset)
        start = theta_0(recipe, network, job.store)
        trained = what_is_trained(recipe, network, start.state, job.store)
        return cls(task, job, dataset, network, start, job.store.half_done(task, job.conditions), trained)

    def due(self, keeps: Iterable[Keep]) -> dict[int, list[Keep]]:
        """Step -> the states within it that are to be kept after that step; the best is known only at the end."""
        per_epoch = steps_in_epoch(self.task.recipe, self.dataset)
        due: dict[int, list[Keep]] = {}
        for keep in (keep for keep in keeps if keep.moment.at != "best"):
            due.setdefault(keep.step(per_epoch), []).append(keep)
        return due

    def steps(self, checkpoint: Checkpoint) -> Iterator[Progress]:
        """Train from a checkpoint on."""
        first = self.start.step
        recipe, device = self.task.recipe, self.job.device
        for progress in train(recipe, self.dataset, checkpoint, device, self.network, self.trained):
            self.job.report((progress.step - first) / (progress.steps - first) if progress.steps > first else 1.0)
            yield progress

    def snapshot(self) -> Snapshot:
        """Where it was stopped, or else its start."""
        return self.half_done.training(self.start.state) or Snapshot(self.start, [])

    def record(self) -> dict[str, Any]:
        """What a result of it notes of how it was made."""
        native = self.task.recipe.optimizer.native
        return self.job.record(native, self.half_done.remarks) | {"native_convolutions": native}


def run(training: Training, keeps: Iterable[Keep], stop: bool = False) -> None:
    """Train to the end, and keep the states that are passed.

    Args:
        training: the training.
        keeps: states within it that are asked for.
        stop: end after the last of them; the rest is for another time.

    Raises:
        StateError: a state that was kept earlier is another.
    """
    store, recipe, half_done = training.job.store, training.task.recipe, training.half_done
    checkpoint, rows, best = training.snapshot()
    asked = [keep for keep in keeps if not store.has(keep)]
    missing = training.due(asked)
    due = training.due({*chain(*missing.values()), *store.kept(recipe)})
    if best is None and not rows and any(keep.moment.at == "best" for keep in [*asked, *kept_best(recipe, store)]):
        best = Best()
    # What was stopped beyond one of them is not thrown away: it is brought to its end, by which `_repeat` is checked.
    whole = not stop or any(keep.moment.at == "best" for keep in asked)
    last = max(missing) if not whole and min(missing) >= checkpoint.step else None
    held_out_loss = _held_out_loss(training.network, training.dataset, training.job.device) if best else None
    evaluator = measuring(training.network, training.dataset, training.job.device)
    epochs = recipe.schedule.epochs
    saved = epoch_started = time.perf_counter()
    for progress in training.steps(checkpoint):
        now = time.perf_counter()
        midway = progress.diverged and not progress.epoch_finished
        if (progress.epoch_finished and progress.step > checkpoint.step) or midway:
            row = _row(progress, recipe, now - epoch_started)
            if progress.ended or (epochs - 1 - _epoch(progress)) % math.ceil(epochs / TEST_MEASUREMENTS) == 0:
                values = evaluator(progress.checkpoint().state)
                row |= {name: float(values["test", of].mean(dtype=np.float64)) for name, of in _OF_TEST.items()}
            rows = [*rows, row]
            if best and held_out_loss and progress.epoch_finished:
                best = best.or_now(after := progress.checkpoint(), held_out_loss(after.state))
            epoch_started = time.perf_counter()
        for keep in due.pop(progress.step, ()):
            if store.has(keep):
                _check_same(keep, progress.checkpoint().state, training)
            else:
                store.save_state(keep, progress.checkpoint(), training.record())
        if progress.ended:
            if best:
                _keep_best(best, training)
            record = training.record() | {"diverged": progress.diverged}
            if progress.diverged:
                record["diverged_step"] = progress.step
            store.save_training(training.task, training.start.state, progress.checkpoint(), rows, record)
        elif progress.step == last or now - saved >= SNAPSHOT_SECONDS:
            half_done.save_training(progress.checkpoint(), rows, best)
            saved = time.perf_counter()
            if progress.step == last:
                return


_OF_TEST = {"test_loss": "cross_entropy", "test_error": "error"}
"""Column of the log -> the measure that it has the mean of."""


def _row(progress: Progress, recipe: Recipe, seconds: float) -> dict[str, float | int | None]:
    """An epoch in the log, in which the test half is not measured."""
    return {
        "epoch": _epoch(progress),
        "train_loss": progress.loss,
        "train_error": progress.error,
        "test_loss": None,
        "test_error": None,
        "lr": learning_rate(recipe, max(progress.step - 1, 0), progress.per_epoch),
        "seconds": seconds,
    }


def _epoch(progress: Progress) -> int:
    """The epoch that a step is of, or has finished."""
    return (progress.step - progress.epoch_finished) // progress.per_epoch


def keep_within(task: Keep, job: Job, keeps: Collection[Keep]) -> None:
    """Keep a state within a training, and others with it: train to the last of them, or repeat what is finished.

    Args:
        task: the state.
        job: where and with what.
        keeps: states of the same training that are asked for, this one among them.

    Raises:
        RecipeError: the training has no such step.
        StateError: the training could not be repeated to the bit, or a state that was kept earlier is another.
    """
    training = Training.prepare(Train(task.recipe), job)
    per_epoch = steps_in_epoch(task.recipe, training.dataset)
    first, last = training.start.step, per_epoch * task.recipe.schedule.epochs

    def within(keep: Keep) -> bool:
        return keep.moment.at == "best" or first <= keep.step(per_epoch) <= last

    if not within(task):
        raise RecipeError(
            f"The state after {task.moment} of the training {training.task.key} is asked for, which is step "
            f"{task.step(per_epoch)}. But it goes from step {first} to {last}, with {per_epoch} in an epoch. Ask for "
            "one of these."
        )
    if not job.store.has(training.task):
        run(training, filter(within, keeps), stop=True)
    if not job.store.has(task):
        _repeat(Training.prepare(training.task, job), keeps)


def _repeat(training: Training, keeps: Iterable[Keep]) -> None:
    """Keep states within a finished training: it is done again up to there, and its result stays as it is.

    A state counts once the epoch of the step after it has the training loss and error of the log, to the bit: they are
    sums over all steps. Where last bits may be others, which losses need not show, it counts once the end has the bits
    of that which is there. Until then it is half done.
    """
    store, half_done, conditions = training.job.store, training.half_done, training.job.conditions
    recipe = training.task.recipe
    end, log = store.checkpoint(Moment(recipe)), store.log(recipe).to_dicts()
    asked = [keep for keep in keeps if not store.has(keep)]
    due = training.due(asked)
    for step in [step for step in due if step >= end.step]:
        for keep in due.pop(step):
            _keep_end(keep, step, end, training)
    unchecked = {keep: store.half_done(keep, conditions) for keep in chain(*due.values())}
    checkpoint, rows, best = training.snapshot()
    if not any(keep.moment.at == "best" for keep in asked):
        best = None
    elif best is None:
        checkpoint, best = training.start, Best()
    held_out_loss = _held_out_loss(training.network, training.dataset, training.job.device) if best else None
    bits_may_differ = training.job.device != "cpu" or differing(recipe, store.record(training.task), conditions)
    passed = [keep for step in due if step < checkpoint.step for keep in due[step]]
    if not all(unchecked[keep].training(training.start.state) for keep in passed):
        checkpoint, best = training.start, best and Best()
    saved = time.perf_counter()
    for progress in training.steps(checkpoint) if due or best else ():
        for keep in due.get(progress.step, ()):
            unchecked[keep].save_training(progress.checkpoint(), [])
        if progress.ended or (progress.epoch_finished and progress.step > checkpoint.step):
            _check_logged(_epoch(progress), progress, log, training)
            if progress.ended and not _equal(progress.checkpoint().state, end.state):
                raise _not_repeated(training, "its end has other bits")
            if best and held_out_loss and progress.epoch_finished and progress.step > checkpoint.step:
                best = best.or_now(after := progress.checkpoint(), held_out_loss(after.state))
            if best and progress.ended:
                _keep_best(best, training)
            proven = progress.ended or not bits_may_differ
            for step in [step for step in due if step < progress.step and proven]:
                for keep in due.pop(step):
                    if found := unchecked[keep].training(training.start.state):
                        store.save_state(keep, found[0], training.record())
            if not due and not best:
                break
        if time.perf_counter() - saved >= SNAPSHOT_SECONDS:
            rows = [row for row in log if row["epoch"] < progress.epochs]
            half_done.save_training(progress.checkpoint(), rows, best)
            saved = time.perf_counter()
    half_done.drop()


def _keep_end(keep: Keep, step: int, end: Checkpoint, training: Training) -> None:
    """Keep a state after a step that is the training's last; it is declined if the training ended before that step."""
    recipe, store = training.task.recipe, training.job.store
    if step == end.step:
        store.save_state(keep, end, training.record())
    elif step <= steps_in_epoch(recipe, training.dataset) * recipe.schedule.epochs:
        reason = f"The training ended after step {end.step}, so there is no state after {keep.moment} of it."
        store.decline(keep, reason, training.record())


def _held_out_loss(network: nn.Module, dataset: Dataset, device: str) -> Callable[[State], float]:
    """State -> mean cross entropy of the examples held out, in nats; `network` and `device` as of `job.measuring`."""
    assert dataset.held_out is not None  # `recipe.Moment` asks for it
    evaluator = measuring(network, replace(dataset, test=dataset.held_out), device)
    return lambda state: float(evaluator(state)["test", "cross_entropy"].mean(dtype=np.float64))


def kept_best(recipe: Recipe, store: Store) -> list[Keep]:
    """The best state of a training, if it is there."""
    best = [Keep(Moment(recipe, "best"))] if recipe.data.held_out else []
    return [keep for keep in best if store.has(keep) and store.declined(keep) is None]


def _keep_best(best: Best, training: Training) -> None:
    """Keep the best state of a training that has ended; it is declined where no epoch has a loss."""
    store, keep = training.job.store, Keep(Moment(training.task.recipe, "best"))
    if best.checkpoint is None:
        reason = "The training finished no epoch with a finite loss on the examples held out, so it has no best state."
        store.decline(keep, reason, training.record())
    elif store.has(keep):
        _check_same(keep, best.checkpoint.state, training)
    else:
        epoch = best.checkpoint.step // steps_in_epoch(training.task.recipe, training.dataset)
        record = training.record() | {"epoch": epoch, "held_out_loss": best.loss}
        store.save_state(keep, best.checkpoint, record)


def _check_same(keep: Keep, now: State, training: Training) -> None:
    """Raise `StateError` if a state that was kept earlier is not that of this training."""
    if not _equal(training.job.store.state(keep.moment), now):
        raise StateError(
            f"The state after {keep.moment} of the training {training.task.key} was kept earlier and is another now, "
            f"so it is not of the training that would end here. {_why(training, keep)}Delete "
            f"{training.job.store.where(keep)}, and what was measured with it, to have it made again."
        )


def _check_logged(epoch: int, progress: Progress, log: Sequence[Row], training: Training) -> None:
    """Raise `StateError` if an epoch that is repeated is not the one in the log."""
    logged = [[row["train_loss"], row["train_error"]] for row in log if row["epoch"] == epoch]
    if not np.array_equal(np.array(logged, float), [[progress.loss, progress.error]], equal_nan=True):
        was = logged[0][0] if logged else "none"
        raise _not_repeated(training, f"its epoch {epoch} has the training loss {progress.loss} instead of {was}")


def _not_repeated(training: Training, found: str) -> StateError:
    return StateError(
        f"The training {training.task.key} could not be repeated to the bit: {found}, so states within it would be of "
        f"another training, and were not kept. {_why(training, training.task)}Repeat it with what it was computed "
        f"with, or delete {training.job.store.where(training.task)} to have all of it done again."
    )


def _equal(left: State, right: State) -> bool:
    return left.keys() == right.keys() and all(identical(value, right[name]) for name, value in left.items())


def _why(training: Training, made: Train | Keep) -> str:
    """What a result was computed with that is another now, as a sentence."""
    names = differing(training.task.recipe, training.job.store.record(made), training.job.conditions)
    return f"It was computed with another {' and another '.join(names)}. " if names else ""


def differing(recipe: Recipe, record: Mapping[str, Any], conditions: Mapping[str, Any]) -> list[str]:
    """What may decide the bits of a training and is another now than when it was done, or was not recorded.

    Args:
        recipe: of the training.
        record: of its result, or of that of a state within it.
        conditions: from `job.conditions`, with the digest of the data where it is known.
    """
    names = ["device", "cpu", "arithmetic", "versions", "data", *["native_library"] * recipe.optimizer.native]
    return [name for name in names if name in conditions and record.get(name) != conditions[name]]
