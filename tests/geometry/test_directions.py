"""Planes of principal components, against numpy's singular values and what is known of walks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from linescape.errors import StateError
from linescape.geometry.directions import components
from linescape.geometry.planes import Plane
from linescape.geometry.state import State, distance


def walk(steps: int, size: int, seed: int = 0) -> list[State]:
    """A random walk of two tensors of parameters."""
    drawn = np.random.default_rng(seed).standard_normal((steps, size)).cumsum(0)
    split = size // 3
    return [State({"a": torch.tensor(row[:split]), "b": torch.tensor(row[split:]).view(-1, 2)}) for row in drawn]


def test_components_are_those_of_numpy() -> None:
    states = walk(6, 30)
    rows = np.stack([np.concatenate([state["a"].numpy(), state["b"].numpy().ravel()]) for state in states])
    _, singular, right = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    found = components(states)
    np.testing.assert_allclose(found.shares, (singular**2 / (singular**2).sum())[:2], rtol=1e-10)
    for k, direction in enumerate(found.directions):
        flat = np.concatenate([direction["a"].numpy(), direction["b"].numpy().ravel()])
        assert abs(flat @ right[k]) == pytest.approx(1.0, abs=1e-9)
        np.testing.assert_allclose(found.places[:, k], (rows - rows[-1]) @ flat, atol=1e-9)
    assert (found.places[0] <= 0).all()
    inside = np.hypot(*found.places.T)
    np.testing.assert_allclose(np.hypot(inside, found.beside), np.linalg.norm(rows - rows[-1], axis=1), atol=1e-6)


def test_two_components_have_most_of_the_variance_of_a_random_walk() -> None:
    """6 / (pi k)^2 of it in component k, for many steps in many dimensions (Antognini & Sohl-Dickstein 2018)."""
    found = components(walk(60, 9000, seed=1))
    np.testing.assert_allclose(found.shares, [6 / np.pi**2, 6 / np.pi**2 / 4], rtol=0.05)


def test_states_in_a_plane_are_met_by_it() -> None:
    torch.manual_seed(0)
    base, first, second = (torch.randn(4, 3) for _ in range(3))
    states = {
        f"epoch {n}": State({"w": base + x * first + y * second}) for n, (x, y) in enumerate([(3, 0), (1, 1), (0, 0)])
    }
    plane = Plane.principal(states)
    facts = plane.describe()
    assert sum(facts["shares"]) == pytest.approx(1.0)  # type: ignore[call-overload]
    for name, (x, y, beside) in facts["states"].items():  # type: ignore[attr-defined]
        assert beside == pytest.approx(0.0, abs=1e-4)
        torch.testing.assert_close(plane.at(x, y)["w"], states[name]["w"], rtol=1e-5, atol=1e-5)
    assert plane.marks == {"epoch 2": (0.0, 0.0)}
    assert torch.equal(plane.at(0.0, 0.0)["w"], states["epoch 2"]["w"])
    xs, ys = plane.grid(5)
    assert distance(plane.at(xs[0], 0.0), plane.at(0.0, 0.0)) == pytest.approx(-xs[0], rel=1e-5)
    assert 0.0 in xs
    assert 0.0 in ys
    assert xs[0] < min(place[0] for place in facts["states"].values())  # type: ignore[attr-defined]


def test_states_on_a_line_have_no_plane() -> None:
    line = {str(n): State({"w": torch.full((3,), float(n))}) for n in range(4)}
    with pytest.raises(StateError, match="fewer than two directions"):
        Plane.principal(line)
    with pytest.raises(StateError, match="three states"):
        Plane.principal({"0": line["0"], "1": State({"w": torch.tensor([1.0, 2.0, 3.0])})})
    with pytest.raises(StateError, match="no states"):
        Plane.principal({})
    with pytest.raises(StateError, match="NaN"):
        Plane.principal({**line, "4": State({"w": torch.full((3,), float("nan"))})})
