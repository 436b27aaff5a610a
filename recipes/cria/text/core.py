"""The small grammar engine: templates with choices and slots, pools of words, and seeded draws.

A template is plain text with two marks: `<one|two|three>` chooses (choices nest), and `{slot}` is
replaced by a word. `a(n)` becomes "a" or "an" by what follows it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

T = TypeVar("T")

_MARKS = re.compile(r"[<>|]|[^<>|]+")
_SLOT = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\b([Aa])\(n\) ([\"']?)(\w+)")
_STARTS = re.compile(r'(^"?|\n"?|(?<=[.!?]) "?|(?<=\.") "?)([a-zñ])')
_AFTER_CRY = re.compile(
    r'(?<=[!?]" )(?!(?:he |she |it )?'
    r"(?:asked|said|cried|called|shouted|answered|whispered|laughed|replied|thought)\b)"
    r"([a-zñ])"
)
_CONSONANT_SOUND = ("uni", "use", "usu", "eu", "one")
_VOWEL_SOUND = ("hour", "honest", "heir")

# A parsed template: plain strings and choices, in order. A choice is a tuple of parsed templates.
Part = "str | tuple[tuple[Part, ...], ...]"


@cache
def parse(template: str) -> tuple:  # type: ignore[type-arg]
    """Return the parts of a template; outside a choice `|` and `>` are plain text.

    Raises ValueError for a choice that is not closed.
    """
    stack: list[list[list]] = [[[]]]  # type: ignore[type-arg]
    for mark in _MARKS.findall(template):
        if mark == "<":
            stack.append([[]])
        elif mark == "|" and len(stack) > 1:
            stack[-1].append([])
        elif mark == ">" and len(stack) > 1:
            choice = tuple(tuple(branch) for branch in stack.pop())
            stack[-1][-1].append(choice)
        else:
            stack[-1][-1].append(mark)
    if len(stack) != 1:
        raise ValueError(f"a choice that is not closed in: {template}")
    return tuple(stack[0][0])


def forms(template: str) -> int:
    """Return how many different texts a template has before its slots are filled."""
    return _forms(parse(template))


def _forms(parts: tuple) -> int:  # type: ignore[type-arg]
    product = 1
    for part in parts:
        if not isinstance(part, str):
            product *= sum(_forms(branch) for branch in part)
    return product


def article(word: str) -> str:
    """Return "a" or "an" for the word that follows."""
    low = word.lower()
    if low.startswith(_VOWEL_SOUND):
        return "an"
    if low.startswith(_CONSONANT_SOUND):
        return "a"
    return "an" if low[0] in "aeiou" else "a"


def articles(text: str) -> str:
    """Replace every `a(n)` of the text by the article that its next word asks for."""

    def choose(match: re.Match[str]) -> str:
        chosen = article(match[3])
        return f"{chosen.capitalize() if match[1] == 'A' else chosen} {match[2]}{match[3]}"

    return _ARTICLE.sub(choose, text)


def sentence_case(text: str) -> str:
    """Return prose with single spaces and a capital at the start of every sentence."""
    text = re.sub(r" {2,}", " ", text).strip()
    text = _STARTS.sub(lambda match: match[0][:-1] + match[2].upper(), text)
    return _AFTER_CRY.sub(lambda match: match[1].upper(), text)


def plural(noun: str) -> str:
    """Return the plural of a regular noun, and of the irregular ones in our lists."""
    irregular = {
        "mouse": "mice", "goose": "geese", "sheep": "sheep", "deer": "deer", "child": "children",
        "knife": "knives", "shelf": "shelves", "loaf": "loaves", "potato": "potatoes",
        "fox": "foxes", "fish": "fish", "tooth": "teeth", "foot": "feet", "wolf": "wolves",
        "leaf": "leaves", "tomato": "tomatoes", "person": "people",
    }  # fmt: skip
    if noun in irregular:
        return irregular[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def series(items: Sequence[str]) -> str:
    """Join words as English does: "a", "a and b", "a, b and c"."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


@dataclass(frozen=True, slots=True)
class Pool(Generic[T]):
    """Words or phrasings; those in `held` never enter the training text."""

    train: tuple[T, ...]
    held: tuple[T, ...] = ()


def pool(train: str, held: str = "") -> Pool[str]:
    """Return a pool from two strings of words, parted by commas where there is one, else spaces."""
    return Pool(_split(train), _split(held))


def _split(text: str) -> tuple[str, ...]:
    parts = text.split(",") if "," in text else text.split()
    return tuple(part.strip() for part in parts if part.strip())


class Draw:
    """A seeded source of words and phrasings for one side of the split.

    With `held_words` or `held_phrasings` the reserved half of a pool is drawn where it has one.
    """

    __slots__ = ("held_phrasings", "held_words", "rng")

    def __init__(
        self, seed: str, *, held_words: bool = False, held_phrasings: bool = False
    ) -> None:
        self.rng = random.Random(seed)
        self.held_words = held_words
        self.held_phrasings = held_phrasings

    @property
    def held(self) -> bool:
        """Whether what is drawn is for the held-out set."""
        return self.held_words or self.held_phrasings

    def chance(self, probability: float) -> bool:
        """Return true with this probability."""
        return self.rng.random() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[int(self.rng.random() * len(items))]

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """Return `count` different items in random order."""
        return self.rng.sample(list(items), count)

    def number(self, low: int, high: int) -> int:
        """Return a whole number, both ends included."""
        return low + int(self.rng.random() * (high - low + 1))

    def words(self, of: Pool[T]) -> tuple[T, ...]:
        """Return the side of a word pool that this draw may use."""
        return of.held if self.held_words and of.held else of.train

    def word(self, of: Pool[T]) -> T:
        """Return one word."""
        return self.pick(self.words(of))

    def different(self, of: Pool[T], count: int) -> list[T]:
        """Return `count` different words."""
        return self.some(self.words(of), count)

    def phrase(self, of: Pool[T]) -> T:
        """Return one phrasing."""
        return self.pick(of.held if self.held_phrasings and of.held else of.train)

    def line(self, template: str, **slots: object) -> str:
        """Return the template with choices made and slots filled, its capitals untouched."""
        text = self._expand(parse(template))
        text = _SLOT.sub(lambda match: str(slots[match[1]]), text)
        return articles(text)

    def prose(self, template: str, **slots: object) -> str:
        """Return the template as whole sentences, each with its capital."""
        return sentence_case(self.line(template, **slots))

    def _expand(self, parts: tuple) -> str:  # type: ignore[type-arg]
        return "".join(
            part if isinstance(part, str) else self._expand(self.pick(part)) for part in parts
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer."""

    prompt: str
    reply: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A conversation; `pattern` is the regular expression a free-form last answer must match."""

    turns: tuple[Turn, ...]
    pattern: str | None = None


def sample(prompt: str, reply: str, pattern: str | None = None) -> Sample:
    """Return a conversation of one turn."""
    return Sample((Turn(prompt, reply),), pattern)


@dataclass(frozen=True, slots=True)
class Skill:
    """One ability of the chat model.

    `share` is its part of the chat text; `novelty` says what its held-out rows reserve
    ("words", "phrasing"); `templates` are its grammars, for the statistics.
    """

    name: str
    share: float
    make: Callable[[Draw], Sample]
    novelty: tuple[str, ...]
    templates: tuple[str, ...] = ()
    words: tuple[Pool[str], ...] = ()


@dataclass(frozen=True, slots=True)
class Prose:
    """One kind of plain text for pretraining; `share` is its part of that text."""

    name: str
    share: float
    make: Callable[[Draw], str]
    templates: tuple[str, ...] = ()
    words: tuple[Pool[str], ...] = ()


Beat = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """A text as a row of beats; each beat is told by one of its templates ("" skips it).

    One of the `cases`, if there are any, gives slots whose templates belong together.
    """

    name: str
    beats: tuple[Beat, ...]
    joiner: str = " "
    cases: tuple[dict[str, str], ...] = ()

    @property
    def templates(self) -> tuple[str, ...]:
        """Every template of the script."""
        told = tuple(template for beat in self.beats for template in beat if template)
        return told + tuple(template for case in self.cases for template in case.values())


def tell(draw: Draw, script: Script, **slots: object) -> str:
    """Return one telling of a script as prose."""
    if script.cases:
        case = draw.pick(script.cases)
        slots = slots | {key: draw.line(text, **slots) for key, text in case.items()}
    lines = (draw.line(draw.pick(beat), **slots) for beat in script.beats)
    return sentence_case(script.joiner.join(line for line in lines if line))
