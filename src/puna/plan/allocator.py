"""How the C library keeps what was freed: for speed, or so that memory suffices.

Left alone, glibc serves blocks below 32 MiB from one heap. Training frees them between others
that stay, and the holes come to as much again as the activations. Blocks that are mapped one by
one leave none, but their pages are made anew each time, which costs up to a quarter of the time of
a small model (figures in docs/log.md).
"""

from __future__ import annotations

import ctypes

# mallopt's M_MMAP_THRESHOLD, and the size from which blocks are mapped.
_THRESHOLD, _SIZE = -3, 1 << 20


def map_blocks() -> bool:
    """Have every block of a MiB or more mapped by itself; return whether this library can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_THRESHOLD, _SIZE))
