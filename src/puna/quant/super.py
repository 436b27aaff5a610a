"""Super-blocks of 256 values whose scales are quantized in turn: Q2_K to Q6_K and IQ4_XS.

The layouts are ggml's (ggml-common.h).
"""

from __future__ import annotations

import torch
from torch import Tensor

from puna.quant.bits import fields, half, split, spread
from puna.quant.simple import LEVELS, pick


def q2_k(blocks: Tensor) -> Tensor:
    """16 groups: a nibble of scale, a nibble of minimum; 2 bits a value."""
    scales, q, d, dmin = split(blocks, 16, 64, 2)
    scaled = spread(half(d) * (scales & 15).float(), fields(q, 2, 32).float())
    return _lower(scaled, half(dmin) * (scales >> 4).float())


def q3_k(blocks: Tensor) -> Tensor:
    """16 groups with 6 bits of scale; 2 bits a value and a third that counts when it is clear."""
    high, q, packed, d = split(blocks, 32, 64, 12)
    low_scale, high_scale = fields(packed[:, :8], 4, 8), fields(packed[:, 8:], 2, 4)
    scale = half(d) * ((low_scale | (high_scale << 4)).float() - 32)
    value = fields(q, 2, 32).float() - ((fields(high, 1, 32) ^ 1) << 2).float()
    return spread(scale, value)


def q4_k(blocks: Tensor) -> Tensor:
    """8 groups with 6 bits each of scale and minimum; 4 bits a value."""
    d, dmin, packed, q = split(blocks, 2, 2, 12)
    scale, minimum = six_bits(packed)
    return _lower(spread(half(d) * scale, fields(q, 4, 32).float()), half(dmin) * minimum)


def q5_k(blocks: Tensor) -> Tensor:
    """As Q4_K, with a fifth bit of each value apart."""
    d, dmin, packed, high, low = split(blocks, 2, 2, 12, 32)
    scale, minimum = six_bits(packed)
    value = (fields(low, 4, 32) | (fields(high, 1, 32) << 4)).float()
    return _lower(spread(half(d) * scale, value), half(dmin) * minimum)


def q6_k(blocks: Tensor) -> Tensor:
    """16 groups with 8 bits of scale; 4 bits a value and 2 apart, around 32."""
    low, high, scales, d = split(blocks, 128, 64, 16)
    value = (fields(low, 4, 64) | (fields(high, 2, 32) << 4)).float() - 32
    return spread(half(d) * scales.contiguous().view(torch.int8).float(), value)


def iq4_xs(blocks: Tensor) -> Tensor:
    """8 groups with 6 bits of scale; nibbles that pick one of 16 levels."""
    d, high, low, q = split(blocks, 2, 2, 4)
    shifts = torch.arange(0, 16, 2, dtype=torch.int32)
    top = (high.contiguous().view(torch.int16).int() >> shifts) & 3
    scale = (fields(low, 4, 1).int() | (top << 4)).float() - 32
    return spread(half(d) * scale, pick(LEVELS, fields(q, 4, 16)))


def _lower(values: Tensor, minimum: Tensor) -> Tensor:
    """Subtract [N, S] minimums from [N, V] values, each from V / S in a row."""
    shaped: Tensor = values.unflatten(1, (minimum.shape[1], -1))  # type: ignore[no-untyped-call]
    return (shaped - minimum[..., None]).flatten(1)


def six_bits(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack 8 scales and 8 minimums of 6 bits from 12 bytes.

    The first four of each lie in the low bits of bytes 0–3 and 4–7; the last four have their low
    halves in bytes 8–11 and their upper two bits on top of the first four.
    """
    a, b, c = packed.split(4, 1)  # type: ignore[no-untyped-call]
    scale = torch.cat((a & 63, (c & 15) | ((a >> 2) & 48)), 1)
    minimum = torch.cat((b & 63, (c >> 4) | ((b >> 2) & 48)), 1)
    return scale.float(), minimum.float()
