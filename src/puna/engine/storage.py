"""Where keys and values lie: memory of its final size from the start, taken as it is touched.

A store is [slots, KV, D] in the dtype of the model, or in 8 bits: int8 [slots, KV, D + 4], where
each head's D codes are followed by the bytes of their float32 scale.
"""

from __future__ import annotations

import mmap
from math import prod

import torch
from torch import Tensor

from puna.errors import FitError


def reserve(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros that never move.

    On the CPU they are pages of the operating system that it hands out when they are first
    written to, so what is never used takes no memory. Elsewhere all is allocated at once.

    Raises:
        FitError: there is not so much.
    """
    size = prod(shape) * dtype.itemsize
    try:
        if device.type != "cpu" or size == 0:
            return torch.zeros(shape, dtype=dtype, device=device)
        return torch.frombuffer(_anonymous(size), dtype=dtype).view(shape)
    except (OSError, OverflowError, RuntimeError) as error:
        raise FitError(
            f"{size / 1e9:.1f} GB for keys and values cannot be had: {error}",
            remedy="give the cache fewer tokens, or state a shorter context",
        ) from error


# Bytes of the scale of a head's codes.
SCALE = 4


def cache_dtype(cache: str, dtype: torch.dtype) -> torch.dtype:
    """Return what keys and values of a model in `dtype` are kept in: `auto` is that, or `int8`."""
    return torch.int8 if cache == "int8" else dtype


def columns(width: int, dtype: torch.dtype) -> int:
    """Return the columns of a store whose heads are so wide."""
    return width + SCALE if dtype is torch.int8 else width


def value_bytes(dtype: torch.dtype) -> dict[str, int]:
    """Return what `puna.spec.kv_bytes_per_token` asks about a store."""
    per_head = SCALE if dtype is torch.int8 else 0
    return {"bytes_per_value": dtype.itemsize, "per_head": per_head}


def keep(store: Tensor, slots: Tensor, heads: Tensor) -> None:
    """Write keys or values [N, KV, D] to slots [N], rounded head by head where it is 8 bits."""
    if store.dtype is not torch.int8:
        store[slots] = heads.to(store.dtype)
        return
    wide = heads.float()
    scale = wide.abs().amax(-1, keepdim=True) / 127  # what is not finite makes a scale that is not
    codes = (wide / scale).nan_to_num_().round_().clamp_(-127, 127).to(torch.int8)
    store[slots] = torch.cat((codes, scale.view(torch.int8)), -1)


def take(store: Tensor, slots: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what slots [N] hold, [N, KV, D] in `dtype`."""
    rows: Tensor = store.index_select(0, slots)
    if store.dtype is not torch.int8:
        return rows
    return (rows[..., :-SCALE] * scales(rows)).to(dtype)


def scales(store: Tensor) -> Tensor:
    """Return the scales [N, KV, 1] of rows [N, KV, D + 4]."""
    # Copied always: bytes can be read as floats only from a multiple of four on.
    return store[..., -SCALE:].clone(memory_format=torch.contiguous_format).view(torch.float32)


def _anonymous(size: int) -> mmap.mmap:
    # Private where the system tells the two apart: what is shared counts as a file in memory.
    private = getattr(mmap, "MAP_PRIVATE", None)
    if private is None:
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=private | mmap.MAP_ANONYMOUS)
