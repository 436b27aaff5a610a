"""Changes of templates: pieces of the language taken out, put in, moved and nested."""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random

from tests.fuzz.target import Native

_PIECE = re.compile(r"\{[{%#]-?|-?[}%#]\}|\w+|\s+|.", re.DOTALL)


class WordMutator:
    """Changes a template piece by piece.

    Args:
        seeds: templates; whole tags of them are put into others.
        words: words and signs of the language.
        tag: what one whole tag looks like.
    """

    def __init__(self, seeds: Iterable[bytes], words: Iterable[str], tag: str) -> None:
        self._words = tuple(words)
        texts = [seed.decode() for seed in seeds]
        found = {tag_: None for text in texts for tag_ in re.findall(tag, text, re.DOTALL)}
        self._tags = tuple(tag_ for tag_ in found if len(tag_) < 200)

    def __call__(self, data: bytes, dice: Random, native: Native) -> bytes:
        if dice.random() < 0.1:
            return native(data)
        pieces = _PIECE.findall(data.decode("utf-8", "replace")) or [" "]
        for _ in range(dice.choice((1, 1, 2, 3, 6))):
            self._change(pieces, dice)
        return "".join(pieces).encode()

    def _change(self, pieces: list[str], dice: Random) -> None:
        at = dice.randrange(len(pieces) + 1)
        end = min(len(pieces), at + dice.choice((0, 1, 1, 2, 5, 20)))
        kind = dice.randrange(6)
        if kind == 0:
            del pieces[at:end]
        elif kind == 1:
            pieces[at:at] = pieces[at:end] * dice.choice((1, 2, 8))
        elif kind == 2:
            pieces[at:end] = [dice.choice(self._words)]
        elif kind == 3:
            pieces.insert(at, dice.choice(self._words))
        elif kind == 4:
            to = dice.randrange(len(pieces) + 1)
            pieces[to:to] = pieces[at:end]
        else:
            pieces.insert(at, dice.choice(self._tags) if self._tags else " ")
        if not pieces:
            pieces.append(" ")
