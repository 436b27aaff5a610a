"""What this processor multiplies at full speed."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

# Up to this many rows torch multiplies half precision at the speed of memory on any processor.
_FEW_ROWS = 8


def is_slow(x: Tensor) -> bool:
    """Tell whether a product of x [N, in] is better computed in float32.

    A processor without half-precision units multiplies matrices of bfloat16 or float16 a hundred
    times slower than float32.
    """
    return x.shape[0] > _FEW_ROWS and x.device.type == "cpu" and not is_fast(x.dtype)


@cache
def is_fast(dtype: torch.dtype) -> bool:
    """Tell whether this processor multiplies matrices of `dtype` at full speed."""
    probes = {
        torch.bfloat16: "_is_mkldnn_bf16_supported",
        torch.float16: "_is_mkldnn_fp16_supported",
    }
    if dtype not in probes:
        return True
    return bool(getattr(torch.ops.mkldnn, probes[dtype])())
