"""What a probe prints fits the terminal, and its numbers are never cut."""

from __future__ import annotations

from dataclasses import replace

import pytest

from linescape.cli import probe_output
from linescape.cli.consoles import stderr
from linescape.interpolation.probing import WHOLE, Probe
from tests.support.lines import ALPHAS, line, probe, values
from tests.support.probes import sample_lines, sample_probe


def printed(shown: Probe, width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(stderr, "_width", width)
    with stderr.capture() as captured:
        probe_output.show(shown, shown.summary())
    return captured.get().splitlines()


@pytest.mark.parametrize("prefix", ["", "model.encoder.layers.11.self_attention."])
def test_a_probe_of_two_networks_fits_80_columns_but_for_long_names(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {label if label == WHOLE else prefix + label: curve for label, curve in sample_probe().curves.items()}
    shown = replace(sample_probe(), curves=named)
    lines = printed(shown, 80, monkeypatch)
    assert max(map(len, lines)) <= 80 + len(prefix)
    assert max(map(len, lines[: lines.index("test loss, nats")])) <= 80
    assert lines[0].startswith("There is a barrier: near alpha")
    for block in shown.summary().shown_blocks:
        row = next(row for row in lines if row.lstrip().startswith(f"{block.block} ") and "%" in row and "(" in row)
        assert f"{block.lost.value:.2f} ({block.lost.low:.2f}, {block.lost.high:.2f})" in row


@pytest.mark.parametrize("width", [80, 120])
def test_several_networks_have_a_row_each(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(sample_lines(), width, monkeypatch)
    assert max(map(len, lines[:2])) <= width
    assert len(set(map(len, lines[2:]))) == 1  # whole rows, though names make these wider than 80 columns
    assert lines[0].startswith("A barrier on 4, inconclusive on 2, of 6 lines.")
    assert sum("barrier      " in row or row.rstrip().endswith(("barrier", "inconclusive")) for row in lines[3:]) == 6
    assert all(any(name in row for row in lines[3:]) for pair in sample_lines().pairs.values() for name in pair)


def test_a_narrow_terminal_breaks_lines_rather_than_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(printed(sample_probe(), 40, monkeypatch))
    first = sample_probe().summary().shown_blocks[0].lost
    assert f"{first.value:.2f} ({first.low:.2f}, {first.high:.2f})" in text


def test_one_line_without_error_or_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(probe(line(values(2 - ALPHAS))), 80, monkeypatch)
    assert lines[0] == "No barrier: test loss falls from 2.00 to 1.00."
    assert "test loss, nats" in lines
    assert not any("Each block" in row for row in lines)
