"""Pages that were computed once serve every sequence with the same beginning.

A full page is named by a digest over its tokens and the digest of the page before, back to a
root over all else that its values depend on (as in vLLM's prefix caching, Kwon et al. 2023). The
digest is BLAKE2b of 256 bits: nobody can make two beginnings that share a name, so no request is
ever given pages of another text than its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

from puna.engine.pages import PAGE, PagePool, first_page
from puna.engine.sequence import Sequence
from puna.spec import DynamicScaling, LongRopeScaling, ModelSpec, Rope, RopeScaling


class PrefixCache:
    """Names full pages and finds them again.

    Args:
        pool: whose pages.
        spec: of the model.
        stride: where a page's values depend on where chunks began: chunks of prompts begin at
            multiples of so many tokens, and only what such chunks computed is named.
    """

    def __init__(self, pool: PagePool, spec: ModelSpec, *, stride: int | None = None) -> None:
        self._pool = pool
        self._stride = stride
        positions = [layer.mixer.position for layer in spec.layers]
        scalings = (p.scaling for p in positions if isinstance(p, Rope))
        self._scalings = list(dict.fromkeys(s for s in scalings if s is not None))

    def adopt(self, sequence: Sequence) -> None:
        """Let a sequence that has no pages hold the longest run of pages that begin like it.

        One of its tokens at least is left to compute, since its logits are wanted.
        """
        count, beginning = self._match(sequence)
        if beginning > count:  # a window before that place is missing; the next will find it
            sequence.forks.add(beginning)
        tables = []
        for group, window in zip(self._pool.groups, self._pool.windows, strict=True):
            first = min(count, first_page(count * PAGE, window))
            found = [group.find(digest) for digest in sequence.digests[first:count]]
            pages = [page for page in found if page is not None]
            for page in pages:
                group.hold(page)
            tables.append([0] * first + pages)
        sequence.tables = tuple(tables)
        sequence.computed = count * PAGE
        if sequence.cached is None:
            sequence.cached = sequence.computed

    def awaits(self, sequence: Sequence, running: Iterable[Sequence]) -> bool:
        """Tell whether one that goes before this sequence is about to compute its next pages."""
        count, _ = self._match(sequence)
        own = self._digests(sequence, _most(sequence))
        for other in running:
            theirs = self._digests(other, self._nameable(other))
            same = _shared(own, theirs)
            if same > max(count, other.computed // PAGE) and other.rank < sequence.rank:
                other.forks.add(same)
                return True
        return False

    def remember(self, sequence: Sequence, *, all: bool) -> None:
        """Name a sequence's full pages whose values are finite, so that others may hold them.

        Args:
            sequence: its pages up to `computed`.
            all: of a window's pages, not only those where another may go on in its own way.
        """
        full = min(sequence.computed // PAGE, self._nameable(sequence, answer=all))
        digests = self._digests(sequence, full)
        for number, group in enumerate(self._pool.groups):
            window = self._pool.windows[number]
            keep = range(full) if all or window is None else _kept(sequence, full, window)
            table = sequence.tables[number]
            new = [
                (table[n], digests[n])
                for n in keep
                if table[n] and not group.named(table[n]) and group.find(digests[n]) is None
            ]
            fine = self._pool.finite(number, [page for page, _ in new])
            for (page, digest), good in zip(new, fine, strict=True):
                if not good:
                    break
                group.name(page, digest)

    def forget(self) -> None:
        """Forget every name: pages that sequences hold stay theirs."""
        for group in self._pool.groups:
            group.forget()

    def _match(self, sequence: Sequence) -> tuple[int, int]:
        """Return the pages that can be reused, and those that some group has in a row."""
        most = _most(sequence)
        digests = self._digests(sequence, most)
        beginning = most
        for group, window in zip(self._pool.groups, self._pool.windows, strict=True):
            if window is None:
                run = (n for n in range(beginning) if group.find(digests[n]) is None)
                beginning = next(run, beginning)
        step = (self._stride or PAGE) // PAGE
        for count in range(beginning - beginning % step, 0, -step):
            if self._windows_stand(digests, count):
                return count, beginning if self._has_whole() else count
        return 0, beginning if self._has_whole() else 0

    def _windows_stand(self, digests: list[bytes], count: int) -> bool:
        """Tell whether what the token after `count` pages sees through windows is all there."""
        for group, window in zip(self._pool.groups, self._pool.windows, strict=True):
            if window is not None:
                needed = range(min(count, first_page(count * PAGE, window)), count)
                # The last page first: it is the one that is missing most often.
                if any(group.find(digests[n]) is None for n in reversed(needed)):
                    return False
        return True

    def _has_whole(self) -> bool:
        return None in self._pool.windows

    def _nameable(self, sequence: Sequence, *, answer: bool = False) -> int:
        """Return how many of a sequence's pages may get a name."""
        prompt = len(sequence.request.prompt_ids)
        if self._stride is not None:
            return prompt // self._stride * self._stride // PAGE
        return (len(sequence.tokens) if answer else prompt) // PAGE

    def _digests(self, sequence: Sequence, count: int) -> list[bytes]:
        """Return the names of a sequence's first `count` pages."""
        known = sequence.digests
        while len(known) < count:
            before = known[-1] if known else self._root(sequence)
            tokens = sequence.tokens[len(known) * PAGE : (len(known) + 1) * PAGE]
            known.append(blake2b(before + array("q", tokens).tobytes(), digest_size=32).digest())
        return known[:count]

    def _root(self, sequence: Sequence) -> bytes:
        spans = [_turned(scaling, sequence.span) for scaling in self._scalings]
        return blake2b(repr((sequence.request.adapter, spans)).encode(), digest_size=32).digest()


def _turned(scaling: RopeScaling, span: int) -> int:
    """Return what the angles of a rope depend on beside the position."""
    if isinstance(scaling, DynamicScaling):
        return max(span, scaling.original_context)
    if isinstance(scaling, LongRopeScaling):
        return int(span > scaling.original_context)
    return 0


def _most(sequence: Sequence) -> int:
    """Return the pages that leave one token to compute."""
    return (len(sequence.tokens) - 1) // PAGE


def _shared(one: list[bytes], two: list[bytes]) -> int:
    """Return how many pages two sequences have in common; their digests are chained."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[middle - 1] == two[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low


def _kept(sequence: Sequence, full: int, window: int) -> list[int]:
    """Return which pages of a window another may need: those before the prompt's end or a fork."""
    ends = sequence.forks | {(len(sequence.request.prompt_ids) - 1) // PAGE}
    kept = {n for end in ends for n in range(first_page(end * PAGE, window), end)}
    return sorted(n for n in kept if n < full)
