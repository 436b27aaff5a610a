"""Packed weights in the layout of the compiled kernels; see `puna.kernels`."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from puna.home import kernels
from puna.kernels import (
    Format,
    Input,
    Kind,
    Pool,
    Program,
    Step,
    library,
    operation,
    pack_codes,
    pack_pairs,
    packed_bytes,
    padded,
    pool,
    unpack_codes,
)
from puna.quant import LEVELS, NF4, Grouped, Packed, RowWise, pair_nibbles, shape_of

_SIGNED = 128  # what makes a signed code of 8 bits an unsigned one
_MIDDLE = 8  # the zero of 4 bits where there is no `low`


@dataclass(frozen=True, slots=True)
class NativeWeight:
    """A matrix [N, K] in blocks of 16 rows.

    Args:
        format: of the codes; those of NF4 stand for bytes of a table in csrc/kernels.h.
        shape: N and K.
        zero: what is taken off each code.
        codes: uint8, as csrc/kernels.h lays them out.
        scale: float32 [N padded], or float16 [blocks, groups, 16].
        low: float16 [blocks, groups, 16] or None.
    """

    format: Format
    shape: tuple[int, int]
    zero: int
    codes: Tensor
    scale: Tensor
    low: Tensor | None

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return self.shape[1] if self.format is Format.I8 else self.shape[1] // self.scale.shape[1]

    @property
    def input(self) -> Input:
        """The form that a product by it wants its input in."""
        return Input.BYTES if self.format is Format.I8 else Input.GROUPED

    @property
    def per_byte(self) -> int:
        """Codes in a byte."""
        return 2 if self.format in (Format.G4, Format.N4) else 1


@dataclass(frozen=True, slots=True)
class Native:
    """Products in compiled code, whose inputs are rounded to 8 bits: by row, or by group."""

    name: str = "native"
    looks_up: bool = True

    def takes(self, packed: Packed, dtype: torch.dtype) -> bool:
        """Tell whether there is compiled code, and weights of a kind that it knows."""
        return packed.codes.device.type == "cpu" and threads() is not None

    def prepare(self, packed: Packed) -> NativeWeight:
        """Return the blocks."""
        if isinstance(packed, RowWise):
            codes = _pack(packed.codes)
            scale = torch.zeros(padded(len(packed.scale)))
            scale[: len(packed.scale)] = packed.scale
            return NativeWeight(Format.I8, shape_of(packed), _SIGNED, codes, scale, None)
        if isinstance(packed, NF4):
            codes = _pack(packed.codes)
            return NativeWeight(
                Format.N4, shape_of(packed), _SIGNED, codes, _lanes(packed.absmax), None
            )
        low = None if packed.low is None else _lanes(packed.low)
        if packed.bits == 8:
            codes = _pack(packed.codes)
            return NativeWeight(
                Format.G8, shape_of(packed), _SIGNED, codes, _lanes(packed.scale), low
            )
        codes = _pack(packed.codes)
        zero = _MIDDLE if low is None else 0
        return NativeWeight(Format.G4, shape_of(packed), zero, codes, _lanes(packed.scale), low)

    def restore(self, ready: NativeWeight) -> Packed:
        """Return the canonical form, exactly."""
        rows = ready.shape[0]
        codes = torch.empty(ready.shape, dtype=torch.int8)
        found = library()
        assert found is not None
        zero = _SIGNED if ready.per_byte == 1 else 0
        unpack_codes(
            found, ready.codes.data_ptr(), ready.shape, zero, ready.per_byte, codes.data_ptr()
        )
        if ready.format is Format.I8:
            return RowWise(codes, ready.scale[:rows].clone())
        scale = _rows(ready.scale, rows)
        low = None if ready.low is None else _rows(ready.low, rows)
        if ready.format is Format.G8:
            return Grouped(codes, scale, low)
        pairs = pair_nibbles(codes.view(torch.uint8))
        return NF4(pairs, scale) if ready.format is Format.N4 else Grouped(pairs, scale, low)

    def product(self, x: Tensor, ready: NativeWeight, bias: Tensor | None) -> Tensor:
        """Return `x @ W.T + bias` for x rounded to 8 bits."""
        running = threads()
        assert running is not None
        return multiply(running, x, ready, bias)

    def rows(self, ready: NativeWeight, ids: Tensor) -> Tensor:
        """Return rows of ids out of the blocks."""
        steps = ready.codes.view(padded(ready.shape[0]) // 16, -1, 16, 4)
        lanes = steps[ids // 16, :, ids % 16]  # [R, K/4 or K/8, 4]
        if ready.per_byte == 2:
            lanes = torch.stack((lanes & 15, lanes >> 4), 2)
        codes = lanes.flatten(1)[:, : ready.shape[1]]
        if ready.format is Format.N4:
            codes = torch.tensor(LEVELS)[codes.long()]
        else:
            codes = codes.float() - ready.zero
        if ready.format is Format.I8:
            return codes * ready.scale[ids, None]
        grouped = codes.view(len(ids), -1, ready.group)
        values = grouped * ready.scale[ids // 16, :, ids % 16, None].float()
        if ready.low is not None:
            values += ready.low[ids // 16, :, ids % 16, None].float()
        return values.flatten(1)


def threads() -> Pool | None:
    """Return the threads of the compiled kernels, or None where there are none."""
    return pool(kernels(), torch.get_num_threads())


def multiply(running: Pool, x: Tensor, weight: NativeWeight, bias: Tensor | None) -> Tensor:
    """Return `x @ W.T + bias`, [M, N] in the dtype of x, by a program of two operations."""
    rows, columns = x.shape
    wide = x.float().contiguous()
    out = torch.empty(rows, weight.shape[0])
    groups = columns // weight.group
    codes = torch.empty(rows, -(-columns // 64) * 64, dtype=torch.int8)
    scale, sums = torch.empty(rows, groups), torch.empty(rows, groups, dtype=torch.int32)
    extra = None if bias is None else bias.float().contiguous()
    prepare = operation(Kind.PREPARE, in_=0, k=columns, mode=weight.input, group=weight.group)
    linear = operation(
        Kind.LINEAR,
        in_=0,
        out=1,
        n=weight.shape[0],
        k=columns,
        p1=None if extra is None else extra.data_ptr(),
        **operands(weight),
    )
    buffers = (ctypes.c_void_p * 2)(wide.data_ptr(), out.data_ptr())
    strides = (ctypes.c_int64 * 2)(columns, weight.shape[0])
    step = Step(
        tokens=rows,
        buffers=ctypes.addressof(buffers),
        strides=ctypes.addressof(strides),
        codes=codes.data_ptr(),
        code_scale=scale.data_ptr(),
        code_sum=sums.data_ptr(),
    )
    running.run(Program.of([prepare, linear], [weight, extra]), step)
    return out.to(x.dtype)


def operands(weight: NativeWeight) -> dict[str, Any]:
    """Return the fields of an operation that say what it multiplies by."""
    return {
        "format": weight.format,
        "input": weight.input,
        "group": weight.group,
        "b": float(weight.zero),
        "p0": weight.codes.data_ptr(),
        "p2": weight.scale.data_ptr(),
        "p3": None if weight.low is None else weight.low.data_ptr(),
    }


def _pack(codes: Tensor) -> Tensor:
    """Return the blocks of int8 codes [N, K], or of uint8 [N, K/2] that hold two each."""
    found = library()
    assert found is not None
    codes, count = codes.contiguous(), torch.get_num_threads()
    rows, width = codes.shape
    if codes.dtype == torch.uint8:
        out = torch.empty(packed_bytes(rows, 2 * width, 2), dtype=torch.uint8)
        pack_pairs(found, codes.data_ptr(), (rows, 2 * width), out.data_ptr(), count)
    else:
        out = torch.empty(packed_bytes(rows, width, 1), dtype=torch.uint8)
        pack_codes(found, codes.data_ptr(), (rows, width), out.data_ptr(), count)
    return out


def _lanes(values: Tensor) -> Tensor:
    """Turn [N, G] into [blocks, G, 16], with zeros for rows that are not there."""
    rows, groups = values.shape
    full = values.new_zeros(padded(rows), groups)
    full[:rows] = values
    return full.view(-1, 16, groups).transpose(1, 2).contiguous()


def _rows(lanes: Tensor, rows: int) -> Tensor:
    return lanes.transpose(1, 2).reshape(-1, lanes.shape[1])[:rows].contiguous()
