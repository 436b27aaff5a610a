"""The golden prompts: a little of everything a model is asked, in text and in chat.

They are written into every seal, so this list can change without harm to older ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from puna.errors import PunaError
from puna.seal.record import Golden, Message
from puna.text import TextParts

# Tokens of a prompt that count; the longest reach it, so that far positions are seen too.
LONGEST = 192
# Templates that tell the time tell this one.
_MOMENT = datetime(2026, 1, 1, 12)
# Of a model without a tokenizer: so many prompts of so many ids.
_BARE, _BARE_IDS = 4, 64

TEXTS = {
    "story": "Once upon a time there was a young llama who lived on the high plain with her mother",
    "facts": "The capital of France is Paris. The capital of Peru is Lima. The capital of Italy is",
    "numbers": "1, 2, 4, 8, 16, 32, 64, 128. Sum: 7 + 15 = 22; 3.5 × 12 = 42; 10 % of 250 is",
    "code": "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n"
    "    return total / len(values)\n\n\nprint(mean([1, 2, 3]))\n",
    "letters": "Grüße aus Köln, c’est déjà l’été, ¿dónde está el baño? Привет, мир! 你好，世界 🦙",
    "long": "The caravan left the village before dawn. Eleven animals carried salt, two carried "
    "water, and the smallest carried nothing but a bell. The path went up beside the river, past "
    "the fields of potatoes and the walls of grey stone, and at noon the drivers stopped where the "
    "grass was good. They counted the animals, as they did at every stop, and there were ten. "
    "Nobody had heard the bell. The oldest driver sat down, took off his hat and said that a young "
    "animal does not leave the herd without a reason, and that the reason is nearly always above "
    "them on the slope. So they looked up. High on the scree, between two boulders, something "
    "small and brown was eating a flower. When it raised its head the bell rang, and the other "
    "animals answered it. The caravan reached the market on the third evening, with all its salt, "
    "most of its water, and",
}
CHATS: dict[str, tuple[Message, ...]] = {
    "question": ({"role": "user", "content": "What do llamas eat, and how much do they drink?"},),
    "ordered": (
        {"role": "system", "content": "Answer in one short sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
    ),
    "turns": (
        {"role": "user", "content": "Name a color."},
        {"role": "assistant", "content": "Blue."},
        {"role": "user", "content": "Name another one, and say what it reminds you of."},
    ),
    "answered": (
        {"role": "user", "content": "Say good morning in Spanish."},
        {"role": "assistant", "content": "Buenos días."},
    ),
}


def golden_prompts(text: TextParts, *, vocab: int, context: int) -> tuple[Golden, ...]:
    """Return the golden prompts with the ids they have for this model, and no rows yet.

    A chat that the template refuses, such as one with a system message, is left out. A model
    without a tokenizer has prompts of ids alone.
    """
    if text.tokenizer is None:
        return tuple(_bare(vocab, min(context, _BARE_IDS)))
    plain = [Golden(name, (), (), text=said) for name, said in TEXTS.items()]
    chats = [
        Golden(f"chat {name}", (), (), messages=messages, answered=name == "answered")
        for name, messages in CHATS.items()
    ]
    found = []
    for golden in (*plain, *(chats if text.template is not None else ())):
        ids = rendered(golden, text, context)
        if not isinstance(ids, str) and ids and max(ids) < vocab:
            found.append(replace(golden, ids=ids))
    return tuple(found) or tuple(_bare(vocab, min(context, _BARE_IDS)))


def rendered(golden: Golden, text: TextParts, context: int) -> tuple[int, ...] | str:
    """Return the ids that a golden prompt has now, up to the longest that counts, or why none."""
    tokenizer, template = text.tokenizer, text.template
    try:
        if golden.text is not None and tokenizer is not None:
            ids = tokenizer.encode(golden.text)
        elif golden.messages and tokenizer is not None and template is not None:
            ids = template.at(_MOMENT).render_ids(
                golden.messages, add_generation_prompt=not golden.answered, tokenizer=tokenizer
            )
        elif golden.text is None and not golden.messages:
            return golden.ids
        else:
            return "there is no " + ("tokenizer" if tokenizer is None else "chat template")
    except PunaError as error:
        return error.what
    return tuple(ids[: min(context, LONGEST)])


def _bare(vocab: int, length: int) -> Iterator[Golden]:
    """Yield prompts of ids spread over a vocabulary by steps that share no factor with it."""
    for number in range(_BARE):
        step = 7919 + 2 * number
        yield Golden(f"ids {number}", tuple((step * (i + 1)) % vocab for i in range(length)), ())
