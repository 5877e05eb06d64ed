from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.errors import AlphaError, MeasureError, RecipeError, StoreError
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import squared_error
from linescape.geometry.planes import Plane
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.surface import Surface, scan_plane
from tests.support.networks import ConvNet, lived_in

FEW = ScanOptions(alphas=6)


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def three(images: tuple[Tensor, Tensor]) -> list[State]:
    net = ConvNet()
    return [lived_in(net, images[0], seed) for seed in (1, 2, 3)]


@pytest.mark.parametrize("random", [False, True])
def test_a_plane_of_a_linear_model_is_a_quadric(random: bool) -> None:
    x, y = numbers(20, 4, seed=0), numbers(20, 3, seed=1)
    net = nn.Linear(4, 3, bias=False).double()
    a, b, c = (State({"weight": numbers(3, 4, seed=seed)}) for seed in (2, 3, 4))
    plane = Plane.random(a, seed=7) if random else Plane(a, b, c)
    surface = scan_plane(plane, Evaluator(net, {"train": (x, y)}, [squared_error]), FEW)
    u, v = (plane.at(*place)["weight"] - a["weight"] for place in ((1.0, 0.0), (0.0, 1.0)))
    exact = np.array(
        [[((x @ (a["weight"] + s * u + t * v).T - y).square().sum(1)).numpy() for s in surface.xs] for t in surface.ys]
    )
    np.testing.assert_allclose(surface.values["train", "squared_error", "interpolate"], exact, rtol=1e-10, atol=1e-10)
    design = np.array([[1, s, t, s * s, s * t, t * t] for t in surface.ys for s in surface.xs])
    means = surface["train"].ravel()
    coefficients, *_ = np.linalg.lstsq(design, means, rcond=None)
    np.testing.assert_allclose(design @ coefficients, means, rtol=1e-10)


def test_each_network_has_its_own_value_and_files_bring_all_back(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    states = three(images)
    evaluator = Evaluator(ConvNet(), {"test": images})
    surface = scan_plane(Plane(*states, names=("A", "B", "C")), evaluator, FEW)
    for name, state in zip("ABC", states, strict=True):
        direct = evaluator(state)
        for measure in ("cross_entropy", "error"):
            assert surface.at(name, measure) == pytest.approx(direct["test", measure].mean(dtype=float), rel=1e-6)
    surface.save(tmp_path / "s.safetensors")
    again = Surface.load(tmp_path / "s.safetensors")
    assert again.marks == surface.marks
    assert again.provenance == surface.provenance
    assert all(np.array_equal(again.values[key], values) for key, values in surface.values.items())
    assert again.frame().equals(surface.frame(), null_equal=True)
    assert set(surface.frame()["network"].drop_nulls()) == {"A", "B", "C"}
    for suffix in (".csv", ".parquet", ".json"):
        surface.save(tmp_path / f"s{suffix}")
    content = bytearray((tmp_path / "s.safetensors").read_bytes())
    content[-9] ^= 1
    (tmp_path / "t.safetensors").write_bytes(content)
    for damaged in ("t.safetensors", "s.csv", "none"):
        with pytest.raises(StoreError, match="Measure it again"):
            Surface.load(tmp_path / damaged)
    x, y, value = surface.lowest("error")
    assert value == surface["error"].min()
    assert surface["error"][surface.ys.tolist().index(y), surface.xs.tolist().index(x)] == value
    assert repr(surface).startswith("<Surface of")
    with pytest.raises(MeasureError, match="name one"):
        surface["test"]
    with pytest.raises(MeasureError, match="no network 'D'"):
        surface.at("D", "error")
    with pytest.raises(StoreError, match="Use .safetensors"):
        surface.save(tmp_path / "s.txt")


def test_a_plane_that_was_stopped_continues(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    plane = Plane(*three(images))
    whole = scan_plane(plane, Evaluator(ConvNet(), {"test": images}), FEW)
    kept = ScanOptions(alphas=6, keep=tmp_path)
    scan_plane(plane, Evaluator(ConvNet(), {"test": images}), kept)
    points = sorted(tmp_path.glob("*/*.safetensors"))
    assert len(points) == np.isfinite(whole["error"]).sum()
    for point in points[::3]:
        point.unlink()
    again = scan_plane(plane, Evaluator(ConvNet(), {"test": images}), kept)
    assert all(np.array_equal(again.values[key], whole.values[key], equal_nan=True) for key in whole.values)


def test_where_a_variance_would_be_negative_there_is_no_value_but_with_recalibration(
    images: tuple[Tensor, Tensor],
) -> None:
    a, b, c = three(images)
    b = b.replace({"bn.running_var": 40 * a["bn.running_var"]})
    plane = Plane(a, b, c)
    evaluator = Evaluator(ConvNet(), {"train": images})
    surface = scan_plane(plane, evaluator, FEW)
    missing = np.isnan(surface["cross_entropy"])
    for row, y in enumerate(surface.ys):
        for column, x in enumerate(surface.xs):
            variances = plane.at(float(x), float(y))["bn.running_var"]
            assert missing[row, column] == bool((variances < 0).any())
    assert 0 < missing.sum() < missing.size
    assert f"{missing.sum()} positions have no network" in " ".join(surface.provenance["notes"])
    measured = scan_plane(plane, evaluator, ScanOptions(alphas=6, batchnorm="recalibrate"))
    assert np.isfinite(measured["cross_entropy"]).all()


def test_options_that_are_for_lines_are_refused(images: tuple[Tensor, Tensor]) -> None:
    plane, evaluator = Plane(*three(images)), Evaluator(ConvNet(), {"test": images})
    for options in (ScanOptions(adaptive=True), ScanOptions(until=0.1), ScanOptions(alphas=[0.0, 0.5])):
        with pytest.raises(AlphaError, match="whole grid"):
            scan_plane(plane, evaluator, options)
    with pytest.raises(RecipeError, match="options is a int"):
        scan_plane(plane, evaluator, 5)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="The plane is a Linear"):
        scan_plane(nn.Linear(1, 1), evaluator)  # type: ignore[arg-type]
    with pytest.raises(MeasureError, match="a plane has no ends"):
        scan_plane(plane, evaluator, ScanOptions(batchnorm=("interpolate", "end")))


def test_a_surface_draws_itself(images: tuple[Tensor, Tensor]) -> None:
    surface = scan_plane(Plane(*three(images)), Evaluator(ConvNet(), {"test": images}), FEW)
    figure, axes = surface.plot()
    assert [text.get_text() for text in axes[0].texts] == ["a", "b", "c"]
    assert figure.get_size_inches()[0] > 4


def test_states_of_a_training_are_drawn_in_the_plane_of_their_components(images: tuple[Tensor, Tensor]) -> None:
    states = dict(zip(("epoch 0", "epoch 1", "epoch 2"), three(images), strict=True))
    evaluator = Evaluator(ConvNet(), {"test": images})
    surface = scan_plane(Plane.principal(states), evaluator, ScanOptions(alphas=3))
    assert surface.at("epoch 2", "cross_entropy") == pytest.approx(
        evaluator(states["epoch 2"])["test", "cross_entropy"].mean(dtype=float), rel=1e-6
    )
    _, axes = surface.plot()
    drawn = [line for line in axes[0].lines if len(line.get_xdata()) == 3]
    places = np.array([place[:2] for place in surface.provenance["states"].values()])
    np.testing.assert_allclose(np.column_stack(drawn[0].get_data()), places)
    assert "% of variance" in axes[0].get_xlabel()
