"""Row orders and offsets of stored tensors, there and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from puna.families import (
    GroupedQKV,
    LatentHalves,
    Layout,
    Raised,
    RopePairs,
    Slice,
    Transposed,
)


def to_ours(tensor: Tensor, layout: Layout) -> Tensor:
    """Return a stored tensor, or the part of it that a place names, in our row order.

    Fused projections [R, …] come out as all q, all k, all v. What needs no copy is a view.
    """
    match layout:
        case None | LatentHalves():
            return tensor
        case Transposed():
            return tensor.T if tensor.ndim == 2 else tensor
        case Slice():
            return _rows_of(tensor[layout.index], layout)
        case Raised():
            return tensor - layout.by
        case RopePairs():
            return _swapped(tensor, layout.heads, -1, 2)
    ours = torch.empty_like(tensor)
    for their_part, our_part in _parts(tensor, ours, layout):
        our_part.copy_(their_part)
    return ours


def to_theirs(tensor: Tensor, layout: Layout) -> Tensor:
    """Return one of our tensors in the stored row order; a `Slice` takes `assemble`."""
    match layout:
        case None:
            return tensor
        case Transposed():
            return tensor.T if tensor.ndim == 2 else tensor
        case Slice():
            raise ValueError("a slice is no published tensor by itself")
        case Raised():
            return tensor.float() + layout.by
        case RopePairs():
            return _swapped(tensor, layout.heads, 2, -1)
        case LatentHalves():
            return _half_of(tensor, layout)
    theirs = torch.empty_like(tensor)
    for their_part, our_part in _parts(theirs, tensor, layout):
        their_part.copy_(our_part)
    return theirs


def their_shape(shape: Sequence[int], layouts: Sequence[Layout]) -> tuple[int, ...]:
    """Return the published shape of our tensor, or of the tensors of that shape that share one."""
    first = layouts[0]
    if isinstance(first, Slice):
        rows = sum(1 for layout in layouts if isinstance(layout, Slice) and layout.index == 0)
        whole = (shape[0] * rows, *shape[1:])
        return (len(layouts) // rows, *(reversed(whole) if first.transposed else whole))
    return tuple(reversed(shape)) if isinstance(first, Transposed) else tuple(shape)


def assemble(parts: Sequence[tuple[Tensor, Slice]]) -> Tensor:
    """Return the published tensor that these slices, all of one shape, make up."""
    shape = their_shape(parts[0][0].shape, [layout for _, layout in parts])
    whole = parts[0][0].new_empty(shape)
    for ours, layout in parts:
        _rows_of(whole[layout.index], layout).copy_(ours)
    return whole


def join_halves(keys: Tensor, values: Tensor) -> Tensor:
    """Return the map from a latent to keys and values of two tensors [H, R, K] and [H, V, R]."""
    return torch.cat([keys.transpose(1, 2), values], 1).flatten(0, 1)


def _half_of(tensor: Tensor, layout: LatentHalves) -> Tensor:
    if layout.half == "both":
        return tensor
    rows = tensor.unflatten(0, (layout.heads, layout.keys + layout.values))  # type: ignore[no-untyped-call]
    keys, values = rows.split([layout.keys, layout.values], 1)
    half: Tensor = keys.transpose(1, 2) if layout.half == "keys" else values
    return half.contiguous()


def _rows_of(one: Tensor, layout: Slice) -> Tensor:
    """Return the rows that a slice takes of the expert it names, as a view."""
    one = one.T if layout.transposed and one.ndim == 2 else one
    return one[layout.start :: layout.step]


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
