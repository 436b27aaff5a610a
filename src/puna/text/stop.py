"""Stop text: where generation ends because of what it says."""

from __future__ import annotations

from collections.abc import Sequence

from puna.errors import UsageError


class StopWatch:
    """Watches streamed text for stop strings, also across the borders of tokens.

    The stop that is complete first wins (the longest of those that end together), so the result
    does not depend on how the text was cut into pushes. The stop itself is never given out.
    The cost of a push is its length times the number of stops (Knuth, Morris, Pratt 1977).

    Raises:
        UsageError: a stop that is empty or not text.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        stops = (stops,) if isinstance(stops, str) else tuple(stops)
        for stop in stops:
            if not isinstance(stop, str):
                raise UsageError(f"a stop must be text, not {type(stop).__name__}")
            if not stop:
                raise UsageError("a stop text is empty", remedy="leave it out")
        self._stops = stops
        self._borders = tuple(_borders(stop) for stop in stops)
        self._matched = [0] * len(stops)  # how much of each stop the text ends with
        self._held = ""
        self._met = False

    def push(self, text: str) -> tuple[str, bool]:
        """Takes text; returns what may be shown and whether a stop was met.

        After a stop was met every further push gives `("", True)`.
        """
        if self._met:
            return "", True
        if not self._stops:
            return text, False
        held = self._held + text
        for read, character in enumerate(text, start=len(self._held) + 1):
            size = self._advance(character)
            if size:
                self._met, self._held = True, ""
                return held[: read - size], True
        show = len(held) - max(self._matched)
        self._held = held[show:]
        return held[:show], False

    def finish(self) -> str:
        """Releases the text that was held back because a stop might have begun in it."""
        text, self._held = self._held, ""
        self._matched = [0] * len(self._stops)
        return text

    def _advance(self, character: str) -> int:
        """One character on; the length of the longest stop that ends here, or 0."""
        longest = 0
        for index, stop in enumerate(self._stops):
            size = self._matched[index]
            while size and stop[size] != character:
                size = self._borders[index][size - 1]
            size += stop[size] == character
            self._matched[index] = size
            if size == len(stop):
                longest = max(longest, size)
        return longest


def _borders(stop: str) -> tuple[int, ...]:
    """For each prefix, the length of its longest proper prefix that is also its suffix."""
    table = [0] * len(stop)
    size = 0
    for index in range(1, len(stop)):
        while size and stop[size] != stop[index]:
            size = table[size - 1]
        size += stop[size] == stop[index]
        table[index] = size
    return tuple(table)
