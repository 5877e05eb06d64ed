"""Gaussian noise added to some tensors at positions of a path: one walk through all positions, sigmas and draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from linescape.errors import AlphaError, GroupError, StateError, check_type, suggest
from linescape.geometry.paths import Path
from linescape.geometry.state import State
from linescape.geometry.tensors import is_continuous, widened

SIGMAS = tuple(2.0**power for power in range(-9, 1))
"""Standard deviations by default, up to the largest that the source allows. Its own grid is not known; equal steps from
0 to 1 would have none as small as most weights."""


class Visit(NamedTuple):
    """One network of the walk: a position of the path, the standard deviation of the noise, and which draw it is."""

    alpha: float
    sigma: float
    draw: int


class Perturbed(Path):
    """``theta(alpha) + sigma u``, u standard normal, at each alpha, each sigma and for each of several draws u.

    Source: Chatterji, Neyshabur & Sedghi 2020 (arXiv 1912.00528), whose u is ``sigma u`` here. All alphas and sigmas
    have the same draws, so that they differ by alpha and sigma alone; each draw has noise in all of the tensors. Each
    alpha is also visited without noise. Visit k of K is at position k / (K - 1): the first is the path's first alpha
    without noise, the last its last one.

    Args:
        path: of the networks that noise is added to.
        names: parameters that get noise, each number its own, also where the path leaves them at rest. Buffers, such as
            running statistics, get none.
        alphas: positions of the path, rising, 0 and 1 among them.
        sigmas: standard deviations, in the unit of the parameters, positive and rising.
        draws: number of draws, 2 or more, so that the error of their mean is known.
        seed: of the draws, which are made on the CPU, in float32.

    Raises:
        GroupError: a name is no floating parameter of the path, or none is given.
        AlphaError: alphas or sigmas are none that can be measured, or there are fewer than two draws.
        StateError: the path holds singular vectors of spectral norm, which noise would make wrong.
        RecipeError: an argument is of another type.
    """

    def __init__(
        self,
        path: Path,
        names: Iterable[str],
        alphas: Sequence[float],
        sigmas: Sequence[float],
        draws: int = 10,
        seed: int = 0,
    ) -> None:
        check_type(path, Path, "The path", "Give a path between two networks, such as Line(start, end).")
        self.path, self.draws, self.seed = path, draws, seed
        self.names = _parameters(path.template, names)
        self.alphas, self.sigmas = tuple(map(float, alphas)), tuple(map(float, sigmas))
        check_grid(self.alphas, self.sigmas, draws)
        if path.spectral:
            raise StateError(
                "The networks have spectral norm, whose singular vectors belong to weights without noise. Its loss "
                "under noise would be that of another network. Use networks without it."
            )
        noisy = [Visit(a, s, draw) for draw in range(draws) for a in self.alphas for s in self.sigmas]
        between = [Visit(alpha, 0.0, 0) for alpha in self.alphas[1:-1]]
        self.visits = (Visit(self.alphas[0], 0.0, 0), *between, *noisy, Visit(self.alphas[-1], 0.0, 0))
        self._drawn: tuple[int, dict[str, Tensor]] = (-1, {})

    @property
    def positions(self) -> tuple[float, ...]:
        """The position of each visit, from 0 to 1."""
        return tuple(number / (len(self.visits) - 1) for number in range(len(self.visits)))

    @property
    def template(self) -> State:
        """That of the path without noise."""
        return self.path.template

    @cached_property
    def moving(self) -> frozenset[str]:
        """What moves on the path, and what gets noise."""
        return self.path.moving | self.names

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Those of the path without noise."""
        return self.path.unsaved

    def tensor(self, name: str, alpha: float) -> Tensor:
        """The tensor at the visit nearest to a position; half precision is computed in float32 and rounded once."""
        visit = self.visits[min(max(round(alpha * (len(self.visits) - 1)), 0), len(self.visits) - 1)]
        value = self.path.tensor(name, visit.alpha)
        name = self.template.tied.get(name, name)
        if name not in self.names or not visit.sigma:
            return value
        noise = self._draw(visit.draw)[name]
        return torch.add(widened(value), noise.to(value.device), alpha=visit.sigma).to(value.dtype)

    def _draw(self, number: int) -> dict[str, Tensor]:
        """One draw for all tensors, of which the last is kept: visits go through all of one before the next."""
        if self._drawn[0] != number:
            seed = np.random.SeedSequence((self.seed % 2**63, number)).generate_state(1, np.uint64)
            random = torch.Generator().manual_seed(int(seed[0]) >> 1)
            ordered = (name for name in self.template if name in self.names)
            self._drawn = number, {n: torch.randn(self.template[n].shape, generator=random) for n in ordered}
        return self._drawn[1]

    def describe(self) -> dict[str, object]:
        """The path for the provenance of a result, and the noise."""
        return {
            **super().describe(),
            "of": type(self.path).__name__,
            "noise_in": len(self.names),
            "draws": self.draws,
            "seed": self.seed,
        }


def check_grid(alphas: Sequence[float], sigmas: Sequence[float], draws: int) -> None:
    """Raise `AlphaError` if no noise can be drawn for a grid of positions, deviations and draws."""
    if len(alphas) < 2 or alphas[0] != 0.0 or alphas[-1] != 1.0 or list(alphas) != sorted(set(alphas)):
        raise AlphaError(f"The alphas {tuple(alphas)} do not rise from 0 to 1. Give such, as in (0.0, 0.5, 1.0).")
    if not sigmas or not 0 < sigmas[0] <= sigmas[-1] < float("inf") or list(sigmas) != sorted(set(sigmas)):
        raise AlphaError(
            f"The sigmas {tuple(sigmas)} are not positive, finite and rising. The noise's standard deviation divides a "
            "distance, so it cannot be 0: the networks without noise are measured anyway."
        )
    if draws < 2:
        raise AlphaError(f"With {draws} draws of noise the error of their mean is unknown. Give 2 or more.")


def _parameters(template: State, names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, str):
        raise GroupError(f"The group is the text {names!r}. Give a list of names: [{names!r}].")
    chosen = {template.tied.get(name, name) for name in names}
    for name in chosen:
        if name not in template:
            raise GroupError(f"The path has no tensor {name!r}. {suggest(name, template)}")
    noisy = frozenset(name for name in chosen if name in template.parameters)
    for name in noisy:
        dtype = template[name].dtype
        if not is_continuous(dtype) or dtype.is_complex:
            raise GroupError(f"{name!r} is {dtype}, to which no real noise can be added. Leave it out of the group.")
    if not noisy:
        raise GroupError("The group has no parameter, so there is nothing to add noise to. Name at least one.")
    return noisy
