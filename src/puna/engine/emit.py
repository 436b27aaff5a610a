"""Operations put one after another, with what they point to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from puna.kernels import ALL, Format, Input, Kind, NormKind, Op, operation
from puna.model import LayerNorm, NativeWeight, OnePlusRMSNorm, PackedWeight, RMSNorm, operands

FORMATS = {
    torch.float32: Format.F32,
    torch.bfloat16: Format.BF16,
    torch.float16: Format.F16,
}


class Unknown(Exception):
    """Something that the kernels do not do."""


class At(NamedTuple):
    """Columns of a buffer, from one on."""

    buffer: int
    column: int = 0


@dataclass(slots=True)
class Emitter:
    """Puts operations; knows what input stands prepared.

    Args:
        low: the buffer between the two maps of an adapter.
        adapters: slots, in the order of their sets of rows.

    `held` owns what operations point to; `codes` are the bytes of a prepared row, and its groups.
    """

    low: At
    adapters: tuple[str, ...]
    ops: list[Op] = field(default_factory=list)
    held: list[Any] = field(default_factory=list)
    prepared: tuple[Any, ...] | None = None
    codes: tuple[int, int] = (0, 1)

    def put(self, kind: Kind, out: At, **more: Any) -> Op:
        """Append an operation; what it overwrites does not stand prepared any more."""
        if self.prepared is not None and self.prepared[0] == out.buffer:
            self.prepared = None
        self.ops.append(operation(kind, out=out.buffer, out_col=out.column, **more))
        return self.ops[-1]

    def rows(self, table: nn.Parameter | PackedWeight) -> dict[str, Any]:
        """Return the fields that name a table of rows."""
        if isinstance(table, PackedWeight):
            if not isinstance(table.ready, NativeWeight) or table.ready.format is not Format.I8:
                raise Unknown
            self.held.append(table.ready)
            named = operands(table.ready)
            return {name: named[name] for name in ("format", "b", "p0", "p2")}
        return {"format": FORMATS[table.dtype], "p0": self.address(table)}

    def norm(
        self,
        into: At,
        out: At,
        norm: nn.Module,
        *,
        width: int,
        heads: int = 1,
        rows: int = ALL,
    ) -> None:
        """Normalize stretches of `width` columns of a row, one after another."""
        kinds = {RMSNorm: NormKind.RMS, OnePlusRMSNorm: NormKind.RMS_ONE_PLUS}
        assert isinstance(norm, RMSNorm | OnePlusRMSNorm | LayerNorm)
        gain = None if norm.weight is None else self.vector(norm.weight)
        bias = getattr(norm, "bias", None)
        self.put(
            Kind.NORM, out, in_=into.buffer, in_col=into.column, n=width,
            heads=heads, mode=kinds.get(type(norm), NormKind.LAYER), a=norm.eps, rows=rows, p0=gain,
            p1=None if bias is None else self.vector(bias),
        )  # fmt: skip

    def linear(
        self,
        into: At,
        out: At,
        weight: Tensor | PackedWeight,
        bias: Tensor | None,
        updates: dict[str, Any] | None = None,
        *,
        add: bool = False,
        more: bool = False,
        rows: int = ALL,
    ) -> None:
        """Multiply, with what adapters add; `more` says that another reads the same and no result.

        A product needs no wait before the next one of the same input.
        """
        named = self.operands(weight)
        n, k = weight.shape
        self.prepare(into, k, named, rows)
        given = {"in_": into.buffer, "in_col": into.column, "k": k}
        p1 = None if bias is None else self.vector(bias)
        free = more and not updates
        self.put(Kind.LINEAR, out, n=n, rows=rows, p1=p1, add=add, sync=not free, **given, **named)
        for slot, update in (updates or {}).items():
            which = self.adapters.index(slot)
            a, b = self.operands(update.a), self.operands(update.b)
            rank = update.a.shape[0]
            self.put(Kind.LINEAR, self.low, n=rank, rows=which, **given, **a)
            low = {"in_": self.low.buffer, "k": rank}
            self.put(Kind.LINEAR, out, n=n, rows=which, add=1, **low, **b).a = update.scale

    def operands(self, weight: Tensor | PackedWeight) -> dict[str, Any]:
        """Return the fields that name what is multiplied by."""
        if isinstance(weight, PackedWeight):
            if not isinstance(weight.ready, NativeWeight):
                raise Unknown
            self.held.append(weight.ready)
            return operands(weight.ready)
        form = FORMATS[weight.dtype]
        wanted = Input.HALF if form is Format.BF16 else Input.AS_IS
        return {"format": form, "input": wanted, "p0": self.address(weight)}

    def prepare(self, into: At, k: int, named: dict[str, Any], rows: int) -> None:
        """Bring an input into the form that a weight wants, unless it is."""
        form, group = named["input"], named.get("group", 0)
        wanted = (into.buffer, into.column, k, form, group, rows)
        if form is Input.AS_IS or self.prepared == wanted:
            return
        if self.ops:
            self.ops[-1].sync = True  # it may still read what is overwritten now
        groups = k // group if form is Input.GROUPED else 1
        stride = -(-k // 64) * 64 * (2 if form is Input.HALF else 1)
        self.codes = (max(self.codes[0], stride), max(self.codes[1], groups))
        given: dict[str, Any] = {"in_": into.buffer, "in_col": into.column, "k": k}
        self.ops.append(operation(Kind.PREPARE, mode=form, group=group, rows=rows, **given))
        self.prepared = wanted

    def address(self, tensor: Tensor) -> int:
        """Return where a tensor's numbers are, and keep them there."""
        tensor = tensor.detach()
        if not tensor.is_contiguous():
            raise Unknown
        self.held.append(tensor)
        return tensor.data_ptr()

    def vector(self, values: Tensor) -> int:
        """Return where a float32 copy of a few numbers is."""
        return self.address(values.detach().float().contiguous())
