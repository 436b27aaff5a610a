"""Changes of protocol buffers: fields dropped, doubled, moved and rewritten, lengths kept right."""

from __future__ import annotations

import struct
from random import Random

from tests.fuzz.target import Native

Field = tuple[int, int, bytes]  # number, wire type, the value's bytes without a length
_ODD = (0, 1, 2, 3, 4, 5, 6, 127, 128, 255, 256, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 64) - 1)
_FLOATS = (0.0, -1.0, 1e38, -1e38, 1e-45, float("nan"), float("inf"), float("-inf"))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _cut(data: bytes) -> list[Field]:
    fields: list[Field] = []
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        start = at
        if key & 7 == 0:
            _, at = _read_varint(data, at)
        elif key & 7 == 2:
            size, start = _read_varint(data, at)
            at = start + size
        else:
            at += {1: 8, 5: 4}[key & 7]
        if at > len(data):
            raise IndexError(at)
        fields.append((key >> 3, key & 7, data[start:at]))
    return fields


def _joined(fields: list[Field]) -> bytes:
    out = bytearray()
    for number, kind, value in fields:
        out += _varint(number << 3 | kind)
        if kind == 2:
            out += _varint(len(value))
        out += value
    return bytes(out)


def mutate_proto(data: bytes, dice: Random, native: Native) -> bytes:
    """Change a message, or a message within it."""
    if dice.random() < 0.08:
        return native(data)
    try:
        fields = _cut(data)
    except (IndexError, KeyError):
        return native(data)
    if not fields:
        return native(data)
    for _ in range(dice.choice((1, 1, 2, 5))):
        _change(fields, dice, native)
    return _joined(fields)


def _change(fields: list[Field], dice: Random, native: Native) -> None:
    # The last fields are the trainer's and the normalizer's: few among many pieces.
    late = dice.random() < 0.4
    at = max(0, len(fields) - 1 - dice.randrange(3)) if late else dice.randrange(len(fields))
    number, kind, value = fields[at] if fields else (1, 2, b"")
    which = dice.random()
    if which < 0.08 and len(fields) > 1:
        del fields[at]
    elif which < 0.16:
        fields.insert(dice.randrange(len(fields) + 1), (number, kind, value))
    elif which < 0.2:
        fields[at] = (dice.choice((1, 2, 3, 4, 5, 10, 35, 40)), kind, value)
    else:
        fields[at] = (number, kind, _changed(kind, value, dice, native))


def _changed(kind: int, value: bytes, dice: Random, native: Native) -> bytes:
    if kind == 0:
        return _varint(dice.choice(_ODD))
    if kind == 5:
        return struct.pack("<f", dice.choice(_FLOATS))
    if kind == 2 and dice.random() < 0.75:
        try:
            inner = _cut(value)
        except (IndexError, KeyError):
            return native(value)
        if inner:
            _change(inner, dice, native)
            return _joined(inner)
    return native(value)[: 4 + 2 * len(value)] if value else dice.randbytes(3)
