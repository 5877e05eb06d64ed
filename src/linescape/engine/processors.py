"""What a processor has instructions for."""

from __future__ import annotations

import os
import platform

import torch

_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Values of ``ONEDNN_MAX_CPU_ISA``, or ``DNNL_MAX_CPU_ISA`` as it was called before, under which oneDNN does not use
the instructions for bfloat16 of a processor."""


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for products of bfloat16, without which these take longer than in float32.

    x86-64 has them with AVX-512 BF16 or AMX, Arm with BF16, Nvidia's GPUs from compute capability 8.0. What a device
    of another kind has is not known, so it is taken to have them.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA", "")
    if limit.upper() in _WITHOUT_BFLOAT16:
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
