"""The network at one position of the line between two checkpoints, or the mean of several, written like the last.

Tensors are read, combined and written one after the other, so that networks larger than memory can be averaged.
Sources: Wortsman et al. 2022 (arXiv 2109.01903) use a network between two others; that BatchNorm's statistics must then
be recomputed is from Izmailov et al. 2018 (arXiv 1803.05407).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from linescape import checkpoints
from linescape.checkpoints.diff import MEASURED
from linescape.checkpoints.formats import Contents
from linescape.checkpoints.formats.hugging_face import differing_settings
from linescape.checkpoints.rewriting import names_in
from linescape.errors import StateError, abbreviate
from linescape.evaluation import batchnorm
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.mismatch import check_alike, with_counters
from linescape.geometry.packed import check_no_factors, check_not_packed
from linescape.geometry.paths import Line, check_alpha
from linescape.geometry.spectral_norm import Vectors, normed
from linescape.geometry.state import negative_variances
from linescape.geometry.tensors import can_lerp, identical, is_continuous, is_finite, lerp, promoted
from linescape.geometry.tensors import mean as mean_of


def average(
    start: Contents,
    end: Contents,
    alpha: float,
    out: str | Path,
    statistics: Mapping[str, Tensor] | None = None,
) -> tuple[str, ...]:
    """Write ``(1 - alpha) * start + alpha * end`` as the end is written: format, files, names, ties.

    Each tensor has the bits of `geometry.tensors.lerp`. Integer and boolean tensors are the start's at alpha = 0 and
    the end's elsewhere. What is equal in both stays as it is, infinities too. Where types differ, the wider one is
    written, which changes no value.

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
        StateError: the ends have different tensors; what differs holds NaN or infinity, or leads there; it cannot be
            averaged (sparse or quantised tensors, integers with scales, factors of LoRA); or running variances would be
            negative.
        StoreError: `out` exists or cannot be written.
    """
    check_alpha(alpha)
    measured = statistics or {}
    between = _Between(start, end, alpha, measured)
    provenance = {"start": Path(start.path).name, "end": Path(end.path).name, "alpha": alpha}
    provenance |= {"recalibrated": sorted(measured)} if measured else {}
    left_out = checkpoints.write_like(end, between.tensor, out, {"average": provenance}, between.types)
    of_values = (*_unmeasured(end, alpha, measured), *_widened(end, between.types), *_found(between.vectors))
    of_settings = (
        f"The config.json of the two checkpoints differ: {abbreviate(settings)}. With those of one, the weights of the "
        "other are not the network that was trained."
        for settings in [differing_settings(start, end)]
        if settings
    )
    return (*between.fitted.notes, *end.notes, *left_out, *of_values, *of_settings)


class _Between:
    """The tensors at one position between two checkpoints, by the end's names, in the types that are written.

    Raises:
        StateError: as `average`.
    """

    def __init__(self, start: Contents, end: Contents, alpha: float, measured: Mapping[str, Tensor]) -> None:
        self.start, self.end, self.alpha, self.measured = start, end, alpha, measured
        self.fitted = _fitted(start, end)
        check_alike(self.fitted, end, "the start", "the end")
        self.types = {name: _common(name, self.fitted[name].dtype, value.dtype) for name, value in end.items()}
        self.moving = {name for name in end if not identical(*self._ends(name))}
        _check_possible(start, end, self.moving)
        _check_ties(start, self.fitted, end)
        self._check_variances()
        # Taken from both ends, whose vectors belong to their weights: those between are the interpolated weight's.
        self.vectors = Vectors((of for of in normed(self.moving) if of.weight in self.moving), self.fitted, end)
        # One for all tensors: an allocator puts small objects where a tensor was, so that the next would need more
        # memory.
        largest = max(value.numel() * self.types[name].itemsize for name, value in end.items())
        self._working = torch.empty(largest, dtype=torch.uint8).untyped_storage()

    def tensor(self, name: str) -> Tensor:
        """One of them, of files that are what they were; it is valid until the next is asked for."""
        value = self._at_position(name)
        self.start.check_unchanged()
        self.end.check_unchanged()
        return value

    def _ends(self, name: str) -> tuple[Tensor, Tensor]:
        return self.fitted[name].to(self.types[name]), self.end[name].to(self.types[name])

    def _lerp(self, name: str) -> Tensor:
        return lerp(*self._ends(name), self.alpha)

    def _check_variances(self) -> None:
        """BatchNorm's are small, and all are named before anything is written."""
        names = (name for name in self.moving - set(self.measured) if name.endswith("running_var"))
        if negative := negative_variances({name: self._lerp(name) for name in names}):
            raise StateError(
                f"At alpha = {self.alpha:g} running variances of BatchNorm are negative: {abbreviate(negative)}. No "
                "network has such a state. Choose alpha in [0, 1], or recompute the statistics: --model and --data."
            )

    def _at_position(self, name: str) -> Tensor:
        if name in self.measured:
            return self.measured[name].to(self.types[name])
        first, last = self._ends(name)
        if name not in self.moving or not last.numel():
            return last if self.alpha else first
        _check_finite(first, name, self.start.path)
        _check_finite(last, name, self.end.path)
        if self.alpha in (0.0, 1.0) or not is_continuous(last.dtype):
            return last if self.alpha else first
        if name in self.vectors.of:
            return self.vectors.find(name, self.alpha, self._lerp)
        if first.is_contiguous() and last.is_contiguous() and can_lerp(last.dtype):
            place = self._working[: last.nbytes]
            value = torch.empty(0, dtype=last.dtype).set_(place, 0, last.shape, last.stride())
            lerp(first, last, self.alpha, value)
        else:
            value = lerp(first, last, self.alpha)
        _check_finite(value, name, f"The network at alpha = {self.alpha:g}")
        return value


def mean(
    members: Sequence[Contents], out: str | Path, statistics: Mapping[str, Tensor] | None = None
) -> tuple[str, ...]:
    """Write the mean of several checkpoints, a uniform soup, as the last is written: format, files, names, ties.

    Source: Wortsman et al. 2022 (arXiv 2203.05482). Each tensor has the bits of `geometry.tensors.mean`; otherwise as
    `average`.

    Args:
        members: the checkpoints; one alone is written as it is.
        out: a file, or a folder if the last checkpoint is one; it must not exist.
        statistics: as for `average`.

    Returns:
        What was changed, left out or not averaged, in words.

    Raises:
        StateError, StoreError: as `average`.
    """
    *others, end = members
    measured = statistics or {}
    fitted = [_fitted(other, end) for other in others]
    types = {name: value.dtype for name, value in end.items()}
    for other, tensors in zip(others, fitted, strict=True):
        check_alike(tensors, end, str(other.path), str(end.path))
        types = {name: _common(name, tensors[name].dtype, dtype) for name, dtype in types.items()}

    def all_of(name: str) -> list[Tensor]:
        return [tensors[name].to(types[name]) for tensors in (*fitted, end)]

    moving = {name for name in end if not all(identical(value, all_of(name)[-1]) for value in all_of(name)[:-1])}
    for other, tensors in zip(others, fitted, strict=True):
        _check_possible(other, end, moving)
        _check_ties(other, tensors, end)
    vectors = Vectors((of for of in normed(moving) if of.weight in moving), *fitted, end)

    def tensor(name: str) -> Tensor:
        value = averaged(name)
        for member in members:
            member.check_unchanged()
        return value

    def averaged(name: str) -> Tensor:
        if name in measured:
            return measured[name].to(types[name])
        if name not in moving:
            return all_of(name)[-1]
        for member, value in zip(members, all_of(name), strict=True):
            _check_finite(value, name, str(member.path))
        if name in vectors.of:
            return vectors.find(name, 0.5, lambda other: mean_of(all_of(other)))
        return mean_of(all_of(name))

    provenance = {"mean": [Path(member.path).name for member in members]}
    provenance |= {"recalibrated": sorted(measured)} if measured else {}
    left_out = checkpoints.write_like(end, tensor, out, provenance, types)
    notes = [note for member in (*fitted, end) for note in member.notes]
    of_values = (*_unmeasured(end, 0.5 if others else 1.0, measured), *_widened(end, types), *_found(vectors))
    return (*notes, *left_out, *of_values)


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
    names = names_in(end, network)
    return {names[name]: value for name, value in measured.items()}


def _fitted(start: Contents, end: Contents) -> Contents:
    """The start under the end's names, also where one file has a tied tensor once and the other under all its names."""
    start = start.named_as(end.tensors)
    at_start, at_end = start.tied, end.tied
    names = {name: name for name in start if name in end or not any(same in end for same in _same(name, at_start))}
    for name in end:
        spelled = [same for same in _same(name, at_end) if same in start]
        if spelled:
            names.setdefault(name, spelled[0])
    tensors = {name: start[spelled] for name, spelled in names.items()}
    return replace(start, tensors=with_counters(tensors, end.tensors))


def _same(name: str, tied: Mapping[str, str]) -> list[str]:
    """All names of one tensor."""
    owner = tied.get(name, name)
    return [owner, *(other for other, first in tied.items() if first == owner)]


def _common(name: str, first: torch.dtype, last: torch.dtype) -> torch.dtype:
    common = promoted(first, last)
    if common is None:
        raise StateError(
            f"{name!r} is {first} at the start and {last} at the end, and no type holds the numbers of both. Convert "
            "one of the two networks."
        )
    return common


def _check_possible(start: Contents, end: Contents, moving: Collection[str]) -> None:
    """Raise `StateError` if what differs has no average, or is not known."""
    for contents in (start, end):
        if contents.unread:
            listed = abbreviate([f"{name} ({kind})" for name, kind in contents.unread.items()])
            raise StateError(
                f"{contents.path} has tensors that cannot be averaged: {listed}. What is written would lack them. "
                "Convert sparse and quantised tensors to plain ones, and give each a name, first."
            )
    check_not_packed(end, moving)
    check_no_factors(end, moving)
    small = [name for name in end if name in moving and is_continuous(end[name].dtype) and end[name].dtype.itemsize < 2]
    if small:
        raise StateError(
            f"{end.path} has {end[small[0]].dtype} ({abbreviate(small)}): so few bits leave no values between two "
            "networks, and their scales are stored elsewhere. Convert both checkpoints to bfloat16."
        )


def _check_ties(start: Contents, fitted: Contents, end: Contents) -> None:
    for name, owner in end.tied.items():
        if not identical(fitted[name], fitted[owner]):
            raise StateError(
                f"{name!r} and {owner!r} are one tensor in {end.path} (tied weights) but differ in {start.path}, so "
                "a network between them cannot tie them. Save the end with the two apart."
            )


def _widened(end: Contents, types: Mapping[str, torch.dtype]) -> list[str]:
    wider = [name for name, value in end.items() if value.dtype != types[name]]
    return [f"Converted to the wider of two types, and written so: {abbreviate(wider)}."] if wider else []


def _check_finite(value: Tensor, name: str, where: str) -> None:
    if not is_finite(value):
        raise StateError(
            f"{where} holds NaN or infinity in {name!r} ({value.dtype}), so there is no network to write. A training "
            "has diverged, a file is damaged, or alpha leads beyond what the type can hold."
        )


def _found(vectors: Vectors) -> list[str]:
    if not vectors.of:
        return []
    names = abbreviate(sorted(vectors.of))
    return [f"The singular vectors of spectral norm are those of the averaged weights: {names}."]


def _unmeasured(end: Contents, alpha: float, measured: Mapping[str, Tensor]) -> list[str]:
    notes = []
    if integers := [name for name, value in end.items() if not is_continuous(value.dtype) and name not in measured]:
        notes.append(f"Not floating, so taken from {'the end' if alpha else 'the start'}: {abbreviate(integers)}.")
    if measured:
        notes.append(f"Statistics of BatchNorm were recomputed: {abbreviate(sorted(measured))}.")
    elif alpha not in (0.0, 1.0) and any(name.endswith(MEASURED) for name in end):
        notes.append(
            "Statistics of BatchNorm are averaged too, so they are not those of the averaged network: --model and "
            "--data recompute them."
        )
    return notes
