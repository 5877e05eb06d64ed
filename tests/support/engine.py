"""What the engine's tests share: drawn inputs, lines between drawn states, and the comparison with plain calls."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.engine.fast import Fast
from linescape.engine.native import build
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line, Only, Path
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan

Batch = tuple[Tensor, ...]

ALPHAS = (0.0, 0.4, 1.0)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(count: int, classes: int = 3) -> Tensor:
    return torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(5))


def tokens(*shape: int, kinds: int = 11) -> Tensor:
    return torch.randint(0, kinds, shape, generator=torch.Generator().manual_seed(6))


def state(net: nn.Module, seed: int, call: Callable[[nn.Module], object] = lambda net: None) -> State:
    """Weights of the network's own size, drawn, and running statistics from a few calls."""
    net = copy.deepcopy(net)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for value in net.parameters():
            if value.ndim > 1:
                value.copy_(torch.randn_like(value) * max(float(value.float().std()), 0.1))
            else:
                value.add_(torch.randn_like(value) * 0.2)
        net.train()
        for _ in range(3):
            call(net)
    return State.from_module(net)


def line_of(net: nn.Module, *inputs: Tensor) -> Line:
    few = [x[:24] + (0.1 * x.std() if x.is_floating_point() else 0) for x in inputs]
    return Line(*(state(net, seed, lambda net: net(*few)) for seed in (1, 2)))


def lines(net: nn.Module, whole: Line) -> dict[str, Path]:
    """The whole line, and those of each block alone."""
    blocks = dict.fromkeys(name.split(".")[0] for name in whole.moving)
    alone = {block: Only(whole, [name for name in whole.end if name.split(".")[0] == block]) for block in blocks}
    return {"whole": whole, **alone}


def assert_close(found: Curve, expected: Curve, relative: float = 1e-5) -> None:
    """Means within `relative`, and each example within ten times that."""
    assert found.values.keys() == expected.values.keys()
    for key, values in expected.values.items():
        with np.errstate(invalid="ignore"):
            means = found.values[key].mean(1, dtype=float), values.mean(1, dtype=float)
        np.testing.assert_allclose(*means, relative, err_msg=str(key))
        largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
        np.testing.assert_allclose(found.values[key], values, 10 * relative, 10 * relative * largest, err_msg=str(key))


def compared(path: Path, net: nn.Module, data: Any, relative: float = 1e-5, **options: Any) -> Curve:
    """The curve with the engine, once it is that of plain calls."""
    alphas = options.pop("alphas", ALPHAS)
    plain, fast = (Evaluator(net, {"d": data}, fast=fast, **options) for fast in (False, True))
    found = scan(path, fast, ScanOptions(alphas=alphas))
    assert_close(found, scan(path, plain, ScanOptions(alphas=alphas)), relative)
    return found


def noted(curve: Curve) -> list[str]:
    return [note for note in curve.provenance["notes"] if "as it is" in note]


needs_compiler = pytest.mark.skipif(not build.kernels(), reason="no compiler, or not for this machine's CPU")


def kept_bytes(engine: Fast) -> int:
    """Of all tensors that are kept now."""
    tensors = [
        value
        for plan in engine._plans.values()
        if plan is not None
        for values in plan.kept.values()
        for value in values.values()
        if isinstance(value, Tensor)
    ]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def surprise(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.transpose(1, 2).float(), targets, reduction="none").mean(1)
