"""One tensor: whether it can lie on a line, whether it equals another, and its value between two ends.

Tensors of numbers (floating or complex) are interpolated. Integers and booleans are not; neither is what is no plain
tensor at all: sparse and quantised tensors, and whatever else a state dict holds.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from linescape.errors import check_type

_NARROW = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
"""Floating types of 8 bits, which torch can convert but not compute with."""

_WIDER: dict[torch.dtype, torch.dtype] = {
    **dict.fromkeys((torch.float16, torch.bfloat16, *_NARROW), torch.float32),
    torch.complex32: torch.complex64,
}
"""Types that are computed in a wider one, and rounded once; the others are computed in their own."""

_PLAIN = {
    *_WIDER,
    *(torch.float32, torch.float64, torch.complex64, torch.complex128, torch.bool, torch.float8_e8m0fnu),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32, torch.int64),
}

_WITHOUT_FLOAT64 = ("mps",)
"""Devices on which torch has no float64."""

_SQUARES = 1e-290, math.inf
"""Between these a sum of squares in float64 has not lost digits."""

_CHUNK = 1 << 15
"""Elements per chunk where a temporary as large as a tensor might not fit: few enough for the cache and one thread."""


def is_plain(value: object) -> bool:
    """Whether something is a tensor with one number of a common type at each place.

    Not so are sparse, nested and quantised tensors, those that another class wraps (as a quantisation library's do),
    and types that pack several numbers into a byte. Tensors without values, lazy or on the device ``meta``, are plain.
    """
    return (
        isinstance(value, Tensor)
        and value.dtype in _PLAIN
        and (is_lazy(value) or (value.layout == torch.strided and not (value.is_quantized or value.is_nested)))
        and not is_traceable_wrapper_subclass(value)
    )


def described(value: object) -> str:
    """What something that is not plain is, for messages."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    if is_traceable_wrapper_subclass(value):
        return f"a {type(value).__name__}"
    if value.is_quantized or value.dtype not in _PLAIN:
        return f"a tensor of {value.dtype}"
    return "a nested tensor" if value.is_nested else f"a tensor of layout {value.layout}"


def is_continuous(dtype: torch.dtype) -> bool:
    """Whether numbers of a type can be interpolated: floating and complex ones can, integers and booleans cannot.

    The exponents of ``float8_e8m0fnu`` cannot either: they scale other tensors in powers of two.
    """
    return (dtype.is_floating_point or dtype.is_complex) and dtype != torch.float8_e8m0fnu


def widened(value: Tensor) -> Tensor:
    """The same numbers in a type that torch computes in without rounding half precision at each step."""
    return value.to(_WIDER.get(value.dtype, value.dtype))


def in_float64(value: Tensor) -> Tensor:
    """The same numbers in float64, complex ones in complex128, on the CPU where the device has none (``mps``)."""
    where = value.cpu() if value.device.type in _WITHOUT_FLOAT64 else value
    return where.to(torch.complex128 if value.is_complex() else torch.float64)


def promoted(first: torch.dtype, second: torch.dtype) -> torch.dtype | None:
    """The narrowest type that holds the numbers of both exactly; None if there is none, as for integers and floats."""
    if first == second:
        return first
    if is_continuous(first) != is_continuous(second) or torch.float8_e8m0fnu in (first, second):
        return None
    try:  # torch has no wider type for 8 bits and another type, nor for the largest integers
        return torch.promote_types(*(_WIDER[dtype] if dtype in _NARROW else dtype for dtype in (first, second)))
    except RuntimeError:
        return None


def identical(left: Tensor, right: Tensor) -> bool:
    """Whether two plain tensors have the same type, shape and numbers, where NaN equals NaN."""
    if left is right:
        return True
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype not in (*_NARROW, torch.float8_e8m0fnu, torch.complex32) and torch.equal(left, right):
        return True
    if not (left.dtype.is_floating_point or left.dtype.is_complex):
        return False
    pairs = chunks(left, right)
    return all(torch.allclose(real(one), real(two), rtol=0.0, atol=0.0, equal_nan=True) for one, two in pairs)


def alike(left: object, right: object) -> bool:
    """Whether two things that are not plain are the same, as far as can be told: if in doubt they are not."""
    left_leaves, left_form = pytree.tree_flatten(left)
    right_leaves, right_form = pytree.tree_flatten(right)
    return left_form == right_form and all(map(_same_leaf, left_leaves, right_leaves))


def _same_leaf(left: object, right: object) -> bool:
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    try:
        if isinstance(left, io.BytesIO) and isinstance(right, io.BytesIO):
            return left.getvalue() == right.getvalue()
        if not (isinstance(left, Tensor) and isinstance(right, Tensor)):
            by_identity = type(left).__eq__ is object.__eq__ and hasattr(left, "__dict__")
            return alike(vars(left), vars(right)) if by_identity else bool(left == right)
        if left.shape != right.shape or left.dtype != right.dtype or left.layout != right.layout:
            return False
        right = right.to(left.device)
        if is_plain(left):
            return identical(left, right)
        if left.layout == torch.strided:
            return torch.equal(left, right)
        return all(map(identical, _parts(left), _parts(right)))
    except (RuntimeError, TypeError, ValueError, AttributeError):  # of types that cannot be compared
        return False


def _parts(sparse: Tensor) -> tuple[Tensor, ...]:
    """The tensors that a sparse one consists of; two with unlike numbers of entries have unlike shapes."""
    if sparse.layout == torch.sparse_coo:
        sparse = sparse.coalesce()
        return sparse.indices(), sparse.values()
    if sparse.layout in (torch.sparse_csr, torch.sparse_bsr):
        return sparse.crow_indices(), sparse.col_indices(), sparse.values()
    return sparse.ccol_indices(), sparse.row_indices(), sparse.values()


def is_finite(value: Tensor) -> bool:
    """Whether a tensor contains neither NaN nor infinity; takes no memory, and little time."""
    if not (value.dtype.is_floating_point or value.dtype.is_complex) or not value.numel():
        return True
    if value.dtype.is_complex or value.dtype.itemsize == 1:  # which torch finds no extremes of
        return all(_extremes_finite(real(chunk)) for (chunk,) in chunks(value))
    return _extremes_finite(value)


def _extremes_finite(value: Tensor) -> bool:
    return all(bool(extreme.isfinite()) for extreme in torch.aminmax(value))  # NaN is both


def difference_fits(start: Tensor, end: Tensor) -> bool:
    """Whether a difference of any two numbers of two tensors is finite in their type; False where that is not known.

    Then all positions between them are finite, which need not be asked at each: on a GPU, asking is waiting.
    """
    if not end.dtype.is_floating_point or end.dtype.itemsize == 1 or not end.numel():
        return False
    largest = sum(max(abs(float(extreme)) for extreme in torch.aminmax(value)) for value in (start, end))
    return largest < torch.finfo(end.dtype).max  # False for NaN


def lerp(start: Tensor, end: Tensor, alpha: float, out: Tensor | None = None, fits: bool = False) -> Tensor:
    """``(1 - alpha) * start + alpha * end``, bit-exact at both ends and wherever start equals end.

    Source: Goodfellow, Vinyals & Saxe 2015 (arXiv 1412.6544), section 3. `alpha` may leave [0, 1].
    Half precision and 8 bits are computed in float32 and rounded once. Integer and boolean tensors do not
    move: they are the start's at alpha = 0, else the end's. NaN and infinity pass through.

    Args:
        start: the tensor at alpha = 0.
        end: the tensor at alpha = 1.
        alpha: the position.
        out: a tensor of the end's type and shape that is written to and returned, where possible without allocating.
        fits: whether `difference_fits` is known to hold for the ends.

    Raises:
        RecipeError: an end is no tensor.
    """
    for value, what in ((start, "The start"), (end, "The end")):
        check_type(
            value, Tensor, what, "Give tensors; the network at a position is linescape.Line(start, end).at(alpha)."
        )
    if alpha in (0.0, 1.0) or not is_continuous(end.dtype):
        between = end if alpha else start
        return between.clone() if out is None else out.copy_(between)
    if can_lerp(end.dtype):
        between = torch.lerp(start, end, alpha, out=out)  # half precision is widened inside; a test holds this
        if not (fits and 0.0 <= alpha <= 1.0) and not is_finite(between):
            between = _without_overflow(between, start, end, alpha)
    else:
        between = torch.lerp(widened(start), widened(end), alpha).to(end.dtype)
    return between if out is None or between is out else out.copy_(between)


def mean(tensors: Sequence[Tensor]) -> Tensor:
    """The mean of tensors of one shape, in the type of the last: summed in float64 and rounded once.

    What is equal in all stays as it is, infinities too. Integers and booleans have no mean: they are the last's.
    """
    last = tensors[-1]
    if not is_continuous(last.dtype) or all(identical(value, last) for value in tensors[:-1]):
        return last.clone()
    total = sum((in_float64(value) for value in tensors), in_float64(torch.zeros_like(last)))
    return (total / len(tensors)).to(last.dtype).to(last.device)


def _without_overflow(between: Tensor, start: Tensor, end: Tensor, alpha: float) -> Tensor:
    """The result of `torch.lerp`, where it is not finite, from the two ends and not from their difference."""
    apart = widened(start) * (1.0 - alpha) + widened(end) * alpha
    return torch.where(between.isfinite(), between, torch.where(start == end, end, apart.to(end.dtype)))


def can_lerp(dtype: torch.dtype) -> bool:
    """Whether `torch.lerp` takes tensors of a type."""
    return is_continuous(dtype) and dtype not in (*_NARROW, torch.complex32)


def subtract(end: Tensor, start: Tensor) -> Tensor:
    """``end - start`` in the type that it is computed in, or double where it overflows that; zero for integers."""
    if not is_continuous(end.dtype):
        return torch.zeros_like(end)
    away = widened(end) - widened(start)
    if is_finite(away):
        return away
    return in_float64(end) - in_float64(start)


def real(value: Tensor) -> Tensor:
    """The same numbers as float32 or float64: complex ones with a last axis more, of two."""
    if value.dtype == torch.float8_e8m0fnu:
        return value.float()
    value = widened(value)
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value


def norm(tensors: Iterator[Tensor]) -> float:
    """The Euclidean norm of some tensors together, summed in float64; of a complex number, |z|^2 counts."""
    total, lengths = 0.0, []
    for value in tensors:
        numbers = in_float64(real(value))
        squares = float(numbers.square().sum())
        total += squares
        lengths.append(math.sqrt(squares) if _SQUARES[0] < squares < _SQUARES[1] else _length(numbers))
    return math.sqrt(total) if _SQUARES[0] < total < _SQUARES[1] or math.isnan(total) else math.hypot(*lengths)


def _length(numbers: Tensor) -> float:
    """The Euclidean norm of numbers whose squares may leave the range of float64."""
    largest = float(numbers.abs().max()) if numbers.numel() else 0.0
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(float((numbers / largest).square().sum()))


def chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of one shape in chunks, so that temporaries stay small."""
    return zip(*(torch.split(tensor.detach().reshape(-1), _CHUNK) for tensor in tensors), strict=True)
