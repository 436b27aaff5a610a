"""Ids to text, one id at a time, and never a part of a character.

Two ways: where every id stands for fixed bytes (byte-level BPE, SentencePiece with byte
fallback) the bytes go through one UTF-8 decoder; for any other decoder a window of recent ids
is decoded again. Both cost the same per id however long the text is.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CONTEXT = 16  # ids kept before the first new one; a decoder looks one or two ids back
_HELD = 12  # more ids than any character is made of: what is still broken then is broken


class Detokenizer(Protocol):
    """The state of one text in the making."""

    def prime(self, ids: Sequence[int]) -> None:
        """Takes the ids that came before, without giving their text."""

    def push(self, token: int) -> str:
        """Takes one id; returns the text that is now final."""

    def finish(self) -> str:
        """Returns what was held back; bytes that never became a character are U+FFFD."""


class ByteDetokenizer:
    """Each id stands for fixed bytes; the text is their UTF-8.

    Args:
        bytes_of: the bytes of an id, empty for one that is skipped.
        strip: leading spaces that are the tokenizer's own and not the text's: 0, 1 or -1 (all).
    """

    def __init__(self, bytes_of: Callable[[int], bytes], strip: int) -> None:
        self._bytes_of = bytes_of
        self._strip = strip
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def prime(self, ids: Sequence[int]) -> None:
        """Takes the ids that came before, without giving their text."""
        self._feed(b"".join(map(self._bytes_of, ids)), final=False)

    def push(self, token: int) -> str:
        """Takes one id; returns the text that is now final."""
        return self._feed(self._bytes_of(token), final=False)

    def finish(self) -> str:
        """Returns what was held back."""
        return self._feed(b"", final=True)

    def text(self, ids: Sequence[int]) -> str:
        """The whole text of these ids in one go."""
        return self._feed(b"".join(map(self._bytes_of, ids)), final=True)

    def _feed(self, data: bytes, *, final: bool) -> str:
        text = self._utf8.decode(data, final)
        if not text or not self._strip:
            return text
        if self._strip > 0:
            self._strip = 0
            return text.removeprefix(" ")
        text = text.lstrip(" ")
        if text:
            self._strip = 0
        return text


class WindowDetokenizer:
    """For decoders that are not a map from id to bytes: decodes a sliding window of ids."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._read = 0  # the ids before this index have given their text

    def prime(self, ids: Sequence[int]) -> None:
        """Takes the ids that came before, without giving their text."""
        self._ids = list(ids[-_CONTEXT:])
        self._read = len(self._ids)

    def push(self, token: int) -> str:
        """Takes one id; returns the text that is now final."""
        self._ids.append(token)
        text = self._fresh()
        if text.endswith(_REPLACEMENT) and len(self._ids) - self._read < _HELD:
            return ""
        if text:
            # The window must start at an id with text, or the next word would count as the first.
            self._ids = (
                self._ids[self._read :] if self._decode(self._ids[self._read :]) else self._ids
            )
            self._read = len(self._ids)
        return text

    def finish(self) -> str:
        """Returns what was held back."""
        text = self._fresh()
        self._read = len(self._ids)
        return text

    def _fresh(self) -> str:
        return self._decode(self._ids)[len(self._decode(self._ids[: self._read])) :]


class HasDetokenizer(Protocol):
    """What `TextStream` needs of a tokenizer."""

    def detokenizer(self, *, skip_special: bool) -> Detokenizer:
        """A fresh state for one text."""


class TextStream:
    """The text of ids as they come; never a part of a character.

    The pushes and `finish` joined are `tokenizer.decode(ids)`; with `prompt_ids` they are what
    the ids add to the text of the prompt (so a word after a prompt keeps its leading space).
    The cost of a push does not grow with the text.

    Raises:
        TokenizerError: an id that the tokenizer does not have.
    """

    def __init__(
        self,
        tokenizer: HasDetokenizer,
        prompt_ids: Sequence[int] = (),
        *,
        skip_special: bool = True,
    ) -> None:
        self._state = tokenizer.detokenizer(skip_special=skip_special)
        if len(prompt_ids):
            self._state.prime(prompt_ids)

    def push(self, token: int) -> str:
        """Takes one id; returns the text that is now final, maybe empty."""
        return self._state.push(token)

    def finish(self) -> str:
        """Returns the rest; bytes that never became a character are U+FFFD."""
        return self._state.finish()
