"""From numbers to blocks of 32 (Q8_0, Q5_1, Q5_0, Q4_1, Q4_0), bit for bit as ggml's reference."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from puna.errors import UsageError
from puna.quant.blocks import PLAIN

_VALUES = 32
_SLICE = 1 << 15  # blocks packed at once


def quantize(tensor: Tensor, kind: str) -> Tensor:
    """Return the bytes of a tensor in the format `kind`: uint8, one axis.

    Values are taken as float32, and rounded to nearest where the format says so.

    Raises:
        UsageError: a format that cannot be written, or rows that are no multiple of its block.
    """
    if kind in PLAIN:
        return tensor.to(PLAIN[kind]).contiguous().reshape(-1).view(torch.uint8)
    pack = _PACK.get(kind)
    if pack is None:
        choices = ", ".join(ENCODABLE)
        raise UsageError(f"{kind!r:.40} cannot be written", remedy=f"choose one of {choices}")
    if tensor.shape[-1] % _VALUES:
        raise UsageError(
            f"rows of {tensor.shape[-1]} values cannot be written as {kind}",
            remedy=f"they must be a multiple of {_VALUES}; choose f16 or bf16",
        )
    blocks = tensor.reshape(-1, _VALUES)
    parts = [pack(part.float()) for part in blocks.split(_SLICE)]  # type: ignore[no-untyped-call]
    return torch.cat(parts).reshape(-1)


def _q8_0(x: Tensor) -> Tensor:
    d = x.abs().amax(1, keepdim=True) / 127
    scaled = x * _inverse(d)
    # Half rounds away from zero, unlike torch's own rounding.
    whole = scaled.abs().floor()
    q = scaled.sign() * (whole + (2 * (scaled.abs() - whole)).floor())
    return torch.cat((_half(d), q.to(torch.int8).view(torch.uint8)), 1)


def _symmetric(x: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Scale by the value furthest from zero, sign included, so that it falls on the lowest code."""
    middle = 1 << (bits - 1)
    furthest = x.gather(1, x.abs().argmax(1, keepdim=True))
    d = furthest / -middle
    q = (x * _inverse(d) + (middle + 0.5)).trunc()
    return d, q.clamp(0, 2 * middle - 1).to(torch.uint8)


def _shifted(x: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    d = (high - low) / (2**bits - 1)
    q = ((x - low) * _inverse(d) + 0.5).trunc()
    return d, low, q.clamp(0, 2**bits - 1).to(torch.uint8)


def _q4_0(x: Tensor) -> Tensor:
    d, q = _symmetric(x, 4)
    return torch.cat((_half(d), _nibbles(q)), 1)


def _q4_1(x: Tensor) -> Tensor:
    d, low, q = _shifted(x, 4)
    return torch.cat((_half(d), _half(low), _nibbles(q)), 1)


def _q5_0(x: Tensor) -> Tensor:
    d, q = _symmetric(x, 5)
    return torch.cat((_half(d), _top_bits(q), _nibbles(q & 15)), 1)


def _q5_1(x: Tensor) -> Tensor:
    d, low, q = _shifted(x, 5)
    return torch.cat((_half(d), _half(low), _top_bits(q), _nibbles(q & 15)), 1)


_PACK: dict[str, Callable[[Tensor], Tensor]] = {
    "Q8_0": _q8_0,
    "Q5_1": _q5_1,
    "Q5_0": _q5_0,
    "Q4_1": _q4_1,
    "Q4_0": _q4_0,
}
ENCODABLE = ("F32", "F16", "BF16", *_PACK)


def _inverse(d: Tensor) -> Tensor:
    return torch.where(d == 0, 0.0, 1 / d)


def _half(value: Tensor) -> Tensor:
    return value.to(torch.float16).view(torch.uint8)


def _nibbles(q: Tensor) -> Tensor:
    """Pack [N, 32] codes so that value i shares a byte with value i + 16."""
    return q[:, :16] | (q[:, 16:] << 4)


def _top_bits(q: Tensor) -> Tensor:
    """Pack the fifth bits of [N, 32] codes into four bytes, the first value lowest."""
    bits = (q >> 4).view(-1, 4, 8) << torch.arange(8, dtype=torch.uint8)
    return bits.sum(2, dtype=torch.uint8)
