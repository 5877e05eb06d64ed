"""A plane's grid as one walk: the same networks as row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from linescape.errors import StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry.bezier import Bezier
from linescape.geometry.planes import Plane
from linescape.geometry.state import State
from linescape.geometry.tour import Tour
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from linescape.interpolation.surface import Surface, scan_plane
from linescape.report.figures.surfaces import bezier


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    made.get_buffer("1.running_var").uniform_(0.1, 2.0)
    return made.eval()


@pytest.mark.parametrize("treatment", ["interpolate", "batch"])
def test_a_tour_measures_what_a_scan_row_by_row_does(treatment: str) -> None:
    torch.manual_seed(9)
    data = (torch.randn(30, 4), torch.randint(0, 3, (30,)))
    networks = [network(seed) for seed in range(3)]
    plane, evaluator = Plane(*networks), Evaluator(networks[0], {"test": data}, [cross_entropy])
    by_rows = scan_plane(plane, evaluator, ScanOptions(alphas=5, batchnorm=treatment, progress=False))
    tour = Tour(plane, 5, measurable=treatment == "interpolate")
    curve = scan(tour, evaluator, ScanOptions(alphas=tour.positions, batchnorm=treatment, progress=False))
    found = Surface.from_bytes(Surface.of(curve, tour).to_bytes())
    np.testing.assert_array_equal(found.xs, by_rows.xs)
    np.testing.assert_array_equal(found.ys, by_rows.ys)
    assert found.marks == by_rows.marks
    key = ("test", "cross_entropy", treatment)
    assert np.isnan(found.values[key]).any() == (treatment == "interpolate")
    np.testing.assert_allclose(found.values[key], by_rows.values[key], rtol=1e-5)


def test_a_bezier_curve_lies_in_the_plane_of_its_ends_and_its_bend() -> None:
    start, end, bend = (State.from_module(network(seed).double()) for seed in range(3))
    plane, curve = Plane(start, end, bend), Bezier(start, bend, end)
    surface = Surface(*plane.grid(3), {}, plane.marks)
    for alpha, (x, y) in zip((0.0, 0.25, 0.5, 0.75, 1.0), bezier(surface, 5), strict=True):
        there, expected = plane.at(float(x), float(y)), curve.at(alpha)
        assert all(torch.allclose(there[name], expected[name], atol=1e-12) for name in expected if name in curve.moving)


def test_networks_without_any_measurable_position_are_refused() -> None:
    states = [State.from_module(network(seed)) for seed in range(3)]
    broken = [state.replace({"1.running_var": -state["1.running_var"]}) for state in states]
    with pytest.raises(StateError, match="below zero"):
        Tour(Plane(*broken), 3, measurable=True)
