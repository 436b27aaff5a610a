"""Question answering over a given passage, with an honest answer where the passage is silent."""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

from text.core import Draw, Pool, Prose, Sample, Skill, Turn, article, pool, sentence_case
from text.frames import FRAMES, Fact, Frame
from text.town import town_slots
from text.words import FOODS, GOOD_NAMES, NAMES, PEOPLE, PET_NAMES, VILLAGES, made_up_word

ABSENT = "The passage does not say."

ASK = Pool(
    (
        "Read the passage and answer the question.\n\n{passage}\n\nQuestion: {question}",
        "Passage: {passage}\n\nQuestion: {question}",
        "Passage: {passage}\nQuestion: {question}",
        "{passage}\n\n{question}",
        "Here is a short text: {passage}\n{question}",
        "Text: {passage}\n\nAnswer from the text: {question}",
        "Use only this passage.\n{passage}\n\n{question}",
        "Answer the question with the words of the passage.\n\nPassage: {passage}\n\nQ: {question}",
        "{question}\n\nPassage: {passage}",
        "Question: {question}\nPassage: {passage}",
        'Read this: "{passage}" {question}',
    ),
    (
        "I have a note here. It says: {passage} Now tell me: {question}",
        "Look at these lines and reply in a few words.\n{passage}\n>> {question}",
        "Based on what follows: {question}\n---\n{passage}",
    ),
)
_PAY = ("by card", "in cash", "with coins", "with a gift card", "by phone")
_VEHICLES = ("bus", "train", "car", "boat", "bicycle", "truck", "taxi", "donkey cart")
_WEATHER = pool("cold,warm,windy,sunny,rainy,foggy,hot,cloudy,stormy,mild", "icy,misty")
_PARTS = pool(
    "battery,cable,screen,plug,switch,motor,button,fan,lid,wheel,spring,antenna", "hinge,sensor"
)
_EVENTS = pool(
    "wool market,feast,concert,race,book fair,dance,school play,food market,chess night,flower show",
    "puppet show,pottery class",
)
_PRIZES = (
    "a basket of fruit", "a blue ribbon", "a new bicycle", "a warm blanket", "a big cake",
    "a silver cup", "a box of books", "a free ticket",
)  # fmt: skip


def passage_slots(draw: Draw) -> dict[str, object]:
    """Return the words of one passage, all of them different where a question could mix them up."""
    slots = town_slots(draw)
    first, second, third = draw.different(PEOPLE, 3)
    pet, pet2 = draw.different(PET_NAMES, 2)
    return slots | {
        **first.slots,
        "other": second.name,
        "clerk": third.name,
        "pet": pet,
        "pet2": pet2,
        "pay": draw.pick(_PAY),
        "vehicle": draw.pick(_VEHICLES),
        "weather": draw.word(_WEATHER),
        "part": draw.word(_PARTS),
        "event": draw.word(_EVENTS),
        "prize": draw.pick(_PRIZES),
        "food": draw.word(FOODS),
        "kilos": draw.number(2, 30),
        "tries": draw.number(2, 9),
        "small": draw.number(2, 40),
        "user": made_up_word(draw) + str(draw.number(1, 99)),
    }


def _fill(draw: Draw, template: str, slots: dict[str, object]) -> str:
    return draw.line(template, **slots)


def _answer(draw: Draw, fact: Fact, slots: dict[str, object]) -> str:
    text = _fill(draw, fact.answer, slots)
    if text.startswith("a ") and fact.answer.startswith("a {"):
        text = f"{article(text[2:])} {text[2:]}"
    return text


def _passage(draw: Draw, frame: Frame, slots: dict[str, object]) -> tuple[str, list[Fact]]:
    """Return a passage and the facts that it leaves out."""
    count = draw.number(2, min(4, len(frame.facts) - 1))
    told = set(draw.some(range(len(frame.facts)), count))
    lines = [draw.pick(frame.lead)]
    lines += [draw.pick(fact.sentences) for at, fact in enumerate(frame.facts) if at in told]
    silent = [fact for at, fact in enumerate(frame.facts) if at not in told]
    return sentence_case(_fill(draw, " ".join(lines), slots)), silent


def _question(draw: Draw, fact: Fact, slots: dict[str, object]) -> str:
    return sentence_case(_fill(draw, draw.phrase(fact.questions), slots))


def _ask(draw: Draw, frame: Frame, told: list[Fact], silent: list[Fact], slots: dict) -> Turn:  # type: ignore[type-arg]
    """Return a question and its answer: told, silent, or about a person who is not there."""
    roll = draw.rng.random()
    if roll < 0.23 and silent:
        return Turn(_question(draw, draw.pick(silent), slots), ABSENT)
    fact = draw.pick(told)
    about_name = any("{name}" in question for question in fact.questions.train)
    if roll < 0.30 and about_name and "{name}" not in fact.answer:
        present = {slots["name"], slots["other"], slots["clerk"]}
        stranger = draw.word(NAMES)
        while stranger in present:
            stranger = draw.word(NAMES)
        question = draw.phrase(fact.questions)
        if "{name}" in question:
            return Turn(sentence_case(_fill(draw, question, slots | {"name": stranger})), ABSENT)
    return Turn(_question(draw, fact, slots), _answer(draw, fact, slots))


def make_chat(draw: Draw) -> Sample:
    """Return a passage with one to three questions about it."""
    frame = draw.pick(FRAMES)
    slots = passage_slots(draw)
    passage, silent = _passage(draw, frame, slots)
    told = [*frame.always, *(fact for fact in frame.facts if fact not in silent)]
    turns = [_ask(draw, frame, told, silent, slots)]
    more = 0 if draw.held or draw.chance(0.65) else draw.number(1, 2)
    for _ in range(more):
        turn = _ask(draw, frame, told, silent, slots)
        if turn not in turns:
            turns.append(turn)
    layout = draw.phrase(ASK).replace("{question}", turns[0].prompt)
    turns[0] = Turn(layout.replace("{passage}", passage), turns[0].reply)
    return Sample(tuple(turns))


def make_prose(draw: Draw) -> str:
    """Return a passage as plain text, now and then with two questions and answers below it."""
    frame = draw.pick(FRAMES)
    slots = passage_slots(draw)
    passage, silent = _passage(draw, frame, slots)
    if draw.chance(0.5):
        return passage
    told = [*frame.always, *(fact for fact in frame.facts if fact not in silent)]
    turns = [_ask(draw, frame, told, silent, slots) for _ in range(2)]
    lines = [f"Question: {turn.prompt}\nAnswer: {turn.reply}" for turn in dict.fromkeys(turns)]
    return "\n".join([passage, *lines])


_FACTS = tuple(fact for frame in FRAMES for fact in (*frame.always, *frame.facts))
_TEMPLATES = (
    *(lead for frame in FRAMES for lead in frame.lead),
    *(text for fact in _FACTS for text in (*fact.sentences, *fact.questions.train)),
)
_WORDS = (NAMES, GOOD_NAMES, VILLAGES, PET_NAMES, FOODS, _WEATHER, _PARTS, _EVENTS)
PASSAGE = Skill("passage", 0.2, make_chat, ("words", "phrasing"), _TEMPLATES + ASK.train, _WORDS)
PASSAGE_PROSE = Prose("passage", 0.12, make_prose, _TEMPLATES, _WORDS)
