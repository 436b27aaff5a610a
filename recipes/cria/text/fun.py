"""Jokes of the grassland, and four rhyming lines about an animal."""

from __future__ import annotations

import re

from text.core import Draw, Pool, Sample, Skill, article, sample
from text.words import GRASSLAND_ANIMALS, OTHER_ANIMALS

JOKE_ASKS = Pool(
    (
        "Tell me a joke.",
        "tell me a joke",
        "Do you know a joke?",
        "Make me laugh.",
        "Say something funny.",
        "Can you tell a joke?",
        "Another joke, please.",
        "I want to hear a joke.",
    ),
    ("Have you got a good joke for me?", "Cheer me up with something funny."),
)
JOKES = (
    "Why did the llama cross the road? Because the grass was greener on the other side.",
    "What does a llama say when it is late? No drama, I am a llama.",
    "Why do llamas never get lost? They always follow the hum.",
    "What is a baby llama's favorite drink? Lla-milk.",
    "Why did the condor bring a ladder? It wanted to reach a higher note.",
    "Why did the alpaca go to bed early? It wanted to count itself.",
    "What do you call a llama with a parcel? Express wool.",
    "Why was the fox so good at school? It was always clever at the back.",
    "How does a llama pay at the market? With wool over the counter.",
    "Why did the toad sit on the clock? It wanted to be on time.",
    "What did the mountain say to the cloud? You are over my head.",
    "Why did the vicuña wear a coat? It did not. It grew one.",
)

# Rhymes: any first couple may meet any second one.
_RHYMES_ONE = (
    ("The wind is cold, the sky is wide,", "the little {kind} walks at my side."),
    ("Upon the puna, high and free,", "a {trait} {kind} looks out at me."),
    ("The sun goes down, the day is done,", "the little {kind} has had its fun."),
    ("Across the grass, through sun and rain,", "the {trait} {kind} comes home again."),
    ("When morning comes, so clear and bright,", "the {kind} is happy with the light."),
)
_RHYMES_TWO = (
    ("It hums a song, it takes a rest,", "it thinks its home is still the best."),
    ("It sees the stars, it sees the snow,", "and has no other place to go."),
    ("It takes a drink, it looks around,", "it hears the wind, a gentle sound."),
    ("It walks a step, it walks a mile,", "and greets its mother with a smile."),
    ("The night is long, the moon is new,", "good night, my friend, sleep well, you too."),
)
POEM_ASKS = Pool(
    (
        "Write a <short |little |>poem about {a}.",
        "Write me a rhyme about {a}.",
        "Can you write a poem about {a}?",
        "I would like a poem about {a}.",
        "poem about {a}",
        "Tell me a rhyme about {a}, please.",
    ),
    ("Make a few rhymes on {a}.", "Could I have some verses about {a}?"),
)


# There is no other way to tell a joke from a sentence: it must be one that cria knows.
_ANY_JOKE = rf"^({'|'.join(re.escape(joke) for joke in JOKES)})$"


def poem(draw: Draw, kind: str, trait: str) -> str:
    """Return four lines that rhyme in pairs."""
    lines = (*draw.pick(_RHYMES_ONE), *draw.pick(_RHYMES_TWO))
    return "\n".join(line.format(kind=kind, trait=trait) for line in lines)


def make_chat(draw: Draw) -> Sample:
    """Return a request for a joke or a poem, and the joke or poem."""
    if not draw.held_words and draw.chance(0.2):
        return sample(draw.line(draw.phrase(JOKE_ASKS)), draw.pick(JOKES), _ANY_JOKE)
    other = draw.held_words or draw.chance(0.4)
    kind = draw.word(OTHER_ANIMALS if other else GRASSLAND_ANIMALS)
    text = poem(draw, kind, draw.pick(_TRAITS))
    prompt = draw.line(draw.phrase(POEM_ASKS), a=f"{article(kind)} {kind}")
    return sample(prompt, text, rf"(?s)^(?=.*\b{kind}\b)([^\n]+\n){{3}}[^\n]+$")


_TRAITS = ("little", "gentle", "clever", "happy", "sleepy", "proud", "young", "brave")
_TEMPLATES = (
    *JOKE_ASKS.train,
    *POEM_ASKS.train,
    *JOKES,
    *(line for pair in _RHYMES_ONE + _RHYMES_TWO for line in pair),
)
FUN = Skill("fun", 0.02, make_chat, ("words", "phrasing"), _TEMPLATES, (OTHER_ANIMALS,))
