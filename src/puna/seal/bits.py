"""Bits per weight of number formats, by the names that torch, GGUF and Puna have for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from puna.formats import GGML_TYPES, PACKINGS, bits_of_packing

_PLAIN = {"float32": 32.0, "bfloat16": 16.0, "float16": 16.0}


def is_format(name: str) -> bool:
    """Tell whether there is a number format of that name."""
    return name in _PLAIN or name in PACKINGS or name in GGML_TYPES


def bits_of(formats: Iterable[str]) -> float:
    """Return the bits per weight of the coarsest of some number formats."""
    return min(map(_bits, formats))


def main_format(values: Mapping[str, int]) -> str:
    """Return the coarsest of the formats that hold a tenth of all values or more.

    Args:
        values: how many are in each format.
    """
    least = sum(values.values()) / 10
    return min((name for name, count in values.items() if count >= least), key=_bits)


def _bits(name: str) -> float:
    if (plain := _PLAIN.get(name)) is not None:
        return plain
    if name in PACKINGS:
        return bits_of_packing(name)
    kind = GGML_TYPES[name]
    return 8 * kind.bytes / kind.values
