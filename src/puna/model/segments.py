"""The context of training and one-shot scoring: whole sequences laid end to end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from puna.model.attend import AttentionRule, attend
from puna.model.context import Rows

# Segments are padded up to a multiple of this and attended together.
_BUCKET = 32


@dataclass(frozen=True, slots=True)
class _Bucket:
    gather: Tensor  # [B, L] flat token index; a short segment repeats its last token
    valid: Tensor  # [B, L] bool: False where the token is such a repeat


class Segments:
    """N tokens in segments of the given lengths; a token sees its own segment up to itself.

    Args:
        lengths: tokens of each segment, in order; their sum is N.
        rows: which adapter the tokens use.
        spans: length each segment was admitted with, where that is more than its own length.
        device: where the index tensors live.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        rows: Rows | None = None,
        spans: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        sizes = torch.tensor(list(lengths), dtype=torch.int64)
        starts = sizes.cumsum(0) - sizes
        self.rows = rows or Rows()
        total = torch.tensor(list(spans), dtype=torch.int64) if spans else sizes
        self.spans = total.repeat_interleave(sizes).to(device)
        offsets = torch.arange(int(sizes.sum())) - starts.repeat_interleave(sizes)
        self.positions = offsets.to(device)
        self._buckets, inverse = _bucket(sizes.tolist(), starts.tolist())
        self._buckets = [_Bucket(b.gather.to(device), b.valid.to(device)) for b in self._buckets]
        self._inverse = inverse.to(device)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        """See `Context.attend`; nothing is kept between layers."""
        outputs = []
        for bucket in self._buckets:
            qs, ks, vs = (x[bucket.gather].transpose(1, 2) for x in (q, k, v))  # [B, heads, L, D]
            out = attend(qs, ks, vs, rule).transpose(1, 2)  # [B, L, H, D]
            outputs.append(out[bucket.valid])
        return torch.cat(outputs)[self._inverse]


def _bucket(sizes: list[int], starts: list[int]) -> tuple[list[_Bucket], Tensor]:
    """Group segments of like length; also return where each token's output will stand."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, size in enumerate(sizes):
        groups[-(-size // _BUCKET)].append(index)
    buckets, order = [], []
    for members in groups.values():
        length = torch.tensor([sizes[i] for i in members])[:, None]
        start = torch.tensor([starts[i] for i in members])[:, None]
        steps = torch.arange(int(length.max()))[None]
        valid = steps < length
        gather = start + torch.minimum(steps, length - 1)
        buckets.append(_Bucket(gather, valid))
        order.append(gather[valid])
    return buckets, torch.argsort(torch.cat(order))
