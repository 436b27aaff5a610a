"""The context of one-shot scoring where sequences begin alike: what they share is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from puna.model.attend import AttentionRule, attend
from puna.model.context import Rows

# Branches are attended together as long as their keys, each with the prefix before it, are fewer.
_KEYS = 1 << 15


@dataclass(frozen=True, slots=True)
class Tree:
    """A prefix of so many tokens, and branches that each go on after it; none is empty."""

    prefix: int
    branches: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of prefix and branches."""
        return self.prefix + sum(self.branches)


@dataclass(frozen=True, slots=True)
class _Fork:
    """Branches of one tree that are attended together, B of them, the longest of L tokens."""

    tokens: Tensor  # [B·L] index of each token; a short branch repeats its last one
    positions: Tensor  # [B, L]
    places: Tensor  # [n] where the tokens' outputs stand, of the B·L
    own: slice


class Branches:
    """N tokens of trees laid end to end, in each the prefix and then its branches.

    A token of a branch sees the prefix and its branch up to itself, as if the two were a sequence
    of their own; a token of a prefix sees the prefix up to itself.

    Args:
        trees: in order; their tokens together are N.
        rows: which adapter the tokens use.
        device: where the index tensors live.

    `spans` is the longest of a tree's sequences. Where rotation depends on a sequence's length,
    only sequences of one length may share a tree.
    """

    def __init__(
        self,
        trees: Sequence[Tree],
        *,
        rows: Rows | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rows = rows or Rows()
        sizes = torch.tensor([tree.tokens for tree in trees])
        spans = torch.tensor([tree.prefix + max(tree.branches) for tree in trees])
        self.spans = spans.repeat_interleave(sizes).to(device)
        self.positions = torch.cat([_positions(tree) for tree in trees]).to(device)
        starts = [0, *sizes.cumsum(0).tolist()]
        self._forks = [
            [_moved(fork, device) for fork in _forks(tree, start)]
            for tree, start in zip(trees, starts, strict=False)
        ]
        self._prefixes = [slice(s, s + t.prefix) for s, t in zip(starts, trees, strict=False)]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        """See `Context.attend`; nothing is kept between layers."""
        out = q.new_empty(*q.shape[:2], v.shape[2])
        for prefix, forks in zip(self._prefixes, self._forks, strict=True):
            qs, ks, vs = (_shared(x, prefix, 1) for x in (q, k, v))
            out[prefix] = attend(qs, ks, vs, rule)[0].transpose(0, 1)
            for fork in forks:
                batch = fork.positions.shape[0]
                qs = _batched(q, fork.tokens, batch)
                ks, vs = (
                    torch.cat((_shared(x, prefix, batch), _batched(x, fork.tokens, batch)), 2)
                    for x in (k, v)
                )
                found = attend(qs, ks, vs, rule, fork.positions).transpose(1, 2).flatten(0, 1)
                out[fork.own] = found[fork.places]
        return out


def _batched(x: Tensor, tokens: Tensor, batch: int) -> Tensor:
    """Return the rows of some tokens, [B, heads, L, D]."""
    return x.index_select(0, tokens).view(batch, -1, *x.shape[1:]).transpose(1, 2)


def _shared(x: Tensor, prefix: slice, batch: int) -> Tensor:
    """Return the prefix's rows for each of B branches, [B, heads, P, D]."""
    return x[prefix].transpose(0, 1).expand(batch, -1, -1, -1)


def _positions(tree: Tree) -> Tensor:
    own = [torch.arange(tree.prefix, tree.prefix + size) for size in tree.branches]
    return torch.cat([torch.arange(tree.prefix), *own])


def _forks(tree: Tree, start: int) -> Iterator[_Fork]:
    """Cut the branches, as they come, into runs whose keys are few enough."""
    each = max(1, _KEYS // (tree.prefix + max(tree.branches)))
    cuts = [*range(0, len(tree.branches), each), len(tree.branches)]
    at = start + tree.prefix
    for first, last in pairwise(cuts):
        sizes = torch.tensor(tree.branches[first:last])
        steps = torch.arange(int(sizes.max()))[None]  # [1, L]
        within = torch.minimum(steps, sizes[:, None] - 1)  # [B, L]
        begins = at + sizes.cumsum(0) - sizes
        end = at + int(sizes.sum())
        yield _Fork(
            (begins[:, None] + within).flatten(),
            tree.prefix + within,
            (steps < sizes[:, None]).flatten().nonzero()[:, 0],
            slice(at, end),
        )
        at = end


def _moved(fork: _Fork, device: torch.device | str) -> _Fork:
    return replace(
        fork,
        tokens=fork.tokens.to(device),
        positions=fork.positions.to(device),
        places=fork.places.to(device),
    )
