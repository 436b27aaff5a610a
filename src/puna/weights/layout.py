"""Row orders and offsets of stored tensors, there and back."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from puna.families import GroupedQKV, Layout, Raised, RopePairs


def to_ours(tensor: Tensor, layout: Layout) -> Tensor:
    """Turn rows [R, …] of the stored layout into ours."""
    if layout is None:
        return tensor
    if isinstance(layout, Raised):
        return tensor - layout.by
    if isinstance(layout, RopePairs):
        return _swapped(tensor, layout.heads, -1, 2)
    ours = torch.empty_like(tensor)
    for their_part, our_part in _parts(tensor, ours, layout):
        our_part.copy_(their_part)
    return ours


def to_theirs(tensor: Tensor, layout: Layout) -> Tensor:
    """Turn our rows [R, …] into the stored layout."""
    if layout is None:
        return tensor
    if isinstance(layout, Raised):
        return tensor.float() + layout.by
    if isinstance(layout, RopePairs):
        return _swapped(tensor, layout.heads, 2, -1)
    theirs = torch.empty_like(tensor)
    for their_part, our_part in _parts(theirs, tensor, layout):
        their_part.copy_(our_part)
    return theirs


def _swapped(tensor: Tensor, heads: int, outer: int, inner: int) -> Tensor:
    rows = tensor.unflatten(0, (heads, outer, inner))  # type: ignore[no-untyped-call]
    return rows.transpose(1, 2).reshape(tensor.shape)  # type: ignore[no-any-return]


def _parts(theirs: Tensor, ours: Tensor, layout: GroupedQKV) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield q, k and v as views [KV, H, D, …] of both orders."""
    groups = theirs.unflatten(0, (layout.kv_heads, layout.heads_per_kv + 2, layout.head_dim))  # type: ignore[no-untyped-call]
    heads = (layout.heads_per_kv, 1, 1)
    sizes = [layout.kv_heads * n * layout.head_dim for n in heads]
    for part, rows in zip(groups.split(heads, 1), ours.split(sizes), strict=True):  # type: ignore[no-untyped-call]
        yield part, rows.unflatten(0, (layout.kv_heads, -1, layout.head_dim))
