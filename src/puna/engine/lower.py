"""A decoder as a flat list of operations for the compiled kernels.

What has no operation there (mixtures, latent attention, weights in a format that the kernels do
not know) is not lowered at all: such a model runs in torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from puna.adapter import LoraLinear
from puna.kernels import ALL, DUE, Act, Format, Input, Kind, NormKind, Op, Program, operation
from puna.model import (
    Attention,
    Decoder,
    FusedGatedFFN,
    FusedQKV,
    GatedFFN,
    LayerNorm,
    Linear,
    NativeWeight,
    OnePlusRMSNorm,
    PackedWeight,
    ParallelBlock,
    PlainFFN,
    RMSNorm,
    SequentialBlock,
    SplitQKV,
    SumNormBlock,
    Times,
    alibi_slopes,
    operands,
)
from puna.spec import Alibi, Dense, LayerSpec, ModelSpec, Rope
from puna.spec import Attention as AttentionSpec

_FORMATS = {
    torch.float32: Format.F32,
    torch.bfloat16: Format.BF16,
    torch.float16: Format.F16,
}
_ACTS = {"silu": Act.SILU, "gelu": Act.GELU, "gelu_tanh": Act.GELU_TANH, "relu": Act.RELU}


@dataclass(frozen=True, slots=True)
class Lowered:
    """A program and the memory that it works in.

    Args:
        program: for any number of tokens.
        widths: columns of each buffer; the last two are the hidden states and logits of the rows
            that are due.
        codes: bytes of a prepared row, and groups of scales.
        adapters: slots, in the order of their sets of rows.
    """

    program: Program
    widths: tuple[int, ...]
    codes: tuple[int, int]
    adapters: tuple[str, ...]


def lower(model: Decoder, spec: ModelSpec, keys: Sequence[Tensor], values: Sequence[Tensor],
          group_of: Sequence[int]) -> Lowered | None:  # fmt: skip
    """Return a model's operations, or None where it has some that the kernels lack.

    Args:
        model: on the CPU.
        spec: of it.
        keys, values: where those of each layer are kept; see `PagePool`.
        group_of: each layer's group of pages.
    """
    if model.device.type != "cpu" or not can_lower(spec):
        return None
    builder = _Builder(model, spec)
    try:
        builder.embed()
        for index, block in enumerate(model.layers):
            store = _Store(keys[index], values[index], group_of[index])
            builder.block(block, spec.layers[index], store)
        builder.head()
    except _Unknown:
        return None
    return builder.done()


def can_lower(spec: ModelSpec) -> bool:
    """Tell whether every layer has operations for all it does."""
    return all(map(_is_known, spec.layers))


def buffer_widths(spec: ModelSpec, rank: int = 1) -> tuple[int, ...]:
    """Return the columns of each buffer; the last are those of the rows that are due.

    Args:
        spec: of a model that can be lowered.
        rank: the largest of its adapters.
    """
    mixers = [layer.mixer for layer in spec.layers]
    dense = [layer.ffn for layer in spec.layers if isinstance(layer.ffn, Dense)]
    narrow = max(spec.embed.width or 1, spec.head.width or 1)
    qkv = max(m.q_width + m.kv_heads * (m.head_dim + m.v_dim) for m in mixers)
    seen = max(m.heads * m.v_dim for m in mixers)
    inner = max((2 if ffn.gate else 1) * ffn.width for ffn in dense)
    width = spec.width
    return (width, width, width, qkv, seen, inner, width, rank, narrow, width, spec.vocab)


class _Unknown(Exception):
    """Something that the kernels do not do."""


@dataclass(frozen=True, slots=True)
class _Store:
    keys: Tensor
    values: Tensor
    group: int


@dataclass(frozen=True, slots=True)
class _At:
    """Columns of a buffer, from one on."""

    buffer: int
    column: int = 0


@dataclass(slots=True)
class _Builder:
    """Puts operations one after another; knows what input stands prepared."""

    model: Decoder
    spec: ModelSpec
    ops: list[Op] = field(default_factory=list)
    held: list[Any] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    adapters: tuple[str, ...] = ()
    prepared: tuple[Any, ...] | None = None
    codes: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        slots = {slot for m in self.model.modules() for slot in getattr(m, "updates", ())}
        self.adapters = tuple(sorted(slots, key=int))
        ranks = [update.a.shape[0] for m in self.model.modules() for update in _updates(m).values()]
        self.widths = list(buffer_widths(self.spec, max(ranks, default=1)))
        (
            self.x,
            self.normed,
            self.other,
            self.qkv,
            self.seen,
            self.inner,
            self.half,
            self.low,
            self.table,
            self.due,
            self.logits,
        ) = map(_At, range(len(self.widths)))

    x: _At = field(init=False)
    normed: _At = field(init=False)
    other: _At = field(init=False)
    qkv: _At = field(init=False)
    seen: _At = field(init=False)
    inner: _At = field(init=False)
    half: _At = field(init=False)
    low: _At = field(init=False)
    table: _At = field(init=False)
    due: _At = field(init=False)
    logits: _At = field(init=False)

    def done(self) -> Lowered:
        """Return what was built."""
        program = Program.of(self.ops, self.held)
        return Lowered(program, tuple(self.widths), self.codes, self.adapters)

    def put(self, kind: Kind, out: _At, **more: Any) -> Op:
        """Append an operation; what it overwrites does not stand prepared any more."""
        if self.prepared is not None and self.prepared[0] == out.buffer:
            self.prepared = None
        self.ops.append(operation(kind, out=out.buffer, out_col=out.column, **more))
        return self.ops[-1]

    def embed(self) -> None:
        """Token vectors, positions and the norm of both."""
        embed, spec = self.model.embed, self.spec.embed
        # Rounded to the dtype first, as in the module.
        scale = float(torch.tensor(spec.scale, dtype=self.model.dtype))
        into = self.x if embed.widen is None else self.table
        self.put(
            Kind.EMBED, into, n=spec.width or self.spec.width, a=scale, **self.rows(embed.tokens)
        )
        if embed.widen is not None:
            self.linear(self.table, self.x, embed.widen, None)
        if embed.positions is not None:
            table = self.rows(embed.positions)
            self.put(Kind.EMBED, self.x, n=self.spec.width, mode=1, add=1, k=embed.offset, **table)
        if embed.norm is not None:
            self.norm(self.x, self.x, embed.norm)

    def rows(self, table: nn.Parameter | PackedWeight) -> dict[str, Any]:
        """Return the fields that name a table of rows."""
        if isinstance(table, PackedWeight):
            if not isinstance(table.ready, NativeWeight) or table.ready.format is not Format.I8:
                raise _Unknown
            self.held.append(table.ready)
            named = operands(table.ready)
            return {name: named[name] for name in ("format", "b", "p0", "p2")}
        return {"format": _FORMATS[table.dtype], "p0": self.address(table)}

    def block(self, block: nn.Module, spec: LayerSpec, store: _Store) -> None:
        """One layer."""
        attention, ffn = block.attn, block.ffn
        assert isinstance(attention, Attention)
        assert isinstance(ffn, nn.Module)
        if isinstance(block, ParallelBlock):
            self.norm(self.x, self.normed, block.attn_norm)
            other = self.normed
            if block.ffn_norm is not None:
                other = self.other
                self.norm(self.x, other, block.ffn_norm)
            self.attention(attention, spec.mixer, self.normed, self.x, store)
            self.ffn(ffn, spec, other, self.x)
        elif isinstance(block, SumNormBlock):
            self.attention(attention, spec.mixer, self.x, self.x, store)
            self.norm(self.x, self.x, block.attn_norm)
            self.ffn(ffn, spec, self.x, self.x)
            self.norm(self.x, self.x, block.ffn_norm)
        elif isinstance(block, SequentialBlock):
            into = self.before(block.attn_norm)
            self.attention(attention, spec.mixer, into, self.after(block.attn_post_norm), store)
            self.join(block.attn_post_norm)
            into = self.before(block.ffn_norm)
            self.ffn(ffn, spec, into, self.after(block.ffn_post_norm))
            self.join(block.ffn_post_norm)
        else:
            raise _Unknown

    def before(self, norm: nn.Module) -> _At:
        """Return what a half reads."""
        if isinstance(norm, nn.Identity):
            return self.x
        self.norm(self.x, self.normed, norm)
        return self.normed

    def after(self, norm: nn.Module) -> _At:
        """Return where a half adds to or writes: the residual itself where nothing follows."""
        return self.x if isinstance(norm, nn.Identity) else self.half

    def join(self, norm: nn.Module) -> None:
        """Add what a half wrote, normalized or multiplied, to the residual."""
        if isinstance(norm, nn.Identity):
            return
        factor = norm.factor if isinstance(norm, Times) else 1.0
        if not isinstance(norm, Times):
            self.norm(self.half, self.half, norm)
        width, half = self.spec.width, self.half.buffer
        self.put(Kind.ADD, self.x, in_=half, n=width, a=factor)

    def attention(
        self, attn: Attention, mixer: AttentionSpec, into: _At, out: _At, store: _Store
    ) -> None:
        """Projections, rotation, cache, scores, projection."""
        q = self.qkv
        k = _At(q.buffer, mixer.q_width)
        v = _At(q.buffer, mixer.q_width + mixer.kv_width)
        self.project(attn.project, into, q, k, v)
        whole = mixer.q_width + 2 * mixer.kv_width
        if mixer.clip is not None:
            self.put(Kind.CLAMP, q, in_=q.buffer, n=whole, a=mixer.clip)
        if attn.norms is not None:
            each = attn.norms.each
            for at, norm, heads in (
                (q, attn.norms.q, mixer.heads),
                (k, attn.norms.k, mixer.kv_heads),
            ):
                stretches = heads if each else 1
                self.norm(at, at, norm, width=mixer.head_dim * heads // stretches, heads=stretches)
        if isinstance(mixer.position, Rope):
            rope, table = mixer.position, self.model.table_of[attn.layer]
            for at, heads in ((q, mixer.heads), (k, mixer.kv_heads)):
                self.put(
                    Kind.ROTATE, at, in_=at.buffer, in_col=at.column, heads=heads,
                    n=mixer.head_dim, k=rope.dims, mode=int(rope.interleaved), table=table,
                )  # fmt: skip
        self.attend(attn, mixer, store, q, k, v)
        self.linear(self.seen, out, *_map(attn.out), add=out == self.x)

    def project(self, project: nn.Module, into: _At, q: _At, k: _At, v: _At) -> None:
        """Queries, keys and values side by side."""
        if isinstance(project, FusedQKV):
            self.linear(into, q, *_map(project.qkv))
        elif isinstance(project, SplitQKV):
            for part, at in ((project.q, q), (project.k, k), (project.v, v)):
                self.linear(into, at, *_map(part), more=part is not project.v)
        else:
            raise _Unknown

    def attend(
        self, attn: Attention, mixer: AttentionSpec, store: _Store, q: _At, k: _At, v: _At
    ) -> None:
        """Keep keys and values, then look at all that are kept."""
        kept = {
            "format": _FORMATS[store.keys.dtype],
            "kv_heads": mixer.kv_heads,
            "n": mixer.head_dim,
            "value": mixer.v_dim,
            "table": store.group,
            "p0": store.keys.data_ptr(),
            "p1": store.values.data_ptr(),
        }
        self.held += [store.keys, store.values]
        ends = {"in_": k.buffer, "in_col": k.column, "in2": v.buffer, "in2_col": v.column}
        self.put(Kind.STORE, k, **ends, **kept)
        slopes, mode = None, 0
        if isinstance(mixer.position, Alibi):
            slopes = self.vector(alibi_slopes(mixer.heads, mixer.position.steepest))
            mode = int(mixer.position.rounded) + 2 * int(mixer.position.divided)
        sinks = None if attn.sinks is None else self.vector(attn.sinks)
        self.put(
            Kind.ATTEND, self.seen, in_=q.buffer, heads=mixer.heads, a=mixer.scale,
            b=mixer.softcap or 0.0, window=mixer.window or 0, mode=mode, p2=slopes, p3=sinks,
            **kept,
        )  # fmt: skip

    def ffn(self, ffn: nn.Module, spec: LayerSpec, into: _At, out: _At) -> None:
        """Up, gate, down."""
        dense = spec.ffn
        assert isinstance(dense, Dense)
        gate, up = self.inner, _At(self.inner.buffer, dense.width)
        act = {"act": _ACTS[str(dense.act)], "in_": gate.buffer, "n": dense.width}
        if isinstance(ffn, PlainFFN):
            self.linear(into, gate, *_map(ffn.up))
            self.put(Kind.GATE, gate, **act)
        else:
            if isinstance(ffn, FusedGatedFFN):
                self.linear(into, gate, *_map(ffn.gate_up))
            else:
                assert isinstance(ffn, GatedFFN)
                self.linear(into, gate, *_map(ffn.gate), more=True)
                self.linear(into, up, *_map(ffn.up))
            self.put(Kind.GATE, gate, in2=up.buffer, in2_col=up.column, **act)
        assert isinstance(ffn, PlainFFN | GatedFFN | FusedGatedFFN)
        self.linear(gate, out, *_map(ffn.down), add=out == self.x)

    def head(self) -> None:
        """Logits of the rows that are due."""
        head, width = self.model.output, self.spec.width
        self.put(Kind.GATHER, self.due, in_=self.x.buffer, n=width)
        if not isinstance(self.model.norm, nn.Identity):
            self.norm(self.due, self.due, self.model.norm, rows=DUE)
        into = self.due
        if head.narrow is not None:
            into = self.table
            self.linear(self.due, into, head.narrow, None, rows=DUE)
        weight = self.model.embed.tokens if head.weight is None else head.weight
        if head.updates:
            raise _Unknown  # an adapter on the head: rows that are due have no set of their own
        self.linear(into, self.logits, weight, head.bias, rows=DUE)
        if head.scale != 1.0 or head.softcap is not None:
            self.put(
                Kind.SCALE, self.logits, in_=self.logits.buffer, n=self.spec.vocab, rows=DUE,
                a=head.scale, b=head.softcap or 0.0,
            )  # fmt: skip

    def norm(
        self,
        into: _At,
        out: _At,
        norm: nn.Module,
        *,
        width: int | None = None,
        heads: int = 1,
        rows: int = ALL,
    ) -> None:
        """Normalize stretches of a row, one after another; one is as wide as the model."""
        kinds = {RMSNorm: NormKind.RMS, OnePlusRMSNorm: NormKind.RMS_ONE_PLUS}
        assert isinstance(norm, RMSNorm | OnePlusRMSNorm | LayerNorm)
        gain = None if norm.weight is None else self.vector(norm.weight)
        bias = getattr(norm, "bias", None)
        self.put(
            Kind.NORM, out, in_=into.buffer, in_col=into.column, n=width or self.spec.width,
            heads=heads, mode=kinds.get(type(norm), NormKind.LAYER), a=norm.eps, rows=rows, p0=gain,
            p1=None if bias is None else self.vector(bias),
        )  # fmt: skip

    def linear(
        self,
        into: _At,
        out: _At,
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
                raise _Unknown
            self.held.append(weight.ready)
            return operands(weight.ready)
        form = _FORMATS[weight.dtype]
        wanted = Input.HALF if form is Format.BF16 else Input.AS_IS
        return {"format": form, "input": wanted, "p0": self.address(weight)}

    def prepare(self, into: _At, k: int, named: dict[str, Any], rows: int) -> None:
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
            raise _Unknown
        self.held.append(tensor)
        return tensor.data_ptr()

    def vector(self, values: Tensor) -> int:
        """Return where a float32 copy of a few numbers is."""
        return self.address(values.detach().float().contiguous())


def _map(linear: nn.Module) -> tuple[Tensor | PackedWeight, Tensor | None, dict[str, Any]]:
    """Return the weight, the bias and the adapters' updates of a linear map."""
    assert isinstance(linear, Linear | LoraLinear)
    return linear.weight, linear.bias, _updates(linear)


def _updates(linear: nn.Module) -> dict[str, Any]:
    return dict(linear.updates.items()) if isinstance(linear, LoraLinear) else {}


def _is_known(layer: LayerSpec) -> bool:
    plain = isinstance(layer.ffn, Dense) and str(layer.ffn.act) in _ACTS
    return plain and isinstance(layer.mixer.qkv, str)
