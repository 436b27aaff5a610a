"""Packed weights: a matrix [N, K] as codes and scales, the same for every kernel and on disk.

All tensors are row-major and begin with the axis N, so that rows can be taken of each alike.

| record    | codes                                | a value                               |
|-----------|--------------------------------------|---------------------------------------|
| `RowWise` | int8 [N, K], -127 … 127              | scale[n] · code                       |
| `Grouped` | 8 bits: int8 [N, K], -128 … 127      | scale[n, g] · code (+ low[n, g])      |
|           | 4 bits: uint8 [N, K/2], codes 0 … 15 | scale[n, g] · (code - 8), or with low |
|           |                                      | scale[n, g] · code + low[n, g]        |
| `NF4`     | uint8 [N, K/2], codes 0 … 15         | absmax[n, g] · LEVELS[code]           |

The scale of a row is float32 [N]. Scales, lows and absmax of groups are float16 [N, K/group]; a
scale may be negative. A byte of two codes has column 2j in its low half and column 2j + 1 in its
high half. Values are computed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from puna.errors import FormatError

GROUPS = (16, 32, 64)
# Values unpacked at once: buffers of a few MiB stay in the caches.
_SLICE = 1 << 20
# The code book of NF4 (Dettmers et al. 2023, QLoRA, appendix E): quantiles of a normal
# distribution, scaled to ±1, with an exact zero.
LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


@dataclass(frozen=True, slots=True, eq=False)
class RowWise:
    """8 bits, one scale for each row: codes int8 [N, K], scale float32 [N]."""

    codes: Tensor
    scale: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """4 or 8 bits in groups along K, each with a scale and, in some, an offset.

    Codes are uint8 [N, K/2] or int8 [N, K], scale and low float16 [N, K/group].
    """

    codes: Tensor
    scale: Tensor
    low: Tensor | None = None

    @property
    def bits(self) -> Literal[4, 8]:
        """Bits of a code."""
        return 4 if self.codes.dtype == torch.uint8 else 8

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return shape_of(self)[1] // self.scale.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class NF4:
    """4 bits that pick one of `LEVELS`, in groups of 64 along K.

    Codes are uint8 [N, K/2]; absmax is float16 [N, K/64] and is not quantized in turn.
    """

    codes: Tensor
    absmax: Tensor


Packed = RowWise | Grouped | NF4


def shape_of(packed: Packed) -> tuple[int, int]:
    """Return (N, K) of the matrix that a record stands for."""
    rows, width = packed.codes.shape
    return rows, 2 * width if packed.codes.dtype == torch.uint8 else width


def tensors_of(packed: Packed) -> dict[str, Tensor]:
    """Return the tensors of a record by the names of its fields; their names tell the kind."""
    named = {field.name: getattr(packed, field.name) for field in fields(packed)}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def bits_per_weight(packed: Packed) -> float:
    """Return the bits that a value takes, scales counted in."""
    rows, width = shape_of(packed)
    return 8 * sum(t.nbytes for t in tensors_of(packed).values()) / (rows * width)


def change(packed: Packed, each: Callable[[Tensor], Tensor]) -> Packed:
    """Return the record in which `each` of its tensors was changed alike."""
    changed = {name: each(tensor) for name, tensor in tensors_of(packed).items()}
    return replace(packed, **changed)  # type: ignore[arg-type]


def unpack(packed: Packed, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the numbers that a record stands for, [N, K]; only a slice is there in float32."""
    rows, width = shape_of(packed)
    out = torch.empty(rows, width, dtype=dtype, device=packed.codes.device)
    for part in slices_of(packed):
        out[part] = unpack_rows(packed, part)
    return out


def slices_of(packed: Packed) -> list[slice]:
    """Return slices of rows that hold about a MiB of codes each."""
    rows, width = shape_of(packed)
    step = max(1, _SLICE // width)
    return [slice(start, min(rows, start + step)) for start in range(0, rows, step)]


def unpack_rows(packed: Packed, rows: slice | Tensor) -> Tensor:
    """Return the numbers of some rows, float32 [R, K]."""
    match change(packed, lambda tensor: tensor[rows]):
        case RowWise(codes, scale):
            return codes.float() * scale[:, None]
        case Grouped(codes, scale, None) if codes.dtype == torch.uint8:
            return _each(scale, nibbles(codes).float() - 8)
        case Grouped(codes, scale, low):
            values = nibbles(codes) if codes.dtype == torch.uint8 else codes
            return _each(scale, values.float(), low)
        case NF4(codes, absmax):
            levels = torch.tensor(LEVELS, device=codes.device)
            return _each(absmax, levels[nibbles(codes).int()])


def nibbles(codes: Tensor) -> Tensor:
    """Return codes [N, K] of bytes [N, K/2] that hold two each, the low half first."""
    return torch.stack((codes & 15, codes >> 4), -1).flatten(1)


def pair_nibbles(codes: Tensor) -> Tensor:
    """Return bytes [N, K/2] of codes uint8 [N, K]; see `nibbles`."""
    return codes[:, 0::2] | (codes[:, 1::2] << 4)


def from_tensors(tensors: Mapping[str, Tensor]) -> Packed:
    """Return the record whose `tensors_of` these are.

    Raises:
        FormatError: names, dtypes or shapes that make up no record; values are not looked at.
    """
    names = set(tensors)
    codes = tensors.get("codes")
    if codes is None or codes.ndim != 2:
        raise FormatError("its codes are no matrix")
    if names == {"codes", "absmax"}:
        _check(codes, torch.uint8, tensors["absmax"])
        return NF4(codes, tensors["absmax"])
    if names == {"codes", "scale"} and tensors["scale"].ndim == 1:
        scale = tensors["scale"]
        if (codes.dtype, scale.dtype, len(scale)) != (torch.int8, torch.float32, len(codes)):
            raise FormatError(f"codes {_said(codes)} do not go with the row scales {_said(scale)}")
        return RowWise(codes, scale)
    if names in ({"codes", "scale"}, {"codes", "scale", "low"}):
        scale, low = tensors["scale"], tensors.get("low")
        _check(codes, torch.uint8 if codes.dtype == torch.uint8 else torch.int8, scale)
        if low is not None and (low.shape, low.dtype) != (scale.shape, scale.dtype):
            raise FormatError(f"lows {_said(low)} do not go with the scales {_said(scale)}")
        return Grouped(codes, scale, low)
    raise FormatError(f"none is made of {', '.join(sorted(names))}")


def _check(codes: Tensor, dtype: torch.dtype, scale: Tensor) -> None:
    """See that codes and the scales of their groups fit."""
    width = codes.shape[1] * (2 if dtype == torch.uint8 else 1)
    fits = (
        codes.dtype == dtype
        and scale.dtype == torch.float16
        and scale.ndim == 2
        and len(scale) == len(codes)
        and scale.shape[1] > 0
        and width in {group * scale.shape[1] for group in GROUPS}
    )
    if not fits:
        raise FormatError(f"codes {_said(codes)} do not go with the scales {_said(scale)}")


def _said(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _each(scale: Tensor, values: Tensor, low: Tensor | None = None) -> Tensor:
    """Multiply float32 values [N, K] by scales of their groups, in place, and add lows."""
    groups: Tensor = values.unflatten(1, (scale.shape[1], -1))  # type: ignore[no-untyped-call]
    groups *= scale.float()[..., None]
    if low is not None:
        groups += low.float()[..., None]
    return groups.flatten(1)
