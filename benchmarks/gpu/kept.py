"""Ends of trainings that other runs start from, in pieces, so that another machine need not train them again.

    STATE/kept/base-0.json                 the training's key, log and origin, and the SHA-256 of its end
    STATE/kept/base-0.1, base-0.2, ...     end.safetensors of the store, cut

The optimizer's state is not among them, and the start is drawn anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch

from benchmarks import runs
from linescape import atomic, data, models
from linescape.errors import DamagedError
from linescape.geometry.state import State
from linescape.recipe import Random, Trained
from linescape.studies.states import state
from linescape.studies.store import Store
from linescape.studies.study import Moment, Study, Train
from linescape.training.loop import Checkpoint

PIECE_BYTES = 15_000_000


def keep(one: Study, store: Store, folder: Path, piece_bytes: int = PIECE_BYTES) -> None:
    """Write the end of a finished training."""
    recipe, name = runs.recipe(one), runs.name(one)
    content = store.path(Moment(recipe)).read_bytes()
    for number, at in enumerate(range(0, len(content), piece_bytes), 1):
        atomic.write(folder / f"{name}.{number}", content[at : at + piece_bytes])
    note = {
        "key": recipe.key,
        "sha256": hashlib.sha256(content).hexdigest(),
        "pieces": -(-len(content) // piece_bytes),
        "step": store.checkpoint(Moment(recipe)).step,
        "about": {name: value for name, value in store.record(Train(recipe)).items() if name != "files"},
        "log": store.log(recipe).to_dicts(),
    }
    atomic.write(folder / f"{name}.json", json.dumps(note, indent=1).encode())


def restore(one: Study, store: Store, folder: Path) -> bool:
    """Put a kept training into the store; whether it was there, whole, and of the recipe as it is now.

    Raises:
        DamagedError: the pieces are not what was kept.
    """
    recipe, name = runs.recipe(one), runs.name(one)
    file = folder / f"{name}.json"
    if not file.exists() or not isinstance(recipe.init, Random):
        return False
    note = json.loads(file.read_bytes())
    pieces = [folder / f"{name}.{number + 1}" for number in range(note["pieces"])]
    if note["key"] != recipe.key or not all(piece.exists() for piece in pieces):
        return False
    content = b"".join(piece.read_bytes() for piece in pieces)
    if hashlib.sha256(content).hexdigest() != note["sha256"]:
        raise DamagedError(f"{folder / name}.* are not what was kept: the checksum differs. Bring them again.")
    shape, classes = data.form(recipe.data)
    with torch.device("meta"):
        module = models.build(recipe.model, shape, classes)
    end = Checkpoint(State.from_state_dict(module, safetensors.torch.load(content)), int(note["step"]))
    about = {**note["about"], "restored": "without the optimizer's state"}
    store.save_training(Train(recipe), state(Moment(recipe, "start"), store), end, note["log"], about)
    return True


def starts(every: Sequence[Study]) -> list[Study]:
    """The runs among these whose end another one starts from, and none with its optimizer's state."""
    inits = [init for one in every if isinstance(init := runs.recipe(one).init, Trained)]
    needed = {init.recipe for init in inits} - {init.recipe for init in inits if init.optimizer == "kept"}
    return [one for one in every if runs.recipe(one) in needed]
