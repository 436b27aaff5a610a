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
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    if q_pos is None and rule.plain and rule.sees_all(q.shape[2]):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=rule.scale)
    if q_pos is None:
        q_pos = torch.arange(q.shape[2], device=q.device).expand(q.shape[0], -1)
    bias = _alibi_bias(rule, q.shape[1], k.shape[2], q.device)
    heads = 1 if bias is None and rule.stock else q.shape[1]
    block = max(1, _MASK_ENTRIES // (k.shape[2] * q.shape[0] * heads))
    parts = [
        _attend_block(q_block, k, v, rule, pos_block, bias)
        for q_block, pos_block in zip(
            torch.split(q, block, 2), torch.split(q_pos, block, 1), strict=True
        )
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def _attend_block(
    q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, q_pos: Tensor, bias: Tensor | None
) -> Tensor:
    keys = torch.arange(k.shape[2], device=q.device)
    distance = q_pos[:, None, :, None] - keys  # [B, 1, T, S]
    seen = distance >= 0
    if rule.window is not None:
        seen &= distance < rule.window
    if not rule.stock:
        return _weigh(_scores(q, k, rule, bias).masked_fill(~seen, -math.inf), v, rule.sinks)
    mask = seen if bias is None else torch.where(seen, bias.to(q.dtype), -math.inf)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=rule.scale)


def _scores(q: Tensor, k: Tensor, rule: AttentionRule, bias: Tensor | None) -> Tensor:
    """Return scores [B, H, T, S] in float32, before any mask."""
    scores = (q @ k.transpose(2, 3)).float() * rule.scale
    if rule.softcap is not None:
        scores = rule.softcap * torch.tanh(scores / rule.softcap)
    return scores if bias is None else scores + bias


def _weigh(scores: Tensor, v: Tensor, sinks: Tensor | None) -> Tensor:
    """Return softmax(scores)·v, where sinks [H] take part in the softmax alone."""
    if sinks is None:
        return scores.softmax(-1).to(v.dtype) @ v
    extra = sinks.float()[None, :, None, None].expand(*scores.shape[:3], 1)
    shares = torch.cat((scores, extra), -1).softmax(-1)[..., :-1]
    return shares.to(v.dtype) @ v


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
