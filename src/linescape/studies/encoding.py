"""What the files of a store hold, to bytes and back: states, half-done trainings, and the records of what is done.

Whatever is read back is tied to what it is a result of (the task's key) and to its bytes (a digest). A record lists the
digests of its task's files, and has one of itself.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import polars as pl
from torch import Tensor

from linescape.geometry.mismatch import check_alike
from linescape.geometry.state import State
from linescape.recipe import Recipe
from linescape.tensor_file import decode_sealed, decode_with_note, encode_sealed, encode_with_note, read_note
from linescape.training.loop import Checkpoint

LOG = pl.Schema(
    {
        "epoch": pl.Int64,
        "train_loss": pl.Float64,
        "train_error": pl.Float64,
        "test_loss": pl.Float64,
        "test_error": pl.Float64,
        "lr": pl.Float64,
        "seconds": pl.Float64,
    }
)
"""A training's log, a row an epoch. Losses in nats, errors in %; null is not measured, NaN is not a number.

The training columns are means over the epoch as met in training. A diverged training's last row has a loss that is
NaN or infinite, and fewer rows may precede it than the recipe has epochs.
"""

Row = Mapping[str, float | int | None]

EARLIER_FIELDS = frozenset(
    ("compiler", "declined", "device", "diverged", "files", "finished", "native_convolutions", "seconds", "versions")
)
"""The fields of records before they had a digest."""


def encode_record(key: str, record: Mapping[str, Any]) -> bytes:
    """The record of a settled task as JSON, with the task's key and a digest of it all."""
    whole = {"task": key, **record}
    return json.dumps({**whole, "digest": _digest(whole)}, indent=1).encode()


def decode_record(content: bytes, key: str) -> dict[str, Any]:
    """The record of a task; one of before records had digests is without ``task``.

    Such records stay valid, since days of computing hang on them; their files are checked against the digests that they
    list. A record that lost its digest by damage is not taken for one of them: they have none of the later fields.

    Raises:
        ValueError: it is damaged, or the record of another task.
    """
    record = json.loads(content)
    if not isinstance(record, dict):
        raise ValueError("it holds no fields")
    if record.keys() <= EARLIER_FIELDS:
        return record
    if record.pop("digest", None) != _digest(record):
        raise ValueError("its digest is not that of its content")
    if record["task"] != key:
        raise ValueError(f"it is the record of another task, {record['task']}")
    return record


def encode_state(state: State, recipe: Recipe) -> bytes:
    """A training's start or end."""
    return encode_with_note(state, {**_roles(state), "recipe": msgspec.to_builtins(recipe)})


def decode_state(content: bytes) -> State:
    """What `encode_state` encoded.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    return _state(*decode_with_note(content))


def recipe_of(metadata: Mapping[str, str]) -> Recipe | None:
    """The recipe of a store's checkpoint, from the file's metadata; None if it is not from a store."""
    try:
        return msgspec.convert(read_note(metadata)["recipe"], Recipe)
    except (KeyError, ValueError, TypeError, msgspec.ValidationError):
        return None


def encode_log(rows: Sequence[Row]) -> bytes:
    """A training's log as Parquet, see `LOG`."""
    log = io.BytesIO()
    pl.DataFrame([dict(row) for row in rows], schema=LOG).write_parquet(log)
    return log.getvalue()


def decode_log(content: bytes) -> pl.DataFrame:
    """What `encode_log` encoded."""
    return pl.read_parquet(io.BytesIO(content))


def encode_snapshot(now: Checkpoint, rows: Sequence[Row], of: Mapping[str, Any]) -> bytes:
    """A half-done training with its log.

    Args:
        now: the training.
        rows: the log so far.
        of: what it is a part of, in JSON's types: the task and what it is computed with.
    """
    tensors = {f"state/{name}": value for name, value in now.state.items()}
    tensors |= {f"optimizer/{name}": value for name, value in now.optimizer.items()}
    counts = {"step": now.step, "loss_sum": now.loss_sum, "wrong": now.wrong, "seen": now.seen}
    return encode_sealed(tensors, {"of": of, **_roles(now.state), **counts, "rows": list(rows)})


def decode_snapshot(content: bytes, of: Mapping[str, Any], start: State) -> tuple[Checkpoint, list[Row]]:
    """What `encode_snapshot` encoded.

    Args:
        content: the file.
        of: as it was given to `encode_snapshot`.
        start: a state of the same network, whose names and shapes it must have.

    Raises:
        ValueError: it is damaged, of another task, computed with something else, or of another network.
    """
    tensors, note = decode_sealed(content)
    found = note.get("of")
    if found != of:
        found = found if isinstance(found, dict) else {}
        differing = [name for name in dict.fromkeys((*of, *found)) if found.get(name) != of.get(name)]
        raise ValueError(f"it was computed with another {' and another '.join(differing) or 'setting'}")
    parts: dict[str, dict[str, Tensor]] = {"state": {}, "optimizer": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    state = _state(parts["state"], note)
    check_alike(state, start, "the snapshot", "the recipe's network")
    for slot, value in parts["optimizer"].items():
        parameter = start.parameters.get(slot.partition("/")[2])
        if parameter is None or (value.ndim and value.shape != parameter.shape):
            raise ValueError(f"{slot} of its optimizer fits no parameter")
    counts = {name: note[name] for name in ("step", "loss_sum", "wrong", "seen")}
    return Checkpoint(state, optimizer=parts["optimizer"], **counts), note["rows"]


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _roles(state: State) -> dict[str, Any]:
    return {"buffers": list(state.buffers), "tied": dict(state.tied), "order": list(state)}


def _state(tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> State:
    buffers = set(note["buffers"])
    parameters = {name: tensors[name] for name in note["order"] if name not in buffers}
    return State(parameters, {name: tensors[name] for name in note["buffers"]}, note["tied"])
