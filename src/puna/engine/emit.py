"""Operations put one after another, with what they point to."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from puna.kernels import ALL, PICKED, Expert, Format, Input, Kind, NormKind, Op, operation
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


class Map(NamedTuple):
    """A linear map: its weight, its bias, and what adapters add to it, by slot."""

    weight: Tensor | PackedWeight
    bias: Tensor | None = None
    updates: Mapping[str, Any] = MappingProxyType({})


class Picks(NamedTuple):
    """A mixture whose picks have been sorted: `experts`, of which a token has `top_k`.

    `low` is the buffer between the two maps of an adapter, with a row for each pick.
    """

    experts: int
    top_k: int
    low: At


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
            named = self.operands(table)
            if named["format"] is Format.N4:
                raise Unknown
            return {name: named[name] for name in ("format", "b", "group", "p0", "p2", "p3")}
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
        map_: Map,
        *,
        add: bool = False,
        more: bool = False,
        rows: int = ALL,
    ) -> None:
        """Multiply, with what adapters add; `more` says that another reads the same and no result.

        A product needs no wait before the next one of the same input.
        """
        named = self.operands(map_.weight)
        n, k = map_.weight.shape
        self.prepare(into, k, named, rows)
        given = {"in_": into.buffer, "in_col": into.column, "k": k}
        p1 = None if map_.bias is None else self.vector(map_.bias)
        free = more and not map_.updates
        self.put(Kind.LINEAR, out, n=n, rows=rows, p1=p1, add=add, sync=not free, **given, **named)
        for slot, update in map_.updates.items():
            which = self.adapters.index(slot)
            a, b = self.operands(update.a), self.operands(update.b)
            rank = update.a.shape[0]
            self.put(Kind.LINEAR, self.low, n=rank, rows=which, **given, **a)
            low = {"in_": self.low.buffer, "k": rank}
            self.put(Kind.LINEAR, out, n=n, rows=which, add=1, **low, **b).a = update.scale

    def experts(
        self, into: At, out: At, maps: Sequence[Map], picks: Picks, *, shared: bool, more: bool
    ) -> None:
        """Multiply each pick by its expert's map, with what adapters add.

        Args:
            into: columns that are read: a row for each token where that is `shared` by its picks,
                else a row for each pick.
            out: columns that are written, a row for each pick.
            maps: of all experts, alike in shape and format.
            picks: which there are.
            shared: see `into`.
            more: another product reads the same and no result of this one.
        """
        n, k = maps[0].weight.shape
        named = [self.operands(one.weight) for one in maps]
        self.prepare(into, k, named[0], ALL if shared else PICKED, 1 if shared else picks.top_k)
        for one, map_ in zip(named, maps, strict=True):
            one["p1"] = None if map_.bias is None else self.vector(map_.bias)
        slots = sorted({slot for map_ in maps for slot in map_.updates})
        fields = {"n": n, "spread": picks.top_k}
        given = {"in_": into.buffer, "in_col": into.column, "k": k, "mode": int(shared), **fields}
        table = self.table(named, [1.0] * len(maps))
        self.put(Kind.LINEAR, out, rows=PICKED, sync=not (more and not slots), **given, **table)
        for slot in slots:
            which = self.adapters.index(slot)
            updates = [map_.updates.get(slot) for map_ in maps]
            rank, *others = {one.a.shape[0] for one in updates if one is not None}
            if others:
                raise Unknown  # adapters of several ranks
            scales = [0.0 if one is None else one.scale for one in updates]
            down = [{} if one is None else self.operands(one.a) for one in updates]
            up = [{} if one is None else self.operands(one.b) for one in updates]
            a, b = self.table(down, [1.0] * len(maps)), self.table(up, scales)
            self.put(Kind.LINEAR, picks.low, rows=which, **{**given, "n": rank}, **a)
            low = {"in_": picks.low.buffer, "k": rank, **fields}
            self.put(Kind.LINEAR, out, rows=which, add=1, **low, **b)

    def table(self, named: Sequence[dict[str, Any]], scales: Sequence[float]) -> dict[str, Any]:
        """Return the fields that name a weight of each expert; an empty record stands for none."""
        addresses = ("p0", "p1", "p2", "p3")
        same = {name: value for one in named if one for name, value in one.items()}
        same = {name: value for name, value in same.items() if name not in addresses}
        rows = (Expert * len(named))()
        for row, one, scale in zip(rows, named, scales, strict=True):
            if any(one[name] != value for name, value in same.items() if one):
                raise Unknown  # experts in several formats
            for name in addresses:
                setattr(row, name, one.get(name))
            row.a = scale
        self.held.append(rows)
        return {**same, "experts": len(named), "p0": ctypes.addressof(rows)}

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

    def prepare(self, into: At, k: int, named: dict[str, Any], rows: int, each: int = 1) -> None:
        """Bring an input into the form that a weight wants, unless it is; `each` rows a token."""
        form, group = named["input"], named.get("group", 0)
        wanted = (into.buffer, into.column, k, form, group, rows)
        if form is Input.AS_IS or self.prepared == wanted:
            return
        if self.ops:
            self.ops[-1].sync = True  # it may still read what is overwritten now
        groups = k // group if form is Input.GROUPED else 1
        stride = -(-k // 64) * 64 * (2 if form is Input.HALF else 1)
        self.codes = (max(self.codes[0], each * stride), max(self.codes[1], each * groups))
        given: dict[str, Any] = {"in_": into.buffer, "in_col": into.column, "k": k, "spread": each}
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
