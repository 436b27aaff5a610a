"""How the weights of a folder are packed, as its config.json says, and what packing takes.

"quantization_config": {"quant_method": "puna", "version": 1, "format": "int4",
                        "dtype": "bfloat16"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from puna.errors import ConfigError, UsageError
from puna.formats.ggml import GGML_TYPES

KEY: Final = "quantization_config"
METHOD, VERSION = "puna", 1
# Formats that weights are packed in, with the columns that share a scale.
PACKINGS: Final[Mapping[str, int | None]] = {"int8": None, "int4": 32, "nf4": 64}
# What blocks of a GGUF file are packed in: bits of a code, columns of a group, whether with a low.
REPACKED: Final[Mapping[str, tuple[int, int, bool]]] = {
    "Q4_0": (4, 32, False),
    "Q4_1": (4, 32, True),
    "Q5_0": (8, 32, False),
    "Q5_1": (8, 32, True),
    "Q8_0": (8, 32, False),
    "Q2_K": (4, 16, True),
    "Q3_K": (4, 16, False),
    "Q4_K": (4, 32, True),
    "Q5_K": (8, 32, True),
    "Q6_K": (8, 16, False),
}
# What a user may ask for: what is there, all of it unpacked, blocks kept, or packed anew.
QUANTS: Final = ("auto", "none", "keep", *PACKINGS)
# The names of tensors end so that make up a packed weight.
PARTS: Final = ("codes", "scale", "low", "absmax")
_DTYPES = ("float32", "bfloat16", "float16")
_FIELDS = {"quant_method", "version", "format", "dtype"}


@dataclass(frozen=True, slots=True)
class Packing:
    """What packed weights are called, and the dtype of what is computed with them.

    `format` is one of `PACKINGS`, or the block format of the GGUF file that they come from.
    """

    format: str
    dtype: str

    def to_config(self) -> dict[str, Any]:
        """Return what config.json says of it."""
        return {
            "quant_method": METHOD,
            "version": VERSION,
            "format": self.format,
            "dtype": self.dtype,
        }


def read_packing(config: Mapping[str, Any]) -> Packing | None:
    """Return how a config says that its weights are packed; None where it says nothing of us.

    Raises:
        ConfigError: a version, format, dtype or field that is not known.
    """
    found = config.get(KEY)
    if not isinstance(found, Mapping) or found.get("quant_method") != METHOD:
        return None
    if type(found.get("version")) is not int or found["version"] != VERSION:
        raise _wrong(f"version {found.get('version')!r:.40} is not known; {VERSION} is")
    for name, known in (("format", (*PACKINGS, *REPACKED)), ("dtype", _DTYPES)):
        if found.get(name) not in known:
            raise _wrong(f"{name} {found.get(name)!r:.40} is not one of {', '.join(known)}")
    if odd := set(found) - _FIELDS:
        raise _wrong(f"{min(map(str, odd))!r:.80} is not known")
    return Packing(found["format"], found["dtype"])


def without_packing(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config that says nothing of how its weights are packed."""
    return {key: value for key, value in config.items() if key != KEY}


def choose_packing(
    quant: str, dtype: str, *, own: Packing | None, types: Mapping[str, int]
) -> Packing | None:
    """Return how weights are packed once they are opened; None where they are not.

    Args:
        quant: `auto` opens packed weights as they are and unpacks blocks of GGUF, `none` unpacks
            either, `keep` keeps either; or a format of `PACKINGS`.
        dtype: of the activations.
        own: how the weights are packed that are there.
        types: values by format of a GGUF file; empty for others.

    Raises:
        UsageError: an unknown choice, or weights that would be rounded twice for nothing.
    """
    if quant not in QUANTS:
        raise UsageError(f"unknown format {quant!r:.40}", remedy=f"choose of {', '.join(QUANTS)}")
    if own is not None:
        if quant in PACKINGS and quant != own.format:
            raise UsageError(
                f"these weights are packed as {own.format} already",
                remedy=f"open them as they are, or make {quant} of the model they came from",
            )
        return None if quant == "none" else replace(own, dtype=dtype)
    if quant in PACKINGS:
        _check_once(quant, types)
        return Packing(quant, dtype)
    kept = {kind: count for kind, count in types.items() if kind in REPACKED}
    if quant == "keep" and kept:
        return Packing(max(kept, key=lambda kind: kept[kind]), dtype)
    return None


def _check_once(quant: str, types: Mapping[str, int]) -> None:
    """See that blocks of a GGUF file are finer than what is to be made of them."""
    most = max(types, key=lambda kind: types[kind], default="F32")
    block = GGML_TYPES[most]
    bits = 8 * block.bytes / block.values
    if bits < bits_of_packing(quant) + 0.5:
        raise UsageError(
            f"these weights are in {most} already, {bits:.3g} bits each: rounded again to {quant} "
            "they would be no smaller, and worse",
            remedy="keep them as they are with quant keep",
        )


def packed_bytes(format: str, rows: int, width: int) -> int:
    """Return the bytes of a matrix [rows, width] in one of `PACKINGS`."""
    group = PACKINGS[format]
    if group is None or width % group:
        return rows * (width + 4)
    return rows * (width // 2 + 2 * (width // group))


def bits_of_packing(format: str) -> float:
    """Return the bits per weight of a format of `PACKINGS` in rows that fill their groups."""
    group = PACKINGS[format]
    return 8.0 if group is None else 4 + 16 / group


def repacked_bits(kind: str) -> float | None:
    """Return the bits per weight of a GGUF format once it is repacked; None where it is not."""
    if kind not in REPACKED:
        return None
    bits, group, low = REPACKED[kind]
    return bits + (32 if low else 16) / group


def _wrong(what: str) -> ConfigError:
    return ConfigError(
        f"{KEY} says that Puna packed these weights, but its {what}",
        where="config.json",
        remedy="use the version of Puna that wrote it, or quantize again: puna quantize",
    )
