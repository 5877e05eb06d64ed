"""Trainings that the rule of Lucas et al. 2021 (arXiv 2104.11044) would have stopped, and that its tables leave out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from linescape.analysis.tables import Results
from linescape.recipe import MLP, Recipe
from linescape.studies.works.lucas2021 import ABORT, RESIDUAL_ABORT, Abort


def of_runs(results: Results) -> Mapping[tuple[str, int], bool]:
    """(arm, seed) -> whether the rule stops the training, of those whose log is there."""
    recipes = {(arm.name, run.seed): run.recipe for arm in results.study.arms for run in arm.runs}
    logs = results.losses.sort("epoch").group_by(["arm", "seed"], maintain_order=True)
    return {
        (arm, seed): is_aborted(log["epoch"].to_numpy(), log["train_loss"].to_numpy(), rule_of(recipes[arm, seed]))
        for (arm, seed), log in logs
        if (arm, seed) in recipes
    }


def rule_of(recipe: Recipe) -> Abort:
    """The rule for a training. That a shorter one is judged after its last epoch is our choice."""
    rule = ABORT if isinstance(recipe.model, MLP) else RESIDUAL_ABORT
    return rule._replace(epoch=min(rule.epoch, recipe.schedule.epochs))


def is_aborted(epochs: np.ndarray, losses: np.ndarray, rule: Abort) -> bool:
    """Whether the training loss is above the bound after the rule's epoch or a later one, or not finite after any.

    The training loss of an epoch is the mean over its batches as the weights change, as it is logged. A training that
    ended in NaN or infinity has no later epochs, so it counts whenever that was.

    Args:
        epochs: numbers ``(n,)``, from 1.
        losses: of each, nats ``(n,)``.
        rule: from which epoch on, and the bound.
    """
    late = (epochs >= rule.epoch) | ~np.isfinite(losses)
    return bool((~(losses[late] <= rule.loss)).any())


def counted(results: Results, runs: pl.DataFrame) -> dict[str, Any]:
    """What a page says of the rule: how many trainings it takes out, and how many of these are below the limit.

    Args:
        results: of the study.
        runs: rows of `lucas2021.points`, of one kind of network.
    """
    of_arms = set(runs["arm"])
    recipe = next((run.recipe for arm in results.study.arms if arm.name in of_arms for run in arm.runs), None)
    logged = runs.filter(pl.col("aborted").is_not_null())
    return {
        "trained": logged.height,
        "aborted": logged.filter("aborted").height,
        "alone": logged.filter(pl.col("aborted") & pl.col("below")).height,
        "epochs": recipe.schedule.epochs if recipe else 0,
        **(rule_of(recipe)._asdict() if recipe else {}),
    }
