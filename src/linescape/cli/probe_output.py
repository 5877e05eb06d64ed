"""What ``linescape probe`` prints: the verdict, the curve, and what each block contributes."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from linescape.cli.consoles import echo_err, stderr
from linescape.cli.drawing import drawn
from linescape.errors import printable
from linescape.interpolation.probing import WHOLE, Probe
from linescape.interpolation.summary import LineSummary, Summary
from linescape.report.verdict import in_words, named, small, unit
from linescape.shape import Estimate


def show(probe: Probe, summary: Summary) -> None:
    """Print a probe to standard error, as standard output has the place of its page."""
    if probe.pairs:
        stderr.print(summary.headline.splitlines()[0])
        stderr.print(_pairs(probe, summary))
        return
    stderr.print(summary.text)
    told = summary.lines[0].loss
    series = probe.curves[WHOLE][told.data, told.measure, told.batchnorm]
    title = f"\n{named(told.data, told.measure)}{unit(told.measure, ',')}"
    utf8 = stderr.encoding.startswith("utf")
    stderr.print(drawn(series.alphas, series.mean, title, stderr.width, utf8), soft_wrap=True)
    if summary.blocks:
        _show_blocks(summary)
    _perplexities(probe)


def _table(columns: Sequence[str], words: int) -> Table:
    """An empty table in which nothing is folded; the first `words` columns hold words, the others numbers."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, no_wrap=True, justify="left" if index < words else "right")
    return table


def _show_blocks(summary: Summary) -> None:
    """A row for each block, what matters most first."""
    line, shown = summary.lines[0], summary.shown_blocks
    told = (line.loss, line.error) if line.error else (line.loss,)
    share = any(block.share for block in shown)
    units = [unit(series.measure, ",") for series in told]
    columns = [f"{in_words(series.measure)}{of}" for series, of in zip(told, units, strict=True)]
    table = _table(["block", columns[0], *["of gain"] * share, *columns[1:], *(f"barrier{of}" for of in units)], 1)
    room = max(12, stderr.width - sum(max(len(name), 18) + 2 for name in columns) - 16 * len(told) - 9 * share)
    for block in shown:
        rows = [block, *filter(None, [summary.error_of(block.block)])]
        lost = [_interval(row.lost, row.verdict.smallest_effect) for row in rows]
        part = [f"{100 * block.share.value:.0f} %" if block.share else "–"] * share
        heights = [small(row.verdict.height.value, row.verdict.smallest_effect) for row in rows]
        table.add_row(_cut(block.block, room), lost[0], *part, *lost[1:], *heights)
    stderr.print(f"\nEach block alone at the start: what it adds on {line.loss.data} data, with 95 % intervals")
    stderr.print(table)


def _pairs(probe: Probe, summary: Summary) -> Table:
    """A row for each line between several networks."""
    first = summary.lines[0]
    told = (first.loss, first.error) if first.error else (first.loss,)
    heights = [f"barrier, {in_words(series.measure)}{unit(series.measure, ',')}" for series in told]
    table = _table(["from", "to", "verdict", *heights], 3)
    room = max(8, (stderr.width - 18 - sum(len(name) + 2 for name in heights)) // 2)
    for line in summary.lines:
        ends = (_cut(name, room) for name in probe.pairs[line.label])
        table.add_row(*ends, *_row(line))
    return table


def _row(line: LineSummary) -> list[str]:
    shown = (line.loss, line.error) if line.error else (line.loss,)
    verdicts = [series.verdict for series in shown]
    return [verdicts[0].kind, *(_interval(each.height, each.smallest_effect) for each in verdicts)]


def _interval(estimate: Estimate, effect: float) -> str:
    value, low, high = (small(part, effect) for part in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low}, {high})"


def _cut(name: str, room: int) -> str:
    """A name in one line; names of a transformer's blocks differ at their ends, so these stay."""
    name = printable(name)
    return name if len(name) <= room else "…" + name[len(name) - room + 1 :]


def _perplexities(probe: Probe) -> None:
    perplexities = probe.curves[WHOLE].perplexities
    several = len({treatment for _, treatment in perplexities}) > 1
    for (data, treatment), values in perplexities.items():
        series = f"{data} data" + (f" (BatchNorm {treatment})" if several else "")
        echo_err(
            f"perplexity on {series}: start {values[0]:.4g}, end {values[-1]:.4g}, highest on the line "
            f"{values.max():.4g}"
        )
