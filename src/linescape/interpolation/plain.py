"""A plain copy of an evaluator's network at positions of a path, for measurements that a walk does not make.

It has none of what makes a walk fast, nor its checks: whoever uses it compares its results with the evaluator's.
"""

from __future__ import annotations

from torch import nn

from linescape.evaluation import batchnorm
from linescape.evaluation.copies.copying import independent
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Path


def copied(evaluator: Evaluator, treatment: str) -> nn.Module:
    """A copy in eval mode, on the evaluator's device; under ``batch`` its norms take the statistics of what they see.

    Args:
        evaluator: whose network is copied.
        treatment: of BatchNorm, see `linescape.evaluation.batchnorm`.
    """
    with evaluator.lent():
        network = independent(evaluator.model).eval()
    if treatment == "batch":
        for layer in batchnorm.layers(network).values():  # their batch's, without keeping a running mean of it
            layer.training, layer.track_running_stats = True, False
    return network


def load(network: nn.Module, path: Path, alpha: float, treatment: str, evaluator: Evaluator) -> None:
    """Write a position of a path into a copy, with the running statistics of the treatment.

    Args:
        network: made by `copied`.
        path: whose position it becomes.
        alpha: the position.
        treatment: of BatchNorm.
        evaluator: whose data ``recalibrate`` passes through the network.

    Raises:
        DataError: there are no data to recalibrate with.
        StateError: the path is not one of this network.
    """
    path.at(alpha).load_into(network)
    names = batchnorm.statistics(network)
    fixed = {"start": 0.0, "end": 1.0}.get(treatment)
    if not names or (fixed is None and treatment != "recalibrate"):
        return
    chosen = (
        evaluator.recalibrated(path, alpha) if fixed is None else {name: path.tensor(name, fixed) for name in names}
    )
    for name in names:
        network.get_buffer(name).copy_(chosen[name])
