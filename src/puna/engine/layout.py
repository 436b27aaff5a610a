"""Where the tokens of a step stand, and the context that attends over their pages.

N tokens of a step, in groups of B pieces of T queries over S slots each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from puna.engine.pages import PAGE, Chunk, first_page
from puna.engine.storage import keep, take
from puna.model import AttentionRule, Rows, attend

# Below so many queries it does not pay to cut a piece for the sake of a window.
_SHORTEST = 128


@dataclass(frozen=True, slots=True)
class Piece:
    """Queries of one chunk: `count` from row `row` of the step, from position `start` on.

    They read `pages` pages of the chunk's table, from page `first` on.
    """

    chunk: int
    row: int
    start: int
    count: int
    first: int
    pages: int


@dataclass(frozen=True, slots=True)
class Group:
    """Pieces of one size that are attended together."""

    tokens: Tensor  # [B·T] rows of the step
    slots: Tensor  # [B·S] where their keys lie
    positions: Tensor  # [B, T] counted from the first key


@dataclass(frozen=True, slots=True)
class View:
    """A step as the layers of one group of pages see it."""

    places: Tensor  # [N] slots that keys are written to
    groups: tuple[Group, ...]
    back: Tensor  # [N] which of the groups' outputs, end to end, is each token's


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the N tokens of a step stand: in their sequences, and in each group of pages."""

    rows: Rows
    spans: Tensor  # [N]
    positions: Tensor  # [N]
    views: tuple[View, ...]


def lay_out(chunks: Sequence[Chunk], windows: Sequence[int | None], device: torch.device) -> Layout:
    """Return where the tokens of chunks stand that are laid end to end.

    Args:
        chunks: each with one table for each window.
        windows: of the groups of pages.
        device: where the index tensors go.
    """
    counts = torch.tensor([chunk.count for chunk in chunks])
    owner = torch.arange(len(chunks)).repeat_interleave(counts)
    positions = [chunk.start + step for chunk in chunks for step in range(chunk.count)]
    return Layout(
        _rows(chunks, owner, device),
        torch.tensor([chunk.span for chunk in chunks])[owner].to(device),
        torch.tensor(positions).to(device),
        tuple(_view(chunks, group, window, device) for group, window in enumerate(windows)),
    )


def arrange(chunks: Sequence[Chunk], window: int | None) -> list[list[Piece]]:
    """Return the pieces of chunks, those of one size and of like length together.

    A window cuts long chunks into pieces of about its own size, which read only what they see.
    """
    groups: dict[tuple[int, int], list[Piece]] = defaultdict(list)
    row = 0
    for index, chunk in enumerate(chunks):
        end = chunk.start + chunk.count
        size = chunk.count if window is None else max(window, _SHORTEST)
        for start in range(chunk.start, end, size):
            count = min(size, end - start)
            first = first_page(start, window)
            pages = -(-(start + count) // PAGE) - first
            piece = Piece(index, row + start - chunk.start, start, count, first, pages)
            groups[count, pages.bit_length()].append(piece)
        row += chunk.count
    return list(groups.values())


class Stores(Protocol):
    """Keys and values of each layer, and which view of a step the layer takes."""

    @property
    def keys(self) -> list[Tensor]:
        """[slots, KV, D] of each layer; see `puna.engine.storage`."""

    @property
    def values(self) -> list[Tensor]:
        """[slots, KV, E] of each layer."""

    @property
    def group_of(self) -> tuple[int, ...]:
        """The view that each layer takes."""


class Pages:
    """The context of one engine step over chunks of sequences.

    Keys and values of the step's own tokens are written to their pages first, so that a chunk
    sees itself and everything before it by the one same rule.
    """

    def __init__(self, pool: Stores, layout: Layout) -> None:
        self._pool = pool
        self._views = layout.views
        self.rows, self.spans, self.positions = layout.rows, layout.spans, layout.positions

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        """See `Context.attend`."""
        view = self._views[self._pool.group_of[layer]]
        keys, values = self._pool.keys[layer], self._pool.values[layer]
        keep(keys, view.places, k)
        keep(values, view.places, v)
        outputs = []
        for group in view.groups:
            batch = group.positions.shape[0]
            ks, vs = (
                take(store, group.slots, q.dtype).unflatten(0, (batch, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
                for store in (keys, values)
            )
            qs = q[group.tokens].unflatten(0, (batch, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
            outputs.append(attend(qs, ks, vs, rule, group.positions).transpose(1, 2).flatten(0, 1))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)[view.back]


def _rows(chunks: Sequence[Chunk], owner: Tensor, device: torch.device) -> Rows:
    used = {chunk.adapter for chunk in chunks}
    if len(used) == 1:
        return Rows(used.pop())
    slots = torch.tensor([-1 if chunk.adapter is None else chunk.adapter for chunk in chunks])
    return Rows(slots[owner].to(device))


def _view(chunks: Sequence[Chunk], number: int, window: int | None, device: torch.device) -> View:
    tables = [chunk.tables[number] for chunk in chunks]
    places = [
        table[position // PAGE] * PAGE + position % PAGE
        for chunk, table in zip(chunks, tables, strict=True)
        for position in range(chunk.start, chunk.start + chunk.count)
    ]
    groups = tuple(_group(pieces, tables, device) for pieces in arrange(chunks, window))
    back = torch.cat([group.tokens for group in groups]).argsort()
    return View(torch.tensor(places).to(device), groups, back)


def _group(pieces: Sequence[Piece], tables: Sequence[Sequence[int]], device: torch.device) -> Group:
    width = max(piece.pages for piece in pieces)
    steps = torch.arange(pieces[0].count)
    pages: list[int] = []
    for piece in pieces:
        pages.extend(tables[piece.chunk][piece.first : piece.first + piece.pages])
        pages.extend([0] * (width - piece.pages))
    slots = torch.tensor(pages)[:, None] * PAGE + torch.arange(PAGE)
    rows = torch.tensor([piece.row for piece in pieces])
    starts = torch.tensor([piece.start - piece.first * PAGE for piece in pieces])
    return Group(
        (rows[:, None] + steps).flatten().to(device),
        slots.flatten().to(device),
        (starts[:, None] + steps).to(device),
    )
