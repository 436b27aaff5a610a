"""Figures about the text: counts, how much of it repeats, how far held-out is from training."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from text.core import Prose, Skill, forms

_WORD = re.compile(r"\w+|[^\w\s]")
_PRIME = np.uint64(0x9E3779B97F4A7C15)
# A shared run of words is measured at these lengths only.
RUNS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


class Vocabulary:
    """Numbers for words, given in the order in which they come; 0 parts two texts."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def encode(self, texts: Iterable[str]) -> NDArray[np.uint64]:
        """Return the word numbers of all texts, with a 0 after each."""
        ids = self._ids
        out: list[int] = []
        for text in texts:
            out.extend(ids.setdefault(word, len(ids) + 1) for word in _WORD.findall(text.lower()))
            out.append(0)
        return np.asarray(out, dtype=np.uint64)


def ngrams(words: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash for each position's run of n words; 0 where it crosses two texts."""
    count = len(words) - n + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    value = np.zeros(count, dtype=np.uint64)
    crosses = np.zeros(count, dtype=bool)
    for at in range(n):
        part = words[at : at + count]
        value = value * _PRIME + (part + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
        crosses |= part == 0
    value |= np.uint64(1)
    value[crosses] = 0
    return value


def unique_share(words: NDArray[np.uint64], n: int) -> float:
    """Return how many of the n-grams are different, as a share of all of them."""
    runs = ngrams(words, n)
    runs = runs[runs != 0]
    return round(len(np.unique(runs)) / max(1, len(runs)), 4)


def overlap(
    train: NDArray[np.uint64], held: Sequence[NDArray[np.uint64]]
) -> list[tuple[float, float | None]]:
    """Return for each held-out text its longest run shared with training and its 8-gram overlap.

    The first is a share of the text's words (runs are measured at `RUNS`); the second is the share
    of its 8-grams found in training, None where the text is shorter than that.
    """
    longest = [0] * len(held)
    eights: list[float | None] = [None] * len(held)
    for n in RUNS:
        wanted = [ngrams(text, n) for text in held]
        known = _known(train, np.concatenate([*wanted, np.zeros(1, np.uint64)]), n)
        for at, runs in enumerate(wanted):
            runs = runs[runs != 0]
            if not len(runs):
                continue
            share = float(np.isin(runs, known).mean())
            if share:
                longest[at] = n
            if n == 8:
                eights[at] = share
    sizes = [max(1, len(text) - 1) for text in held]
    return [(run / size, eight) for run, size, eight in zip(longest, sizes, eights, strict=True)]


def _known(train: NDArray[np.uint64], wanted: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    table = np.unique(wanted[wanted != 0])
    if not len(table):
        return table
    runs = ngrams(train, n)
    at = np.minimum(np.searchsorted(table, runs), len(table) - 1)
    return table[np.unique(at[table[at] == runs])]


def grammar(part: Skill | Prose) -> dict[str, int]:
    """Return how many templates, forms of templates and words a skill or kind of prose has."""
    templates = dict.fromkeys(part.templates)
    pools = dict.fromkeys(part.words)
    return {
        "templates": len(templates),
        "forms": sum(forms(template) for template in templates),
        "words": sum(len(pool.train) for pool in pools),
        "held_words": sum(len(pool.held) for pool in pools),
    }
