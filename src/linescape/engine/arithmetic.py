"""How this process computes: the bits of a few small products."""

from __future__ import annotations

import hashlib
from functools import cache

import torch
import torch.nn.functional as F

from linescape.engine import threads


@cache
def arithmetic_digest() -> str:
    """SHA-256 of small results on the CPU, which differ where libraries use other kernels.

    These depend on the model of the CPU and on settings of the libraries (``MKL_CBWR``, ``ONEDNN_MAX_CPU_ISA``), which
    torch does not tell. Results that are continued elsewhere have the same last bits only where these are the same.
    """
    rows = torch.arange(64.0 * 96).reshape(64, 96).sin()
    images = torch.arange(2.0 * 8 * 12 * 12).reshape(2, 8, 12, 12).cos()
    weights = torch.arange(16.0 * 8 * 9).reshape(16, 8, 3, 3).sin()
    with torch.no_grad(), threads.using(1):
        results = (rows @ rows.T, F.conv2d(images, weights, padding=1), rows.exp(), rows.softmax(1), rows.sum(0))
    digest = hashlib.sha256()
    for result in results:
        digest.update(result.contiguous().numpy().tobytes())
    return digest.hexdigest()
