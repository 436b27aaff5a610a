"""Causal attention over a batch of equal-length sequences: the one place that does the arithmetic.

B sequences, H query heads, KV key/value heads, T queries, S keys, D head dim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from puna.spec import Alibi

# Queries are taken in blocks so that a mask never holds more entries than this.
_MASK_ENTRIES = 1 << 22


@dataclass(frozen=True, slots=True)
class AttentionRule:
    """How scores are made.

    Args:
        scale: of q·k.
        window: tokens a token sees, itself included.
        alibi: linear biases.
        softcap: c bends a score s to c·tanh(s / c).
        sinks: [H], one more score per head that takes its share and gives nothing.
    """

    scale: float
    window: int | None = None
    alibi: Alibi | None = None
    softcap: float | None = None
    sinks: Tensor | None = None

    @property
    def plain(self) -> bool:
        """True where scores are q·k alone, so that the library's kernels know them."""
        return self.alibi is None and self.stock

    @property
    def stock(self) -> bool:
        """True where the library's kernels can do it, given a mask."""
        return self.softcap is None and self.sinks is None

    def sees_all(self, length: int) -> bool:
        """Tell whether the window hides nothing in a sequence of that length."""
        return self.window is None or self.window >= length


def attend(
    q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, q_pos: Tensor | None = None
) -> Tensor:
    """Return softmax(scale·q·kᵀ + bias)·v over the keys each query may see.

    Shapes: q [B, H, T, D], k [B, KV, S, D], v [B, KV, S, E]; key s stands at position s. `q_pos`
    [B, T] gives the position of each query; without it T equals S and query t stands at t.
    Returns [B, H, T, E].
    """
    if q_pos is None and rule.plain and rule.sees_all(q.shape[2]):
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=rule.scale)
    if q_pos is None:
        q_pos = torch.arange(q.shape[2], device=q.device).expand(q.shape[0], -1)
    bias = _alibi_bias(rule, q.shape[1], k.shape[2], q.device)
    block = max(1, _MASK_ENTRIES // (k.shape[2] * q.shape[0] * _masks(q, k, v, rule)))
    parts = [
        _attend_block(q_block, k, v, rule, pos_block, bias)
        for q_block, pos_block in zip(
            torch.split(q, block, 2), torch.split(q_pos, block, 1), strict=True
        )
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def _masks(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> int:
    """Return the masks or scores that are held for each query: one, of a group, or of all heads."""
    # The library's kernel wants keys and values of one width; without it there are scores.
    fused = rule.plain and k.shape[3] == v.shape[3]
    return q.shape[1] // k.shape[1] if fused else q.shape[1]


def _attend_block(
    q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, q_pos: Tensor, bias: Tensor | None
) -> Tensor:
    """Attend with the G heads that share keys as G·T queries of one, so that no key is copied."""
    keys = torch.arange(k.shape[2], device=q.device)
    last = q_pos[:, None, :, None]
    seen = keys <= last  # [B, 1, T, S]
    if rule.window is not None:
        seen &= keys > last - rule.window
    queries = _by_group(q, k.shape[1])
    if rule.stock:
        if bias is None:
            mask = _by_group(seen.expand(-1, q.shape[1] // k.shape[1], -1, -1), 1)
        else:
            mask = _by_group(torch.where(seen, bias.to(q.dtype), -math.inf), k.shape[1])
        out = F.scaled_dot_product_attention(queries, k, v, attn_mask=mask, scale=rule.scale)
    else:
        scores = _scores(queries, k, rule).view(*q.shape[:3], -1)
        scores = scores if bias is None else scores + bias
        shares = _shares(scores.masked_fill(~seen, -math.inf), rule.sinks).to(v.dtype)
        out = _by_group(shares, k.shape[1]) @ v
    return out.reshape(*q.shape[:3], -1)


def _by_group(x: Tensor, groups: int) -> Tensor:
    """Return [B, H, T, *] as [B, groups, G·T, *]: the heads of a group as so many queries."""
    return x.reshape(x.shape[0], groups, -1, x.shape[3])


def _scores(q: Tensor, k: Tensor, rule: AttentionRule) -> Tensor:
    """Return scores in float32, before bias and mask."""
    scores = (q @ k.transpose(2, 3)).float() * rule.scale
    if rule.softcap is not None:
        scores = rule.softcap * torch.tanh(scores / rule.softcap)
    return scores


def _shares(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """Return the softmax of scores [B, H, T, S], in which sinks [H] take part and get nothing."""
    if sinks is None:
        return scores.softmax(-1)
    extra = sinks.float()[None, :, None, None].expand(*scores.shape[:3], 1)
    return torch.cat((scores, extra), -1).softmax(-1)[..., :-1]


def _alibi_bias(rule: AttentionRule, heads: int, keys: int, device: torch.device) -> Tensor | None:
    """Return slope times key position, [H, 1, S]; softmax ignores what a whole row shares."""
    if rule.alibi is None:
        return None
    slopes = alibi_slopes(heads, rule.alibi.steepest).to(device)[:, None, None]
    positions = torch.arange(keys, device=device)
    bias = (slopes.bfloat16() * positions).float() if rule.alibi.rounded else slopes * positions
    return bias * rule.scale if rule.alibi.divided else bias


def alibi_slopes(heads: int, steepest: float = 8.0) -> Tensor:
    """Return the head slopes of Press et al. 2021, [H] float32, for any number of heads."""

    def geometric(count: int, first: float, step: int) -> list[float]:
        return [first ** (step * i + 1) for i in range(count)]

    power = 2 ** math.floor(math.log2(heads))
    slopes = geometric(power, 2.0 ** -(steepest / power), 1)
    slopes += geometric(heads - power, 2.0 ** -(steepest / 2 / power), 2)
    return torch.tensor(slopes, dtype=torch.float32, device="cpu")
