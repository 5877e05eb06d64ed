"""Paths that `probe` measures beside the straight line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from linescape import checkpoints
from linescape.errors import StateError
from linescape.interpolation import probing
from tests.support.adapters import adapted, network
from tests.support.command_line import OF_OWN, Line


def test_the_arc_and_the_aligned_line_are_measured_beside_the_straight_one(
    line: Line, pair: list[str], tmp_path: Path
) -> None:
    words = ("--slerp", "--align", "weights", "activations", "--alphas", "5")
    code, out, err = line("probe", *pair, *OF_OWN, *words)
    assert code == 0, err
    assert "aligned by weights:" in err
    assert re.search(r"Other paths: slerp: .*; aligned by weights: .*; aligned by\s+activations:", err, re.DOTALL)
    assert "recalibrate" in err
    assert (tmp_path / "probe" / "figures" / "beside.png").exists()
    page = Path(out.strip().splitlines()[-1]).read_text()
    assert "Other paths between the two networks" in page
    assert "LoRA" not in page
    lines = json.loads((tmp_path / "probe" / "probe.json").read_text())["lines"]
    assert list(lines) == ["whole", "slerp", "aligned by weights", "aligned by activations"]
    assert lines["slerp"]["provenance"]["path"] == "Slerp"
    ends = {label: [row["mean"] for row in of["rows"] if row["alpha"] in (0.0, 1.0)] for label, of in lines.items()}
    for label in lines:  # the aligned network computes the same
        np.testing.assert_allclose(ends[label], ends["whole"], rtol=1e-4)
    assert line("probe", *pair, *OF_OWN, "--alphas", "3")[0] == 0
    assert not (tmp_path / "probe" / "figures" / "beside.png").exists()


FACTORS = """
import torch
from tests.support import adapters

def network():
    return adapters.network("linear")[0].float()

def data():
    return {"test": (torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 4)}
"""


def test_the_line_in_merged_weights_is_measured_beside_the_one_in_factors(line: Line, tmp_path: Path) -> None:
    (tmp_path / "factors.py").write_text(FACTORS)
    net = network("linear")[0].float()
    for seed, name in enumerate("ab"):
        torch.save(adapted(net, seed).state_dict(), f"{name}.pt")
    of_factors = ("--model", "factors.py:network", "--data", "factors.py:data", "--alphas", "5")
    code, out, err = line("probe", "a.pt", "b.pt", *of_factors, "--merged")
    assert code == 0, err
    told = re.sub(r"\s+", " ", err)
    assert "Factors of adapters were interpolated, not merged weights: 0.lora_A.default.weight and" in told
    assert "Halfway the line in factors is" in told
    page = Path(out.strip().splitlines()[-1]).read_text()
    assert "interpolates the factors of LoRA, the line in merged weights their products" in re.sub(r"\s+", " ", page)
    lines = json.loads((tmp_path / "probe" / "probe.json").read_text())["lines"]
    assert list(lines) == ["whole", "merged weights"]
    assert lines["merged weights"]["provenance"]["path"] == "Merged"
    found = {
        label: [row["mean"] for row in of["rows"] if row["measure"] == "cross_entropy"] for label, of in lines.items()
    }
    whole, merged = found["whole"], found["merged weights"]
    np.testing.assert_allclose([whole[0], whole[-1]], [merged[0], merged[-1]], rtol=1e-6)
    assert abs(whole[2] - merged[2]) > 1e-3


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_aligned_checkpoint_is_written_in_the_ends_format(line: Line, pair: list[str], wrapped: bool) -> None:
    start, end = pair[0], "permuted.pt"
    tensors = dict(checkpoints.read(start))
    order = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    moved = {name: value[order] if name[0] in "01" and value.ndim else value for name, value in tensors.items()}
    moved["3.weight"] = tensors["3.weight"][:, order]
    moved["0.weight"] = tensors["0.weight"][order]
    prefix = "model." if wrapped else ""
    torch.save({"state_dict": {prefix + name: value for name, value in moved.items()}, "epoch": 3}, end)
    words = ("--align", "weights", "--aligned-out", "aligned.pt", "--alphas", "3")
    code, _, err = line("probe", start, end, *OF_OWN, *words)
    assert code == 0, err
    written = torch.load("aligned.pt", weights_only=True)["state_dict"]
    for name, value in tensors.items():  # a permuted copy is put back
        assert torch.equal(written[prefix + name], value)
    code, _, err = line("probe", start, end, *OF_OWN, *words)
    assert code == 2
    assert "is there already" in err


def stopped(*_: object) -> None:
    raise StateError("stopped")


def test_an_interrupted_probe_leaves_no_aligned_checkpoint(
    line: Line, pair: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be in the way when the command is run again, and its ends may have changed meanwhile."""
    words = ("probe", *pair, *OF_OWN, "--align", "weights", "--aligned-out", "aligned.safetensors", "--alphas", "3")
    with monkeypatch.context() as patch:
        patch.setattr(probing, "scan", stopped)
        code, _, err = line(*words)
        assert (code, "stopped" in err) == (2, True)
    assert not Path("aligned.safetensors").exists()
    assert line(*words)[0] == 0
    assert Path("aligned.safetensors").exists()


def test_requests_that_do_not_fit_are_refused(line: Line, pair: list[str], tmp_path: Path) -> None:
    code, _, err = line("probe", *pair, *OF_OWN, "--aligned-out", "x.pt")
    assert (code, "was given 0 ways" in err) == (2, True)
    (tmp_path / "run").mkdir()
    for step in (1, 2):
        torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "run" / f"step-{step}.pt")
    code, _, err = line("probe", "run", *OF_OWN, "--slerp")
    assert (code, "are for two checkpoints" in err) == (2, True)
