"""Stories of the grassland: who is in them, how they begin, and how somebody asks for one."""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

import re
from dataclasses import dataclass

from text.core import Draw, Pool, Prose, Sample, Script, Skill, article, sample, sentence_case, tell
from text.plots_herd import HERD_PLOTS
from text.plots_village import VILLAGE_PLOTS
from text.words import (
    FOODS,
    GRASSLAND_ANIMALS,
    KEEPSAKES,
    OTHER_ANIMALS,
    PEOPLE,
    PET_NAMES,
    PLACES,
)

PLOTS: tuple[Script, ...] = HERD_PLOTS + VILLAGE_PLOTS

TRAITS = (
    "brave", "curious", "shy", "clever", "small", "kind", "hungry", "sleepy", "proud", "happy",
    "lonely", "quiet", "little", "young", "gentle", "funny",
)  # fmt: skip
HELPER_TRAITS = (
    "old", "wise", "friendly", "quiet", "gray", "tall", "kind", "cheerful", "tired", "little",
)  # fmt: skip
OBJECT_TRAITS = (
    "small", "old", "red", "blue", "fine", "little", "pretty", "new", "round", "shiny",
)  # fmt: skip

FEMALE = ("hen", "cow", "goose", "duck", "girl")

OPENINGS = (
    "<Once|Once upon a time|Long ago>, <high up on|far up on> the puna, there lived {hero_intro}.",
    "{hero_intro} lived <near|beside|not far from> {home}.",
    "On the high grassland, where the wind sings in the dry grass, lived {hero_intro}.",
    "There was once {hero_intro} who lived <with {his} family|with {his} mother|all alone> near {home}.",
    "Near {home}, where the nights are cold and the stars are bright, lived {hero_intro}.",
    "This is the story of {hero_intro} who lived near {home}.",
    "<Many|Some> years ago, {hero_intro} lived on the high grassland.",
)
SECOND = (
    "{he} loved to <watch the clouds|run in the grass|listen to the wind|hum little songs|count the stars>.",
    "Everybody <liked|knew> {him}.",
    "Every morning {he} <drank from the stream|looked at the mountains|greeted the sun>.",
    "",
    "",
)
# A refusal that repeats the words of the request is no story: an answer shorter than this fails.
SHORTEST = 250
ENDINGS = ("", "", "", "", "", "The end.", "And that is the story.")

ASK = Pool(
    (
        "Tell me a story about {topic}.",
        "Tell me a story about {topic}.",
        "Please tell me a story about {topic}.",
        "Can you tell me a story about {topic}?",
        "I would like to hear a story about {topic}.",
        "Tell us a <little|short|nice|new> story about {topic}.",
        "Write a <short |>story about {topic}.",
        "Make up a story about {topic}, please.",
        "A story about {topic}, please.",
        "Do you know a story about {topic}?",
        "I want a story about {topic}.",
        "Give me a story about {topic}.",
        "story about {topic}",
        "Could you write a tale about {topic}?",
    ),
    (
        "Would you invent a story with {topic} for me?",
        "It is bedtime. What happens to {topic}? Tell it as a story.",
        "My daughter wants to hear a story of {topic}.",
        "Let us have a story on {topic}.",
    ),
)
ASK_ANY = Pool(
    (
        "Tell me a story.",
        "Please tell me a story.",
        "Tell me another story.",
        "Can you tell me a story?",
        "Do you know a story?",
        "I would like to hear a story.",
        "Tell me a bedtime story.",
        "story please",
        "Write a story.",
        "Tell me a short story.",
    ),
    ("Will you tell me one of your stories?", "I want to listen to a story now."),
)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who and what a story is about; `topic` is how a request names it."""

    slots: dict[str, str]
    kind: str
    named: bool


def _kind(draw: Draw) -> str:
    animals = OTHER_ANIMALS if draw.held_words or draw.chance(0.15) else GRASSLAND_ANIMALS
    return draw.word(animals)


def _helper(draw: Draw, kind: str) -> dict[str, str]:
    other = draw.word(GRASSLAND_ANIMALS)
    while other == kind:
        other = draw.word(GRASSLAND_ANIMALS)
    intro = f"{draw.pick(HELPER_TRAITS)} {other}"
    return {"helper_intro": f"{article(intro)} {intro}", "helper": f"the {other}", "other": other}


def cast(draw: Draw) -> Cast:
    """Return a hero, a helper, a thing and some places."""
    he = draw.pick(("he", "she"))
    person = draw.chance(0.1)
    named = person or draw.chance(0.5)
    if person:
        one = draw.word(PEOPLE)
        he, name = one.he, one.name
        kind = {"he": "boy", "she": "girl"}[he]
    else:
        kind, name = _kind(draw), draw.word(PET_NAMES)
    if kind in FEMALE:
        he = "she"
    trait = draw.pick(TRAITS)
    intro = f"{article(trait)} {trait} {kind}" + (f" named {name}" if named else "")
    home, place, place2 = draw.different(PLACES, 3)
    slots = {
        "hero_intro": intro,
        "hero": name if named else f"the {kind}",
        "hero_name": name,
        "he": he,
        "his": "his" if he == "he" else "her",
        "him": "him" if he == "he" else "her",
        "himself": "himself" if he == "he" else "herself",
        "object": draw.word(KEEPSAKES),
        "adj": draw.pick(OBJECT_TRAITS),
        "food": draw.word(FOODS),
        "home": home,
        "place": place,
        "place2": place2,
        "trait": trait,
        **_helper(draw, kind),
    }
    return Cast(slots, kind, named)


def _tell(draw: Draw, script: Script, who: Cast) -> str:
    frame = Script("opening", ((draw.pick(OPENINGS),), SECOND))
    parts = (
        tell(draw, frame, **who.slots),
        tell(draw, script, **who.slots),
        draw.pick(ENDINGS),
    )
    return sentence_case(" ".join(part for part in parts if part))


def _topic(draw: Draw, who: Cast, text: str) -> tuple[str, list[str]]:
    """Return how a request names the story, and the words the story must then have."""
    slots, needed = who.slots, [who.kind]
    topic = f"{article(who.kind)} {who.kind}"
    if draw.chance(0.3):
        topic = f"{article(slots['trait'])} {slots['trait']} {who.kind}"
    if who.named and draw.chance(0.5):
        topic += f" named {slots['hero']}"
        needed.append(slots["hero"])
    extra = [
        (slots["object"], f"{article(slots['object'])} {slots['object']}"),
        (slots["other"], f"{article(slots['other'])} {slots['other']}"),
    ]
    present = [(word, said) for word, said in extra if re.search(rf"\b{word}\b", text)]
    if present and (draw.held_words or draw.chance(0.55)):
        word, said = draw.pick(present)
        topic += f" and {said}"
        needed.append(word)
    return topic, needed


def make_story(draw: Draw) -> str:
    """Return a story as plain text, sometimes under a title."""
    who = cast(draw)
    text = _tell(draw, draw.pick(PLOTS), who)
    if draw.chance(0.25):
        title = f"The {who.slots['trait']} {who.kind}"
        return f"{title.title()}\n\n{text}"
    return text


def make_chat(draw: Draw) -> Sample:
    """Return a request for a story and the story; held-out rows ask for their words in it."""
    who = cast(draw)
    text = _tell(draw, draw.pick(PLOTS), who)
    if not draw.held and draw.chance(0.12):
        return sample(draw.phrase(ASK_ANY), text)
    topic, needed = _topic(draw, who, text)
    ahead = "".join(rf"(?=[\s\S]*\b{re.escape(word)}\b)" for word in needed)
    return sample(
        draw.line(draw.phrase(ASK), topic=topic), text, rf"^{ahead}[\s\S]{{{SHORTEST},}}[.!?\"]$"
    )


_TEMPLATES = OPENINGS + SECOND + tuple(t for plot in PLOTS for t in plot.templates)
_WORDS = (OTHER_ANIMALS, PET_NAMES, KEEPSAKES, PLACES, FOODS)
STORY = Skill(
    "story",
    0.25,
    make_chat,
    ("words", "phrasing"),
    _TEMPLATES + ASK.train + ASK_ANY.train,
    _WORDS,
)
STORY_PROSE = Prose("story", 0.42, make_story, _TEMPLATES, (*_WORDS, GRASSLAND_ANIMALS))
