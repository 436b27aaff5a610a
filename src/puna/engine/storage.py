"""Where keys and values lie: memory of its final size from the start, taken as it is touched."""

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


def _anonymous(size: int) -> mmap.mmap:
    # Private where the system tells the two apart: what is shared counts as a file in memory.
    private = getattr(mmap, "MAP_PRIVATE", None)
    if private is None:
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=private | mmap.MAP_ANONYMOUS)
