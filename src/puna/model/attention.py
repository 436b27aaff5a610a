"""Projections, rotation and the hand-over to the context that knows who sees whom."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from puna.model.attend import AttentionRule
from puna.model.context import Context, Rows
from puna.model.linear import Linear
from puna.model.norm import build_norm
from puna.model.position import rotate
from puna.spec import Alibi, Latent, QKNorm, Rope
from puna.spec import Attention as AttentionSpec

Table = tuple[Tensor, Tensor]


class SplitQKV(nn.Module):
    """Three projections."""

    def __init__(self, spec: AttentionSpec, width: int) -> None:
        super().__init__()
        self.q = Linear(width, spec.q_width, bias=spec.qkv_bias)
        self.k = Linear(width, spec.kv_width, bias=spec.qkv_bias)
        self.v = Linear(width, spec.kv_width, bias=spec.qkv_bias)

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Map x [N, width] to q [N, H·D], k and v [N, KV·D]."""
        return self.q(x, rows), self.k(x, rows), self.v(x, rows)


class FusedQKV(nn.Module):
    """One projection whose rows are all q, then all k, then all v."""

    def __init__(self, spec: AttentionSpec, width: int) -> None:
        super().__init__()
        self.sizes = [spec.q_width, spec.kv_width, spec.kv_width]
        self.qkv = Linear(width, sum(self.sizes), bias=spec.qkv_bias)

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Map x [N, width] to q [N, H·D], k and v [N, KV·D]."""
        q, k, v = self.qkv(x, rows).split(self.sizes, -1)
        return q, k, v


class LatentQKV(nn.Module):
    """Projections through a narrow middle; see `puna.spec.Latent`.

    A head's turned dims come first here and last in the checkpoint: a product of q and k is the
    same in any order.
    """

    def __init__(self, spec: AttentionSpec, latent: Latent, width: int) -> None:
        super().__init__()
        self.heads, self.rope = spec.heads, latent.rope_dim
        self.rest, self.value = spec.head_dim - latent.rope_dim, spec.v_dim
        self.middle = [latent.kv_rank, latent.rope_dim]
        if latent.q_rank is None:
            self.q = Linear(width, spec.q_width, bias=False)
        else:
            self.q_down = Linear(width, latent.q_rank, bias=latent.bias)
            self.q_norm = build_norm(latent.norm, latent.q_rank)
            self.q = Linear(latent.q_rank, spec.q_width, bias=False)
        self.narrow_q = latent.q_rank is not None
        self.kv_down = Linear(width, sum(self.middle), bias=latent.bias)
        self.kv_norm = build_norm(latent.norm, latent.kv_rank)
        self.kv = Linear(latent.kv_rank, spec.heads * (self.rest + self.value), bias=False)

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Map x [N, width] to q and k [N, H·D], v [N, H·E]."""
        hidden = self.q_norm(self.q_down(x, rows)) if self.narrow_q else x
        q = self.q(hidden, rows).unflatten(-1, (self.heads, -1))
        still, turning = q.split([self.rest, self.rope], -1)
        middle, shared = self.kv_down(x, rows).split(self.middle, -1)
        kv = self.kv(self.kv_norm(middle), rows).unflatten(-1, (self.heads, -1))
        k, v = kv.split([self.rest, self.value], -1)
        shared = shared[:, None].expand(-1, self.heads, -1)
        q, k = torch.cat((turning, still), -1), torch.cat((shared, k), -1)
        return q.flatten(1), k.flatten(1), v.flatten(1)


class QKNorms(nn.Module):
    """Norms of q and k over each head, or over all heads at once."""

    def __init__(self, norm: QKNorm, spec: AttentionSpec) -> None:
        super().__init__()
        each = norm.over == "head"
        self.q = build_norm(norm.norm, spec.head_dim if each else spec.q_width)
        self.k = build_norm(norm.norm, spec.head_dim if each else spec.kv_width)
        self.each = each

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Normalize q [N, H, D] and k [N, KV, D]."""
        if self.each:
            return self.q(q), self.k(k)
        return self.q(q.flatten(1)).view_as(q), self.k(k.flatten(1)).view_as(k)


class Attention(nn.Module):
    """Causal attention of one layer."""

    def __init__(self, spec: AttentionSpec, width: int, layer: int) -> None:
        super().__init__()
        self.project = _build_projections(spec, width)
        self.norms = QKNorms(spec.qk_norm, spec) if spec.qk_norm else None
        self.sinks = nn.Parameter(torch.empty(spec.heads)) if spec.sinks else None
        self.out = Linear(spec.heads * spec.v_dim, width, bias=spec.out_bias)
        self.layer = layer
        self.head_dim, self.v_dim = spec.head_dim, spec.v_dim
        self.clip = spec.clip
        self.rope = spec.position if isinstance(spec.position, Rope) else None
        alibi = spec.position if isinstance(spec.position, Alibi) else None
        self.rule = AttentionRule(spec.scale, spec.window, alibi, spec.softcap)

    def forward(self, x: Tensor, table: Table | None, ctx: Context) -> Tensor:
        """Map x [N, width] to [N, width]; `table` is the (cos, sin) of this layer's rope."""
        flat = self.project(x, ctx.rows)
        if self.clip is not None:
            flat = tuple(t.clamp(-self.clip, self.clip) for t in flat)
        sizes = (self.head_dim, self.head_dim, self.v_dim)
        q, k, v = (t.unflatten(-1, (-1, size)) for t, size in zip(flat, sizes, strict=True))
        if self.norms is not None:
            q, k = self.norms(q, k)
        if self.rope is not None and table is not None:
            q, k = rotate(q, *table, self.rope), rotate(k, *table, self.rope)
        rule = self.rule if self.sinks is None else replace(self.rule, sinks=self.sinks)
        seen = ctx.attend(self.layer, q, k, v, rule)  # [N, H, E]
        out: Tensor = self.out(seen.flatten(1), ctx.rows)
        return out


def _build_projections(spec: AttentionSpec, width: int) -> nn.Module:
    if isinstance(spec.qkv, Latent):
        return LatentQKV(spec, spec.qkv, width)
    return (FusedQKV if spec.qkv == "fused" else SplitQKV)(spec, width)
