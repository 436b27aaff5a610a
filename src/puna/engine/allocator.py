"""Page numbers: who holds which, which are free, and which are kept by name for whoever asks."""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Iterable


class Allocator:
    """Hands out the pages 1 … limit of one group; page 0 belongs to nobody.

    A page has holders, or it is free, or it is idle: held by none, but named by a digest, so that
    the next sequence with the same beginning may hold it again. Lowest free pages go first, which
    keeps what is in use close together; where none is free, the page that was idle longest goes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._made = 0  # pages above have never been used
        self._free: list[int] = []  # a heap
        self._holders: Counter[int] = Counter()
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._page_of: dict[bytes, int] = {}
        self._name_of: dict[int, bytes] = {}

    @property
    def available(self) -> int:
        """Pages that can be taken, idle ones included."""
        return self.limit - len(self._holders)

    @property
    def held(self) -> int:
        """Pages that some sequence holds."""
        return len(self._holders)

    @property
    def touched(self) -> int:
        """Pages that have been used at some time: what the group takes of memory."""
        return self._made

    def take(self, count: int) -> list[int]:
        """Return `count` pages, of which there must be so many, to one holder."""
        return [self._one() for _ in range(count)]

    def hold(self, page: int) -> None:
        """Add a holder to a page that is held or idle."""
        self._idle.pop(page, None)
        self._holders[page] += 1

    def let_go(self, pages: Iterable[int]) -> list[int]:
        """Take a holder from each page; return those that are free now.

        Named pages become idle, the first of them to be taken first.
        """
        freed = []
        for page in pages:
            self._holders[page] -= 1
            if self._holders[page]:
                continue
            del self._holders[page]
            if page in self._name_of:
                self._idle[page] = None
            else:
                heapq.heappush(self._free, page)
                freed.append(page)
        return freed

    def name(self, page: int, digest: bytes) -> None:
        """Let a held page be found by a digest that no page has."""
        self._page_of[digest] = page
        self._name_of[page] = digest

    def named(self, page: int) -> bool:
        """Tell whether a page has a name."""
        return page in self._name_of

    def find(self, digest: bytes) -> int | None:
        """Return the page of that name."""
        return self._page_of.get(digest)

    def forget(self) -> list[int]:
        """Take every name away; return the pages that are free by that."""
        freed = list(self._idle)
        self._idle.clear()
        self._page_of.clear()
        self._name_of.clear()
        for page in freed:
            heapq.heappush(self._free, page)
        return freed

    def _one(self) -> int:
        if self._free:
            page = heapq.heappop(self._free)
        elif self._made < self.limit:
            self._made += 1
            page = self._made
        else:
            page, _ = self._idle.popitem(last=False)
            del self._page_of[self._name_of.pop(page)]
        self._holders[page] = 1
        return page
