"""What a kind of task is besides its data: how it is done, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from linescape.studies.job import Job
from linescape.studies.tasks import Task
from linescape.studies.workloads import Cost

Part = tuple[int, int]
"""(k, n): the k-th of n parts of a task that is cut."""

T = TypeVar("T", bound=Task)


@dataclass(frozen=True)
class Asked:
    """What missing states within trainings take, beyond the trainings that are done anyway.

    Attributes:
        steps: state -> steps that are done for it and all others of its training; none where a training passes it.
        held_out: tasks that measure what a training holds out after each epoch, to find its best state.
    """

    steps: Mapping[Task, int] = field(default_factory=dict)
    held_out: Collection[Task] = ()


NOTHING = Asked()


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of task.

    Attributes:
        task: the class of its tasks.
        do: does one, from where it was stopped if it was begun, and saves its result in the job's store; gets the task,
            the job, tasks that it may do on its way, and the part that is to be done, None for the whole. Raises
            `job.Declined` where it cannot be done and that is a result.
        cost: counts what one takes on a device; what every task takes is added.
    """

    task: type[T]
    do: Callable[[T, Job, Collection[Task], Part | None], None]
    cost: Callable[[T, str, Asked], Cost]
