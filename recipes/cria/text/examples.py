"""Sorting by the examples in the prompt: animals, colors, tools, or labels that mean nothing."""

from __future__ import annotations

from text.core import Draw, Pool, Sample, Skill, sample
from text.formats import CLEAR_KINDS, clear_words
from text.words import CATEGORIES, EVERYDAY, made_up_word

INTRO = Pool(
    (
        "Follow the examples.\n{rows}\n{query}",
        "{rows}\n{query}",
        "Here are some examples:\n{rows}\n\nNow you:\n{query}",
        "Sort the last word as in the examples.\n{rows}\n{query}",
        "Learn from these lines and finish the last one.\n{rows}\n{query}",
        "Examples:\n{rows}\nWhat comes next?\n{query}",
    ),
    ("Go on in the same way.\n{rows}\n{query}", "Do you see the rule?\n{rows}\n{query}"),
)
ROWS = Pool(
    (
        "{word}: {label}",
        "{word} -> {label}",
        "{word} = {label}",
        "Word: {word}\nLabel: {label}",
        "Input: {word}\nOutput: {label}",
        "{word} is {label}",
    ),
    ("[{word}] {label}", "{word} / {label}"),
)


def _row(style: str, word: str, label: str) -> str:
    return style.replace("{word}", word).replace("{label}", label).rstrip()


def _sorting(draw: Draw) -> tuple[list[tuple[str, str]], str, str]:
    """Return rows of words and their categories (or labels standing for them) and a new word."""
    kinds = draw.some(CLEAR_KINDS, draw.number(2, 3))
    labels = {kind: kind for kind in kinds}
    if draw.chance(0.3):
        labels = {kind: made_up_word(draw) for kind in kinds}
    # The rows show trained words only, so that a held-out query is never among them.
    shown = {kind: draw.some(clear_words(kind, held=False), 3) for kind in kinds}
    words = {word: labels[kind] for kind in kinds for word in shown[kind][:2]}
    rows = list(words.items())
    draw.rng.shuffle(rows)
    asked = draw.pick(kinds)
    query = draw.pick(clear_words(asked, held=True)) if draw.held_words else shown[asked][2]
    return rows, query, labels[asked]


def _lookup(draw: Draw) -> tuple[list[tuple[str, str]], str, str]:
    """Return rows of words with made-up partners, and one of those words again."""
    words = draw.different(EVERYDAY, draw.number(3, 5))
    rows = [
        (word, made_up_word(draw) if draw.chance(0.6) else str(draw.number(0, 999)))
        for word in words
    ]
    word, partner = draw.pick(rows)
    return rows, word, partner


def make_chat(draw: Draw) -> Sample:
    """Return a few rows to learn from and a last row to finish."""
    rows, query, answer = _sorting(draw) if draw.chance(0.55) else _lookup(draw)
    style = draw.phrase(ROWS)
    told = "\n".join(_row(style, word, label) for word, label in rows)
    layout = draw.phrase(INTRO).replace("{rows}", told)
    return sample(layout.replace("{query}", _row(style, query, "")), answer)


EXAMPLE = Skill(
    "example",
    0.04,
    make_chat,
    ("words", "phrasing"),
    (*INTRO.train, *ROWS.train),
    (EVERYDAY, *CATEGORIES.values()),
)
