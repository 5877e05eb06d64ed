"""What is there of a task that is not done yet: a training's last snapshot, or the points of a walk.

It only saves time. So it is used only if each bit of it is what was written, if it is of this task, and if it was
computed with what the task is computed with now: a result must not be computed in two ways. Else it begins anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor

from linescape import tensor_file
from linescape.geometry.mismatch import check_alike
from linescape.geometry.state import State
from linescape.interpolation import resume
from linescape.interpolation.curve import Key, Point
from linescape.studies.encoding import Row, roles, with_roles
from linescape.studies.layout import POINTS, SNAPSHOT
from linescape.studies.places import Place
from linescape.training.loop import Checkpoint


class HalfDone:
    """The half-done work of one task.

    Args:
        place: where it lies.
        folder: of the task.
        of: the task's key and what it is computed with, in JSON's types.

    Attributes:
        remarks: what could not be used, and why.
    """

    def __init__(self, place: Place, folder: str, of: Mapping[str, Any]) -> None:
        self.remarks: list[str] = []
        self._place, self._of = place, of
        self._snapshot, self._points = f"{folder}/{SNAPSHOT}", f"{folder}/{POINTS}"

    def training(self, start: State) -> tuple[Checkpoint, list[Row]] | None:
        """The last snapshot of a training with its log; None if there is none that can be used.

        Args:
            start: a state of its network, whose names and shapes it must have.
        """
        try:
            return self._training(start)
        except FileNotFoundError:
            return None
        except (OSError, KeyError, ValueError, TypeError) as error:
            self.remarks.append(f"began anew, as its half-done training was not used: {error}")
            return None

    def _training(self, start: State) -> tuple[Checkpoint, list[Row]]:
        tensors, note = tensor_file.decode_sealed(self._place.read(self._snapshot))
        made = dict(note["of"])
        if made != self._of:
            names = dict.fromkeys((*self._of, *made))
            differing = [name for name in names if made.get(name) != self._of.get(name)]
            raise ValueError(f"it was computed with another {' and another '.join(differing)}")
        parts: dict[str, dict[str, Tensor]] = {"state": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        state, optimizer = with_roles(parts["state"], note), parts["optimizer"]
        check_alike(state, start, "the snapshot", "the recipe's network")
        for slot, value in optimizer.items():
            parameter = start.parameters.get(slot.partition("/")[2])
            if parameter is None or (value.ndim and value.shape != parameter.shape):
                raise ValueError(f"{slot} of its optimizer fits no parameter")
        counts = {name: note[name] for name in ("step", "loss_sum", "wrong", "seen")}
        return Checkpoint(state, optimizer=optimizer, **counts), note["rows"]

    def save_training(self, now: Checkpoint, rows: Sequence[Row]) -> None:
        """Write a snapshot of a training with its log so far, in place of the last one.

        Raises:
            StoreError: it cannot be written.
        """
        tensors = {f"state/{name}": value for name, value in now.state.items()}
        tensors |= {f"optimizer/{name}": value for name, value in now.optimizer.items()}
        counts = {"step": now.step, "loss_sum": now.loss_sum, "wrong": now.wrong, "seen": now.seen}
        note = {"of": self._of, **roles(now.state), **counts, "rows": list(rows)}
        self._place.write(self._snapshot, tensor_file.encode_sealed(tensors, note))

    def drop(self) -> None:
        """Remove the snapshot, which is not needed any more."""
        self._place.delete(self._snapshot)

    def points(self, alphas: Collection[float], shapes: Mapping[Key, tuple[int, ...]]) -> list[Point]:
        """The points of a walk that can be used; the others are to be measured again.

        Args:
            alphas: its positions.
            shapes: (data, measure, batchnorm) -> shape of a point's values.
        """
        names = [name for name in self._place.names(self._points) if name.endswith(".safetensors")]
        usable: list[Point] = []
        for name in names:
            with suppress(OSError, KeyError, ValueError, TypeError):
                point = resume.decode(self._place.read(f"{self._points}/{name}"), name, self._of)
                if point.alpha in alphas and {key: values.shape for key, values in point.values.items()} == shapes:
                    usable.append(point)
        if lost := len(names) - len(usable):
            self.remarks.append(
                f"measured {lost} positions again, as their files were damaged or computed with something else"
            )
        return usable

    def save_point(self, point: Point) -> None:
        """Write one point of a walk.

        Raises:
            StoreError: the folder cannot be written.
        """
        content, name = resume.encode(point, self._of), resume.file_name(point.alpha)
        self._place.write(f"{self._points}/{name}", content, durable=point.seconds >= resume.FLUSHED)
