"""A probe in the log of a training: TensorBoard, MLflow, Weights & Biases.

Nothing of these packages is imported: `log` calls the writer or run that it is given.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from linescape.errors import RecipeError
from linescape.interpolation.probing import Probe
from linescape.report import plots

_OTHER = re.compile(r"[^\w\-. :/]")
"""What MLflow does not take in a name."""


def log(probe: Probe, run: Any, name: str = "linescape") -> None:
    """Log a probe's curves, their barrier and min Delta, and its figure.

    Curves are logged as ``NAME/LINE/DATA/MEASURE`` over alpha in thousandths (500 is the middle of the line), in
    Weights & Biases over ``NAME/alpha``.

    Args:
        probe: the probe.
        run: TensorBoard's ``SummaryWriter``, the module ``mlflow`` with an active run, or a run of Weights & Biases;
            of a logger of Lightning its ``experiment``.
        name: under which all is logged.

    Raises:
        RecipeError: `run` is none of these.
    """
    positions, numbers = _positions(probe, name), _numbers(probe, name)
    figure = plots.of_probe(probe).figure
    scalars = [(tag, value, step) for step, values in positions.items() for tag, value in values.items()]
    scalars += [(tag, value, 0) for tag, value in numbers.items()]
    if hasattr(run, "add_scalar"):
        for tag, value, step in scalars:
            run.add_scalar(tag, value, step)
        run.add_figure(f"{name}/figure", figure)
    elif hasattr(run, "log_metric") and hasattr(run, "log_figure"):
        for tag, value, step in scalars:
            run.log_metric(tag, value, step=step)
        run.log_figure(figure, f"{name}.png")
    elif hasattr(run, "define_metric"):
        run.define_metric(f"{name}/*", step_metric=f"{name}/alpha")
        for step, values in positions.items():
            run.log({f"{name}/alpha": step / 1000, **values})
        run.log({f"{name}/figure": sys.modules["wandb"].Image(figure)})  # which made the run
        run.summary.update(numbers)
    else:
        raise RecipeError(
            f"A {type(run).__name__} is no log that linescape knows. Give TensorBoard's SummaryWriter, the module "
            "mlflow, or a run of Weights & Biases."
        )


def _positions(probe: Probe, name: str) -> dict[int, dict[str, float]]:
    """Alpha in thousandths -> name of each series -> its mean there."""
    positions: dict[int, dict[str, float]] = {}
    for line, curve in probe.curves.items():
        for series in curve:
            tag = _tag(probe, name, line, series.data, series.measure, series.batchnorm)
            for alpha, mean in zip(series.alphas, series.mean, strict=True):
                positions.setdefault(round(1000 * alpha), {})[tag] = float(mean)
    return dict(sorted(positions.items()))


def _numbers(probe: Probe, name: str) -> dict[str, float]:
    return {
        f"{_tag(probe, name, *series)}.{statistic}": estimates[statistic].value
        for series, estimates in probe.statistics.items()
        for statistic in ("barrier_above_chord", "min_delta")
    }


def _tag(probe: Probe, *parts: str) -> str:
    *others, batchnorm = parts
    return _OTHER.sub("_", "/".join([*others, batchnorm] if len(probe.treatments) > 1 else others))
