"""Files of checkpoints in each format that is averaged, and their averages."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from linescape import checkpoints
from linescape.checkpoints import averaging

Tensors = dict[str, Tensor]


def tensors(seed: int) -> Tensors:
    """A network's, in several types and layouts."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "z.weight": drawn(5, 3),
        "half": drawn(7, 3).to(torch.bfloat16),
        "a.half": drawn(9).to(torch.float16),
        "double": drawn(3).double(),
        "single": drawn(1003),
        "last": drawn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "scalar": drawn(),
        "count": torch.tensor(seed),
        "mask": torch.tensor([True, bool(seed % 2)]),
        "empty": torch.empty(0, 3),
    }


def distributed(path: Path, held: Any) -> None:
    from torch.distributed import checkpoint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.save(held, checkpoint_id=path, no_dist=True)  # type: ignore[attr-defined]


def read_distributed(path: Path, like: Any) -> Any:
    from torch.distributed import checkpoint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.load(like, checkpoint_id=path, no_dist=True)  # type: ignore[attr-defined]
    return like


def empty(held: Mapping[str, Tensor]) -> Tensors:
    return {name: torch.zeros_like(value) for name, value in held.items()}


def load(path: Path) -> Any:
    return torch.load(path, weights_only=True)


FORMS: dict[str, tuple[Callable[[Tensors, Path], Any], Callable[[Path], Tensors]]] = {
    "safetensors": (
        lambda held, path: safetensors.torch.save_file(contiguous(held), path),
        safetensors.torch.load_file,
    ),
    "plain": (torch.save, load),
    "legacy": (lambda held, path: torch.save(held, path, _use_new_zipfile_serialization=False), load),
    "container": (
        lambda held, path: torch.save({"epoch": 3, "state_dict": prefixed(held, "module.")}, path),
        lambda path: {name.removeprefix("module."): value for name, value in load(path)["state_dict"].items()},
    ),
    "distributed": (
        lambda held, path: distributed(path, held),
        lambda path: dict(read_distributed(path, empty(tensors(0)))),
    ),
    "distributed container": (
        lambda held, path: distributed(path, {"model": held, "optimizer": {"step": torch.ones(2)}}),
        lambda path: dict(read_distributed(path, {"model": empty(tensors(0))})["model"]),
    ),
}


def contiguous(held: Tensors) -> Tensors:
    return {name: value.contiguous() for name, value in held.items()}


def prefixed(held: Tensors, prefix: str) -> Tensors:
    return {prefix + name: value for name, value in held.items()}


def average(start: Path, end: Path, alpha: float, out: Path) -> tuple[str, ...]:
    return averaging.average(checkpoints.read(start), checkpoints.read(end), alpha, out)


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    return set(found) == set(expected) and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in expected.items()
    )
