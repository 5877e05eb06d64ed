"""What ``linescape probe`` prints: the verdict, the curve, and what each block contributes."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from linescape.cli.consoles import echo_err, stderr
from linescape.cli.consoles import show as show_table
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
        _show_pairs(probe, summary)
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


def _show_blocks(summary: Summary) -> None:
    """A row for each block, what matters most first."""
    line, shown = summary.lines[0], summary.shown_blocks
    told = (line.loss, line.error) if line.error else (line.loss,)
    share = any(block.share for block in shown)
    names = [f"{in_words(series.measure)}{unit(series.measure, ',')}" for series in told]
    heights = [f"barrier{unit(series.measure, ',')}".replace(" ", "\n") for series in told]
    rows = []
    for block in shown:
        both = [block, *filter(None, [summary.error_of(block.block)])]
        lost = [_interval(each.lost, each.verdict.smallest_effect) for each in both]
        part = [f"{100 * block.share.value:.0f} %" if block.share else "–"] * share
        barriers = [small(each.verdict.height.value, each.verdict.smallest_effect) for each in both]
        rows.append([block.block, lost[0], *part, *lost[1:], *barriers])
    stderr.print(f"\nEach block alone at the start: what it adds on {line.loss.data} data, with 95 % intervals")
    _show_table(["block", names[0], *["gain"] * share, *names[1:], *heights], rows, 1)


def _show_pairs(probe: Probe, summary: Summary) -> None:
    """A row for each line between several networks."""
    first = summary.lines[0]
    told = (first.loss, first.error) if first.error else (first.loss,)
    heights = [f"barrier,\n{in_words(series.measure)}{unit(series.measure, ',')}" for series in told]
    rows = [[*probe.pairs[line.label], *_row(line)] for line in summary.lines]
    _show_table(["from", "to", *heights, "verdict"], rows, 2)


def _show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> None:
    """A table in which nothing is folded or cut; names are in the first columns."""
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for index, name in enumerate(columns):
        is_text = index < names or name == "verdict"
        table.add_column(name, no_wrap=True, justify="left" if is_text else "right")
    for row in rows:
        table.add_row(*map(printable, row))
    show_table(table, stderr)


def _row(line: LineSummary) -> list[str]:
    shown = (line.loss, line.error) if line.error else (line.loss,)
    verdicts = [series.verdict for series in shown]
    return [*(_interval(each.height, each.smallest_effect) for each in verdicts), verdicts[0].kind]


def _interval(estimate: Estimate, effect: float) -> str:
    value, low, high = (small(part, effect) for part in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low}, {high})"


def _perplexities(probe: Probe) -> None:
    perplexities = probe.curves[WHOLE].perplexities
    several = len({treatment for _, treatment in perplexities}) > 1
    for (data, treatment), values in perplexities.items():
        series = f"{data} data" + (f" (BatchNorm {treatment})" if several else "")
        echo_err(
            f"perplexity on {series}: start {values[0]:.4g}, end {values[-1]:.4g}, highest on the line "
            f"{values.max():.4g}"
        )
