"""Blocks of a GGUF file as packed weights, without rounding their codes again.

Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 keep their very values. In the others (Q2_K to Q6_K) a block's
scale times the small number of a group becomes one float16, which moves it by at most 1 in 2,048;
unpacked to bfloat16, each value would move by up to 1 in 256. Fields are read as in
`puna.quant.simple` and `puna.quant.super`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from puna.formats import GGML_TYPES
from puna.quant.bits import fields, half, split
from puna.quant.packed import Grouped, pair_nibbles
from puna.quant.simple import five_bits
from puna.quant.super import six_bits

_SLICE = 1 << 18  # values repacked at once

# Of a slice of blocks: codes [n, V] from zero up, scales and, in some, lows [n, groups].
_Fields = tuple[Tensor, Tensor, Tensor | None]


def repack(raw: Tensor, kind: str, shape: tuple[int, int]) -> Grouped | None:
    """Return the matrix that blocks make up; None where that is not possible.

    Possible is what `REPACKED` names, unless a scale is beyond float16 or a row does not fill its
    blocks.

    Args:
        raw: uint8 [bytes].
        kind: a block format of GGUF.
        shape: (N, K).
    """
    block = GGML_TYPES[kind]
    if kind not in _READ or shape[1] % block.values:
        return None
    read, middle, wide = _READ[kind]
    blocks = raw.view(-1, block.bytes)
    parts = [
        _stored(read(part), middle, wide)
        for part in blocks.split(_SLICE // block.values)  # type: ignore[no-untyped-call]
    ]
    codes, scale, low = (
        None if part[0] is None else torch.cat(part).view(shape[0], -1)
        for part in zip(*parts, strict=True)
    )
    assert codes is not None
    assert scale is not None
    ends = [scale] if low is None else [scale, low]
    return Grouped(codes, scale, low) if all(bool(t.isfinite().all()) for t in ends) else None


def _stored(found: _Fields, middle: int, wide: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    codes, scale, low = found
    if wide:
        stored = (codes.to(torch.int16) - middle).to(torch.int8) if middle else codes
        stored = stored.view(torch.int8)
    else:
        stored = pair_nibbles(codes + (8 - middle) if middle else codes)
    return stored, scale.half(), None if low is None else low.half()


def _q4_0(blocks: Tensor) -> _Fields:
    d, q = split(blocks, 2)
    return fields(q, 4, 16), half(d), None


def _q4_1(blocks: Tensor) -> _Fields:
    d, m, q = split(blocks, 2, 2)
    return fields(q, 4, 16), half(d), half(m)


def _q5_0(blocks: Tensor) -> _Fields:
    d, high, low = split(blocks, 2, 4)
    return five_bits(low, high), half(d), None


def _q5_1(blocks: Tensor) -> _Fields:
    d, m, high, low = split(blocks, 2, 2, 4)
    return five_bits(low, high), half(d), half(m)


def _q8_0(blocks: Tensor) -> _Fields:
    d, q = split(blocks, 2)
    return q.contiguous(), half(d), None


def _q2_k(blocks: Tensor) -> _Fields:
    scales, q, d, dmin = split(blocks, 16, 64, 2)
    return (
        fields(q, 2, 32),
        half(d) * (scales & 15).float(),
        -(half(dmin) * (scales >> 4).float()),
    )


def _q3_k(blocks: Tensor) -> _Fields:
    high, q, packed, d = split(blocks, 32, 64, 12)
    low_scale, high_scale = fields(packed[:, :8], 4, 8), fields(packed[:, 8:], 2, 4)
    scale = half(d) * ((low_scale | (high_scale << 4)).float() - 32)
    return fields(q, 2, 32) | (fields(high, 1, 32) << 2), scale, None


def _q4_k(blocks: Tensor) -> _Fields:
    d, dmin, packed, q = split(blocks, 2, 2, 12)
    scale, minimum = six_bits(packed)
    return fields(q, 4, 32), half(d) * scale, -(half(dmin) * minimum)


def _q5_k(blocks: Tensor) -> _Fields:
    d, dmin, packed, high, low = split(blocks, 2, 2, 12, 32)
    scale, minimum = six_bits(packed)
    codes = fields(low, 4, 32) | (fields(high, 1, 32) << 4)
    return codes, half(d) * scale, -(half(dmin) * minimum)


def _q6_k(blocks: Tensor) -> _Fields:
    low, high, scales, d = split(blocks, 128, 64, 16)
    codes = fields(low, 4, 64) | (fields(high, 2, 32) << 4)
    return codes, half(d) * scales.contiguous().view(torch.int8).float(), None


# How fields are read, the code that stands for zero (none where there is a low, or codes are
# signed already), and whether codes take 8 bits.
_READ: dict[str, tuple[Callable[[Tensor], _Fields], int, bool]] = {
    "Q4_0": (_q4_0, 8, False),
    "Q4_1": (_q4_1, 0, False),
    "Q5_0": (_q5_0, 16, True),
    "Q5_1": (_q5_1, 0, True),
    "Q8_0": (_q8_0, 0, True),
    "Q2_K": (_q2_k, 0, False),
    "Q3_K": (_q3_k, 4, False),
    "Q4_K": (_q4_k, 0, False),
    "Q5_K": (_q5_k, 0, True),
    "Q6_K": (_q6_k, 32, True),
}
