"""Pieces that block formats are made of: half-precision scales, nibbles and other small fields."""

from __future__ import annotations

import torch
from torch import Tensor


def split(blocks: Tensor, *sizes: int) -> tuple[Tensor, ...]:
    """Cut blocks [N, bytes] into fields of so many bytes; the last takes the rest."""
    rest = blocks.shape[1] - sum(sizes)
    return blocks.split([*sizes, rest] if rest else list(sizes), 1)  # type: ignore[no-untyped-call,no-any-return]


def half(field: Tensor) -> Tensor:
    """Read each row [N, 2] as one half-precision number: float32 [N, 1]."""
    return field.contiguous().view(torch.float16).float()


def fields(packed: Tensor, width: int, group: int) -> Tensor:
    """Unpack fields of `width` bits from bytes [N, B] to [N, B · 8 / width].

    Within each `group` bytes all lowest fields come first, then all next higher ones, and so on.
    """
    shifts = torch.arange(0, 8, width, dtype=torch.uint8)[:, None]
    grouped: Tensor = packed.unflatten(1, (-1, 1, group))  # type: ignore[no-untyped-call]
    unpacked: Tensor = (grouped >> shifts) & (2**width - 1)
    return unpacked.flatten(1)


def spread(scale: Tensor, values: Tensor) -> Tensor:
    """Multiply [N, V] values by [N, S] scales, each for V / S values in a row."""
    shaped: Tensor = values.unflatten(1, (scale.shape[1], -1))  # type: ignore[no-untyped-call]
    return (shaped * scale[..., None]).flatten(1)
