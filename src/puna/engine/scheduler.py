"""Who advances in a step, under a budget of tokens and pages.

There is no prefill and no decode: a step advances `computed` toward `len(tokens)` for some
sequences. Where pages run out, the sequence that came last gives its own back and is computed
again later (recomputation, Kwon et al. 2023).
"""

from __future__ import annotations

from collections import deque

from puna.engine.pages import PAGE, Chunk, PagePool
from puna.engine.sequence import Sequence


class Scheduler:
    """First come, first served; at most `max_sequences` at once."""

    def __init__(self, pool: PagePool, *, max_sequences: int, max_batch_tokens: int) -> None:
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._pool = pool
        self._max_sequences = max_sequences
        self._max_batch_tokens = max_batch_tokens

    def plan(self) -> list[tuple[Sequence, Chunk]]:
        """Choose the chunks of one step and take the pages they need."""
        chosen: list[tuple[Sequence, Chunk]] = []
        budget = self._max_batch_tokens
        for sequence in list(self.running):
            if budget == 0:
                break
            # A sequence that had to give way for an earlier one is no longer running.
            if sequence in self.running and (chunk := self._chunk(sequence, budget, evict=True)):
                chosen.append((sequence, chunk))
                budget -= chunk.count
        while budget and self.waiting and len(self.running) < self._max_sequences:
            chunk = self._chunk(self.waiting[0], budget, evict=False)
            if chunk is None:
                break
            sequence = self.waiting.popleft()
            self.running.append(sequence)
            chosen.append((sequence, chunk))
            budget -= chunk.count
        return chosen

    def remove(self, sequence: Sequence, *, wipe: bool = False) -> None:
        """Forget a sequence and free its pages; `wipe` them if they hold values not finite."""
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self._release(sequence, wipe=wipe)

    def _chunk(self, sequence: Sequence, budget: int, *, evict: bool) -> Chunk | None:
        count = min(len(sequence.tokens) - sequence.computed, budget)
        needed = -(-(sequence.computed + count) // PAGE) - len(sequence.pages)
        pages = self._pool.take(max(0, needed))
        while pages is None and evict and self.running[-1] is not sequence:
            self._give_way(self.running[-1])
            pages = self._pool.take(needed)
        if pages is None:
            if evict and len(self.running) > 1:
                self._give_way(sequence)
            return None
        sequence.pages.extend(pages)
        return Chunk(
            sequence.pages, sequence.computed, count, sequence.span, sequence.request.adapter
        )

    def _give_way(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._release(sequence)
        sequence.computed = 0
        self.waiting.appendleft(sequence)

    def _release(self, sequence: Sequence, *, wipe: bool = False) -> None:
        self._pool.give_back(sequence.pages, wipe=wipe)
        sequence.pages = []
