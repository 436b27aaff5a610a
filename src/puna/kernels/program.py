"""The records that the compiled code reads, field by field as in csrc/step.h."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_float, c_int32, c_void_p
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any


class Kind(IntEnum):
    """What an operation does."""

    EMBED = 0
    NORM = 1
    PREPARE = 2
    LINEAR = 3
    ROTATE = 4
    STORE = 5
    ATTEND = 6
    GATE = 7
    ADD = 8
    SCALE = 9
    CLAMP = 10
    GATHER = 11
    COPY = 12
    PICK = 13
    SORT = 14
    MIX = 15


class Format(IntEnum):
    """How numbers of a weight, or of the cache, are kept."""

    F32 = 0
    BF16 = 1
    F16 = 2
    I8 = 3
    G8 = 4
    G4 = 5
    N4 = 6


class Input(IntEnum):
    """The form that a product wants its input in."""

    AS_IS = 0
    HALF = 1
    BYTES = 2
    GROUPED = 3


class Act(IntEnum):
    """Activation functions."""

    NONE = 0
    SILU = 1
    GELU = 2
    GELU_TANH = 3
    RELU = 4
    CLAMPED = 5


class NormKind(IntEnum):
    """Kinds of norms."""

    RMS = 0
    RMS_ONE_PLUS = 1
    LAYER = 2


class Picking(IntFlag):
    """How experts are picked; see csrc/step.h."""

    SIGMOID = 1
    RENORMALIZED = 2
    BY_TWO = 4


# Which rows an operation is for, where it is not those of an adapter.
ALL, DUE, PICKED = -1, -2, -3

_WHOLE = (
    *("kind", "sync", "rows", "in_", "in_col", "in2", "in2_col", "out", "out_col", "n", "k"),
    *("heads", "kv_heads", "group", "format", "mode", "act", "add", "table", "window", "input"),
    *("value", "experts", "spread"),
)
_POINTERS = ("p0", "p1", "p2", "p3")


class Op(ctypes.Structure):
    """One operation; what its fields mean is said in csrc/step.h."""

    _fields_ = [
        *((name, c_int32) for name in _WHOLE),
        ("a", c_float),
        ("b", c_float),
        *((name, c_void_p) for name in _POINTERS),
    ]


class Expert(ctypes.Structure):
    """A weight of one expert."""

    _fields_ = [*((name, c_void_p) for name in _POINTERS), ("a", c_float)]


class Step(ctypes.Structure):
    """What differs from step to step: the tokens, where they stand, and the buffers."""

    _fields_ = [
        *((name, c_int32) for name in ("tokens", "due", "sequences")),
        *((name, c_void_p) for name in ("ids", "positions", "owner", "due_rows", "pages")),
        *((name, c_void_p) for name in ("subset", "subset_count", "buffers", "strides")),
        *((name, c_void_p) for name in ("cos", "sin", "angle")),
        *((name, c_void_p) for name in ("codes", "code_scale", "code_sum")),
        *((name, c_void_p) for name in ("picks", "sorted", "bounds")),
    ]


@dataclass(frozen=True, slots=True)
class Program:
    """Operations in a row, and what they point to, which must live as long.

    Args:
        ops: as the compiled code reads them.
        held: whatever owns the memory behind their pointers.
    """

    ops: ctypes.Array[Op]
    held: tuple[Any, ...]

    @classmethod
    def of(cls, ops: Sequence[Op], held: Sequence[Any]) -> Program:
        """Return a program of operations."""
        return cls((Op * len(ops))(*ops), tuple(held))


def operation(kind: Kind, *, a: float = 1.0, sync: bool = True, rows: int = ALL, **more: Any) -> Op:
    """Return an operation; what is not stated is zero, and a second input is none."""
    op = Op(kind=kind, sync=sync, rows=rows, in2=-1, heads=1, a=a)
    for name, value in more.items():
        setattr(op, name, value)
    return op
