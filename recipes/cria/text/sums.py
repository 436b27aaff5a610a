"""Small sums: addition and subtraction with numbers up to twenty."""

from __future__ import annotations

from text.core import Draw, Pool, Sample, Skill, plural, pool, sample
from text.words import PEOPLE

LIMIT = 20
PLUS = Pool(
    (
        "What is {a} plus {b}?",
        "what is {a} + {b}",
        "What is {a} + {b}?",
        "{a} + {b} =",
        "{a} + {b}",
        "{a}+{b}",
        "How much is {a} plus {b}?",
        "How much is {a} + {b}?",
        "Add {a} and {b}.",
        "Calculate {a} + {b}.",
        "What do you get when you add {b} to {a}?",
        "Please add {a} and {b}.",
        "Can you tell me what {a} plus {b} is?",
        "Sum: {a} + {b} = ?",
    ),
    ("{a} and {b} make how many?", "Work out the sum of {a} and {b}.", "Solve: {a} + {b}"),
)
MINUS = Pool(
    (
        "What is {a} minus {b}?",
        "what is {a} - {b}",
        "What is {a} - {b}?",
        "{a} - {b} =",
        "{a} - {b}",
        "{a}-{b}",
        "How much is {a} minus {b}?",
        "How much is {a} - {b}?",
        "Take {b} from {a}.",
        "Calculate {a} - {b}.",
        "What is left when you take {b} from {a}?",
        "Please take {b} away from {a}.",
        "Can you tell me what {a} minus {b} is?",
        "Sum: {a} - {b} = ?",
    ),
    ("{a} without {b} is how many?", "Work out {a} less {b}.", "Solve: {a} - {b}"),
)
MORE = Pool(
    (
        "{name} has {a} {things} and gets {b} more. How many {things} does {name} have now?",
        "There are {a} {things} on the table. {name} brings {b} more. How many {things} are there?",
        "{name} finds {a} {things} in the morning and {b} in the evening. How many is that?",
    ),
    ("{name} counts {a} {things} here and {b} {things} there. How many in all?",),
)
LESS = Pool(
    (
        "{name} has {a} {things} and gives away {b}. How many {things} are left?",
        "There were {a} {things} in the basket. {name} took {b}. How many are left?",
        "{name} had {a} {things} and lost {b}. How many {things} does {name} have now?",
    ),
    ("From {a} {things}, {name} uses {b}. How many remain?",),
)
THINGS = tuple(
    plural(noun)
    for noun in pool("apple egg stone book cup potato button coin letter hat shell llama").train
)


def reserved(a: int, b: int, sign: str) -> bool:
    """Return whether this sum is kept for the held-out set; a + b and b + a go together."""
    low, high = min(a, b), max(a, b)
    key = low * 31 + high * 17 if sign == "+" else a * 13 + b * 29 + 5
    return key % 8 == 3


SUMS: Pool[tuple[int, int, str]] = Pool(
    *(
        tuple(
            (a, b, sign)
            for sign in "+-"
            for a in range(LIMIT + 1)
            for b in range(LIMIT + 1)
            if (sign == "+" or b <= a) and reserved(a, b, sign) is held
        )
        for held in (False, True)
    )
)


def make_chat(draw: Draw) -> Sample:
    """Return a sum, bare or as a small story, and the number that solves it."""
    a, b, sign = draw.word(SUMS)
    result = a + b if sign == "+" else a - b
    if a > 1 and b > 1 and draw.chance(0.3):
        templates, slots = (MORE if sign == "+" else LESS), {"things": draw.pick(THINGS)}
        name = draw.word(PEOPLE).name
        return sample(draw.line(draw.phrase(templates), a=a, b=b, name=name, **slots), str(result))
    return sample(draw.line(draw.phrase(PLUS if sign == "+" else MINUS), a=a, b=b), str(result))


_TEMPLATES = (*PLUS.train, *MINUS.train, *MORE.train, *LESS.train)
SUM = Skill("sum", 0.05, make_chat, ("words", "phrasing"), _TEMPLATES)
