"""Talks of several turns: remembering what was said, and going from one thing to another."""

from __future__ import annotations

from dataclasses import dataclass

from text.core import Draw, Pool, Sample, Skill, Turn, pool
from text.words import (
    COLORS,
    GOOD_NAMES,
    GRASSLAND_ANIMALS,
    KEEPSAKES,
    NAMES,
    OTHER_ANIMALS,
    VILLAGES,
)

MOODS = pool("happy,tired,hungry,sad,cold,busy,thirsty,excited,sleepy,angry,bored,proud", "sick")


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person may tell about itself, and how it is asked for later."""

    words: Pool[str]
    tells: Pool[str]
    reply: tuple[str, ...]
    asks: Pool[str]
    answer: str


NOTES = (
    Note(
        NAMES,
        Pool(
            (
                "My name is {w}.",
                "Hi, I am {w}.",
                "I am {w}.",
                "Hello, my name is {w}.",
                "You can call me {w}.",
                "hi, my name is {w}",
            ),
            ("People call me {w}.", "{w} is my name."),
        ),
        ("Nice to meet you, {w}!", "Hello, {w}! What can I do for you?"),
        Pool(
            ("What is my name?", "what's my name?", "Do you remember my name?", "Who am I?"),
            ("How am I called?",),
        ),
        "Your name is {w}.",
    ),
    Note(
        COLORS,
        Pool(
            ("My favorite color is {w}.", "I like the color {w} best.", "The best color is {w}."),
            ("No color is as nice as {w}.",),
        ),
        ("{w} is a nice color.", "I like {w} too."),
        Pool(
            ("What is my favorite color?", "Which color do I like best?"),
            ("Do you still know my color?",),
        ),
        "Your favorite color is {w}.",
    ),
    Note(
        VILLAGES,
        Pool(("I live in {w}.", "I come from {w}.", "My home is {w}."), ("{w} is where I live.",)),
        ("I have never been to {w}.", "Is it nice in {w}?"),
        Pool(("Where do I live?", "Where is my home?"), ("Do you still know where I live?",)),
        "You live in {w}.",
    ),
    Note(
        Pool(GRASSLAND_ANIMALS.train, OTHER_ANIMALS.held),
        Pool(
            ("My favorite animal is the {w}.", "I like the {w} best.", "The {w} is my favorite."),
            ("No animal is as nice as the {w}.",),
        ),
        ("The {w} is a fine animal.", "I like the {w} too."),
        Pool(
            ("What is my favorite animal?", "Which animal do I like best?"),
            ("Do you still know my animal?",),
        ),
        "Your favorite animal is the {w}.",
    ),
    Note(
        GOOD_NAMES,
        Pool(
            ("I have bought a new {w}.", "Today I got a new {w}.", "I have a new {w}."),
            ("Look, a new {w} for me!",),
        ),
        ("Have fun with your new {w}!", "A new {w}, how nice!"),
        Pool(
            ("What have I bought?", "What is new?", "What did I get?"),
            ("Which new thing is mine?",),
        ),
        "You have a new {w}.",
    ),
    Note(
        KEEPSAKES,
        Pool(
            (
                "The secret word is {w}.",
                "Remember this word: {w}.",
                "Please keep the word {w} in mind.",
            ),
            ("Do not forget this word: {w}.",),
        ),
        ("I will remember it.", "Good, I will keep it in mind."),
        Pool(
            ("What is the secret word?", "Which word did I tell you?", "What was the word?"),
            ("Which word should you not forget?",),
        ),
        "The word is {w}.",
    ),
    Note(
        MOODS,
        Pool(
            ("I am {w} today.", "Today I am {w}.", "I feel {w}."), ("Right now I feel quite {w}.",)
        ),
        ("Thank you for telling me.", "I see. Shall I tell you a story?"),
        Pool(("How do I feel?", "How am I today?"), ("Do you still know how I feel?",)),
        "You said that you are {w}.",
    ),
)
UNKNOWN = (
    ("What is my name?", "You have not told me your name."),
    ("what's my name?", "You have not told me your name."),
    ("Do you remember my name?", "You have not told me your name."),
    ("What is my favorite color?", "You have not told me your favorite color."),
    ("Where do I live?", "You have not told me where you live."),
    ("What is my favorite animal?", "You have not told me your favorite animal."),
    ("How do I feel?", "You have not told me how you feel."),
    ("What is the secret word?", "You have not told me a word."),
)


def make_chat(draw: Draw) -> Sample:
    """Return a talk in which one to three things are told and one is asked for later."""
    if not draw.held and draw.chance(0.05):
        return Sample((Turn(*draw.pick(UNKNOWN)),))
    told = draw.some(NOTES, draw.number(1, 3))
    words = [draw.word(note.words) for note in told]
    turns = [
        Turn(draw.line(draw.phrase(note.tells), w=word), _reply(draw, note, word))
        for note, word in zip(told, words, strict=True)
    ]
    at = draw.number(0, len(told) - 1)
    note, word = told[at], words[at]
    turns.append(Turn(draw.phrase(note.asks), draw.line(note.answer, w=word)))
    return Sample(tuple(turns))


def _reply(draw: Draw, note: Note, word: str) -> str:
    text = draw.line(draw.pick(note.reply), w=word)
    return text[0].upper() + text[1:]


_TEMPLATES = tuple(
    text
    for note in NOTES
    for text in (*note.tells.train, *note.reply, *note.asks.train, note.answer)
)
MEMORY = Skill(
    "memory",
    0.05,
    make_chat,
    ("words", "phrasing"),
    _TEMPLATES,
    (NAMES, COLORS, VILLAGES, OTHER_ANIMALS, GOOD_NAMES, KEEPSAKES, MOODS),
)
