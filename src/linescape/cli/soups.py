"""Averages that are chosen on data, and of more than two checkpoints: what `average` does besides one position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from linescape.cli.consoles import echo_err
from linescape.errors import DataError, RecipeError, suggest

if TYPE_CHECKING:
    from torch import Tensor

    from linescape.checkpoints import Contents
    from linescape.cli.specs.resolve import Resolved
    from linescape.evaluation.evaluator import Evaluator


@Parameter(name="*", group=Group("Choosing by data", sort_key=1))
@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which average is written.

    Attributes:
        best: write the network at the lowest point of the line between two checkpoints, which is measured.
        greedy: write the mean of those checkpoints only that make it better, tried from the best to the worst
            (Wortsman et al. 2022).
        on: name of the data that choose, such as test; they are then no measure of the network that is written.
        by: the measure that chooses: cross_entropy (the default with --best) or error (with --greedy), or another
            of probe's.
        alphas: with --best, number of positions that are measured.
    """

    best: Annotated[bool, Parameter(negative="")] = False
    greedy: Annotated[bool, Parameter(negative="")] = False
    on: str | None = None
    by: str | None = None
    alphas: int = 51

    def check(self, checkpoints: int, alpha: float) -> bool:
        """Whether the average is not that of one position between two checkpoints.

        Raises:
            RecipeError: options contradict each other.
        """
        if self.best and (self.greedy or checkpoints != 2):
            raise RecipeError(
                f"--best measures the line between two checkpoints, without --greedy, and {checkpoints} were named. "
                "Name two; or choose among several with --greedy."
            )
        several = self.best or self.greedy or checkpoints > 2
        if several and alpha != 0.5:
            raise RecipeError(
                "--alpha is a position between two checkpoints, which --best and --greedy choose themselves, and which "
                "several do not have. Omit it."
            )
        if (self.on or self.by) and not (self.best or self.greedy):
            raise RecipeError("--on and --by say how --best and --greedy choose. Add one of these, or omit them.")
        return several


def average_several(
    members: Sequence[Contents], choice: Choice, resolved: Resolved | None, out: Path
) -> tuple[str, ...]:
    """Write the average that was asked for; returns notes.

    Args:
        members: two checkpoints or more, with the same names.
        choice: which average.
        resolved: the network and the data, if they were named or are needed.
        out: the file or folder to write.

    Raises:
        DataError: the data that choose are not there.
        StateError, StoreError: as `averaging.mean`.
    """
    from linescape.checkpoints import averaging, soups
    from linescape.checkpoints.rewriting import names_in
    from linescape.cli import specs
    from linescape.evaluation import batchnorm
    from linescape.evaluation.evaluator import Evaluator
    from linescape.report.verdict import in_words, value_unit

    measured: dict[str, Tensor] = {}
    if resolved is None:
        return averaging.mean(members, out)
    network = resolved.network
    by = choice.by or ("cross_entropy" if choice.best else "error")
    evaluator = Evaluator(network, resolved.data, specs.measures_named((by,)), copy=False)
    if choice.best:
        return _best(members, choice, evaluator, by, out)
    states = {str(member.path): member.into(network) for member in members}
    if len(states) < len(members):
        raise RecipeError("A checkpoint is named twice, and would count twice in the mean. Name each once.")
    if choice.greedy:
        unit = value_unit(by)
        soup = soups.greedy(states, evaluator, _chosen(choice, evaluator), by)
        for trial in soup.trials:
            echo_err(
                f"{trial.name}: {in_words(by)} {trial.alone:.4g}{unit} alone, {trial.soup:.4g}{unit} in the mean: "
                + ("kept" if trial.kept else "left out")
            )
        for member in members:  # those that are left out decided too
            member.check_unchanged()
        members = [member for member in members if str(member.path) in soup.members]
        state = soup.state
    else:
        state = soups.with_own_statistics(soups.mean_state(list(states.values())), evaluator)
    if batchnorm.layers(network) and len(members) > 1 and evaluator.calibration in evaluator.data:
        names = names_in(members[-1], network)
        measured = {names[name]: state[name] for name in batchnorm.statistics(network)}
    written = averaging.mean(members, out, measured)
    return (*_warning(choice, evaluator), *written)


def _best(members: Sequence[Contents], choice: Choice, evaluator: Evaluator, by: str, out: Path) -> tuple[str, ...]:
    """Write the network at the lowest point of the line between two."""
    import numpy as np

    from linescape.checkpoints import averaging
    from linescape.evaluation import batchnorm
    from linescape.geometry.paths import Line
    from linescape.interpolation.options import ScanOptions
    from linescape.interpolation.scanning import scan
    from linescape.report.verdict import named, value_unit

    first, last = members
    data = _chosen(choice, evaluator)
    network = evaluator.model
    recalibrates = bool(batchnorm.layers(network)) and evaluator.calibration in evaluator.data
    treatment = "recalibrate" if recalibrates else "interpolate"
    line = Line(first.into(network), last.into(network))
    curve = scan(line, evaluator, ScanOptions(alphas=choice.alphas, batchnorm=treatment))
    means = curve[data, by, treatment].mean
    if not np.isfinite(means).any():
        raise DataError(f"The {by} on {data!r} is finite nowhere on the line, so none of its points is the lowest.")
    place, unit = int(np.nanargmin(means)), value_unit(by)
    alpha = float(curve.alphas[place])
    echo_err(
        f"lowest {named(data, by)}: {means[place]:.4g}{unit} at alpha = {alpha:.4g}, against {means[0]:.4g}{unit} at "
        f"the start and {means[-1]:.4g}{unit} at the end"
    )
    measured = averaging.recalibrated(first, last, alpha, network, evaluator) if recalibrates else None
    notes = averaging.average(first, last, alpha, out, measured)
    return (*_warning(choice, evaluator), *notes)


def _chosen(choice: Choice, evaluator: Evaluator) -> str:
    """The data that choose: those named, or test data, or the only ones."""
    names = list(evaluator.data)
    name = choice.on or ("test" if "test" in names else names[0] if len(names) == 1 else "")
    if name not in names:
        raise DataError(f"There are no data {name!r} to choose the average on: --on NAME. {suggest(name, names)}")
    return name


def _warning(choice: Choice, evaluator: Evaluator) -> list[str]:
    if not (choice.best or choice.greedy):
        return []
    return [
        f"Chosen on the data {_chosen(choice, evaluator)!r}, so these no longer tell how good the network is: measure "
        "it on others."
    ]
