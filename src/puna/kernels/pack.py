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


def pack_codes(
    found: Library, codes: int, shape: tuple[int, int], zero: int, per_byte: int, out: int
) -> None:
    """Pack int8 codes [rows, columns] at an address into `packed_bytes` at another.

    Args:
        found: the compiled code.
        codes: address of row-major int8.
        shape: rows and columns.
        zero: what is added, so that no code is negative.
        per_byte: codes in a byte, 1 or 2.
        out: address of the result.
    """
    found.pack(codes, *shape, zero, per_byte, out)


def unpack_codes(
    found: Library, packed: int, shape: tuple[int, int], zero: int, per_byte: int, out: int
) -> None:
    """Do the opposite of `pack_codes`."""
    found.unpack(packed, *shape, zero, per_byte, out)
