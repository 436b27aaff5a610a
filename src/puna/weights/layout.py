"""Row orders of fused projections, there and back."""

from __future__ import annotations

import torch
from torch import Tensor

from puna.families import Layout


def to_ours(tensor: Tensor, layout: Layout) -> Tensor:
    """Reorder rows [R, …] from the published layout to all q, all k, all v."""
    if layout is None:
        return tensor
    groups = tensor.unflatten(0, (layout.kv_heads, layout.heads_per_kv + 2, layout.head_dim))  # type: ignore[no-untyped-call]
    parts = (groups[:, :-2], groups[:, -2:-1], groups[:, -1:])
    return torch.cat([part.flatten(0, 2) for part in parts])


def to_theirs(tensor: Tensor, layout: Layout) -> Tensor:
    """Reorder rows [R, …] from all q, all k, all v to the published layout."""
    if layout is None:
        return tensor
    heads = layout.kv_heads * layout.heads_per_kv
    sizes = [n * layout.head_dim for n in (heads, layout.kv_heads, layout.kv_heads)]
    parts = [
        part.unflatten(0, (layout.kv_heads, -1, layout.head_dim))
        for part in tensor.split(sizes)  # type: ignore[no-untyped-call]
    ]
    return torch.cat(parts, 1).flatten(0, 2)
