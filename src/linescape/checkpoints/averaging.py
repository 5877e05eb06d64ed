"""The network at one position of the line between two checkpoints, written in the format of the second.

Tensors are read, combined and written one after the other, so that networks larger than memory can be averaged.
Sources: Wortsman et al. 2022 (arXiv 2109.01903) use a network between two others; that BatchNorm's statistics must then
be recomputed is from Izmailov et al. 2018 (arXiv 1803.05407).
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
    """Write ``(1 - alpha) * start + alpha * end`` as the end is written: format, files, names, ties.

    Each tensor has the bits of `geometry.state.lerp`. Integer and boolean tensors are the start's at alpha = 0 and the
    end's elsewhere.

    Args:
        start: the checkpoint at alpha = 0.
        end: the checkpoint at alpha = 1.
        alpha: the position; it may leave [0, 1].
        out: a file, or a folder if the end is one; it must not exist.
        statistics: tensors by the end's names that are written as they are, as from `recalibrated`.

    Returns:
        What was changed, left out or not averaged, in words.

    Raises:
        AlphaError: alpha is not finite.
        StateError: the ends have different tensors, or one of them, or the result, holds NaN or infinity.
        StoreError: `out` exists or cannot be written.
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
                "a network between them cannot tie them. Save the end with the two apart."
            )

    # One for all tensors: an allocator puts small objects where a tensor was, so that the next would need more memory.
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
            between = torch.empty(0, dtype=last.dtype).set_(working[: last.nbytes], 0, last.shape, last.stride())
            torch.lerp(first, last, alpha, out=between)
        else:
            between = lerp(first, last, alpha)
        _check_finite(between, name, f"The network at alpha = {alpha:g}")
        return between

    provenance = {"start": Path(start.path).name, "end": Path(end.path).name, "alpha": alpha}
    provenance |= {"recalibrated": sorted(measured)} if measured else {}
    left_out = checkpoints.write_like(end, tensor, out, {"average": provenance})
    return (*fitted.notes, *end.notes, *left_out, *_unmeasured(end, alpha, measured))


def recalibrated(
    start: Contents, end: Contents, alpha: float, network: nn.Module, evaluator: Evaluator
) -> dict[str, Tensor]:
    """BatchNorm's running statistics of the averaged network, measured on the evaluator's calibration data.

    Args:
        start: the checkpoint at alpha = 0.
        end: the checkpoint at alpha = 1.
        alpha: the position.
        network: of which the checkpoints are.
        evaluator: of this network.

    Returns:
        Statistics by the end's names, for `average`; none if the network has no BatchNorm.

    Raises:
        AlphaError: alpha is not finite.
        CheckpointError: a checkpoint is of another network.
        StateError: the ends hold NaN or infinity, or types differ.
        DataError: there are no calibration data.
    """
    check_alpha(alpha)
    if not batchnorm.layers(network):
        return {}
    measured = evaluator.recalibrated(Line(start.into(network), end.into(network)), alpha)
    in_file = end.named_as(network.state_dict()).file_format.spelled
    names = {end.file_format.spelled.get(name, name): name for name in end}
    return {names[in_file.get(name, name)]: value for name, value in measured.items()}


def _fitted(start: Contents, end: Contents) -> Contents:
    """The start under the end's names, also where one file has a tied tensor once and the other under all its names."""
    start = start.named_as(end.tensors)
    at_start, at_end = start.tied, end.tied
    names = {name: name for name in start if name in end or not any(same in end for same in _same(name, at_start))}
    for name in end:
        spelled = [same for same in _same(name, at_end) if same in start]
        if spelled:
            names.setdefault(name, spelled[0])
    return replace(start, tensors={name: start[spelled] for name, spelled in names.items()})


def _same(name: str, tied: Mapping[str, str]) -> list[str]:
    """All names of one tensor."""
    owner = tied.get(name, name)
    return [owner, *(other for other, first in tied.items() if first == owner)]


def _check_types(end: Contents) -> None:
    small = [name for name, value in end.items() if value.dtype.is_floating_point and value.dtype.itemsize < 2]
    if small:
        raise StateError(
            f"{end.path} has {end[small[0]].dtype} ({abbreviate(small)}): so few bits leave no values between two "
            "networks, and their scales are stored elsewhere. Convert both checkpoints to bfloat16."
        )


def _check_finite(value: Tensor, name: str, where: str) -> None:
    if not is_finite(value):
        raise StateError(
            f"{where} holds NaN or infinity in {name!r} ({value.dtype}), so there is no network to write. A training "
            "has diverged, a file is damaged, or alpha leads beyond what the type can hold."
        )


def _unmeasured(end: Contents, alpha: float, measured: Mapping[str, Tensor]) -> list[str]:
    notes = []
    if integers := [name for name, value in end.items() if not value.dtype.is_floating_point and name not in measured]:
        notes.append(f"Not floating, so taken from {'the end' if alpha else 'the start'}: {abbreviate(integers)}.")
    if measured:
        notes.append(f"Statistics of BatchNorm were recomputed: {abbreviate(sorted(measured))}.")
    elif alpha not in (0.0, 1.0) and any(name.endswith(MEASURED) for name in end):
        notes.append(
            "Statistics of BatchNorm are averaged too, so they are not those of the averaged network: --model and "
            "--data recompute them."
        )
    return notes
