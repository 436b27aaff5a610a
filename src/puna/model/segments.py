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
    tokens: Tensor  # [B·L] index of each token; a short segment repeats its last one
    batch: int


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
        buckets, places = _bucket(sizes.tolist(), starts.tolist())
        self._buckets = [_Bucket(b.tokens.to(device), b.batch) for b in buckets]
        self._places = places.to(device)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        """See `Context.attend`; nothing is kept between layers."""
        outputs = []
        for bucket in self._buckets:
            # index_select, not x[…]: its backward is an order of magnitude faster on the CPU.
            padded = (x.index_select(0, bucket.tokens) for x in (q, k, v))
            qs, ks, vs = (x.view(bucket.batch, -1, *x.shape[1:]).transpose(1, 2) for x in padded)
            outputs.append(attend(qs, ks, vs, rule).transpose(1, 2).flatten(0, 1))
        return torch.cat(outputs).index_select(0, self._places)


def _bucket(sizes: list[int], starts: list[int]) -> tuple[list[_Bucket], Tensor]:
    """Group segments of like length; also return where each token's output will stand."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, size in enumerate(sizes):
        groups[-(-size // _BUCKET)].append(index)
    buckets, places, done = [], torch.empty(sum(sizes), dtype=torch.int64), 0
    for members in groups.values():
        length = torch.tensor([sizes[i] for i in members])[:, None]
        start = torch.tensor([starts[i] for i in members])[:, None]
        steps = torch.arange(int(length.max()))[None]
        tokens = start + torch.minimum(steps, length - 1)  # [B, L]
        buckets.append(_Bucket(tokens.flatten(), len(members)))
        valid = (steps < length).flatten()
        places[tokens.flatten()[valid]] = done + valid.nonzero()[:, 0]
        done += tokens.numel()
    return buckets, places
