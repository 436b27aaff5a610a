"""Tensor names as rows; the inverse, and what an adapter calls a module, are derived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GroupedQKV:
    """How Falcon, BLOOM and GPT-NeoX store one fused projection: rows grouped by key/value head.

    Their rows are `view(kv_heads, heads_per_kv + 2, head_dim)`: per group all queries, then the
    key, then the value. Ours are all queries, then all keys, then all values.
    """

    kv_heads: int
    heads_per_kv: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class RopePairs:
    """How GGUF stores q and k of some families: the two dims that turn together are neighbors.

    Their rows are `view(heads, head_dim / 2, 2)`; ours are `view(heads, 2, head_dim / 2)`.
    """

    heads: int


@dataclass(frozen=True, slots=True)
class Raised:
    """A tensor stored with `by` added to every value: norms whose weight counts from one."""

    by: float


Layout = GroupedQKV | RopePairs | Raised | None


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor: its name in the published checkpoint, ours, and how its rows are ordered there.

    `{i}` stands for the layer and `{e}` for the expert, in both names.
    """

    theirs: str
    ours: str
    layout: Layout = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where one published tensor goes."""

    theirs: str
    ours: str
    layout: Layout


class NameTable:
    """The rows of one model, spelled out for every layer and expert.

    Args:
        rows: the family's rows.
        layers, experts: how often `{i}` and `{e}` run.
        prefix: a prefix that published checkpoints may leave out of all names but the head's.
        extra: published names that hold nothing to load, each with the reason.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        *,
        layers: int,
        experts: int = 0,
        prefix: str = "",
        extra: dict[str, str] | None = None,
    ) -> None:
        self.places = tuple(_spell_out(rows, layers, experts))
        self.prefix = prefix
        self.extra = {
            pattern.replace("{i}", str(i)): reason
            for pattern, reason in (extra or {}).items()
            for i in range(layers if "{i}" in pattern else 1)
        }
        self._by_theirs = {place.theirs: place for place in self.places}
        self._by_ours = {place.ours: place for place in self.places}

    def by_theirs(self, name: str) -> Place | None:
        """Return the place of a published tensor, or None where no row names it."""
        return self._by_theirs.get(name) or self._by_theirs.get(self.prefix + name)

    def by_ours(self, name: str) -> Place:
        """Return the place of our tensor `name`."""
        return self._by_ours[name]

    def reason_to_skip(self, name: str) -> str | None:
        """Return why a published tensor may stay unplaced, or None where it may not."""
        return self.extra.get(name) or self.extra.get(self.prefix + name)

    def their_module(self, ours: str) -> Place:
        """Return the published module of our linear map `ours`; both without `.weight`."""
        place = self._by_ours[ours + ".weight"]
        return Place(place.theirs.removesuffix(".weight"), ours, place.layout)

    def our_module(self, theirs: str) -> Place | None:
        """Return our linear map for the published module `theirs`, or None."""
        place = self.by_theirs(theirs + ".weight")
        if place is None:
            return None
        return Place(theirs, place.ours.removesuffix(".weight"), place.layout)


def _spell_out(rows: Iterable[Row], layers: int, experts: int) -> Iterable[Place]:
    for row in rows:
        for i in range(layers if "{i}" in row.ours else 1):
            for e in range(experts if "{e}" in row.ours else 1):
                theirs, ours = (
                    name.replace("{i}", str(i)).replace("{e}", str(e))
                    for name in (row.theirs, row.ours)
                )
                yield Place(theirs, ours, row.layout)
