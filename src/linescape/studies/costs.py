"""What a task costs, counted and not timed: how often it does which step or measurement, and seconds besides."""

from __future__ import annotations

from linescape.studies.kinds import kind_of
from linescape.studies.kinds.kind import NOTHING, Asked
from linescape.studies.tasks import Task
from linescape.studies.workloads import Cost, approximate_call


def cost_of(task: Task, device: str, asked: Asked = NOTHING) -> Cost:
    """What one task costs on a device; what it needs does not count.

    Args:
        task: the task.
        device: where it would be done.
        asked: what is done for states within trainings.

    Raises:
        RecipeError: its recipe is impossible.
        DataError: a fraction of the data is too small for one batch.
    """
    cost: Cost = kind_of(task).cost(task, device, asked)
    return cost


def approximate(task: Task, device: str = "cpu", asked: Asked = NOTHING) -> float:
    """Seconds of one task on an imagined core: nothing is timed, so only the ratio of two tasks says something.

    Args:
        task, device, asked: as of `cost_of`.
    """
    cost = cost_of(task, device, asked)
    return cost.seconds({workload: approximate_call(workload) for workload in cost.calls})
