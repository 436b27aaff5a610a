"""Who advances in a step, under a budget of tokens and pages.

There is no prefill and no decode: a step advances `computed` toward `len(tokens)` for some
sequences. Where pages run out, the sequence of the last rank gives its own back and is computed
again later (recomputation, Kwon et al. 2023), most of it from the prefix cache.

Rank: a request counts as having come `OVERTAKING` places earlier for each step of its priority.
So higher priorities go first, equal ones in the order they came, and nobody waits for ever: at
most that many later requests overtake one for each step that they are above it.
"""

from __future__ import annotations

from bisect import insort

from puna.engine.pages import PAGE, Chunk, PagePool, first_page
from puna.engine.prefix import PrefixCache
from puna.engine.sequence import Sequence

# Where others are one token from their end, prompts get one part in so many of a step: a token of
# theirs comes at every step, and a step must not take long.
PROMPTS_SHARE = 4


class Scheduler:
    """Plans steps.

    Args:
        pool: where pages come from.
        prefixes: what is known of them.
        max_sequences: that run at once.
        max_batch_tokens: of a step; no more sequences run, so each gets one at least.
        stride: chunks of a prompt begin at multiples of it, and an answer is computed token by
            token; a step may then have up to that many tokens more.
    """

    def __init__(
        self,
        pool: PagePool,
        prefixes: PrefixCache,
        *,
        max_sequences: int,
        max_batch_tokens: int,
        stride: int | None = None,
    ) -> None:
        self.waiting: list[Sequence] = []  # both by rank
        self.running: list[Sequence] = []
        self._pool = pool
        self._prefixes = prefixes
        self._most = min(max_sequences, max_batch_tokens)
        self._budget = max_batch_tokens
        self._stride = stride

    def add(self, sequence: Sequence) -> None:
        """Take a sequence in."""
        insort(self.waiting, sequence, key=_rank)

    def plan(self) -> list[tuple[Sequence, Chunk]]:
        """Choose the chunks of one step, best rank first, and take the pages they need."""
        chosen: list[tuple[Sequence, Chunk]] = []
        budget, places = self._prompts_budget(), self._most
        for sequence in sorted(self.running + self.waiting, key=_rank):
            decodes = sequence.running and sequence.missing == 1
            if not sequence.running:
                if budget < 1 or places < 1 or not self._has_place(sequence):
                    places = 0  # nobody is served before those that came earlier
                    continue
                places -= 1
                if self._prefixes.awaits(sequence, self.running):
                    continue
                self._start(sequence)
            if not decodes or len(sequence.draft) > budget:
                sequence.draft = []
            chunk = self._chunk(sequence, 1 if decodes else budget)
            if chunk is not None:
                chosen.append((sequence, chunk))
                budget -= chunk.count - decodes
            elif not sequence.running:
                places = 0
        return chosen

    def note(self, sequence: Sequence, chunk: Chunk) -> None:
        """Count a chunk as computed."""
        sequence.computed = min(chunk.start + chunk.count, len(sequence.tokens))
        if chunk.start < len(sequence.request.prompt_ids):
            self._prefixes.remember(sequence, all=False)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence; its full pages stay for whoever begins like it."""
        (self.running if sequence in self.running else self.waiting).remove(sequence)
        self._release(sequence)

    def _prompts_budget(self) -> int:
        """Return the tokens that are left when each that lacks one token has it."""
        decodes = sum(sequence.missing == 1 for sequence in self.running)
        left = self._budget - decodes
        return min(left, max(1, self._budget // PROMPTS_SHARE)) if decodes else left

    def _has_place(self, sequence: Sequence) -> bool:
        """Tell whether one more may run, if need be in place of one that comes after it."""
        if len(self.running) < self._most:
            return True
        if self.running[-1].rank < sequence.rank:
            return False
        self._give_way(self.running[-1])
        return True

    def _start(self, sequence: Sequence) -> None:
        self.waiting.remove(sequence)
        insort(self.running, sequence, key=_rank)
        self._prefixes.adopt(sequence)

    def _chunk(self, sequence: Sequence, budget: int) -> Chunk | None:
        """Return a running sequence's next chunk; None where it has to wait."""
        count = self._count(sequence, budget)
        if count < 1:
            return None
        if sequence.draft and not self._reach(sequence, count + len(sequence.draft)):
            sequence.draft = []  # nobody gives way to a guess
        while not self._reach(sequence, count + len(sequence.draft)):
            last = self.running[-1]
            self._give_way(last)
            if last is sequence:
                return None
        count += len(sequence.draft)
        adapter = sequence.request.adapter
        return Chunk(sequence.tables, sequence.computed, count, sequence.span, adapter)

    def _count(self, sequence: Sequence, budget: int) -> int:
        if self._stride is None or budget < 1:
            return min(sequence.missing, budget)
        left = len(sequence.request.prompt_ids) - sequence.computed
        return min(left, self._stride - sequence.computed % self._stride) if left > 0 else 1

    def _reach(self, sequence: Sequence, count: int) -> bool:
        """Take what pages `count` more tokens need, in every group or in none."""
        pages = -(-(sequence.computed + count) // PAGE)
        groups = list(zip(self._pool.groups, sequence.tables, strict=True))
        self._drop(sequence)
        if any(pages - len(table) > group.available for group, table in groups):
            return False
        for group, table in groups:
            table.extend(group.take(pages - len(table)))
        return True

    def _drop(self, sequence: Sequence) -> None:
        """Give back the pages that no token to come can see."""
        for number, window in enumerate(self._pool.windows):
            table = sequence.tables[number]
            first = min(first_page(sequence.computed, window), len(table))
            passed = first
            while passed and table[passed - 1]:
                passed -= 1
            gone = table[passed:first]
            table[passed:first] = [0] * len(gone)
            self._pool.give_back(number, gone)

    def _give_way(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._release(sequence)
        insort(self.waiting, sequence, key=_rank)

    def _release(self, sequence: Sequence) -> None:
        if sequence.tables:
            self._prefixes.remember(sequence, all=True)
        for number, table in enumerate(sequence.tables):
            # The end of a text is the first to be reused: without it, its beginning still serves.
            self._pool.give_back(number, [page for page in reversed(table) if page])
        sequence.tables, sequence.draft, sequence.computed = (), [], 0


def _rank(sequence: Sequence) -> tuple[int, int]:
    return sequence.rank
