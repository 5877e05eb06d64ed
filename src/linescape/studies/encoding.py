"""What the files of a store hold, to bytes and back: states, logs, and the records of what is done.

A record is tied to its task by the key, to the task's files by their digests, and to its own bytes by another.
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

from linescape.geometry.moved import Move
from linescape.geometry.state import State
from linescape.recipe import Content, Recipe
from linescape.tensor_file import decode_with_note, encode_with_note, read_note

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


def encode_task(task: Content) -> bytes:
    """What a task is, as indented JSON: for people, and for who lists a store."""
    return msgspec.json.format(msgspec.json.encode(task), indent=1)


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


def encode_moves(moved: Mapping[str, Move]) -> dict[str, list[float]]:
    """How far each parameter moved, in JSON's types."""
    return {name: [move.distance, move.start, move.count] for name, move in moved.items()}


def decode_moves(noted: Mapping[str, Sequence[Any]]) -> dict[str, Move]:
    """What `encode_moves` encoded.

    Raises:
        ValueError, TypeError, AttributeError: it is something else.
    """
    return {name: Move(float(distance), float(start), int(count)) for name, (distance, start, count) in noted.items()}


def roles(state: State) -> dict[str, Any]:
    """What of a state is not in its tensors, in JSON's types."""
    return {"buffers": list(state.buffers), "tied": dict(state.tied), "order": list(state)}


def with_roles(tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> State:
    """The state of some tensors and of a note with its `roles`.

    Raises:
        KeyError, TypeError: they do not belong together.
    """
    buffers = set(note["buffers"])
    parameters = {name: tensors[name] for name in note["order"] if name not in buffers}
    return State(parameters, {name: tensors[name] for name in note["buffers"]}, note["tied"])


def encode_state(state: State, recipe: Recipe) -> bytes:
    """A training's start or end."""
    return encode_with_note(state, {**roles(state), "recipe": msgspec.to_builtins(recipe)})


def decode_state(content: bytes) -> State:
    """What `encode_state` encoded.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    return with_roles(*decode_with_note(content))


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


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
