"""Codes of whole numbers in the order in which the compiled code multiplies them."""

from __future__ import annotations

from puna.kernels.library import Library


def padded(rows: int) -> int:
    """Return the rows of the blocks of 16 that hold so many."""
    return -(-rows // 16) * 16


def packed_bytes(rows: int, columns: int, per_byte: int) -> int:
    """Return the size of packed codes."""
    wide = 4 * per_byte
    return padded(rows) * -(-columns // wide) * 4


def pack_codes(found: Library, codes: int, shape: tuple[int, int], out: int) -> None:
    """Pack int8 codes [rows, columns] at an address into `packed_bytes` at another.

    128 is added to each, so that none is negative.
    """
    found.pack(codes, *shape, out)


def pack_pairs(found: Library, pairs: int, shape: tuple[int, int], out: int) -> None:
    """Pack codes of 4 bits, two neighbors in a byte; see `pack_codes`. Columns come in eights."""
    found.pack_pairs(pairs, *shape, out)


def unpack_codes(
    found: Library, packed: int, shape: tuple[int, int], zero: int, per_byte: int, out: int
) -> None:
    """Do the opposite: int8 codes [rows, columns], each less `zero`, one or two in a byte."""
    found.unpack(packed, *shape, zero, per_byte, out)
