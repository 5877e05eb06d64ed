"""Whether a compiled library is what it should be: it has all symbols, and small products are as known in closed form.

As a program, ``trial.py LIBRARY [OPENMP]``, it tries a library that was compiled just now. If that crashes or never
returns, only this process ends. It imports nothing but the standard library, so that it takes a twentieth of a second.
"""

from __future__ import annotations

import ctypes
import math
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any

_SIDE, _TILES = 5, 112
"""Of the image, which a whole patch and parts of three others cover; and room for the gradient, as `winograd` gives."""

_FAR = 1e-4
"""Largest deviation relative to the largest number; rounding gives 1e-6."""


class UntrustedError(Exception):
    """A library lacks a symbol or computes something else."""


def check(library: ctypes.CDLL) -> None:
    """Compare small results with sums in float64.

    Raises:
        UntrustedError: the library lacks a symbol, or a result is wrong.
    """
    try:
        lanes, panel = (ctypes.c_int64.in_dll(library, f"kernels_{name}").value for name in ("lanes", "panel"))
        kernels = [
            getattr(library, name) for name in ("winograd_weights", "winograd", "winograd_gradient", "mix", "narrow")
        ]
    except (ValueError, AttributeError) as error:
        raise UntrustedError(f"it has no such symbol: {error}") from error
    if (lanes, panel) not in ((8, 16), (16, 32)):
        raise UntrustedError(f"it counts {lanes} lanes and {panel} outputs")
    results = (*_convolved(lanes, panel, *kernels[:3]), _mixed(lanes, kernels[3]), _narrow(lanes, kernels[4]))
    for name, found, expected in results:
        far = max(abs(a - b) for a, b in zip(found, expected, strict=True))
        if not far <= _FAR * max(map(abs, expected)):  # NaN is not
            raise UntrustedError(f"its {name} is wrong")


def _convolved(
    inputs: int, outputs: int, transform: Callable[..., Any], convolve: Callable[..., Any], gradient: Callable[..., Any]
) -> list[tuple[str, Iterable[float], list[float]]]:
    """A convolution, and the gradient of its weights, of numbers that are products of one for each axis."""
    places = [(row, column) for row in range(_SIDE) for column in range(_SIDE)]
    window = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    of_input, of_weight = _waves(inputs, 0.7), _waves(inputs, 1.1)
    of_output = _waves(outputs, 0.9)
    plane = dict(zip(places, _waves(len(places), 1.3), strict=True))
    other = dict(zip(places, _waves(len(places), 0.5), strict=True))
    filters = dict(zip(window, _waves(len(window), 1.7), strict=True))
    images = _floats([plane[at] * value for at in places for value in of_input])
    weights = _floats([u * v * filters[at] for u in of_output for v in of_weight for at in window])
    form, result = _floats([0.0] * (36 * inputs * outputs)), _floats([0.0] * (len(places) * outputs))
    transform(weights, form, *_sizes(outputs, inputs))
    failed = convolve(images, form, None, None, result, *_sizes(1, _SIDE, _SIDE, inputs, outputs, 0, 0))
    if failed:
        raise UntrustedError("it finds no memory")
    total = math.fsum(u * v for u, v in zip(of_input, of_weight, strict=True))
    sums = [math.fsum(plane.get((y + j, x + i), 0.0) * filters[j, i] for j, i in window) for y, x in places]
    expected = [total * value * u for value in sums for u in of_output]
    received = _floats([other[at] * u for at in places for u in of_output])
    found, room = (
        _floats([0.0] * len(weights)),
        _floats([0.0] * (36 * (inputs * outputs + _TILES * (inputs + outputs)))),
    )
    gradient(images, received, found, room, *_sizes(_TILES, 1, _SIDE, _SIDE, inputs, outputs))
    shifted = [math.fsum(plane.get((y + j, x + i), 0.0) * other[y, x] for y, x in places) for j, i in window]
    expected_gradient = [u * v * value for u in of_output for v in of_input for value in shifted]
    return [("convolution", result, expected), ("gradient", found, expected_gradient)]


def _mixed(channels: int, mix: Callable[..., Any]) -> tuple[str, Iterable[float], list[float]]:
    """Two images between which it mixes, without what may follow."""
    start, end, shift = (_waves(2 * channels, step) for step in (0.3, 0.6, 0.8))
    result = _floats([0.0] * len(start))
    first, second = _floats([0.75] * channels), _floats([0.25] * channels)
    sizes = _sizes(2, channels, 0, 0)
    mix(_floats(start), _floats(end), first, second, _floats(shift[:channels]), None, result, *sizes)
    expected = [0.75 * a + 0.25 * b + shift[i % channels] for i, (a, b) in enumerate(zip(start, end, strict=True))]
    return "mixture", result, expected


def _narrow(lanes: int, convolve: Callable[..., Any]) -> tuple[str, Iterable[float], list[float]]:
    """A 3x3 convolution of one channel to part of a register, and maxima of its rows in pairs."""
    outputs, pairs = lanes - 2, _SIDE // 2
    plane, filters, of_output = _waves(_SIDE * _SIDE, 1.3), _waves(9, 1.7), _waves(outputs, 0.9)
    weights = [u * value for value in filters for u in (*of_output, 0.0, 0.0)]
    result = _floats([0.0] * (pairs * _SIDE * outputs))
    sizes = _sizes(1, _SIDE, _SIDE, 1, outputs, 3, 3, 1, 1, 1, 1, 2, 1, 0)
    if convolve(_floats(plane), _floats(weights), _floats([0.0] * lanes), result, *sizes):
        raise UntrustedError("it finds no memory")
    image = {(y, x): plane[y * _SIDE + x] for y in range(_SIDE) for x in range(_SIDE)}
    window = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]

    def total(row: int, column: int) -> float:
        return math.fsum(image.get((row + y, column + x), 0.0) * f for (y, x), f in zip(window, filters, strict=True))

    places = [(2 * pair, column) for pair in range(pairs) for column in range(_SIDE)]
    expected = [max(u * total(y, x), u * total(y + 1, x)) for y, x in places for u in of_output]
    return "narrow convolution", result, expected


def _waves(count: int, step: float) -> list[float]:
    return [math.sin(1 + step * index) for index in range(count)]


def _floats(values: list[float]) -> ctypes.Array[ctypes.c_float]:
    """Numbers in float32, aligned as those of torch are."""
    memory = ctypes.create_string_buffer(4 * len(values) + 64)
    begin = -ctypes.addressof(memory) % 64
    struct.pack_into(f"{len(values)}f", memory, begin, *values)
    return (ctypes.c_float * len(values)).from_buffer(memory, begin)


def _sizes(*values: int) -> list[ctypes.c_int64]:
    """Sizes, with one thread added at the end."""
    return [ctypes.c_int64(value) for value in (*values, 1)]


if __name__ == "__main__":
    for openmp in sys.argv[2:]:
        ctypes.CDLL(openmp, ctypes.RTLD_GLOBAL)
    check(ctypes.CDLL(sys.argv[1]))
