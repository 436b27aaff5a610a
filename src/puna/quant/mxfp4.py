"""MXFP4 as published in safetensors: nibbles in one tensor, exponents in another.

The microscaling format of the Open Compute Project, version 1.0: 32 values in E2M1 share one
power of two (E8M0). Bytes hold neighbors, the first in the low nibble; ggml's blocks order them
otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
_SLICE = 1 << 13  # blocks unpacked at once; what is in flight stays a few MiB


def dequantize_mxfp4(blocks: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the numbers that blocks of 16 bytes and their exponents stand for.

    Args:
        blocks: uint8 [..., G, 16].
        scales: uint8 [..., G]; a scale s stands for 2^(s - 127).
        dtype: a floating dtype; values are computed in float32 and rounded to it.

    Returns:
        [..., 32·G] in a new tensor.
    """
    out = torch.empty(*scales.shape, 32, dtype=dtype)
    flat, packed, exponents = out.view(-1, 32), blocks.reshape(-1, 16), scales.reshape(-1)
    # Both values of each possible byte, read as one number: half as many look-ups.
    both = [(_E2M1[byte & 15], _E2M1[byte >> 4]) for byte in range(256)]
    pairs = torch.tensor(both, dtype=torch.float32).view(torch.int64)
    for start in range(0, len(flat), _SLICE):
        part = slice(start, start + _SLICE)
        values = pairs.take(packed[part].long()).view(torch.float32)
        flat[part] = values * _powers(exponents[part])[:, None]
    return out.flatten(-2)


def _powers(scales: Tensor) -> Tensor:
    """Return 2^(scale - 127) in float32, written as bits; the smallest is subnormal."""
    exponents = scales.int()
    return torch.where(exponents == 0, 0x00400000, exponents << 23).view(torch.float32)
