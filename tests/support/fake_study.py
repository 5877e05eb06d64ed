"""A study whose results are made up: every shape that a real one shows, in milliseconds.

Plateaus at ln 10 with a cliff, humps, gentle monotone descents, starts hundreds of nats high, an infinite loss, a
diverged run, a run that was never trained and one whose layer-wise lines are missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from linescape.analysis import tables
from linescape.geometry.moved import Move, moves
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.recipe import (
    MLP,
    Barrier,
    Content,
    Data,
    Optimizer,
    Poison,
    Recipe,
    ResNet,
    Schedule,
    Trained,
    derive_seed,
)
from linescape.studies.study import Arm, Measurement, Moment, Run, Scan, Study, Task, Train

BLOCKS = ("stem", "layer1", "layer2", "layer3", "fc")
TREATMENTS = ("interpolate", "recalibrate", "start", "end", "batch")
CHANCE = math.log(10)
Array = NDArray[np.float64]
Shape = Callable[[Array, np.random.Generator], Array]

BASE = Recipe(
    data=Data("fashion-mini", augment="flip"),
    model=ResNet(depth=8, width=8),
    optimizer=Optimizer(lr=0.1, weight_decay=5e-4),
    schedule=Schedule(epochs=30, kind="step", drops=(10, 20)),
)


def _plateau(alphas: Array, rng: np.random.Generator) -> Array:
    top = CHANCE + (0.5 + 0.2 * rng.random()) * np.exp(-alphas / 0.05)
    return top + (0.33 - CHANCE) * _rise(alphas, 0.975, 0.008)


def _hump(alphas: Array, rng: np.random.Generator) -> Array:
    height = 0.9 * rng.random()
    bump = height * np.exp(-(((alphas - 0.25 - 0.1 * rng.random()) / 0.12) ** 2))
    fall = 2.35 - 2.0 * _rise(alphas, 0.7, 0.08)
    return fall + bump + 0.12 * _rise(alphas, 0.96, 0.012)


def _high_hump(alphas: Array, rng: np.random.Generator) -> Array:
    return _hump(alphas, rng) + 2.4 * np.exp(-alphas / 0.2) + 0.8 * np.exp(-(((alphas - 0.4) / 0.1) ** 2))


def _gentle(alphas: Array, rng: np.random.Generator) -> Array:
    return 0.33 + (2.2 + 0.2 * rng.random()) * (1 - _rise(alphas, 0.62 + 0.04 * rng.random(), 0.12))


def _deep(alphas: Array, rng: np.random.Generator) -> Array:
    return _plateau(alphas, rng) + (20 + 30 * rng.random()) * np.exp(-alphas / 0.012)


def _rise(alphas: Array, centre: float, width: float) -> Array:
    """A smooth step from 0 to 1 that ends at 1."""
    step = 1 / (1 + np.exp(-(alphas - centre) / width))
    return np.asarray((step - step[0]) / (step[-1] - step[0]))


def _block(block: str) -> Shape:
    def shape(alphas: Array, rng: np.random.Generator) -> Array:
        if block == "stem":
            return np.asarray(0.33 + 1.4 * (1 - alphas) ** 3)
        if block == "layer1":
            return np.asarray(0.33 + 5.1 * (1 - alphas) ** 2.2)
        if block == "layer2":
            again = 3.5 * np.exp(-(((alphas - 0.75) / 0.18) ** 2))
            return np.asarray(0.33 + (7.4 * np.exp(-alphas / 0.25) + again) * (1 - _rise(alphas, 0.95, 0.02)))
        if block == "layer3":
            again = 1.4 * np.exp(-(((alphas - 0.88) / 0.15) ** 2))
            return np.asarray(0.33 + (3.5 * np.exp(-alphas / 0.2) + again) * (1 - _rise(alphas, 0.97, 0.01)))
        return np.asarray(0.33 - 0.07 * np.sin(np.pi * alphas) + 1.8 * np.exp(-alphas / 0.15) * (1 - alphas))

    return shape


# arm -> (shape of the whole line, mean test accuracy in %, distance over the start's norm)
_SHAPES: dict[str, tuple[Shape, float, float]] = {
    "base": (_plateau, 86.3, 1.1),
    "pretrained": (_gentle, 86.9, 0.5),
    "no-weight-decay": (_hump, 84.8, 1.6),
    "adversarial": (_high_hump, 84.5, 0.9),
    "at-barrier": (_gentle, 85.1, 1.2),
    "data-20": (_gentle, 79.2, 0.9),
    "data-50": (_hump, 83.0, 1.0),
    "no-augmentation": (_gentle, 84.1, 1.0),
    "weight-decay-0.001": (_plateau, 86.6, 1.0),
    "lr-1": (_hump, 82.5, 3.5),
    "depth-20": (_deep, 87.4, 1.2),
    "ri-layer1": (_plateau, 86.0, 0.8),
    "ri-layer2": (_plateau, 86.1, 0.8),
    "ri-layer3": (_plateau, 85.0, 0.9),
    "mlp-digits": (_gentle, 97.0, 1.4),
    "mlp-spiral": (_hump, 99.9, 2.8),
}


def study(seeds: int = 3, alphas: int = 50, treatments: bool = False) -> Study:
    """Sixteen arms of every group; with `treatments` a second whole line under all treatments of BatchNorm."""
    made: dict[str, tuple[Recipe, ...]] = {}

    def arm(name: str, group: str, title: str, change: Callable[[Recipe, int], Recipe], baseline: str = "base") -> Arm:
        recipes = tuple(change(replace(BASE, seed=seed), seed) for seed in range(seeds))
        made[name] = recipes
        blocks = () if group == "warm-up" else BLOCKS
        runs = []
        for recipe in recipes:
            own, end = Moment(recipe, "start"), Moment(recipe)
            lines = {"whole": Scan(own, end, alphas=alphas)}
            if treatments and group != "warm-up":
                lines["treatments"] = Scan(
                    own, end, alphas=1 + alphas // 2, batchnorm=TREATMENTS, train_examples=500, test_examples=100
                )
            lines |= {block: Scan(own, end, block=block, alphas=alphas) for block in blocks}
            if group == "warm-up":
                other = Moment(replace(recipe, seed=recipe.seed + 100), "start")
                lines["to another start"] = Scan(end, other, alphas=alphas)
                lines["start to start"] = Scan(own, other, alphas=alphas)
            runs.append(Run(recipe, lines))
        return Arm(name, group, title, tuple(runs), baseline)

    def optimizer(**changes: float) -> Callable[[Recipe, int], Recipe]:
        return lambda recipe, _: replace(recipe, optimizer=replace(recipe.optimizer, **changes))

    def data(**changes: object) -> Callable[[Recipe, int], Recipe]:
        return lambda recipe, _: replace(recipe, data=replace(recipe.data, **changes))

    def reset(block: str) -> Callable[[Recipe, int], Recipe]:
        return lambda recipe, seed: replace(recipe, init=Trained(made["base"][seed], reset=(block,)))

    def poisoned(recipe: Recipe, seed: int) -> Recipe:
        plain = made["no-weight-decay"][seed]
        return replace(plain, init=Trained(replace(plain, data=Data("fashion-mini", poison=Poison()))))

    def pretrained(recipe: Recipe, seed: int) -> Recipe:
        other = replace(recipe, data=Data("cifar10"))
        return replace(recipe, init=Trained(other, reset=("fc",)))

    def mlp(name: str) -> Callable[[Recipe, int], Recipe]:
        return lambda recipe, seed: Recipe(
            Data(name), MLP((32, 32)), Optimizer("adam", lr=1e-3), Schedule(20), seed=seed
        )

    arms = (
        arm("base", "base", "standard training", lambda recipe, _: recipe),
        arm("pretrained", "initialisation", "pre-trained on CIFAR-10", pretrained),
        arm("no-weight-decay", "optimizer", "no weight decay", optimizer(weight_decay=0.0)),
        arm("adversarial", "initialisation", "adversarial start", poisoned, "no-weight-decay"),
        arm(
            "at-barrier",
            "initialisation",
            "start at the barrier",
            lambda recipe, seed: replace(made["no-weight-decay"][seed], init=Barrier(made["no-weight-decay"][seed])),
            "no-weight-decay",
        ),
        arm("data-20", "data", "20 % of the data", data(fraction=0.2)),
        arm("data-50", "data", "50 % of the data", data(fraction=0.5)),
        arm("no-augmentation", "data", "no augmentation", data(augment="none")),
        arm("weight-decay-0.001", "optimizer", "weight decay 0.001", optimizer(weight_decay=1e-3)),
        arm("lr-1", "optimizer", "learning rate 1", optimizer(lr=1.0)),
        arm("depth-20", "model", "depth 20", lambda recipe, _: replace(recipe, model=ResNet(depth=20, width=8))),
        arm("ri-layer1", "partial", "trained, but layer1 at random", reset("layer1")),
        arm("ri-layer2", "partial", "trained, but layer2 at random", reset("layer2")),
        arm("ri-layer3", "partial", "trained, but layer3 at random", reset("layer3")),
        arm("mlp-digits", "warm-up", "MLP on digits", mlp("digits")),
        arm("mlp-spiral", "warm-up", "MLP on a spiral", mlp("spiral"), "mlp-digits"),
    )
    source = "Vlaar & Frankle, ICML 2022, arXiv 2106.16004"
    return Study("vlaar2022", "mini", "What can linear interpolation tell us?", source, arms)


@dataclass
class FakeStore:
    """Answers as a store would, from seeds alone."""

    study: Study
    examples: int = 200
    missing: set[Content] = field(default_factory=set)
    not_done: set[Content] = field(default_factory=set)
    lost: set[Content] = field(default_factory=set)
    damaged: dict[Task, str] = field(default_factory=dict)

    @classmethod
    def with_trouble(cls, study: Study) -> FakeStore:
        """Where the study has these arms, of their last seeds `depth-20`'s was never trained, `data-20`'s lacks two
        lines, `lr-1`'s diverged, and `no-augmentation`'s was declined."""
        last = {arm.name: arm.runs[-1] for arm in study.arms}
        store = cls(study)
        if never := last.get("depth-20"):
            store.missing |= {Train(never.recipe), *never.lines.values()}
        if part := last.get("data-20"):
            store.missing |= {part.lines["layer2"], part.lines["fc"]}
        if off := last.get("no-augmentation"):
            store.not_done |= {Train(off.recipe), *off.lines.values()}
        if lost := last.get("lr-1"):
            store.lost |= {lost.recipe}
        return store

    def has(self, task: Task) -> bool:
        return task not in self.missing

    def each_record_once(self) -> nullcontext[None]:
        return nullcontext()

    def declined(self, task: Task) -> str | None:
        return "the training that it starts from diverged" if task in self.not_done else None

    def diverged(self, recipe: Recipe) -> bool:
        return recipe in self.lost

    def record(self, task: Task) -> dict[str, Any]:
        return {"seconds": 45.0 if isinstance(task, Train) else 12.5}

    def state(self, moment: Moment) -> State:
        rng = np.random.default_rng(derive_seed(moment, "fake state"))
        arm = self._arm(moment.recipe)
        start = np.random.default_rng(derive_seed(moment.recipe, "fake start")).normal(size=1000)
        moved = 0.0 if moment.at == "start" else _SHAPES[arm][2] * (1 + 0.05 * rng.normal())
        step = rng.normal(size=1000)
        step *= moved * np.linalg.norm(start) / np.linalg.norm(step)
        if moment.recipe in self.lost and moment.at == "end":
            step[3] = np.nan
        values = torch.from_numpy(start + step)
        cuts = (50, 250, 500, 950)
        parts = torch.tensor_split(values, cuts)
        return State(dict(zip((f"{block}.weight" for block in BLOCKS), parts, strict=True)))

    def moves(self, recipe: Recipe) -> dict[str, Move]:
        return moves(self.state(Moment(recipe, "start")), self.state(Moment(recipe)))

    def log(self, recipe: Recipe) -> pl.DataFrame:
        epochs = np.arange(recipe.schedule.epochs)
        test = 100 - self._accuracy(recipe)
        loss = 0.33 + 2 * np.exp(-epochs / 6)
        if recipe in self.lost:
            loss = np.where(epochs > 9, np.nan, loss)
        return pl.DataFrame(
            {
                "epoch": epochs,
                "train_loss": 0.4 * loss,
                "train_error": 0.2 * test * loss / loss[-1],
                "test_loss": loss,
                "test_error": test * loss / loss[-1],
                "lr": np.full(len(epochs), recipe.optimizer.lr),
                "seconds": np.full(len(epochs), 1.5),
            }
        )

    def measured(self, task: Measurement) -> Any:
        raise AssertionError("the study has no measurements besides its lines")

    def curve(self, scan: Scan) -> Curve:
        whole = scan.end.recipe if scan.end.at == "end" else scan.start.recipe
        arm = self._arm(whole)
        rng = np.random.default_rng(derive_seed(scan, "fake curve"))
        alphas = np.linspace(0, 1, scan.alphas)
        shape, _, _ = _SHAPES[arm]
        chance = math.log(2 if whole.data.name == "spiral" else 10)
        if scan.block:
            loss = _block(scan.block)(alphas, rng)
        elif scan.end.at == "start":
            loss = np.full(len(alphas), chance) if scan.start.at == "start" else chance * _rise(alphas, 0.3, 0.06) + 0.1
        else:
            loss = shape(alphas, rng) * (chance / CHANCE)
        if whole.model == ResNet(depth=20, width=8) and scan.block == "stem":
            loss[0] = np.inf
        if whole in self.lost:
            loss = np.where(alphas > 0.6, np.nan, loss)
        error = 100 * (1 - math.exp(-chance)) * np.clip(loss / chance, 0, 1) ** 0.7
        if scan.end.at == "end" and not scan.block:
            error = error * 1.0
            error[-1] = 100 - self._accuracy(whole)
        if scan.block:
            error[-1] = 100 - self._accuracy(whole)
        values = {}
        for data, easier in (("train", 0.5 + 0.5 * np.clip(loss / chance, 0, 1)), ("test", np.ones(len(loss)))):
            weights = rng.gamma(2.0, size=self.examples)
            weights /= weights.mean()
            # Evenly spread thresholds: the mean error is the wanted one to 100 / examples, and pairs are kept.
            thresholds = 100 * (rng.permutation(self.examples) + 0.5) / self.examples
            for place, treatment in enumerate(scan.batchnorm):
                # Other statistics than the interpolated ones soften what lies between the two networks.
                milder = loss * (1 - 0.2 * place * alphas * (1 - alphas))
                values[data, "cross_entropy", treatment] = (milder * easier)[:, None] * weights
                values[data, "error", treatment] = np.where(
                    np.isnan(loss)[:, None], 100.0, 100.0 * (thresholds < (error * easier)[:, None])
                )
        return Curve(alphas, values, self._provenance(scan))

    def _provenance(self, scan: Scan) -> dict[str, Any]:
        return {
            "linescape": "0.1.0",
            "torch": "2.13.0",
            "python": "3.11.2",
            "device": "cpu, 2 threads",
            "dtype": "float32",
            "seconds": 12.5,
            "examples": {"train": self.examples, "test": self.examples},
            "at_rest": [f"{block}.weight" for block in BLOCKS if scan.block not in ("", block)],
            "notes": [],
        }

    def _arm(self, recipe: Recipe) -> str:
        return next((arm.name for arm in self.study.arms if any(run.recipe == recipe for run in arm.runs)), "base")

    def _accuracy(self, recipe: Recipe) -> float:
        rng = np.random.default_rng(derive_seed(recipe, "fake accuracy"))
        return float(min(100.0, _SHAPES[self._arm(recipe)][1] + 0.25 * rng.normal()))


@cache
def results(seeds: int = 3, alphas: int = 50) -> tables.Results:
    """Everything that a store with trouble holds, read once for all tests."""
    made = study(seeds, alphas)
    return tables.read(made, FakeStore.with_trouble(made))
