"""From samples to rows: system messages, talks that mix skills, and the words kept for held-out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from text.core import Draw, Sample, Skill, Turn
from text.memory import MEMORY
from text.registry import MIXED_SKILLS, PROSE, SKILLS

Message = dict[str, str]

# Neutral on purpose: no answer in the data depends on them.
SYSTEM = (
    "You are cria, a baby llama.",
    "You are cria, a small toy model.",
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "Be friendly and honest.",
    "Help the user.",
    "You are a small model. Answer in simple English.",
    "Answer the user.",
    "You are a helpful and honest model.",
    "Use simple words.",
    "You talk with a visitor of the puna.",
    "Do what the user asks.",
)
SYSTEM_RATE = 0.08
# Longer conversations would not fit the context of 512 tokens with room to spare.
LONGEST = 1400
# Skills whose questions people type carelessly.
_LOOSE = {"story", "talk", "outside", "fact", "fun"}
_GREETINGS = ("Hello! ", "Hi! ", "Hi cria! ", "Hello cria. ", "Hey, ", "cria, ", "Please: ")
_WORD = re.compile(r"[^\W_]+")


def dress(draw: Draw, skill: str, made: Sample) -> Sample:
    """Return the sample with its first prompt typed as people type: a greeting, no capitals."""
    if skill not in _LOOSE:
        return made
    turn, prompt = made.turns[0], made.turns[0].prompt
    if draw.chance(0.12):
        prompt = prompt.lower().rstrip(".?!")
    elif skill != "talk" and draw.chance(0.06):
        prompt = draw.pick(_GREETINGS) + prompt
    if not prompt:
        return made
    return Sample((Turn(prompt, turn.reply), *made.turns[1:]), made.pattern)


def messages(sample: Sample, system: str | None = None) -> list[Message]:
    """Return a conversation as chat messages."""
    rows = [{"role": "system", "content": system}] if system else []
    for turn in sample.turns:
        rows.append({"role": "user", "content": turn.prompt})
        rows.append({"role": "assistant", "content": turn.reply})
    return rows


def training_row(draw: Draw, skill: Skill) -> dict[str, object]:
    """Return one row of chat.jsonl for a skill."""
    made = dress(draw, skill.name, skill.make(draw))
    return {"messages": messages(made, _system(draw)), "skill": skill.name}


def mixed_row(draw: Draw) -> dict[str, object]:
    """Return a talk of two to four turns over several skills, some with a memory across it."""
    turns: list[Turn] = []
    for _ in range(draw.number(2, 3)):
        skill = draw.pick(MIXED_SKILLS)
        turns += dress(draw, skill.name, skill.make(draw)).turns
    if draw.chance(0.3):
        note = MEMORY.make(draw).turns
        turns = [*note[:-1], *turns[:2], note[-1]]
    return {"messages": messages(Sample(tuple(turns)), _system(draw)), "skill": "mixed"}


def held_row(draw: Draw, skill: Skill, novelty: str) -> dict[str, object]:
    """Return one row of heldout.jsonl: the last answer is left out of the messages."""
    made = skill.make(draw)
    row: dict[str, object] = {"messages": messages(made)[:-1]}
    if made.pattern is None:
        row["answer"] = made.turns[-1].reply
    else:
        row["pattern"] = made.pattern
    return row | {"skill": skill.name, "novelty": novelty}


def length(row: dict[str, object]) -> int:
    """Return the characters of a row's messages."""
    return sum(len(message["content"]) for message in row["messages"])  # type: ignore[attr-defined]


def _system(draw: Draw) -> str | None:
    return draw.pick(SYSTEM) if draw.chance(SYSTEM_RATE) else None


class Reserved:
    """The words kept for held-out rows, and whether a text has one of them."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._by_first: dict[str, list[str]] = {}
        for phrase in dict.fromkeys(text.lower() for text in phrases):
            first = _WORD.search(phrase)
            if first:
                self._by_first.setdefault(first[0], []).append(phrase)

    def found(self, text: str) -> list[str]:
        """Return the reserved words in the text."""
        low = text.lower()
        firsts = [word for word in set(_WORD.findall(low)) if word in self._by_first]
        return sorted(
            phrase
            for word in firsts
            for phrase in self._by_first[word]
            if re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", low)
        )


def reserved_of(*skills: Skill) -> Reserved:
    """Return the reserved words of these skills."""
    return Reserved(word for skill in skills for pool in skill.words for word in pool.held)


def all_reserved() -> Reserved:
    """Return every reserved word of every skill and kind of prose."""
    return Reserved(word for part in (*SKILLS, *PROSE) for pool in part.words for word in pool.held)
