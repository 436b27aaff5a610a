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
    """How scores are made: scale of q·k, tokens a token sees (itself included), linear biases."""

    scale: float
    window: int | None = None
    alibi: Alibi | None = None

    @property
    def plain(self) -> bool:
        """True where causality is the only rule."""
        return self.window is None and self.alibi is None


def attend(
    q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, q_pos: Tensor | None = None
) -> Tensor:
    """Return softmax(scale·q·kᵀ + bias)·v over the keys each query may see.

    Shapes: q [B, H, T, D], k and v [B, KV, S, D]; key s stands at position s. `q_pos` [B, T] gives
    the position of each query; without it T equals S and query t stands at t. Returns [B, H, T, D].
    """
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    if q_pos is None and (rule.plain or (rule.alibi is None and _within(rule, q.shape[2]))):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=rule.scale)
    if q_pos is None:
        q_pos = torch.arange(q.shape[2], device=q.device).expand(q.shape[0], -1)
    bias = _alibi_bias(rule, q.shape[1], k.shape[2], q.device)
    block = max(1, _MASK_ENTRIES // (k.shape[2] * q.shape[0] * (1 if bias is None else q.shape[1])))
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
    mask = seen if bias is None else torch.where(seen, bias.to(q.dtype), -math.inf)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=rule.scale)


def _within(rule: AttentionRule, length: int) -> bool:
    return rule.window is not None and rule.window >= length


def _alibi_bias(rule: AttentionRule, heads: int, keys: int, device: torch.device) -> Tensor | None:
    """Return slope times key position, [H, 1, S]; softmax ignores what a whole row shares."""
    if rule.alibi is None:
        return None
    slopes = alibi_slopes(heads).to(device)[:, None, None]
    positions = torch.arange(keys, device=device)
    bias = (slopes.bfloat16() * positions).float() if rule.alibi.rounded else slopes * positions
    return bias * rule.scale if rule.alibi.divided else bias


def alibi_slopes(heads: int) -> Tensor:
    """Return the head slopes of Press et al. 2021, [H] float32, for any number of heads."""

    def geometric(count: int, first: float, step: int) -> list[float]:
        return [first ** (step * i + 1) for i in range(count)]

    power = 2 ** math.floor(math.log2(heads))
    slopes = geometric(power, 2.0 ** -(8.0 / power), 1)
    slopes += geometric(heads - power, 2.0 ** -(4.0 / power), 2)
    return torch.tensor(slopes, dtype=torch.float32, device="cpu")
