"""Codes of whole numbers in the order in which the compiled code multiplies them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from puna.kernels.library import Library

# Below so many codes a second thread costs more than it saves.
_SMALL = 1 << 18


def padded(rows: int) -> int:
    """Return the rows of the blocks of 16 that hold so many."""
    return -(-rows // 16) * 16


def packed_bytes(rows: int, columns: int, per_byte: int) -> int:
    """Return the size of packed codes."""
    wide = 4 * per_byte
    return padded(rows) * -(-columns // wide) * 4


def pack_codes(
    found: Library, codes: int, shape: tuple[int, int], out: int, threads: int = 1
) -> None:
    """Pack int8 codes [rows, columns] at an address into `packed_bytes` at another.

    128 is added to each, so that none is negative.
    """
    _share(lambda first, last: found.pack(codes, *shape, first, last, out), shape, threads)


def pack_pairs(
    found: Library, pairs: int, shape: tuple[int, int], out: int, threads: int = 1
) -> None:
    """Pack codes of 4 bits, two neighbors in a byte; see `pack_codes`. Columns come in eights."""
    _share(lambda first, last: found.pack_pairs(pairs, *shape, first, last, out), shape, threads)


def _share(pack: Callable[[int, int], None], shape: tuple[int, int], threads: int) -> None:
    """Call with blocks from and to, in several threads where there is much to do."""
    blocks = padded(shape[0]) // 16
    if threads == 1 or shape[0] * shape[1] < _SMALL:
        pack(0, blocks)
        return
    ends = [blocks * n // threads for n in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(pack, ends[:-1], ends[1:]))  # the compiled code lets others run


def unpack_codes(
    found: Library, packed: int, shape: tuple[int, int], zero: int, per_byte: int, out: int
) -> None:
    """Do the opposite: int8 codes [rows, columns], each less `zero`, one or two in a byte."""
    found.unpack(packed, *shape, zero, per_byte, out)
