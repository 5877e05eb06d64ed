"""Writes the tables of docs/performance.md from the results, between markers, so that no number is typed by hand.

    python -m benchmarks.table

A marker ``<!-- table NAME -->`` is followed, up to ``<!-- end -->``, by a table of benchmarks/results/KIND/NAME.json
for each kind of processor on which it was measured.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import results, summary
from benchmarks.markdown import rows_of

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_RUN = "Not measured yet.\n"


def main() -> None:
    text = PAGE.read_text()
    PAGE.write_text(MARKED.sub(lambda found: found[1] + table(found[2]) + found[3], text))


def table(name: str) -> str:
    """The tables of a result, each with a line that says on what and how it was measured."""
    if name in TOGETHER:
        return "\n".join([*TOGETHER[name](), ""])
    parts = [
        "\n".join([_where(kind, result), "", *WRITERS[name](result), ""])
        for kind, result in results.everywhere(name).items()
    ]
    return "\n".join(parts) or NOT_RUN


def lines(result: dict[str, Any]) -> Iterator[str]:
    yield from _contenders(result["contenders"])
    yield ""
    yield from rows_of(
        ("", "first alpha", "reported", "true", "last alpha", "reported", "true"),
        (
            (name, *(_loss(figure[end][key]) for end in ("first", "last") for key in ("alpha", "reported", "true")))
            for name, figure in result["contenders"].items()
        ),
    )
    yield ""
    yield from _deviations(result)
    for name, reason in result["left_out"].items():
        yield f"- {name} could not be run: {reason}"


def layers(result: dict[str, Any]) -> Iterator[str]:
    yield from _contenders(result["contenders"])
    yield ""
    yield from _deviations(result)


def small(result: dict[str, Any]) -> Iterator[str]:
    for case, found in result["cases"].items():
        yield f"**{case}**"
        yield ""
        yield from _contenders(found["contenders"])
        yield ""
        yield from _deviations(found)
        yield ""


def transformers(result: dict[str, Any]) -> Iterator[str]:
    for case, found in result["cases"].items():
        yield f"**{case}**: {found['network']}; examples: {found['examples']}; alphas: {found['alphas']}"
        yield ""
        rows = (
            (name, f"**{figure['ratio']:.2f}**", _range(figure), _seconds(figure["seconds"]))
            for name, figure in found["contenders"].items()
        )
        yield from rows_of(("", "times the plain loop", "in all rounds", "seconds"), rows)
        yield ""
        yield from _deviations(found)
        yield ""


def architectures(result: dict[str, Any]) -> Iterator[str]:
    networks = {name: found for name, found in result["networks"].items() if "failed" not in found}
    graphs = [found for found in networks.values() if found["graph"]]
    worst = max((found["deviation"] for found in networks.values()), default=0.0)
    yield (
        f"Of {len(networks)} networks {len(graphs)} are graphs. Largest relative deviation of a mean loss from plain "
        f"calls: {worst:.1e}. Examples: {result['examples']}, alphas: {result['alphas']}."
        + (f" Left out: {result['left_out']}." if result.get("left_out") else "")
    )
    yield ""
    rows = (
        (
            name,
            f"{found['parameters'] / 1e6:.2f}",
            f"{found['deviation']:.0e}",
            "yes" if found["graph"] else found["why_not"].rstrip("."),
            f"{found['set_up_seconds']:.2f}",
            f"{found['ratio_at_a_position']:.2f}",
            f"{found['ratio_of_the_line']:.2f}",
        )
        for name, found in networks.items()
    )
    head = ("", "million parameters", "deviation", "graph", "set-up (s)", "at a position", "whole line")
    yield from rows_of(head, rows)


def moving(result: dict[str, Any]) -> Iterator[str]:
    for part in ("moving", "memory"):
        by_precision: dict[str, dict[str, Any]] = result.get(part, {})
        keys: Iterable[str] = next(iter(by_precision.values()), {})
        rows = ((_words(key), *(found[key] for found in by_precision.values())) for key in keys)
        yield from rows_of(("", *by_precision), rows)
        yield ""


def larger(result: dict[str, Any]) -> Iterator[str]:
    size = result["gigabytes_of_a_checkpoint"]
    yield f"{size:g} GB a checkpoint, {result['tokens']} tokens."
    yield ""
    rows = (
        (
            f"linescape {name}",
            f"{found['peak_gigabytes']:.2f}",
            f"**{found['peak_over_checkpoint']:.2f}**",
            f"{found['with_pages_of_files_gigabytes']:.1f}",
            f"{found['seconds']}",
        )
        for name, found in result.items()
        if isinstance(found, dict) and "peak_gigabytes" in found
    )
    yield from rows_of(
        ("", "peak of own memory (GB)", "over a checkpoint's size", "with pages of files (GB)", "seconds"), rows
    )


def growth(result: dict[str, Any]) -> Iterator[str]:
    rows = []
    for what, found in result["against"].items():
        sizes = list(found["seconds"])
        span = int(sizes[-1]) / int(sizes[0])
        held = "yes" if found["slope"] <= result["at_most"] else "no"
        spread = f"{int(sizes[0]):,} to {int(sizes[-1]):,} ({span:.0f} x, {len(sizes)} sizes)"
        rows.append((what, spread, f"{found['slope']:.2f}", held))
    yield from rows_of(("time against", "sizes", "slope", f"at most {result['at_most']}"), rows)
    yield ""
    axes = ", ".join(result["against"])
    yield f"![Seconds of a scan against {axes}, on logarithmic axes, with fitted lines](figures/growth.png)"


def training(result: dict[str, Any]) -> Iterator[str]:
    best = result["matrix_product_operations_per_second"]
    yield "Best matrix product: " + ", ".join(f"{value / 1e9:.0f} GFLOP/s in {dtype}" for dtype, value in best.items())
    yield ""
    rows = []
    for network, ways in result.items():
        for way, found in ways.items() if isinstance(ways, dict) and "plain" in ways else ():
            reached = found["operations_per_second"] / 1e9
            shown = (f"{found['images_per_second']:,.0f}", f"**{found['ratio']:.2f}**", f"{reached:.0f}")
            rows.append((network, way, *shown, f"{found['share_of_matrix_product']:.0%}"))
    yield from rows_of(("", "way", "images a second", "times the plain loop", "GFLOP/s", "share"), rows)


def overhead(result: dict[str, Any]) -> Iterator[str]:
    yield f"{result['tasks']} tasks, {result['seconds']['process']:.0f} s of the process."
    yield ""
    shares = sorted(result["shares"].items(), key=lambda item: -item[1]["process"])
    rows: list[tuple[str, ...]] = [(name, f"{share['process']:.1%}", f"{share['wall']:.1%}") for name, share in shares]
    rows.append(("**outside passes**", *(f"**{result['outside_passes'][time]:.1%}**" for time in ("process", "wall"))))
    yield from rows_of(("", "of the process's time", "of the wall's"), rows)


def headline(result: dict[str, Any]) -> Iterator[str]:
    rows = (
        (
            name,
            f"**{found['ratio']:.1f}**",
            _seconds(found["seconds"]),
            _seconds(found["plain_seconds"]),
            f"{found['positions']}; {found['images_measured']:,}",
            f"{found['verdict']}, {_between(found['barrier'])}",
            f"{found['verdict_of_all']}, {_between(found['barrier_of_all'])}",
        )
        for name, found in result["cases"].items()
    )
    head = ("", "times the plain loop", "seconds", "of the loop", "positions; images", "barrier", "by all images")
    yield from rows_of(head, rows)


def fewer_passes() -> Iterator[str]:
    """A row for each set of lines that was walked."""
    names = sorted({path.stem for path in results.FOLDER.glob("*/fewer_passes-*.json")})
    rows = []
    for name in names:
        result = next(iter(results.everywhere(name).values()))
        worst = result["worst"]
        rows.append(
            (
                name.partition("-")[2],
                len(result["lines"]),
                f"{worst['share']:.1%}",
                f"{worst['barrier_above_chord']:.2f}",
                f"{worst['min_delta']:.2f}",
                "; ".join(result["missed"]) or "none",
            )
        )
    head = ("lines of", "number", "passes, at most", "barrier, worst", "min Delta, worst", "outside what is allowed")
    yield from rows_of(head, rows) if rows else [NOT_RUN]


WRITERS: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "lines": lines,
    "layers": layers,
    "small": small,
    "transformers": transformers,
    "padded": transformers,
    "architectures": architectures,
    "moving": moving,
    "larger": larger,
    "growth": growth,
    "training": training,
    "overhead": overhead,
    "headline": headline,
}
TOGETHER: dict[str, Callable[[], Iterator[str]]] = {"summary": summary.rows, "fewer_passes": fewer_passes}
"""Tables of several results in one."""


def _where(kind: str, result: dict[str, Any]) -> str:
    """Machine, date and size of a measurement in a sentence."""
    machine = result.get("machine", {})
    if not isinstance(machine, dict):
        return f"{machine}, {kind.upper()}, {result.get('date')}."
    on = ", ".join(
        [
            str(machine.get("processor", "")),
            str(machine.get("instructions", "")),
            f"cores: {machine.get('cores')}, threads: {machine.get('threads')}",
            f"load before {machine.get('load_before')}",
            f"torch {machine.get('torch')}",
            str(machine.get("date", "")),
        ]
    )
    said = [f"{key}: {result[key]}" for key in ("network", "images", "alphas", "rounds") if key in result]
    best = result.get("best_product_gflop_per_second")
    if best:
        said.append("best product: " + ", ".join(f"{value:g} GFLOP/s in {dtype}" for dtype, value in best.items()))
    return " ".join(f"{part}." for part in (on, "; ".join(said)) if part).replace("_", " ")


def _contenders(figures: dict[str, Any]) -> Iterator[str]:
    rows = (
        (
            name,
            f"**{figure['ratio']:.2f}**",
            _range(figure),
            _seconds(figure["seconds"]),
            f"{figure['gflop_per_second']:.0f}",
            f"{figure['share_of_best_product']:.0%}",
        )
        for name, figure in figures.items()
    )
    yield from rows_of(("", "times the plain loop", "in all rounds", "seconds", "GFLOP/s", "of best product"), rows)


def _between(barrier: list[float]) -> str:
    value, low, high = barrier
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _seconds(seconds: float) -> str:
    """To three figures, and never as a power of ten."""
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.3g}"


def _range(figure: dict[str, Any]) -> str:
    return f"{figure['ratio_lowest']:.2f} to {figure['ratio_highest']:.2f}"


def _deviations(found: dict[str, Any]) -> Iterator[str]:
    for key, value in found.items():
        what, apart, other = key.partition("_from_")
        if apart and isinstance(value, float):
            yield f"- Largest relative deviation of the mean loss, {_words(what)} from {_words(other)}: {value:.1e}."


def _loss(value: float) -> str:
    return f"{value:.4g}"


def _words(key: str) -> str:
    return key.replace("_mib", " (MiB)").replace("_", " ")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # it takes no arguments but --help
    main()
