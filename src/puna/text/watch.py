"""The text of an answer in the making, and whether a stop text was met in it."""

from __future__ import annotations

from collections.abc import Sequence

from puna.text.stop import StopWatch
from puna.text.stream import TextStream
from puna.text.tokenizer import Tokenizer


class TextWatch:
    """Text of one request in the making; the engine asks it whether a stop string was met."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self._stream = TextStream(tokenizer, prompt)
        self._stop = StopWatch(stops) if stops else None
        self._parts: list[str] = []
        self._taken = 0
        self._met = False

    def __call__(self, new_ids: Sequence[int]) -> bool:
        """Take new ids; return True where the request must end."""
        for token in new_ids:
            self._show(self._stream.push(token))
            if self._met:
                return True
        return False

    def take(self) -> str:
        """Return the text that became final since the last call."""
        parts = self._parts[self._taken :]
        self._taken += len(parts)
        return "".join(parts)

    def finish(self) -> str:
        """Release what was held back and return the text not yet taken."""
        if not self._met:
            self._show(self._stream.finish())
        if not self._met and self._stop:
            self._parts.append(self._stop.finish())
        self._met = True
        return self.take()

    def _show(self, text: str) -> None:
        if self._stop is None:
            self._parts.append(text)
            return
        shown, self._met = self._stop.push(text)
        self._parts.append(shown)
