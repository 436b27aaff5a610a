"""Doing exactly what is asked: repeat, list, count, choose, find, answer in one word."""

from __future__ import annotations

from collections.abc import Callable

from text.core import Draw, Pool, Sample, Skill, article, sample, series
from text.words import CATEGORIES, EVERYDAY, NAMES, PET_NAMES, made_up_word

REPEAT = Pool(
    (
        "Repeat the word {w}.",
        "Repeat after me: {w}",
        "Say {w}.",
        "say {w}",
        "Please say {w}.",
        "Write the word {w}.",
        "Copy this: {w}",
        "Repeat: {w}",
        'Say "{w}" and nothing else.',
        "Answer only with {w}.",
        "Write exactly this: {w}",
        "Echo: {w}",
    ),
    ("Give back to me what I write: {w}", "Your whole answer must be {w}.", "Type {w} for me."),
)
TWICE = Pool(
    (
        "Write {w} two times.",
        "Say {w} twice.",
        "Repeat the word {w} two times.",
        "Write the word {w} twice, with a space.",
    ),
    ("Let me hear {w} two times.",),
)
WRAP = Pool(
    (
        'Put the word {w} in the form "Answer: word".',
        'Write "Answer: {w}".',
        "Write {w} after the word Answer and a colon.",
    ),
    ('Use the form "Answer: word" for {w}.',),
)
FIRST = Pool(
    (
        "What is the {nth} word of this list? {list}",
        "Which word is {nth}? {list}",
        "List: {list}\nWhat is the {nth} word?",
        "List: {list}\n{nth_cap} word:",
        "Give me the {nth} item: {list}",
        "Look at this list: {list}. Which one is {nth}?",
        "{list}\nWrite only the {nth} word.",
    ),
    ("Here are some words: {list}. Tell me the {nth}.", "I need the {nth} entry of {list}."),
)
COUNT = Pool(
    (
        "How many words are in this list? {list}",
        "Count the words: {list}",
        "List: {list}\nHow many are there?",
        "How many things do I name? {list}",
        "Count: {list}",
    ),
    ("Tell me the number of words here: {list}",),
)
AFTER = Pool(
    (
        "List: {list}\nWhich word comes right after {w}?",
        "{list}\nWhat comes after {w} in this list?",
        "In the list {list}, which word follows {w}?",
        "Which word stands after {w}? {list}",
    ),
    ("Here are some words: {list}. Which is next to {w}, on the right?",),
)
INSIDE = Pool(
    (
        "Is {w} in this list? {list}",
        "List: {list}\nIs {w} in the list? Answer yes or no.",
        "Does this list have the word {w}? {list}",
        "Yes or no: is {w} one of these? {list}",
    ),
    ("Can you find {w} among these words: {list}? Yes or no?",),
)
THREE = Pool(
    (
        "List three {things}.",
        "Name three {things}.",
        "list three {things}",
        "Give me three {things}.",
        "Tell me three {things}.",
        "Can you name three {things}?",
        "Write down three {things}.",
    ),
    ("Which three {things} can you think of?", "I need the names of three {things}."),
)
COMMAS = Pool(
    (
        "Write these words with commas: {plain}",
        "Put commas between these words: {plain}",
        "Make a list with commas: {plain}",
    ),
    ("Separate with commas: {plain}",),
)
LINES = Pool(
    (
        "Write each word on its own line: {list}",
        "Put every word on a new line: {list}",
        "Make a list with one word per line: {list}",
    ),
    ("One line for each of these: {list}",),
)
YES_NO = Pool(
    (
        "Is {a} {kind}? Answer yes or no.",
        "Yes or no: is {a} {kind}?",
        "Is {a} {kind}?",
        "Answer with yes or no. Is {a} {kind}?",
        "Would you call {a} {kind}? Yes or no?",
    ),
    ("True or not: {a} is {kind}. Answer yes or no.",),
)
CHOOSE = Pool(
    (
        "Which of these is {kind}: {list}?",
        "Which one is {kind}? {list}",
        "Find {kind} in this list: {list}",
        "One of these is {kind}. Which one? {list}",
        "Answer with one word: which is {kind}, {list}?",
    ),
    ("Pick {kind} out of these: {list}",),
)
KIND = Pool(
    (
        "What is {w}: {kinds}?",
        "Is {w} {kinds}?",
        "Answer with one word. What is {w}: {kinds}?",
        "Choose one: {kinds}. What is {w}?",
        "Labels: {kinds}\nWord: {w}\nLabel:",
        "Which label fits {w}? Labels: {kinds}",
    ),
    ("Sort {w} into one of these: {kinds}", "{kinds}? Tell me which of them {w} is."),
)
FIND = Pool(
    (
        "Find the number in this sentence: {s}",
        "Which number is in this sentence? {s}",
        "{s}\nWrite only the number.",
        "Copy the number from the text: {s}",
    ),
    ("Which digits do you see here? {s}",),
)
FIND_NAME = Pool(
    (
        "Find the name in this sentence: {s}",
        "Which name is in this sentence? {s}",
        "{s}\nWrite only the name.",
        "Copy the name from the text: {s}",
    ),
    ("Whose name do you see here? {s}",),
)
SENTENCES = (
    "{name} has order {number} and waits for it.",
    "The ticket of {name} has the number {number}.",
    "In house {number} lives {name}.",
    "Today {name} counted {number} birds.",
    "Please call {name} and say {number}.",
    "The code {number} is for {name}.",
    "{name} walked {number} steps.",
)
NTH = ("first", "second", "third", "last")


def _any_word(draw: Draw) -> str:
    """Return a word to copy: known, a name, made up, or a number."""
    roll = draw.rng.random()
    if draw.held_words:
        return draw.word(EVERYDAY) if roll < 0.5 else made_up_word(draw).capitalize() + "ix"
    if roll < 0.5:
        return draw.word(EVERYDAY)
    if roll < 0.65:
        return draw.word(draw.pick((NAMES, PET_NAMES)))
    if roll < 0.85:
        return made_up_word(draw)
    return str(draw.number(0, 99999))


def _a_list(draw: Draw, low: int = 3, high: int = 6) -> list[str]:
    words: dict[str, None] = {}
    size = draw.number(low, high)
    while len(words) < size:
        words[_any_word(draw)] = None
    return list(words)


def _repeat(draw: Draw) -> Sample:
    text = _any_word(draw)
    if draw.chance(0.4):
        text = " ".join(_a_list(draw, 2, 6))
    return sample(draw.line(draw.phrase(REPEAT), w=text), text)


def _twice(draw: Draw) -> Sample:
    word = _any_word(draw)
    if draw.chance(0.5):
        return sample(draw.line(draw.phrase(TWICE), w=word), f"{word} {word}")
    return sample(draw.line(draw.phrase(WRAP), w=word), f"Answer: {word}")


def _nth(draw: Draw) -> Sample:
    words, nth = _a_list(draw), draw.pick(NTH)
    at = -1 if nth == "last" else NTH.index(nth)
    slots = {"nth": nth, "nth_cap": nth.capitalize(), "list": ", ".join(words)}
    return sample(draw.line(draw.phrase(FIRST), **slots), words[at])


def _count(draw: Draw) -> Sample:
    words = _a_list(draw, 2, 7)
    return sample(draw.line(draw.phrase(COUNT), list=", ".join(words)), str(len(words)))


def _after(draw: Draw) -> Sample:
    words = _a_list(draw, 3, 7)
    at = draw.number(0, len(words) - 2)
    prompt = draw.line(draw.phrase(AFTER), list=", ".join(words), w=words[at])
    return sample(prompt, words[at + 1])


def _inside(draw: Draw) -> Sample:
    words = _a_list(draw, 4, 7)
    inside = draw.chance(0.5)
    word = draw.pick(words) if inside else words.pop()
    return sample(
        draw.line(draw.phrase(INSIDE), list=", ".join(words), w=word), "yes" if inside else "no"
    )


def _three(draw: Draw) -> Sample:
    kind = draw.pick(tuple(THREE_KINDS))
    words = draw.some(CATEGORIES[kind].train, 3)
    known = "|".join((*CATEGORIES[kind].train, *CATEGORIES[kind].held))
    pattern = rf"^({known}), ({known})( and |, )({known})\.?$"
    return sample(draw.line(draw.phrase(THREE), things=THREE_KINDS[kind]), series(words), pattern)


THREE_KINDS = {
    "animal": "animals", "color": "colors", "food": "foods", "tool": "tools", "day": "days",
    "fruit": "fruits", "body part": "parts of the body", "family member": "members of a family",
    "piece of clothing": "pieces of clothing", "place": "places",
}  # fmt: skip


def _commas(draw: Draw) -> Sample:
    words = _a_list(draw, 3, 5)
    if draw.chance(0.5):
        return sample(draw.line(draw.phrase(COMMAS), plain=" ".join(words)), ", ".join(words))
    return sample(draw.line(draw.phrase(LINES), list=", ".join(words)), "\n".join(words))


def a_kind(kind: str) -> str:
    """Return a category with its article."""
    return f"{article(kind)} {kind}"


# Categories that share no word, so that a question has one answer.
CLEAR_KINDS = ("animal", "color", "tool", "piece of clothing", "day", "body part", "food")
_OVERLAP = {"orange", "apple", "banana"}


def clear_words(kind: str, *, held: bool) -> tuple[str, ...]:
    """Return the words of this category that are of no other; the reserved ones if there are."""
    pool = CATEGORIES[kind]
    words = pool.held if held and pool.held else pool.train
    return tuple(word for word in words if word not in _OVERLAP)


def _clear_word(draw: Draw, kind: str) -> str:
    return draw.pick(clear_words(kind, held=draw.held_words))


def _said(kind: str, word: str) -> str:
    """Return the word as a sentence names a single one of its kind."""
    if kind in {"animal", "tool", "piece of clothing", "body part"}:
        return f"{article(word)} {word}"
    return word


def _yes_no(draw: Draw) -> Sample:
    kind = draw.pick(CLEAR_KINDS)
    asked = kind if draw.chance(0.5) else draw.pick([k for k in CLEAR_KINDS if k != kind])
    word = _clear_word(draw, kind)
    prompt = draw.line(draw.phrase(YES_NO), a=_said(kind, word), kind=a_kind(asked))
    return sample(prompt, "yes" if asked == kind else "no")


def _choose(draw: Draw) -> Sample:
    kinds = draw.some(CLEAR_KINDS, 3)
    words = [_clear_word(draw, kind) for kind in kinds]
    at = draw.number(0, 2)
    prompt = draw.line(draw.phrase(CHOOSE), kind=a_kind(kinds[at]), list=", ".join(words))
    return sample(prompt, words[at])


def _kind(draw: Draw) -> Sample:
    kinds = draw.some(CLEAR_KINDS, draw.number(2, 4))
    kind = draw.pick(kinds)
    said = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
    prompt = draw.line(draw.phrase(KIND), w=_clear_word(draw, kind), kinds=said)
    return sample(prompt, kind)


def _find(draw: Draw) -> Sample:
    number, name = str(draw.number(2, 99999)), draw.word(NAMES)
    text = draw.line(draw.pick(SENTENCES), number=number, name=name)
    if draw.chance(0.5):
        return sample(draw.line(draw.phrase(FIND), s=text), number)
    return sample(draw.line(draw.phrase(FIND_NAME), s=text), name)


_MAKERS: tuple[Callable[[Draw], Sample], ...] = (
    _repeat, _repeat, _repeat, _twice, _nth, _nth, _count, _after, _after, _inside, _three,
    _commas, _yes_no, _choose, _kind, _find,
)  # fmt: skip


def make_chat(draw: Draw) -> Sample:
    """Return one small exercise."""
    return draw.pick(_MAKERS)(draw)


_POOLS = (
    REPEAT, TWICE, WRAP, FIRST, COUNT, AFTER, INSIDE, THREE, COMMAS, LINES, YES_NO, CHOOSE, KIND,
    FIND, FIND_NAME,
)  # fmt: skip
_TEMPLATES = (*(text for pool in _POOLS for text in pool.train), *SENTENCES)
FORMAT = Skill(
    "format",
    0.1,
    make_chat,
    ("words", "phrasing"),
    _TEMPLATES,
    (EVERYDAY, NAMES, PET_NAMES, *CATEGORIES.values()),
)
