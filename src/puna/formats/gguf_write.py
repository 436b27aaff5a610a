"""The first bytes of a GGUF file: typed metadata and tensor infos; the data follows, padded."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, Final

from puna.formats.ggml import GGML_TYPES
from puna.formats.gguf import ALIGNMENT, MAGIC

Typed = tuple[str, Any]
"""A metadata value with its type: `u32`, `i32`, `u64`, `f32`, `bool`, `str`, or one in brackets."""

_VERSION = 3
_CODES: Final = {
    "u8": (0, "B"),
    "i8": (1, "b"),
    "u16": (2, "H"),
    "i16": (3, "h"),
    "u32": (4, "I"),
    "i32": (5, "i"),
    "f32": (6, "f"),
    "bool": (7, "?"),
    "u64": (10, "Q"),
    "i64": (11, "q"),
    "f64": (12, "d"),
}
_STRING, _ARRAY = 8, 9


def padding(size: int) -> int:
    """Return how many zero bytes follow `size` bytes, so that what comes next is aligned."""
    return -size % ALIGNMENT


def tensor_bytes(kind: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor in the format `kind`, without padding."""
    block = GGML_TYPES[kind]
    return prod(shape) // block.values * block.bytes


def write_gguf_header(
    metadata: Mapping[str, Typed], tensors: Mapping[str, tuple[str, tuple[int, ...]]]
) -> bytes:
    """Return everything before the data of a file that holds tensors (format, shape).

    The data must follow in this order, each tensor with `padding` behind it. Shapes are in
    row-major order and their last axis is a multiple of the format's block.
    """
    parts = [MAGIC, struct.pack("<IQQ", _VERSION, len(tensors), len(metadata))]
    for key, (kind, value) in metadata.items():
        parts += (_text(key), _value(kind, value))
    offset = 0
    for name, (kind, shape) in tensors.items():
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        parts += (_text(name), sizes, struct.pack("<IQ", GGML_TYPES[kind].id, offset))
        size = tensor_bytes(kind, shape)
        offset += size + padding(size)
    raw = b"".join(parts)
    return raw + bytes(padding(len(raw)))


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(kind: str, value: Any) -> bytes:
    if not kind.startswith("["):
        return struct.pack("<I", _number_of(kind)) + _items(kind, [value])
    inner = kind.strip("[]")
    head = struct.pack("<IIQ", _ARRAY, _number_of(inner), len(value))
    return head + _items(inner, value)


def _number_of(kind: str) -> int:
    return _STRING if kind == "str" else _CODES[kind][0]


def _items(kind: str, values: Iterable[Any]) -> bytes:
    if kind == "str":
        return b"".join(map(_text, values))
    values = list(values)
    return struct.pack(f"<{len(values)}{_CODES[kind][1]}", *values)
