"""Keys and values of past tokens in pages, and the context that attends over them.

Paged attention (Kwon et al. 2023): a sequence owns pages of fixed size anywhere in one pool.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from puna.model import AttentionRule, Rows, attend
from puna.spec import ModelSpec

PAGE = 16


class PagePool:
    """The pages of all sequences; page 0 stays zero and is what shorter rows are padded with.

    Storage doubles as it is needed, up to `limit` pages.
    """

    def __init__(
        self, spec: ModelSpec, *, limit: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.limit = limit
        mixers = [layer.mixer for layer in spec.layers]
        self._made = 1
        self._free: list[int] = []

        def stores(sizes: list[tuple[int, int]]) -> list[Tensor]:
            return [torch.zeros(PAGE, *size, dtype=dtype, device=device) for size in sizes]

        self.keys = stores([(m.kv_heads, m.head_dim) for m in mixers])
        self.values = stores([(m.kv_heads, m.v_dim) for m in mixers])

    @property
    def free(self) -> int:
        """Pages that can still be taken."""
        return len(self._free) + self.limit - (self._made - 1)

    def take(self, count: int) -> list[int] | None:
        """Return `count` pages, or None and take nothing where there are not so many."""
        if count > self.free:
            return None
        while len(self._free) < count:
            self._grow()
        taken = self._free[-count:] if count else []
        del self._free[len(self._free) - count :]
        return taken

    @torch.inference_mode()
    def give_back(self, pages: Sequence[int], *, wipe: bool = False) -> None:
        """Return pages to the pool; `wipe` those of a sequence whose values were not finite.

        A masked key still meets its value in a product, where zero times NaN would be NaN.
        """
        if wipe and pages:
            slots = _slots(torch.tensor(list(pages)))
            for store in (*self.keys, *self.values):
                store[slots.to(store.device)] = 0
        self._free.extend(pages)

    def _grow(self) -> None:
        more = min(max(self._made, 64), self.limit - (self._made - 1))
        for store in (self.keys, self.values):
            for layer, old in enumerate(store):
                new = old.new_zeros((self._made + more) * PAGE, *old.shape[1:])
                new[: len(old)] = old
                store[layer] = new
        self._free.extend(range(self._made + more - 1, self._made - 1, -1))
        self._made += more


@dataclass(frozen=True, slots=True)
class Chunk:
    """The tokens of one sequence in one step: `count` of them from position `start`."""

    pages: Sequence[int]
    start: int
    count: int
    span: int
    adapter: int | None


@dataclass(frozen=True, slots=True)
class Group:
    """Chunks of one size that are attended together: B chunks of T queries over S slots."""

    tokens: Tensor  # [B·T] rows of the step
    slots: Tensor  # [B·S] where their keys lie
    positions: Tensor  # [B, T]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the N tokens of a step stand: in their sequences, in the pool, and in its groups."""

    rows: Rows
    spans: Tensor  # [N]
    positions: Tensor  # [N]
    places: Tensor  # [N] slots that their keys are written to
    groups: tuple[Group, ...]
    back: Tensor  # [N] which of the groups' outputs, end to end, is each token's


def lay_out(chunks: Sequence[Chunk], device: torch.device) -> Layout:
    """Return where the tokens of chunks stand that are laid end to end."""
    counts = torch.tensor([chunk.count for chunk in chunks])
    starts = torch.tensor([chunk.start for chunk in chunks])
    first = counts.cumsum(0) - counts
    owner = torch.arange(len(chunks)).repeat_interleave(counts)
    positions = torch.arange(int(counts.sum())) - first[owner] + starts[owner]
    tables = _tables(chunks)
    places = tables[owner, positions // PAGE] * PAGE + positions % PAGE
    groups = tuple(_group(members, chunks, tables, first, device) for members in _like(chunks))
    return Layout(
        _rows(chunks, owner, device),
        torch.tensor([chunk.span for chunk in chunks])[owner].to(device),
        positions.to(device),
        places.to(device),
        groups,
        torch.cat([group.tokens for group in groups]).argsort(),
    )


class Pages:
    """The context of one engine step over chunks of sequences.

    Keys and values of the step's own tokens are written to their pages first, so that a chunk
    sees itself and everything before it by the one same rule.
    """

    def __init__(self, pool: PagePool, layout: Layout) -> None:
        self._pool = pool
        self._layout = layout
        self.rows, self.spans, self.positions = layout.rows, layout.spans, layout.positions

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        """See `Context.attend`."""
        keys, values = self._pool.keys[layer], self._pool.values[layer]
        keys[self._layout.places] = k
        values[self._layout.places] = v
        outputs = []
        for group in self._layout.groups:
            batch = group.positions.shape[0]
            ks, vs = (
                store.index_select(0, group.slots).unflatten(0, (batch, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
                for store in (keys, values)
            )
            qs = q[group.tokens].unflatten(0, (batch, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
            outputs.append(attend(qs, ks, vs, rule, group.positions).transpose(1, 2).flatten(0, 1))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)[self._layout.back]


def _rows(chunks: Sequence[Chunk], owner: Tensor, device: torch.device) -> Rows:
    used = {chunk.adapter for chunk in chunks}
    if len(used) == 1:
        return Rows(used.pop())
    slots = torch.tensor([-1 if chunk.adapter is None else chunk.adapter for chunk in chunks])
    return Rows(slots[owner].to(device))


def _like(chunks: Sequence[Chunk]) -> list[list[int]]:
    """Group chunks of one size whose lengths differ by at most a factor of two."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, chunk in enumerate(chunks):
        groups[chunk.count, _pages_of(chunk).bit_length()].append(index)
    return list(groups.values())


def _group(
    members: Sequence[int],
    chunks: Sequence[Chunk],
    tables: Tensor,
    first: Tensor,
    device: torch.device,
) -> Group:
    count = chunks[members[0]].count
    width = max(_pages_of(chunks[m]) for m in members)
    chosen = torch.tensor(list(members))
    steps = torch.arange(count)
    starts = torch.tensor([chunks[m].start for m in members])
    return Group(
        (first[chosen][:, None] + steps).flatten().to(device),
        _slots(tables[chosen, :width].flatten()).to(device),
        (starts[:, None] + steps).to(device),
    )


def _tables(chunks: Sequence[Chunk]) -> Tensor:
    tables = torch.zeros(len(chunks), max(map(_pages_of, chunks)), dtype=torch.int64)
    for row, chunk in zip(tables, chunks, strict=True):
        used = _pages_of(chunk)
        row[:used] = torch.tensor(chunk.pages[:used])
    return tables


def _pages_of(chunk: Chunk) -> int:
    return -(-(chunk.start + chunk.count) // PAGE)


def _slots(pages: Tensor) -> Tensor:
    return (pages[:, None] * PAGE + torch.arange(PAGE)).flatten()
