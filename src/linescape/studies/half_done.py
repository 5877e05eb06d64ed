"""What is there of a task that is not done yet: a training's last snapshot, or the points of a walk.

It only saves time. So it is used only if each bit of it is what was written, if it is of this task, and if it was
computed with what the task is computed with now: a result must not be computed in two ways. Else it begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from linescape import tensor_file
from linescape.errors import StoreError
from linescape.geometry.mismatch import check_alike
from linescape.geometry.state import State
from linescape.interpolation import resume
from linescape.interpolation.curve import Key, Point
from linescape.studies.encoding import Row, roles, with_roles
from linescape.studies.layout import POINTS, SNAPSHOT
from linescape.studies.places import Place
from linescape.training.loop import Checkpoint
from linescape.training.what_is_trained import COORDINATES


@dataclass(frozen=True, eq=False)
class Best:
    """The best state so far, of a training whose epochs have all been measured.

    Attributes:
        checkpoint: the training after that epoch, the first of several with this loss; None before the first epoch
            whose loss is finite.
        loss: mean cross entropy of the examples held out, in nats; infinite before.
    """

    checkpoint: Checkpoint | None = None
    loss: float = math.inf

    def or_now(self, now: Checkpoint, loss: float) -> Best:
        """The best with one more epoch; a loss that is NaN is never the lowest."""
        return Best(now, loss) if loss < self.loss else self


class Snapshot(NamedTuple):
    """A training that is not over.

    Attributes:
        checkpoint: the training as it was.
        rows: its log so far.
        best: its best state so far; None where not all of its epochs were measured on what it holds out.
    """

    checkpoint: Checkpoint
    rows: list[Row]
    best: Best | None = None


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

    def training(self, start: State) -> Snapshot | None:
        """The last snapshot of a training; None if there is none that can be used.

        Args:
            start: a state of its network, whose names and shapes it must have.

        Raises:
            StoreError: it cannot be read, which may pass.
        """
        try:
            return self._training(start)
        except FileNotFoundError:
            return None
        except StoreError:  # which may pass, and hours of training hang on it
            raise
        except (OSError, KeyError, ValueError, TypeError) as error:
            self.remarks.append(f"began anew, as its half-done training was not used: {error}")
            return None

    def _training(self, start: State) -> Snapshot:
        tensors, note = tensor_file.decode_sealed(self._place.read(self._snapshot))
        made = dict(note["of"])
        if made != self._of:
            names = dict.fromkeys((*self._of, *made))
            differing = [name for name in names if made.get(name) != self._of.get(name)]
            raise ValueError(f"it was computed with another {' and another '.join(differing)}")
        best = Best() if "best" in note else None
        if noted := note.get("best"):
            best = Best(_checkpoint("best_", tensors, {**note, **noted}, start), noted["loss"])
        return Snapshot(_checkpoint("", tensors, note, start), note["rows"], best)

    def save_training(self, now: Checkpoint, rows: Sequence[Row], best: Best | None = None) -> None:
        """Write a snapshot of a training with its log and its best state so far, in place of the last one.

        Raises:
            StoreError: it cannot be written.
        """
        tensors, counts = _encoded("", now)
        note = {"of": self._of, **roles(now.state), **counts, "rows": list(rows)}
        if best is not None:
            note["best"] = None
        if best is not None and best.checkpoint is not None:
            of_best, counts = _encoded("best_", best.checkpoint)
            tensors, note["best"] = tensors | of_best, {**counts, "loss": best.loss}
        self._place.write(self._snapshot, tensor_file.encode_sealed(tensors, note))

    def drop(self) -> None:
        """Remove the snapshot, which is not needed any more."""
        self._place.delete(self._snapshot)

    def points(self, alphas: Collection[float], shapes: Mapping[Key, tuple[int, ...]]) -> list[Point]:
        """The points of a walk that can be used; the others are to be measured again.

        Args:
            alphas: its positions.
            shapes: (data, measure, batchnorm) -> shape of a point's values.

        Raises:
            StoreError: one cannot be read, which may pass.
        """
        names = [name for name in self._place.names(self._points) if name.endswith(".safetensors")]
        usable: list[Point] = []
        for name in names:
            try:
                point = resume.decode(self._place.read(f"{self._points}/{name}"), name, self._of)
                if point.alpha in alphas and {key: values.shape for key, values in point.values.items()} == shapes:
                    usable.append(point)
            except StoreError:
                raise
            except (OSError, KeyError, ValueError, TypeError):
                continue  # it is measured again
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


_COUNTS = ("step", "loss_sum", "wrong", "seen")


def _encoded(prefix: str, now: Checkpoint) -> tuple[dict[str, Tensor], dict[str, int | float]]:
    """The tensors of a checkpoint, whose names begin so, and its counts."""
    tensors = {f"{prefix}state/{name}": value for name, value in now.state.items()}
    tensors |= {f"{prefix}optimizer/{name}": value for name, value in now.optimizer.items()}
    return tensors, {name: getattr(now, name) for name in _COUNTS}


def _checkpoint(prefix: str, tensors: Mapping[str, Tensor], note: Mapping[str, Any], start: State) -> Checkpoint:
    """A checkpoint from tensors whose names begin so; `ValueError` if it is not one of the network of `start`."""
    parts = {
        part: {name.removeprefix(head): value for name, value in tensors.items() if name.startswith(head)}
        for part in ("state", "optimizer")
        for head in [f"{prefix}{part}/"]
    }
    state, optimizer = with_roles(parts["state"], note), parts["optimizer"]
    check_alike(state, start, "the snapshot", "the recipe's network")
    for slot, value in optimizer.items():
        name = slot.partition("/")[2]
        if name == COORDINATES:
            continue
        parameter = start.parameters.get(name)
        if parameter is None or (value.ndim and value.shape != parameter.shape):
            raise ValueError(f"{slot} of its optimizer fits no parameter")
    return Checkpoint(state, optimizer=optimizer, **{name: note[name] for name in _COUNTS})
