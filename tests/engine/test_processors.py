"""What a processor has instructions for decides in which type a walk is computed."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape import Evaluator, Line, ScanOptions, scan
from linescape.engine import processors
from linescape.engine.processors import multiplies_bfloat16
from linescape.evaluation.runner import Precision
from linescape.geometry.state import State

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("machine", "limit", "avx512", "amx", "other", "expected"),
    [
        ("x86_64", "", True, True, True, True),
        ("x86_64", "", True, False, True, True),
        ("AMD64", "", False, True, True, True),
        ("x86_64", "", False, False, True, False),  # AVX-512 without bfloat16: oneDNN computes it in float32
        ("x86_64", "avx512_core", True, True, True, False),
        ("x86_64", "AVX512_CORE_BF16", True, True, True, True),
        ("aarch64", "", False, False, True, True),
        ("arm64", "", False, False, False, False),
    ],
)
def test_processors_by_their_instructions(
    machine: str, limit: str, avx512: bool, amx: bool, other: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: other)
    for setting in ("DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA"):  # the older name, then the one that counts before it
        monkeypatch.setenv(setting, limit)
        assert multiplies_bfloat16(CPU) is expected


def test_gpus_that_only_imitate_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert not multiplies_bfloat16(torch.device("cuda"))
    assert multiplies_bfloat16(torch.device("mps"))


def test_without_instructions_a_walk_is_in_the_networks_own_type_and_says_so(
    pair: tuple[nn.Module, State, State], images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, start, end = pair

    def walk(precision: Precision | None) -> tuple[np.ndarray, Mapping[str, Any]]:
        evaluator = Evaluator(network, {"test": images}, ["cross_entropy"], precision=precision, fast=True)
        curve = scan(Line(start, end), evaluator, ScanOptions(alphas=3))
        return curve.values["test", "cross_entropy", "interpolate"], curve.provenance

    plain, _ = walk(None)
    rounded, provenance = walk("bfloat16")
    assert provenance["precision"] == "bfloat16"
    assert (plain != rounded).any()
    monkeypatch.setattr(processors, "multiplies_bfloat16", lambda device: False)
    instead, provenance = walk("bfloat16")
    assert (instead == plain).all()
    assert provenance["precision"] == "float32"
    (note,) = (note for note in provenance["notes"] if "bfloat16" in note)
    assert note.startswith("The walk was computed in float32, not in bfloat16 as asked: this processor has no")
