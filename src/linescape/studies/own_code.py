"""Says which code of one's own has changed since results were made with it, so that nobody wonders where they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from linescape.recipe import Content, Own, canonical
from linescape.studies.store import Store
from linescape.studies.study import Study, every_task
from linescape.studies.tasks import Task


def changed_code(tasks: Study | Iterable[Task], store: Store) -> tuple[str, ...]:
    """A sentence for each function of the user's that has changed since results for these tasks were made.

    Raises:
        StoreError: the store cannot be read.
    """
    wanted = every_task(tasks)
    own = {part for task in wanted for part in _own(task)}
    if not own:
        return ()
    present, digests = {task.key for task in wanted}, {part.sha256 for part in own}
    without_code = {_without_code(task) for task in wanted}
    earlier: Counter[str] = Counter()
    for task in store.tasks():
        if _without_code(task) in without_code and task.key not in present:
            earlier.update({part.function for part in _own(task) if part.sha256 not in digests})
    named = {part.function: f"{part.function} in {Path(part.where).name}" for part in own}
    return tuple(
        f"The code of {named.get(function, function)} has changed since {count} result{'s' * (count > 1)} of this "
        f"study {'were' if count > 1 else 'was'} made. They stay in {store}, but are not those of the present "
        "code, whose tasks are done anew."
        for function, count in earlier.items()
    )


def _own(content: Content) -> Iterator[Own]:
    if isinstance(content, Own):
        yield content
    for name in content.__struct_fields__:
        if isinstance(part := getattr(content, name), Content):
            yield from _own(part)


def _without_code(task: Task) -> bytes:
    text = canonical(task)
    for part in _own(task):
        text = text.replace(part.sha256.encode(), b"")
    return text
