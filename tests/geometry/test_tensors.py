"""What one tensor does on a line, by type: against NumPy in float64 and by hand."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.errors import RecipeError
from linescape.geometry import tensors

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # that some types of torch are not finished

FLOATING = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
COMPLEX = [torch.complex32, torch.complex64, torch.complex128]
FOURS = [torch.float4_e2m1fn_x2] if hasattr(torch, "float4_e2m1fn_x2") else []  # torch 2.7 has none
DISCRETE = [torch.bool, torch.uint8, torch.int8, torch.int64, torch.uint16, torch.float8_e8m0fnu]


def drawn(dtype: torch.dtype, seed: int, count: int = 200) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(count, generator=generator) + 0.5
    if dtype.is_complex:
        return torch.complex(values, values.flip(0) - 3).to(dtype)
    return (values * (1 if dtype.is_floating_point else 5)).to(dtype)


def as_numpy(value: Tensor) -> np.ndarray:
    return np.array((value.to(torch.complex128) if value.is_complex() else value.double()).tolist())


@pytest.mark.parametrize("alpha", [0.3, -1.0, 2.5])
@pytest.mark.parametrize("dtype", [*FLOATING, *COMPLEX])
def test_numbers_of_every_type_lie_on_the_line_and_are_rounded_once(dtype: torch.dtype, alpha: float) -> None:
    start, end = drawn(dtype, 1), drawn(dtype, 2)
    assert tensors.is_continuous(dtype)
    found = tensors.lerp(start, end, alpha)
    expected = (1 - alpha) * as_numpy(start) + alpha * as_numpy(end)
    bits = {torch.float8_e4m3fn: 4, torch.float8_e5m2: 3, torch.bfloat16: 8, torch.float16: 11, torch.complex32: 11}
    tolerance = 2.0 ** -bits.get(dtype, 20)
    assert found.dtype == dtype
    assert np.allclose(as_numpy(found), expected, rtol=tolerance, atol=tolerance * 10)
    assert tensors.identical(tensors.lerp(start, end, 0.0), start)
    assert tensors.identical(tensors.lerp(start, end, 1.0), end)
    assert np.allclose(as_numpy(tensors.subtract(end, start)), as_numpy(end) - as_numpy(start), atol=1e-6)


@pytest.mark.parametrize("dtype", DISCRETE)
def test_what_is_not_a_number_does_not_move(dtype: torch.dtype) -> None:
    start, end = drawn(dtype, 1), drawn(dtype, 2)
    assert not tensors.is_continuous(dtype)
    assert tensors.identical(tensors.lerp(start, end, 0.3), end)
    assert not tensors.subtract(end, start).bool().any() or dtype == torch.float8_e8m0fnu  # which has no zero


@pytest.mark.parametrize("dtype", [*FLOATING, *COMPLEX, *DISCRETE])
def test_equality_is_that_of_numbers_for_every_type(dtype: torch.dtype) -> None:
    value = drawn(dtype, 1)
    other = value.clone()
    assert tensors.identical(value, other)
    other[-1] = value[-1] + 1 if dtype in (*FLOATING[:4], *COMPLEX) else drawn(torch.float32, 3)[0] * 0
    assert tensors.identical(value, other) == bool(as_numpy(value)[-1] == as_numpy(other)[-1])
    assert not tensors.identical(value, value[:-1])
    assert not tensors.identical(value, value.to(torch.float32 if dtype != torch.float32 else torch.float64))


def test_nan_at_equal_places_is_equal_and_infinity_too() -> None:
    value = torch.tensor([math.nan, math.inf, -math.inf, 0.0])
    assert tensors.identical(value, value.clone())
    assert not tensors.identical(value, torch.tensor([math.nan, math.inf, math.inf, 0.0]))
    assert not tensors.identical(value, torch.tensor([0.0, math.inf, -math.inf, math.nan]))
    partly = torch.complex(value, torch.ones(4))
    assert tensors.identical(partly, partly.clone())
    assert not tensors.identical(partly, torch.complex(value, torch.zeros(4)))


@pytest.mark.parametrize("dtype", [*FLOATING, *COMPLEX])
def test_what_is_not_finite_is_found_in_every_type(dtype: torch.dtype) -> None:
    value = drawn(dtype, 1, 70_000)
    assert tensors.is_finite(value)
    broken = value.to(torch.complex64) if dtype.is_complex else value.float()
    broken[-1] = broken[-1] * math.nan
    assert not tensors.is_finite(broken.to(dtype))


def test_the_norm_counts_absolute_values() -> None:
    values = [drawn(torch.complex64, 1), drawn(torch.bfloat16, 2), drawn(torch.complex128, 3).conj()]
    expected = math.sqrt(sum(float((np.abs(as_numpy(value)) ** 2).sum()) for value in values))
    assert tensors.norm(iter(values)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.9])
def test_ends_whose_difference_overflows_have_a_mean(dtype: torch.dtype, alpha: float) -> None:
    largest = torch.finfo(dtype).max * 0.9
    start, end = (
        torch.tensor([sign * largest, 1.0, -3.0, 5.0 - sign], dtype=torch.float64).to(dtype) for sign in (1.0, -1.0)
    )
    found = tensors.lerp(start, end, alpha)
    exact = np.array([(1 - 2 * alpha) * as_numpy(start)[0], 1.0, -3.0, 4 + 2 * alpha])
    assert found.dtype == dtype
    # Against the size of the ends, of which the mean may be a small remainder.
    near = 2 * torch.finfo(dtype).eps * np.array([largest, 1.0, 1.0, 6.0])
    assert (np.abs(as_numpy(found) / 4 - exact / 4) <= near).all()
    assert torch.equal(found[1:3], end[1:3])
    assert not tensors.is_finite(tensors.lerp(start, end, 3.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_a_difference_that_overflows_is_known_in_double(dtype: torch.dtype) -> None:
    start, end = (torch.tensor([sign * 2.5e38, 1.0], dtype=torch.float64).to(dtype) for sign in (-1.0, 1.0))
    assert (as_numpy(tensors.subtract(end, start)) == as_numpy(end) - as_numpy(start)).all()
    assert tensors.subtract(end[1:], start[1:]).dtype == tensors.widened(end).dtype
    assert not tensors.is_finite(tensors.subtract(end, end * math.inf))


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e155, 1e250])
def test_the_norm_of_numbers_whose_squares_leave_the_range(size: float) -> None:
    values = [drawn(torch.float64, seed) for seed in (1, 2)]
    expected = size * math.sqrt(sum(float((as_numpy(value) ** 2).sum()) for value in values))
    scaled = [*(value * size for value in values), torch.zeros(3), torch.empty(0)]
    assert tensors.norm(iter(scaled)) == pytest.approx(expected, rel=1e-12, abs=0)
    if size < 1:
        assert tensors.norm(iter([*scaled, torch.ones(4)])) == 2.0
    assert tensors.norm(iter([*scaled, torch.tensor([math.inf])])) == math.inf
    assert math.isnan(tensors.norm(iter([*scaled, torch.tensor([math.nan, math.inf])])))


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        (torch.bfloat16, torch.float16, torch.float32),
        (torch.float8_e4m3fn, torch.bfloat16, torch.float32),
        (torch.float8_e4m3fn, torch.float8_e5m2, torch.float32),
        (torch.float32, torch.complex64, torch.complex64),
        (torch.float64, torch.complex64, torch.complex128),
        (torch.int8, torch.int32, torch.int32),
        (torch.int64, torch.float32, None),
        (torch.uint64, torch.int64, None),
        (torch.float8_e8m0fnu, torch.float32, None),
    ],
)
def test_two_types_have_a_common_one_that_changes_no_value(
    first: torch.dtype, second: torch.dtype, common: torch.dtype | None
) -> None:
    assert tensors.promoted(first, second) == tensors.promoted(second, first) == common


def test_what_is_no_plain_tensor() -> None:
    others: list[object] = [
        torch.eye(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        *(torch.zeros(4, dtype=torch.uint8).view(dtype) for dtype in FOURS),
        {"scale": 1.0},
        None,
        io.BytesIO(b"a"),
    ]
    assert not any(map(tensors.is_plain, others))
    assert all(tensors.described(other) for other in others)
    assert tensors.is_plain(nn.Parameter(torch.ones(2, dtype=torch.complex64)))


class Plain:
    """A user's object, without an equality of its own."""

    def __init__(self, value: object) -> None:
        self.value = value


class Never:
    """An object that cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("no")

    __hash__ = None  # type: ignore[assignment]


def test_only_tensors_are_interpolated() -> None:
    weight, network = torch.ones(2), nn.Linear(2, 1)
    for start, end, what in ((network, weight, "The start is a Linear"), (weight, {}, "The end is a dict")):
        with pytest.raises(RecipeError, match=rf"{what}\. Give tensors; .* linescape\.Line\(start, end\)\.at\(alpha\)"):
            tensors.lerp(start, end, 0.5)  # type: ignore[arg-type]


def test_things_are_alike_by_what_they_hold() -> None:
    def things(scale: float) -> list[object]:
        return [
            {"scale": scale, "history": [torch.full((2,), scale)]},
            io.BytesIO(str(scale).encode()),
            (scale * torch.eye(3)).to_sparse(),
            (scale * torch.eye(3)).to_sparse_csr(),
            (scale * torch.eye(3)).to_sparse_csc(),
            torch.quantize_per_tensor(torch.full((3,), scale), 0.1, 0, torch.qint8),
            Plain({"scale": torch.tensor(scale)}),
            torch.full((2,), scale, dtype=torch.bfloat16),
            scale,
        ]

    for one, same, other in zip(things(1.0), things(1.0), things(2.0), strict=True):
        assert tensors.alike(one, same)
        assert not tensors.alike(one, other)
    assert not tensors.alike(torch.eye(3).to_sparse(), torch.ones(3, 3).to_sparse())
    assert not tensors.alike(1, 1.0)
    assert not tensors.alike(Never(), Never())
    assert not tensors.alike({"a": 1}, [1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_where_a_difference_fits_no_position_is_asked_whether_it_is_finite(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = torch.tensor([-1.0, 2.0], dtype=dtype), torch.tensor([0.9, -0.9], dtype=dtype) * torch.finfo(dtype).max
    assert tensors.difference_fits(near, near.flip(0))
    assert not tensors.difference_fits(far, far.flip(0))
    assert not tensors.difference_fits(near, near * float("nan"))
    assert not tensors.difference_fits(near.int(), near.int())
    expected = tensors.lerp(near, near.flip(0), 0.3)
    assert tensors.lerp(far, far.flip(0), 0.3).isfinite().all()
    monkeypatch.setattr(tensors, "is_finite", lambda value: pytest.fail("asked"))
    assert torch.equal(tensors.lerp(near, near.flip(0), 0.3, fits=True), expected)
