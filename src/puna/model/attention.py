"""Projections, rotation and the hand-over to the context that knows who sees whom."""

from __future__ import annotations

from torch import Tensor, nn

from puna.model.attend import AttentionRule
from puna.model.context import Context, Rows
from puna.model.linear import Linear
from puna.model.position import rotate
from puna.spec import Alibi, Rope
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


class Attention(nn.Module):
    """Causal attention of one layer."""

    def __init__(self, spec: AttentionSpec, width: int, layer: int) -> None:
        super().__init__()
        self.project = (FusedQKV if spec.qkv == "fused" else SplitQKV)(spec, width)
        self.out = Linear(spec.q_width, width, bias=spec.out_bias)
        self.layer = layer
        self.head_dim = spec.head_dim
        self.rope = spec.position if isinstance(spec.position, Rope) else None
        alibi = spec.position if isinstance(spec.position, Alibi) else None
        self.rule = AttentionRule(spec.scale, spec.window, alibi)

    def forward(self, x: Tensor, table: Table | None, ctx: Context) -> Tensor:
        """Map x [N, width] to [N, width]; `table` is the (cos, sin) of this layer's rope."""
        q, k, v = (t.unflatten(-1, (-1, self.head_dim)) for t in self.project(x, ctx.rows))
        if self.rope is not None and table is not None:
            q, k = rotate(q, *table, self.rope), rotate(k, *table, self.rope)
        seen = ctx.attend(self.layer, q, k, v, self.rule)  # [N, H, D]
        out: Tensor = self.out(seen.flatten(1), ctx.rows)
        return out
