"""Blocks of 32 values with one scale, and an offset in some: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, MXFP4.

The layouts are ggml's (ggml-common.h); MXFP4 is the microscaling format of the Open Compute
Project, version 1.0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from puna.quant.bits import fields, half, split

# Twice the values of E2M1, since the scale below is half of what E8M0 says.
_E2M1 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
# The non-linear levels of IQ4_NL and IQ4_XS.
LEVELS = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def q4_0(blocks: Tensor) -> Tensor:
    """Scale; 32 nibbles around 8."""
    d, q = split(blocks, 2)
    return half(d) * (fields(q, 4, 16).float() - 8)


def q4_1(blocks: Tensor) -> Tensor:
    """Scale, minimum; 32 nibbles."""
    d, m, q = split(blocks, 2, 2)
    return half(d) * fields(q, 4, 16).float() + half(m)


def q5_0(blocks: Tensor) -> Tensor:
    """Scale; 32 high bits, 32 nibbles, around 16."""
    d, high, low = split(blocks, 2, 4)
    return half(d) * (five_bits(low, high).float() - 16)


def q5_1(blocks: Tensor) -> Tensor:
    """Scale, minimum; 32 high bits, 32 nibbles."""
    d, m, high, low = split(blocks, 2, 2, 4)
    return half(d) * five_bits(low, high).float() + half(m)


def q8_0(blocks: Tensor) -> Tensor:
    """Scale; 32 signed bytes."""
    d, q = split(blocks, 2)
    return half(d) * q.contiguous().view(torch.int8).float()


def iq4_nl(blocks: Tensor) -> Tensor:
    """Scale; 32 nibbles that pick one of 16 levels."""
    d, q = split(blocks, 2)
    return half(d) * pick_both(LEVELS, q)


def mxfp4(blocks: Tensor) -> Tensor:
    """One exponent; 32 nibbles in E2M1."""
    e, q = split(blocks, 1)
    exponent = e.int()
    # Half of 2^(e - 127), written as bits; the two smallest are subnormal.
    scale = torch.where(exponent < 2, 0x00200000 << exponent, (exponent - 1) << 23)
    return scale.view(torch.float32) * pick_both(_E2M1, q)


def pick_both(levels: tuple[int, ...], packed: Tensor) -> Tensor:
    """Look up the levels of nibbles [N, 16]: float32 [N, 32], all low nibbles first.

    Both levels of a byte are looked up as one number: half as many steps.
    """
    both = [(levels[byte & 15], levels[byte >> 4]) for byte in range(256)]
    pairs = torch.tensor(both, dtype=torch.float32).view(torch.int64).squeeze(1)
    found = pairs.take(packed.long()).view(torch.float32)
    values: Tensor = found.unflatten(1, (-1, 2)).transpose(1, 2)  # type: ignore[no-untyped-call]
    return values.flatten(1)


def pick(levels: tuple[int, ...], index: Tensor) -> Tensor:
    """Look up float32 levels."""
    return torch.tensor(levels, dtype=torch.float32)[index.int()]


def five_bits(low: Tensor, high: Tensor) -> Tensor:
    """Join nibbles [N, 16] and high bits [N, 4] to codes [N, 32]."""
    bits = high[:, :, None] >> torch.arange(8, dtype=torch.uint8)
    return fields(low, 4, 16) | ((bits & 1).flatten(1) << 4)
