"""Changes of JSON: a value, a key, the nesting; of JSON within a file; of two files at once."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from tests.fuzz.target import Mutator, Native

Slot = tuple[Any, Any]  # a list or mapping, and an index or key of it
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 40),
    *(1 << 53, (1 << 60) - 1, 1 << 63, 1 << 64, 1 << 70, 10**400, 0.0, 0.5, -0.5, 1e-45, 1e300),
    *(float("nan"), float("inf"), float("-inf"), "", "a", " ", "\0", "../x", "/etc/passwd", "é"),
    *("▁", "<s>", "\ud800", "a\nb\x1b[2J", "x" * 300, [], {}, [[]], [0], [1, 2], {"a": {}}),
)
_MOST_SLOTS = 3000
_SEPARATOR = b"\0"  # no JSON text holds one


def _slots(tree: Any) -> Iterator[Slot]:
    level = [tree]
    while level:
        part = level.pop()
        pairs = part.items() if isinstance(part, dict) else enumerate(part)
        for key, value in pairs:
            yield part, key
            if isinstance(value, dict | list):
                level.append(value)


class TreeMutator:
    """Changes JSON texts, with keys and values of the seeds at hand."""

    def __init__(self, seeds: Iterable[bytes]) -> None:
        keys: dict[str, None] = {}
        values: dict[str, Any] = {}
        for seed in seeds:
            for part, key in _slots(json.loads(seed)):
                if isinstance(part, dict):
                    keys[key] = None
                if len(text := json.dumps(part[key])) < 200:
                    values[text] = part[key]
        self._keys, self._values = tuple(keys), tuple(values.values())

    def __call__(self, data: bytes, dice: Random, native: Native) -> bytes:
        if dice.random() < 0.08:
            return native(data)
        try:
            tree = json.loads(data)
            for _ in range(dice.choice((1, 1, 1, 2, 5))):
                tree = self._changed(tree, dice)
            return json.dumps(tree, separators=(",", ":")).encode()
        except (ValueError, RecursionError, OverflowError):
            return native(data)

    def _changed(self, tree: Any, dice: Random) -> Any:
        slots = []
        if isinstance(tree, dict | list):
            for slot in _slots(tree):
                slots.append(slot)
                if len(slots) >= _MOST_SLOTS:
                    break
        if not slots:
            return self._value(dice)
        part, key = dice.choice(slots)
        dice.choice((self._put, self._put, self._put, self._tweak, self._tweak, self._shape))(
            part, key, dice
        )
        return tree

    def _value(self, dice: Random) -> Any:
        pool = ODD if dice.random() < 0.6 or not self._values else self._values
        return json.loads(json.dumps(dice.choice(pool)))  # a copy: trees must not share parts

    def _put(self, part: Any, key: Any, dice: Random) -> None:
        if isinstance(part, dict) and dice.random() < 0.3 and self._keys:
            part[dice.choice(self._keys)] = self._value(dice)
        else:
            part[key] = self._value(dice)

    def _tweak(self, part: Any, key: Any, dice: Random) -> None:
        value = part[key]
        if isinstance(value, bool) or value is None:
            part[key] = not value
        elif isinstance(value, int | float):
            part[key] = dice.choice((value + 1, value - 1, value * 2, value // 2, -value))
        elif isinstance(value, str):
            at = dice.randrange(len(value) + 1)
            more = dice.choice(("", "\0", "a", "▁", value[:at], chr(dice.randrange(0xD800))))
            part[key] = value[:at] + more + value[at + dice.choice((0, 1)) :]
        else:
            self._shape(part, key, dice)

    def _shape(self, part: Any, key: Any, dice: Random) -> None:
        kind = dice.randrange(5)
        if kind == 0:
            del part[key]
        elif kind == 1:
            other = dice.choice(list(part) if isinstance(part, dict) else range(len(part)))
            part[key], part[other] = part[other], part[key]
        elif kind == 2 and isinstance(part, dict):
            part[dice.choice(self._keys) if self._keys else "a"] = part.pop(key)
        elif kind == 3 and isinstance(part, list):
            part[key:key] = [part[key]] * dice.choice((1, 2, 9, 40))
        else:
            for _ in range(dice.choice((1, 1, 2, 60, 600))):
                part[key] = [part[key]] if dice.random() < 0.5 else {"a": part[key]}


def mutate_header(trees: TreeMutator) -> Mutator:
    """Return changes of a safetensors file: its JSON, its data, now and then its length."""

    def mutate(data: bytes, dice: Random, native: Native) -> bytes:
        if len(data) < 8 or dice.random() < 0.1:
            return native(data)
        end = 8 + min(struct.unpack("<Q", data[:8])[0], len(data))
        header, rest = data[8:end], data[end:]
        if dice.random() < 0.15:
            rest = dice.choice((rest[:-1], rest + b"\0", rest + rest, native(rest), b""))
        else:
            header = trees(header, dice, native)
        length = len(header) if dice.random() < 0.97 else dice.getrandbits(dice.choice((8, 33, 64)))
        return struct.pack("<Q", length) + header + rest

    return mutate


def two_parts(first: Mutator, second: Mutator) -> Mutator:
    """Return changes of two files in one input, the first of which is JSON."""

    def mutate(data: bytes, dice: Random, native: Native) -> bytes:
        one, mark, two = data.partition(_SEPARATOR)
        if not mark or dice.random() < 0.02:
            return native(data)
        if dice.random() < 0.5:
            return first(one, dice, native).replace(_SEPARATOR, b" ") + mark + two
        return one + mark + second(two, dice, native)

    return mutate


def join_parts(first: bytes, second: bytes) -> bytes:
    """Return two files as one input."""
    return first + _SEPARATOR + second


def cut_parts(data: bytes) -> tuple[bytes, bytes]:
    """Return the two files of an input; the second is empty where there is one only."""
    first, _, second = data.partition(_SEPARATOR)
    return first, second
