"""The figures of all benchmarks in one table, with a column for each kind of processor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import results
from benchmarks.markdown import rows_of

Figures = dict[str, str]
"""How many times as fast as the plain loop, by what was measured, or of one by kind of processor."""


def rows() -> Iterator[str]:
    """The lines of the table: a row for what was measured on any kind of processor."""
    measured = {name: results.everywhere(name) for name in READ}
    kinds = sorted({kind for by_kind in measured.values() for kind in by_kind}, reverse=True)
    found: dict[str, Figures] = {}
    for name, by_kind in measured.items():
        for kind, result in by_kind.items():
            for what, ratio in READ[name](result).items():
                found.setdefault(what, {})[kind] = ratio
    yield from rows_of(
        ("times the plain loop", *(kind.upper() for kind in kinds)),
        ((what, *(ratios.get(kind, "–") for kind in kinds)) for what, ratios in found.items()),
    )


def _headline(result: dict[str, Any]) -> Figures:
    return {f"time to a verdict, {name}": f"**{found['ratio']:.1f}**" for name, found in result["cases"].items()}


def _lines(result: dict[str, Any]) -> Figures:
    return {f"whole line of ResNet-18, {name}": ratio for name, ratio in _contenders(result)}


def _layers(result: dict[str, Any]) -> Figures:
    return {f"ten layer-wise lines of ResNet-18, {name}": ratio for name, ratio in _contenders(result)}


def _small(result: dict[str, Any]) -> Figures:
    cases = result["cases"].items()
    return {f"whole line of {case}, {name}": ratio for case, found in cases for name, ratio in _contenders(found)}


def _transformers(result: dict[str, Any]) -> Figures:
    cases = result["cases"].items()
    return {f"{found['network']}, {name}": ratio for _case, found in cases for name, ratio in _contenders(found)}


def _padded(result: dict[str, Any]) -> Figures:
    cases = result["cases"].values()
    return {f"{found['network']}, texts padded to the longest": next(_contenders(found))[1] for found in cases}


def _training(result: dict[str, Any]) -> Figures:
    return {
        f"training of {network}, {way}": f"**{found['ratio']:.2f}**"
        for network, ways in result.items()
        if isinstance(ways, dict) and "plain" in ways
        for way, found in ways.items()
        if way != "plain"
    }


def _contenders(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Those of linescape alone."""
    for name, figure in found["contenders"].items():
        if name.startswith("linescape"):
            yield name.removeprefix("linescape").lstrip(", "), f"**{figure['ratio']:.2f}**"


READ = {
    "headline": _headline,
    "lines": _lines,
    "layers": _layers,
    "small": _small,
    "transformers": _transformers,
    "padded": _padded,
    "training": _training,
}
