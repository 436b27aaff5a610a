"""A decoder as a flat list of operations for the compiled kernels.

What has no operation there (mixtures, latent attention, weights in a format that the kernels do
not know) is not lowered at all: such a model runs in torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from puna.adapter import LoraLinear
from puna.engine.emit import FORMATS, At, Emitter, Unknown
from puna.engine.layout import Stores
from puna.kernels import DUE, Act, Kind, Program
from puna.model import (
    Attention,
    Decoder,
    FusedGatedFFN,
    FusedQKV,
    GatedFFN,
    Linear,
    PackedWeight,
    ParallelBlock,
    PlainFFN,
    SequentialBlock,
    SplitQKV,
    SumNormBlock,
    Times,
    alibi_slopes,
)
from puna.spec import Alibi, Dense, LayerSpec, ModelSpec, Rope
from puna.spec import Attention as AttentionSpec

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


def lower(model: Decoder, spec: ModelSpec, stores: Stores) -> Lowered | None:
    """Return a model's operations, or None where it has some that the kernels lack.

    Args:
        model: on the CPU.
        spec: of it.
        stores: where each layer's keys and values are kept.
    """
    if model.device.type != "cpu" or not can_lower(spec):
        return None
    updates = [u for module in model.modules() for u in _updates(module).items()]
    adapters = tuple(sorted({slot for slot, _ in updates}, key=int))
    emit = Emitter(_LOW, adapters)
    walk = _Walk(model, spec, emit)
    try:
        walk.embed()
        for index, block in enumerate(model.layers):
            at = (stores.keys[index], stores.values[index], stores.group_of[index])
            walk.block(block, spec.layers[index], _Store(*at))
        walk.head()
    except Unknown:
        return None
    widths = buffer_widths(spec, max((update.a.shape[0] for _, update in updates), default=1))
    return Lowered(Program.of(emit.ops, emit.held), widths, emit.codes, adapters)


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


# In the order of `buffer_widths`.
(_X, _NORMED, _OTHER, _QKV, _SEEN, _INNER, _HALF, _LOW, _TABLE, _DUE, _LOGITS) = map(At, range(11))


@dataclass(frozen=True, slots=True)
class _Store:
    keys: Tensor
    values: Tensor
    group: int


@dataclass(frozen=True, slots=True)
class _Walk:
    """A model, layer by layer, into operations."""

    model: Decoder
    spec: ModelSpec
    emit: Emitter

    def embed(self) -> None:
        """Token vectors, positions and the norm of both."""
        embed, spec = self.model.embed, self.spec.embed
        # Rounded to the dtype first, as in the module.
        scale = float(torch.tensor(spec.scale, dtype=self.model.dtype))
        into = _X if embed.widen is None else _TABLE
        self.emit.put(
            Kind.EMBED,
            into,
            n=spec.width or self.spec.width,
            a=scale,
            **self.emit.rows(embed.tokens),
        )
        if embed.widen is not None:
            self.emit.linear(_TABLE, _X, embed.widen, None)
        if embed.positions is not None:
            table = self.emit.rows(embed.positions)
            self.emit.put(Kind.EMBED, _X, n=self.spec.width, mode=1, add=1, k=embed.offset, **table)
        if embed.norm is not None:
            self.emit.norm(_X, _X, embed.norm, width=self.spec.width)

    def block(self, block: nn.Module, spec: LayerSpec, store: _Store) -> None:
        """One layer."""
        attention, ffn = block.attn, block.ffn
        assert isinstance(attention, Attention)
        assert isinstance(ffn, nn.Module)
        if isinstance(block, ParallelBlock):
            self.emit.norm(_X, _NORMED, block.attn_norm, width=self.spec.width)
            other = _NORMED
            if block.ffn_norm is not None:
                other = _OTHER
                self.emit.norm(_X, other, block.ffn_norm, width=self.spec.width)
            self.attention(attention, spec.mixer, _NORMED, _X, store)
            self.ffn(ffn, spec, other, _X)
        elif isinstance(block, SumNormBlock):
            self.attention(attention, spec.mixer, _X, _X, store)
            self.emit.norm(_X, _X, block.attn_norm, width=self.spec.width)
            self.ffn(ffn, spec, _X, _X)
            self.emit.norm(_X, _X, block.ffn_norm, width=self.spec.width)
        elif isinstance(block, SequentialBlock):
            into = self.before(block.attn_norm)
            self.attention(attention, spec.mixer, into, self.after(block.attn_post_norm), store)
            self.join(block.attn_post_norm)
            into = self.before(block.ffn_norm)
            self.ffn(ffn, spec, into, self.after(block.ffn_post_norm))
            self.join(block.ffn_post_norm)
        else:
            raise Unknown

    def before(self, norm: nn.Module) -> At:
        """Return what a half reads."""
        if isinstance(norm, nn.Identity):
            return _X
        self.emit.norm(_X, _NORMED, norm, width=self.spec.width)
        return _NORMED

    def after(self, norm: nn.Module) -> At:
        """Return where a half adds to or writes: the residual itself where nothing follows."""
        return _X if isinstance(norm, nn.Identity) else _HALF

    def join(self, norm: nn.Module) -> None:
        """Add what a half wrote, normalized or multiplied, to the residual."""
        if isinstance(norm, nn.Identity):
            return
        factor = norm.factor if isinstance(norm, Times) else 1.0
        if not isinstance(norm, Times):
            self.emit.norm(_HALF, _HALF, norm, width=self.spec.width)
        width, half = self.spec.width, _HALF.buffer
        self.emit.put(Kind.ADD, _X, in_=half, n=width, a=factor)

    def attention(
        self, attn: Attention, mixer: AttentionSpec, into: At, out: At, store: _Store
    ) -> None:
        """Projections, rotation, cache, scores, projection."""
        q = _QKV
        k = At(q.buffer, mixer.q_width)
        v = At(q.buffer, mixer.q_width + mixer.kv_width)
        self.project(attn.project, into, q, k, v)
        whole = mixer.q_width + 2 * mixer.kv_width
        if mixer.clip is not None:
            self.emit.put(Kind.CLAMP, q, in_=q.buffer, n=whole, a=mixer.clip)
        if attn.norms is not None:
            each = attn.norms.each
            for at, norm, heads in (
                (q, attn.norms.q, mixer.heads),
                (k, attn.norms.k, mixer.kv_heads),
            ):
                several = heads if each else 1
                width = mixer.head_dim * heads // several
                self.emit.norm(at, at, norm, width=width, heads=several)
        if isinstance(mixer.position, Rope):
            rope, table = mixer.position, self.model.table_of[attn.layer]
            for at, heads in ((q, mixer.heads), (k, mixer.kv_heads)):
                self.emit.put(
                    Kind.ROTATE, at, in_=at.buffer, in_col=at.column, heads=heads,
                    n=mixer.head_dim, k=rope.dims, mode=int(rope.interleaved), table=table,
                )  # fmt: skip
        self.attend(attn, mixer, store, q, k, v)
        self.emit.linear(_SEEN, out, *_map(attn.out), add=out == _X)

    def project(self, project: nn.Module, into: At, q: At, k: At, v: At) -> None:
        """Queries, keys and values side by side."""
        if isinstance(project, FusedQKV):
            self.emit.linear(into, q, *_map(project.qkv))
        elif isinstance(project, SplitQKV):
            for part, at in ((project.q, q), (project.k, k), (project.v, v)):
                self.emit.linear(into, at, *_map(part), more=part is not project.v)
        else:
            raise Unknown

    def attend(
        self, attn: Attention, mixer: AttentionSpec, store: _Store, q: At, k: At, v: At
    ) -> None:
        """Keep keys and values, then look at all that are kept."""
        kept = {
            "format": FORMATS[store.keys.dtype],
            "kv_heads": mixer.kv_heads,
            "n": mixer.head_dim,
            "value": mixer.v_dim,
            "table": store.group,
            "p0": store.keys.data_ptr(),
            "p1": store.values.data_ptr(),
        }
        self.emit.held += [store.keys, store.values]
        ends = {"in_": k.buffer, "in_col": k.column, "in2": v.buffer, "in2_col": v.column}
        self.emit.put(Kind.STORE, k, **ends, **kept)
        slopes, mode = None, 0
        if isinstance(mixer.position, Alibi):
            slopes = self.emit.vector(alibi_slopes(mixer.heads, mixer.position.steepest))
            mode = int(mixer.position.rounded) + 2 * int(mixer.position.divided)
        sinks = None if attn.sinks is None else self.emit.vector(attn.sinks)
        self.emit.put(
            Kind.ATTEND, _SEEN, in_=q.buffer, heads=mixer.heads, a=mixer.scale,
            b=mixer.softcap or 0.0, window=mixer.window or 0, mode=mode, p2=slopes, p3=sinks,
            **kept,
        )  # fmt: skip

    def ffn(self, ffn: nn.Module, spec: LayerSpec, into: At, out: At) -> None:
        """Up, gate, down."""
        dense = spec.ffn
        assert isinstance(dense, Dense)
        gate, up = _INNER, At(_INNER.buffer, dense.width)
        act = {"act": _ACTS[str(dense.act)], "in_": gate.buffer, "n": dense.width}
        if isinstance(ffn, PlainFFN):
            self.emit.linear(into, gate, *_map(ffn.up))
            self.emit.put(Kind.GATE, gate, **act)
        else:
            if isinstance(ffn, FusedGatedFFN):
                self.emit.linear(into, gate, *_map(ffn.gate_up))
            else:
                assert isinstance(ffn, GatedFFN)
                self.emit.linear(into, gate, *_map(ffn.gate), more=True)
                self.emit.linear(into, up, *_map(ffn.up))
            self.emit.put(Kind.GATE, gate, in2=up.buffer, in2_col=up.column, **act)
        assert isinstance(ffn, PlainFFN | GatedFFN | FusedGatedFFN)
        self.emit.linear(gate, out, *_map(ffn.down), add=out == _X)

    def head(self) -> None:
        """Logits of the rows that are due."""
        head, width = self.model.output, self.spec.width
        self.emit.put(Kind.GATHER, _DUE, in_=_X.buffer, n=width)
        if not isinstance(self.model.norm, nn.Identity):
            self.emit.norm(_DUE, _DUE, self.model.norm, rows=DUE, width=self.spec.width)
        into = _DUE
        if head.narrow is not None:
            into = _TABLE
            self.emit.linear(_DUE, into, head.narrow, None, rows=DUE)
        weight = self.model.embed.tokens if head.weight is None else head.weight
        if head.updates:
            raise Unknown  # an adapter on the head: rows that are due have no set of their own
        self.emit.linear(into, _LOGITS, weight, head.bias, rows=DUE)
        if head.scale != 1.0 or head.softcap is not None:
            self.emit.put(
                Kind.SCALE, _LOGITS, in_=_LOGITS.buffer, n=self.spec.vocab, rows=DUE,
                a=head.scale, b=head.softcap or 0.0,
            )  # fmt: skip


def _map(linear: nn.Module) -> tuple[Tensor | PackedWeight, Tensor | None, dict[str, Any]]:
    """Return the weight, the bias and the adapters' updates of a linear map."""
    assert isinstance(linear, Linear | LoraLinear)
    return linear.weight, linear.bias, _updates(linear)


def _updates(linear: nn.Module) -> dict[str, Any]:
    return dict(linear.updates.items()) if isinstance(linear, LoraLinear) else {}


def _is_known(layer: LayerSpec) -> bool:
    plain = isinstance(layer.ffn, Dense) and str(layer.ffn.act) in _ACTS
    return plain and isinstance(layer.mixer.qkv, str)
