"""Changes of GGUF files, key by key and tensor by tensor."""

from __future__ import annotations

import struct
from random import Random

from tests.fuzz.target import Native

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_NUMBERS = {0: "<B", 1: "<b", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q"}
_ODD = (0, 1, 2, 3, 7, 31, 32, 33, 255, 256, 4096, 1 << 16, 1 << 24, (1 << 31) - 1, 1 << 31)
_STRING, _ARRAY = 8, 9


def _number(data: bytes, at: int, form: str = "<Q") -> int:
    return int(struct.unpack_from(form, data, at)[0])


def _value_end(data: bytes, kind: int, at: int) -> int:
    if kind == _STRING:
        return at + 8 + _number(data, at)
    if kind != _ARRAY:
        return at + _SIZES[kind]
    inner, count = _number(data, at, "<I"), _number(data, at + 4)
    at += 12
    if inner != _STRING:
        return at + _SIZES[inner] * count
    for _ in range(count):
        at += 8 + _number(data, at)
    return at


def _cut(data: bytes) -> tuple[list[bytes], list[bytes], bytes]:
    """Return the bytes of every key and of every tensor's entry, and what follows them."""
    tensors, keys = struct.unpack_from("<QQ", data, 8)
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    at = 24
    for _ in range(keys):
        name = at + 8 + _number(data, at)
        end = _value_end(data, _number(data, name, "<I"), name + 4)
        parts[0].append(data[at:end])
        at = end
    for _ in range(tensors):
        name = at + 8 + _number(data, at)
        end = name + 4 + 8 * _number(data, name, "<I") + 12
        parts[1].append(data[at:end])
        at = end
    if at > len(data):
        raise IndexError(at)
    return *parts, data[-(-at // 32) * 32 :]


class GgufMutator:
    """Changes a key, a tensor's entry or the data, and puts the file together again."""

    def __init__(self, seeds: tuple[bytes, ...]) -> None:
        cut = [_cut(seed) for seed in seeds]
        self._keys = sorted({key for keys, _, _ in cut for key in keys if len(key) < 2000})
        self._tensors = sorted({entry for _, entries, _ in cut for entry in entries})

    def __call__(self, data: bytes, dice: Random, native: Native) -> bytes:
        if dice.random() < 0.1:
            return native(data)
        try:
            return self._changed(data, dice, native)
        except (struct.error, KeyError, IndexError, OverflowError):
            return native(data)

    def _changed(self, data: bytes, dice: Random, native: Native) -> bytes:
        keys, tensors, rest = _cut(data)
        for _ in range(dice.choice((1, 1, 2, 4))):
            if dice.random() < 0.7 or not tensors:
                self._change(keys, self._keys, _changed_key, dice, native)
            else:
                self._change(tensors, self._tensors, _changed_entry, dice, native)
        if dice.random() < 0.05:
            rest = native(rest) if rest else b"\0" * 64
        counts = [len(tensors), len(keys)]
        if dice.random() < 0.03:
            counts[dice.randrange(2)] = dice.choice(_ODD)
        head = data[:8] + struct.pack("<QQ", *counts) + b"".join((*keys, *tensors))
        return head + bytes(-len(head) % 32) + rest

    def _change(self, parts: list[bytes], known: list[bytes], change, dice, native) -> None:
        at = dice.randrange(len(parts)) if parts else 0
        kind = dice.random()
        if not parts or kind < 0.2:
            parts.insert(at, dice.choice(known))
        elif kind < 0.3:
            del parts[at]
        elif kind < 0.35:
            parts.append(parts[at])
        elif kind < 0.85:
            parts[at] = change(parts[at], dice)
        else:
            parts[at] = native(parts[at])


def _changed_key(key: bytes, dice: Random) -> bytes:
    at = 8 + _number(key, 0)
    name, kind, value = key[:at], _number(key, at, "<I"), key[at + 4 :]
    if kind == _STRING:
        text = dice.choice(
            (b"", b"llama", b"gpt2", b"x" * 70, b"\xff", value[8:] + b"a", b"{{ x }}")
        )
        value = struct.pack("<Q", len(text)) + text
    elif kind in _NUMBERS and dice.random() < 0.8:
        value = struct.pack(_NUMBERS[kind], _fitted(kind, dice))
    elif kind == _ARRAY and dice.random() < 0.7:
        value = _changed_array(value, dice)
    else:
        kind = dice.choice((*_SIZES, _STRING, _ARRAY, 13))
    return name + struct.pack("<I", kind) + value


def _fitted(kind: int, dice: Random) -> float:
    if kind == 6:
        return dice.choice((0.0, 1.0, -1.0, 1e-5, 1e38, float("nan"), float("inf")))
    bits = 8 * _SIZES[kind]
    value = dice.choice((*_ODD, (1 << bits) - 1, 1 << (bits - 1))) % (1 << bits)
    return value - (1 << bits) if kind in (1, 5, 11) and value >> (bits - 1) else value


def _changed_array(value: bytes, dice: Random) -> bytes:
    inner, count = _number(value, 0, "<I"), _number(value, 4)
    items = value[12:]
    if inner in _SIZES and count and dice.random() < 0.7:
        size = _SIZES[inner]
        at = dice.randrange(count) * size
        if dice.random() < 0.5:
            return value[:4] + struct.pack("<Q", count - 1) + items[:at] + items[at + size :]
        return value[: 12 + at] + dice.randbytes(size) + items[at + size :]
    if inner == _STRING and count and dice.random() < 0.7:
        last = items[: 8 + _number(items, 0)]
        return value[:4] + struct.pack("<Q", count + 1) + last + items
    return value[:4] + struct.pack("<Q", dice.choice((*_ODD, count + 1))) + items


def _changed_entry(entry: bytes, dice: Random) -> bytes:
    at = 8 + _number(entry, 0)
    name, axes = entry[:at], _number(entry, at, "<I")
    sizes = [_number(entry, at + 4 + 8 * axis) for axis in range(axes)]
    kind, offset = struct.unpack_from("<IQ", entry, at + 4 + 8 * axes)
    which = dice.randrange(4)
    if which == 0 and sizes:
        sizes[dice.randrange(len(sizes))] = dice.choice(_ODD)
    elif which == 1:
        sizes = sizes[1:] if sizes and dice.random() < 0.5 else [*sizes, dice.choice(_ODD)]
    elif which == 2:
        kind = dice.choice((*range(42), 1 << 31))
    else:
        offset = dice.choice((*_ODD, offset + 32, (1 << 63) - 32))
    tail = struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset % (1 << 64))
    return name + tail
