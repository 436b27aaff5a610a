"""A decoder as a flat list of operations for the compiled kernels.

What has no operation there (an adapter on the head, experts packed in several forms) is not lowered
at all: such a model runs in torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from puna.adapter import LoraLinear
from puna.engine.buffers import (
    DUE_STATES,
    EXPERT_INNER,
    EXPERT_LOW,
    EXPERT_OUT,
    GATES,
    HALF,
    INNER,
    LOGITS,
    LOW,
    MIDDLE,
    NORMED,
    OTHER,
    QKV,
    RAW,
    SCORES,
    SEEN,
    TABLE,
    Buffer,
    X,
    buffers_of,
    most_experts,
)
from puna.engine.emit import FORMATS, At, Emitter, Map, Picks, Unknown
from puna.engine.layout import Stores
from puna.kernels import ALL, DUE, PICKED, Act, Format, Kind, Picking, Program
from puna.model import (
    Attention,
    Decoder,
    FusedQKV,
    LatentQKV,
    Linear,
    Mixture,
    ParallelBlock,
    SequentialBlock,
    SplitQKV,
    SumNormBlock,
    Times,
    alibi_slopes,
)
from puna.spec import Alibi, ClampedSwish, Dense, Latent, LayerSpec, ModelSpec, MoE, Rope, Router
from puna.spec import Attention as AttentionSpec

_STORED = {**FORMATS, torch.int8: Format.I8}
_ACTS = {"silu": Act.SILU, "gelu": Act.GELU, "gelu_tanh": Act.GELU_TANH, "relu": Act.RELU}


@dataclass(frozen=True, slots=True)
class Lowered:
    """A program and the memory that it works in.

    Args:
        program: for any number of tokens.
        buffers: that it works in; the last two are the hidden states and logits of the rows that
            are due.
        codes: bytes of a token's prepared input, and groups of scales.
        adapters: slots, in the order of their sets of rows.
        experts: the most experts of a layer, and picks of a token.
    """

    program: Program
    buffers: tuple[Buffer, ...]
    codes: tuple[int, int]
    adapters: tuple[str, ...]
    experts: tuple[int, int]


def lower(model: Decoder, spec: ModelSpec, stores: Stores) -> Lowered | None:
    """Return a model's operations, or None where it has some that the kernels lack.

    Args:
        model: on the CPU.
        spec: of it.
        stores: where each layer's keys and values are kept.
    """
    if model.device.type != "cpu":
        return None
    updates = [u for module in model.modules() for u in _updates(module).items()]
    adapters = tuple(sorted({slot for slot, _ in updates}, key=int))
    emit = Emitter(LOW, adapters)
    walk = _Walk(model, spec, emit)
    try:
        walk.embed()
        for index, block in enumerate(model.layers):
            at = (stores.keys[index], stores.values[index], stores.group_of[index])
            walk.block(block, spec.layers[index], _Store(*at))
        walk.head()
    except Unknown:
        return None
    buffers = buffers_of(spec, max((update.a.shape[0] for _, update in updates), default=1))
    program = Program.of(emit.ops, emit.held)
    return Lowered(program, buffers, emit.codes, adapters, most_experts(spec))


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
        into = X if embed.widen is None else TABLE
        self.emit.put(
            Kind.EMBED,
            into,
            n=spec.width or self.spec.width,
            a=scale,
            **self.emit.rows(embed.tokens),
        )
        if embed.widen is not None:
            self.emit.linear(TABLE, X, Map(embed.widen))
        if embed.positions is not None:
            table = self.emit.rows(embed.positions)
            self.emit.put(Kind.EMBED, X, n=self.spec.width, mode=1, add=1, k=embed.offset, **table)
        if embed.norm is not None:
            self.emit.norm(X, X, embed.norm, width=self.spec.width)

    def block(self, block: nn.Module, spec: LayerSpec, store: _Store) -> None:
        """One layer."""
        attention, ffn = block.attn, block.ffn
        assert isinstance(attention, Attention)
        assert isinstance(ffn, nn.Module)
        if isinstance(block, ParallelBlock):
            self.emit.norm(X, NORMED, block.attn_norm, width=self.spec.width)
            other = NORMED
            if block.ffn_norm is not None:
                other = OTHER
                self.emit.norm(X, other, block.ffn_norm, width=self.spec.width)
            self.attention(attention, spec.mixer, NORMED, X, store)
            self.ffn(ffn, spec, other, X)
        elif isinstance(block, SumNormBlock):
            self.attention(attention, spec.mixer, X, X, store)
            self.emit.norm(X, X, block.attn_norm, width=self.spec.width)
            self.ffn(ffn, spec, X, X)
            self.emit.norm(X, X, block.ffn_norm, width=self.spec.width)
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
            return X
        self.emit.norm(X, NORMED, norm, width=self.spec.width)
        return NORMED

    def after(self, norm: nn.Module) -> At:
        """Return where a half adds to or writes: the residual itself where nothing follows."""
        return X if isinstance(norm, nn.Identity) else HALF

    def join(self, norm: nn.Module) -> None:
        """Add what a half wrote, normalized or multiplied, to the residual."""
        if isinstance(norm, nn.Identity):
            return
        factor = norm.factor if isinstance(norm, Times) else 1.0
        if not isinstance(norm, Times):
            self.emit.norm(HALF, HALF, norm, width=self.spec.width)
        width, half = self.spec.width, HALF.buffer
        self.emit.put(Kind.ADD, X, in_=half, n=width, a=factor)

    def attention(
        self, attn: Attention, mixer: AttentionSpec, into: At, out: At, store: _Store
    ) -> None:
        """Projections, rotation, cache, scores, projection."""
        q = QKV
        k = At(q.buffer, mixer.q_width)
        v = At(q.buffer, mixer.q_width + mixer.kv_width)
        self.project(attn.project, mixer, into, q, k, v)
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
        self.emit.linear(SEEN, out, _map(attn.out), add=out == X)

    def project(
        self, project: nn.Module, mixer: AttentionSpec, into: At, q: At, k: At, v: At
    ) -> None:
        """Queries, keys and values side by side."""
        if isinstance(project, FusedQKV):
            self.emit.linear(into, q, _map(project.qkv))
        elif isinstance(project, SplitQKV):
            for part, at in ((project.q, q), (project.k, k), (project.v, v)):
                self.emit.linear(into, at, _map(part), more=part is not project.v)
        else:
            assert isinstance(project, LatentQKV)
            assert isinstance(mixer.qkv, Latent)
            self.latent(project, mixer, mixer.qkv, into, q, k, v)

    def latent(
        self,
        project: LatentQKV,
        mixer: AttentionSpec,
        latent: Latent,
        into: At,
        q: At,
        k: At,
        v: At,
    ) -> None:
        """Projections through a narrow middle; a head's turned dims come first, as in torch."""
        heads, turned = mixer.heads, latent.rope_dim
        still, value = mixer.head_dim - turned, mixer.v_dim
        if latent.q_rank is None:
            self.emit.linear(into, RAW, _map(project.q))
        else:
            self.emit.linear(into, MIDDLE, _map(project.q_down))
            self.emit.norm(MIDDLE, MIDDLE, project.q_norm, width=latent.q_rank)
            self.emit.linear(MIDDLE, RAW, _map(project.q))

        def copy(source: At, out: At, n: int, apart: int, value: int) -> None:
            self.emit.put(
                Kind.COPY, out, in_=source.buffer, in_col=source.column, heads=heads, n=n,
                k=apart, value=value,
            )  # fmt: skip

        whole = mixer.head_dim
        copy(At(RAW.buffer, still), q, turned, whole, whole)
        copy(RAW, At(q.buffer, q.column + turned), still, whole, whole)
        self.emit.linear(into, MIDDLE, _map(project.kv_down))
        copy(At(MIDDLE.buffer, latent.kv_rank), k, turned, 0, whole)  # one for all heads
        self.emit.norm(MIDDLE, MIDDLE, project.kv_norm, width=latent.kv_rank)
        self.emit.linear(MIDDLE, RAW, _map(project.kv))
        copy(RAW, At(k.buffer, k.column + turned), still, still + value, whole)
        copy(At(RAW.buffer, still), v, value, still + value, value)

    def attend(
        self, attn: Attention, mixer: AttentionSpec, store: _Store, q: At, k: At, v: At
    ) -> None:
        """Keep keys and values, then look at all that are kept."""
        kept = {
            "format": _STORED[store.keys.dtype],
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
            Kind.ATTEND, SEEN, in_=q.buffer, heads=mixer.heads, a=mixer.scale,
            b=mixer.softcap or 0.0, window=mixer.window or 0, mode=mode, p2=slopes, p3=sinks,
            **kept,
        )  # fmt: skip

    def ffn(self, ffn: nn.Module, spec: LayerSpec, into: At, out: At) -> None:
        """One network, or a mixture of them."""
        if isinstance(spec.ffn, Dense):
            self.network(_Plain(self.emit, ffn), spec.ffn, into, INNER, out, add=out == X)
            return
        assert isinstance(ffn, Mixture)
        moe = spec.ffn
        self.emit.linear(into, SCORES, _map(ffn.router))
        self.pick(ffn, moe, moe.router)
        experts = _Experts(self.emit, list(ffn.experts), Picks(moe.experts, moe.top_k, EXPERT_LOW))
        self.network(experts, moe.expert, into, EXPERT_INNER, EXPERT_OUT, add=False)
        add = out == X
        if ffn.shared is not None and moe.shared is not None:
            self.network(_Plain(self.emit, ffn.shared), moe.shared, into, INNER, out, add=add)
            add = True
        self.emit.put(
            Kind.MIX, out, in_=EXPERT_OUT.buffer, in2=GATES.buffer, n=self.spec.width,
            spread=moe.top_k, add=add,
        )  # fmt: skip

    def pick(self, ffn: Mixture, moe: MoE, how: Router) -> None:
        """Choose experts and sort what each gets, by adapter where adapters change experts."""
        mode = Picking.SIGMOID if how.score == "sigmoid" else Picking(0)
        if how.renormalized:
            mode |= Picking.RENORMALIZED
        if how.groups is not None and how.groups.by == "two":
            mode |= Picking.BY_TWO
        correction = None if ffn.correction is None else self.emit.vector(ffn.correction)
        self.emit.put(
            Kind.PICK, GATES, in_=SCORES.buffer, n=moe.experts, k=moe.top_k, mode=mode,
            heads=how.groups.count if how.groups else 1,
            kv_heads=how.groups.picked if how.groups else 1, a=how.scale, p0=correction,
        )  # fmt: skip
        slots = {slot for module in ffn.experts.modules() for slot in _updates(module)}
        for rows in (ALL, *(self.emit.adapters.index(slot) for slot in sorted(slots, key=int))):
            self.emit.put(Kind.SORT, GATES, rows=rows, experts=moe.experts, spread=moe.top_k)

    def network(
        self, maps: _Plain | _Experts, dense: Dense, into: At, inner: At, out: At, *, add: bool
    ) -> None:
        """Up, gate, down."""
        gate, up = inner, At(inner.buffer, dense.width)
        act = {"in_": gate.buffer, "n": dense.width, **maps.fields}
        if isinstance(dense.act, ClampedSwish):
            act |= {"act": Act.CLAMPED, "a": dense.act.alpha, "b": dense.act.limit}
        else:
            act |= {"act": _ACTS[dense.act]}
        if dense.gate is None:
            maps.linear("up", into, gate)
        else:
            if dense.gate == "fused":
                maps.linear("gate_up", into, gate)
            else:
                maps.linear("gate", into, gate, more=True)
                maps.linear("up", into, up)
            act |= {"in2": up.buffer, "in2_col": up.column}
        self.emit.put(Kind.GATE, gate, **act)
        maps.linear("down", gate, out, add=add)

    def head(self) -> None:
        """Logits of the rows that are due."""
        head, width = self.model.output, self.spec.width
        self.emit.put(Kind.GATHER, DUE_STATES, in_=X.buffer, n=width)
        if not isinstance(self.model.norm, nn.Identity):
            self.emit.norm(DUE_STATES, DUE_STATES, self.model.norm, rows=DUE, width=self.spec.width)
        into = DUE_STATES
        if head.narrow is not None:
            into = TABLE
            self.emit.linear(DUE_STATES, into, Map(head.narrow), rows=DUE)
        weight = self.model.embed.tokens if head.weight is None else head.weight
        if head.updates:
            raise Unknown  # an adapter on the head: rows that are due have no set of their own
        self.emit.linear(into, LOGITS, Map(weight, head.bias), rows=DUE)
        if head.scale != 1.0 or head.softcap is not None:
            self.emit.put(
                Kind.SCALE, LOGITS, in_=LOGITS.buffer, n=self.spec.vocab, rows=DUE,
                a=head.scale, b=head.softcap or 0.0,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Plain:
    """The maps of one network, for all tokens."""

    emit: Emitter
    ffn: nn.Module
    fields: ClassVar[dict[str, Any]] = {}

    def linear(
        self, name: str, into: At, out: At, *, add: bool = False, more: bool = False
    ) -> None:
        """Multiply by the map of that name."""
        self.emit.linear(into, out, _map(getattr(self.ffn, name)), add=add, more=more)


@dataclass(frozen=True, slots=True)
class _Experts:
    """The maps of all experts, each for its picks."""

    emit: Emitter
    experts: Sequence[nn.Module]
    picks: Picks

    @property
    def fields(self) -> dict[str, Any]:
        """Which rows an operation between the maps is for."""
        return {"rows": PICKED, "spread": self.picks.top_k}

    def linear(
        self, name: str, into: At, out: At, *, add: bool = False, more: bool = False
    ) -> None:
        """Multiply by the maps of that name."""
        assert not add
        maps = [_map(getattr(expert, name)) for expert in self.experts]
        self.emit.experts(into, out, maps, self.picks, shared=name != "down", more=more)


def _map(linear: nn.Module) -> Map:
    """Return the weight, the bias and the adapters' updates of a linear map."""
    assert isinstance(linear, Linear | LoraLinear)
    return Map(linear.weight, linear.bias, _updates(linear))


def _updates(linear: nn.Module) -> dict[str, Any]:
    return dict(linear.updates.items()) if isinstance(linear, LoraLinear) else {}
