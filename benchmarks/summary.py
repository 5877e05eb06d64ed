"""The figures of all benchmarks in one table, with a column for each kind of processor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import results
from benchmarks.markdown import rows_of

Figures = dict[str, str]
"""What was measured -> how many times as fast as the plain loop."""


def rows() -> Iterator[str]:
    """The lines of the table: a row for what was measured on any kind of processor."""
    kinds = sorted({path.parent.name for name in READ for path in results.FOLDER.glob(f"*/{name}.json")}, reverse=True)
    by_kind = {kind: figures(kind) for kind in kinds}
    names = dict.fromkeys(name for found in by_kind.values() for name in found)
    yield from rows_of(
        ("times the plain loop", *(kind.upper() for kind in kinds)),
        ((name, *(by_kind[kind].get(name, "not measured") for kind in kinds)) for name in names),
    )


def figures(kind: str) -> Figures:
    """The ratios of all benchmarks on one kind of processor."""
    found: Figures = {}
    for name, read in READ.items():
        result = results.read(name, kind)
        if result is not None:
            found.update(read(result))
    return found


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
    "training": _training,
}
