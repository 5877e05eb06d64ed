"""The network at one position of the line between two checkpoints, written in the form of the second.

Tensors are read, combined and written one after the other, so that networks larger than memory can be averaged. A
network between two others is used as one of its own since Wortsman et al. 2022 (arXiv 2109.01903); that BatchNorm's
statistics must then be measured anew is from Izmailov et al. 2018 (arXiv 1803.05407).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from linescape import checkpoints
from linescape.checkpoints.diff import MEASURED
from linescape.checkpoints.formats import Contents
from linescape.errors import StateError, abbreviate
from linescape.evaluation import batchnorm
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line, check_alpha
from linescape.geometry.state import State, check_pair, is_finite, lerp


def average(
    start: Contents,
    end: Contents,
    alpha: float,
    out: str | Path,
    statistics: Mapping[str, Tensor] | None = None,
) -> tuple[str, ...]:
    """Write ``(1 - alpha) * start + alpha * end`` in the form of the end: format, files, names, ties.

    Each tensor is `space.lerp`'s to the bit. Integer and boolean tensors are the start's at alpha = 0, else the end's.

    Args:
        start: the checkpoint at alpha = 0.
        end: the checkpoint at alpha = 1.
        alpha: the position; it may leave [0, 1].
        out: a file, or a folder where the end is one; nothing may be there.
        statistics: tensors by the end's names that are written as they are, as `recalibrated` gives them.

    Returns:
        What was changed, left out or not averaged, in words.

    Raises:
        AlphaError: alpha is not finite.
        StateError: the ends have different tensors, or NaN or infinity is in one of them, or in what is between.
        StoreError: something is at `out`, or it cannot be written.
    """
    check_alpha(alpha)
    fitted = _fitted(start, end)
    tied, measured = end.tied, statistics or {}
    check_pair(State(fitted.tensors), State(end.tensors))
    _check_types(end)
    for name, owner in tied.items():
        if not torch.equal(fitted[name], fitted[owner]):
            raise StateError(
                f"{name!r} and {owner!r} are one tensor in {end.path} (tied weights) but differ in {start.path}, so "
                "what lies between cannot tie them. Save the end with the two apart."
            )

    # One for all: an allocator puts small things where a tensor was, so that the next tensor needs a place of its own.
    working = torch.empty(max(value.nbytes for value in end.values()), dtype=torch.uint8).untyped_storage()

    def tensor(name: str) -> Tensor:
        first, last = fitted[name], end[name]
        if name in measured:
            return measured[name].to(last.dtype)
        _check_finite(first, name, start.path)
        _check_finite(last, name, end.path)
        if alpha in (0.0, 1.0) or not last.dtype.is_floating_point or not last.numel():
            return last if alpha else first
        if first.is_contiguous() and last.is_contiguous():
            found = torch.empty(0, dtype=last.dtype).set_(working[: last.nbytes], 0, last.shape, last.stride())
            torch.lerp(first, last, alpha, out=found)
        else:
            found = lerp(first, last, alpha)
        _check_finite(found, name, f"The network at alpha = {alpha:g}")
        return found

    about = {"start": Path(start.path).name, "end": Path(end.path).name, "alpha": alpha}
    about |= {"recalibrated": sorted(measured)} if measured else {}
    left = checkpoints.write_like(end, tensor, out, {"average": about})
    return (*fitted.notes, *end.notes, *left, *_unmeasured(end, alpha, measured))


def recalibrated(
    start: Contents, end: Contents, alpha: float, network: nn.Module, evaluator: Evaluator
) -> dict[str, Tensor]:
    """BatchNorm's running statistics of the averaged network, measured on the evaluator's calibration data.

    Args:
        start: the checkpoint at alpha = 0.
        end: the checkpoint at alpha = 1.
        alpha: the position.
        network: that the checkpoints are of.
        evaluator: of this network.

    Returns:
        Statistics by the end's names, for `average`; none if the network has no BatchNorm.

    Raises:
        AlphaError: alpha is not finite.
        CheckpointError: a checkpoint is not one of the network.
        StateError: the ends hold NaN or infinity, or types differ.
        DataError: there are no calibration data.
    """
    check_alpha(alpha)
    if not batchnorm.layers(network):
        return {}
    measured = evaluator.recalibrated(Line(start.into(network), end.into(network)), alpha)
    in_file = end.named_as(network.state_dict()).form.spelled
    names = {end.form.spelled.get(name, name): name for name in end}
    return {names[in_file.get(name, name)]: value for name, value in measured.items()}


def _fitted(start: Contents, end: Contents) -> Contents:
    """The start under the end's names; what one ties and the other holds once is found under the name that it has."""
    start = start.named_as(end.tensors)
    at_start, at_end = start.tied, end.tied
    names = {name: name for name in start if name in end or not any(same in end for same in _same(name, at_start))}
    for name in end:
        held = [same for same in _same(name, at_end) if same in start]
        if held:
            names.setdefault(name, held[0])
    return replace(start, tensors={name: start[held] for name, held in names.items()})


def _same(name: str, tied: Mapping[str, str]) -> list[str]:
    """All names of one tensor."""
    owner = tied.get(name, name)
    return [owner, *(other for other, first in tied.items() if first == owner)]


def _check_types(end: Contents) -> None:
    small = [name for name, value in end.items() if value.dtype.is_floating_point and value.dtype.itemsize < 2]
    if small:
        raise StateError(
            f"{end.path} holds {end[small[0]].dtype} ({abbreviate(small)}): so few bits leave no room between two "
            "networks, and their scales lie elsewhere. Convert both checkpoints to bfloat16."
        )


def _check_finite(value: Tensor, name: str, where: str) -> None:
    if not is_finite(value):
        raise StateError(
            f"{where} holds NaN or infinity in {name!r} ({value.dtype}), so there is no network to write. A training "
            "has diverged, a file is damaged, or alpha leads beyond what the type can hold."
        )


def _unmeasured(end: Contents, alpha: float, measured: Mapping[str, Tensor]) -> list[str]:
    notes = []
    if rest := [name for name, value in end.items() if not value.dtype.is_floating_point and name not in measured]:
        notes.append(f"Not floating, so taken from {'the end' if alpha else 'the start'}: {abbreviate(rest)}.")
    if measured:
        notes.append(f"Statistics of BatchNorm were measured anew: {abbreviate(sorted(measured))}.")
    elif alpha not in (0.0, 1.0) and any(name.endswith(MEASURED) for name in end):
        notes.append(
            "Statistics of BatchNorm are averaged too, which are not those of the averaged network: --model and --data "
            "measure them anew."
        )
    return notes
