from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linescape import tensor_file
from linescape.errors import MeasureError, RecipeError, StoreError
from linescape.interpolation.curve import Curve


@pytest.fixture
def curve() -> Curve:
    values = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0], [math.nan, 1.0, math.inf]])
    return Curve(
        np.array([0.0, 0.5, 1.0]),
        {
            ("test", "loss", "interpolate"): values,
            ("test", "error", "interpolate"): np.zeros((3, 3), np.float32),
            ("train", "loss", "interpolate"): np.ones((3, 1)),
        },
        {"seconds": 1.5, "notes": ["a note"]},
    )


def test_series_are_found_by_what_tells_them_apart(curve: Curve) -> None:
    assert curve["test", "loss"].measure == "loss"
    assert curve["error"].data == "test"
    assert curve["train"].values.shape == (3, 1)
    with pytest.raises(MeasureError, match="2 series of this curve match 'test'; name one.*test/loss/interpolate"):
        curve["test"]
    with pytest.raises(MeasureError, match="0 series of this curve match 'valid'"):
        curve["valid"]


def test_means_and_standard_errors_by_hand(curve: Curve) -> None:
    loss = curve["test", "loss"]
    assert loss.mean[:2].tolist() == [2, 2]
    assert math.isnan(loss.mean[2])
    assert loss.standard_error[0] == pytest.approx(1 / math.sqrt(3))
    assert loss.not_finite.tolist() == [0, 0, 2]
    assert np.isnan(curve["train"].standard_error).all()


def test_everything_survives_a_round_trip(curve: Curve, tmp_path: Path) -> None:
    curve.save(tmp_path / "curve.safetensors")
    back = Curve.load(tmp_path / "curve.safetensors")
    assert np.array_equal(back.alphas, curve.alphas)
    assert list(back.values) == list(curve.values)
    assert all(np.array_equal(back.values[key], curve.values[key], equal_nan=True) for key in curve.values)
    assert back.values["test", "error", "interpolate"].dtype == np.float32
    assert back.provenance == curve.provenance


def test_tables_keep_nan_and_infinity(curve: Curve, tmp_path: Path) -> None:
    for suffix, read in ((".csv", pl.read_csv), (".parquet", pl.read_parquet)):
        curve.save(tmp_path / f"curve{suffix}")
        rows = read(tmp_path / f"curve{suffix}")
        assert rows.height == 9
        assert rows["not_finite"].sum() == 2
        assert math.isnan(rows["mean"][2])
    curve.save(tmp_path / "curve.json")
    whole = json.loads((tmp_path / "curve.json").read_text())
    assert whole["provenance"]["seconds"] == 1.5
    assert whole["rows"][2]["mean"] is None
    assert whole["rows"][2]["not_finite"] == 2


def test_files_that_are_no_curves_are_refused(curve: Curve, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"Use .safetensors, .csv"):
        curve.save(tmp_path / "curve.pkl")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="could not be written"):
        curve.save(tmp_path / "file" / "curve.csv")
    with pytest.raises(StoreError, match="damaged"):
        Curve.load(tmp_path / "none.safetensors")
    curve.save(tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="damaged"):
        Curve.load(tmp_path / "cut.safetensors")


def test_perplexity_is_the_exponential_of_the_mean_cross_entropy() -> None:
    values = {("test", name, "interpolate"): np.log([[2.0, 8.0], [3.0, 3.0]]) for name in ("cross_entropy", "error")}
    curve = Curve(np.array([0.0, 1.0]), values, {"positions_per_example": {"test": 5.0}})
    assert curve["test", "cross_entropy"].perplexity.tolist() == pytest.approx([4, 3])
    assert list(curve.perplexities) == [("test", "interpolate")]
    assert not Curve(curve.alphas, values).perplexities
    with pytest.raises(MeasureError, match="exponential of the mean cross entropy"):
        _ = curve["test", "error"].perplexity


def test_no_bit_of_a_saved_curve_can_change(tmp_path: Path) -> None:
    values = {("test", "error", "interpolate"): np.random.default_rng(0).random((3, 4))}
    Curve(np.linspace(0, 1, 3), values, {"notes": []}).save(tmp_path / "curve.safetensors")
    content = (tmp_path / "curve.safetensors").read_bytes()
    for bit in np.random.default_rng(1).integers(0, 8 * len(content), 300).tolist():
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "damaged.safetensors").write_bytes(damaged)
        with pytest.raises(StoreError, match="damaged"):
            Curve.load(tmp_path / "damaged.safetensors")


def test_curves_of_before_are_read(tmp_path: Path) -> None:
    values = {("test", "error", "interpolate"): np.ones((3, 4))}
    curve = Curve(np.linspace(0, 1, 3), values, {"notes": []})
    (tmp_path / "old.safetensors").write_bytes(curve.to_bytes())
    assert np.array_equal(Curve.load(tmp_path / "old.safetensors")["test", "error"].values, np.ones((3, 4)))
    for name in ("other", "short"):
        arrays = {"alphas": curve.alphas, "0": np.ones((2, 4)) if name == "short" else np.ones(3)}
        note = {"format": "linescape-curve-1", "series": [["test", "error", "interpolate"]], "provenance": {}}
        (tmp_path / name).write_bytes(tensor_file.encode_with_note(tensor_file.from_arrays(arrays), note))
        with pytest.raises(StoreError, match="do not fit together"):
            Curve.load(tmp_path / name)


def test_reprs_are_short(curve: Curve) -> None:
    texts = [repr(curve), *map(repr, curve)]
    assert all(len(text) < 200 and "array" not in text and "\n" not in text for text in texts)
    assert texts[0].startswith(f"Curve({len(curve.alphas)} positions; ")


def test_frames_of_pandas_hold_the_same_numbers(curve: Curve) -> None:
    pandas = pytest.importorskip("pandas")
    frame = curve.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == curve.frame().columns
    for name in ("alpha", "mean", "standard_error", "not_finite"):
        np.testing.assert_array_equal(frame[name].to_numpy(), curve.frame()[name].to_numpy())


def test_without_pandas_the_error_says_what_to_do(curve: Curve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RecipeError, match=r"pip install pandas.*`frame\(\)`"):
        curve.to_pandas()
