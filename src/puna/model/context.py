"""The seam: what a forward pass must know about the sequences its tokens belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from puna.model.attend import AttentionRule


@dataclass(frozen=True, slots=True)
class Rows:
    """Which adapter each of N rows uses.

    `adapters` is None (the bare base), one slot for all rows, or a tensor [N] of slots in which
    a negative number means the bare base.
    """

    adapters: int | Tensor | None = None

    def take(self, index: Tensor) -> Rows:
        """Return the rows at `index` [M]; a router uses it to send tokens to an expert."""
        if isinstance(self.adapters, Tensor):
            return Rows(self.adapters[index])
        return self


class Context(Protocol):
    """Which tokens see which. `Segments` serves training and one-shot scoring, pages the engine."""

    @property
    def rows(self) -> Rows:
        """The adapter of each of the N tokens."""

    @property
    def spans(self) -> Tensor:
        """[N] int64: the length each token's sequence was admitted with, in tokens."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        """Let N queries see the keys of their own sequence, up to themselves.

        Shapes: q [N, H, D], k [N, KV, D], both rotated, v [N, KV, E]; returns [N, H, E].
        """
