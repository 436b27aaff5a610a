"""GPT-2's spelling of bytes as printable characters (Radford et al. 2019)."""

from __future__ import annotations


def _stand_ins() -> dict[str, int]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    hidden = [byte for byte in range(256) if byte not in set(printable)]
    return table | {chr(256 + index): byte for index, byte in enumerate(hidden)}


BYTE_OF = _stand_ins()
_CHARACTER_OF = [character for _, character in sorted((b, c) for c, b in BYTE_OF.items())]


def spell(data: bytes) -> str:
    """The printable spelling of bytes: `b" a"` is `Ġa`."""
    return "".join([_CHARACTER_OF[byte] for byte in data])


def read(piece: str) -> bytes:
    """The bytes of a spelling; a piece that is no spelling stands for its own UTF-8."""
    if all(character in BYTE_OF for character in piece):
        return bytes(BYTE_OF[character] for character in piece)
    return piece.encode()
