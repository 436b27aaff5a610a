"""Product reviews and their sentiment. The opinion is in the sentences, never in the product."""

from __future__ import annotations

from text.core import Draw, Pool, Prose, Sample, Skill, pool, sample, sentence_case
from text.words import COLORS, DAYS, GOOD_NAMES, GOODS, NAMES, PEOPLE, SHOPS

GOOD_ADJ = (
    "great", "wonderful", "excellent", "very good", "perfect", "lovely", "beautiful", "fantastic",
    "really nice", "amazing", "first-class",
)  # fmt: skip
BAD_ADJ = (
    "terrible", "awful", "very bad", "poor", "horrible", "useless", "ugly", "disappointing",
    "really bad", "cheap and weak", "a waste of money",
)  # fmt: skip
ASPECTS: dict[str, tuple[str, ...]] = {
    "device": ("sound", "battery", "display", "price", "design", "cable", "manual", "service"),
    "clothes": ("fabric", "color", "fit", "price", "quality", "cut", "design", "service"),
    "home": ("quality", "color", "size", "price", "design", "finish", "shape", "service"),
    "fun": ("quality", "price", "paper", "design", "idea", "box", "look", "service"),
    "tool": ("quality", "grip", "price", "weight", "design", "material", "finish", "service"),
}

# Sentences of each side: for any product (the first list is trained on, the second is reserved).
GOOD = Pool(
    (
        "I <love|really like|am very happy with> <this|my new> {item}.",
        "The {aspect} is {good}.",
        "The {aspect} is {good}, and the {aspect2} is {good2}.",
        "What a(n) {plain_good} {item}!",
        "It works <perfectly|very well|every time|better than I hoped>.",
        "It came <fast|in one day|early> and well packed.",
        "I would buy it again <at once|any time|tomorrow>.",
        "I use it every day and it <still looks like new|never lets me down|makes me smile>.",
        "My <mother|brother|friend|daughter> wants one too.",
        "Best {item} I have ever had.",
        "Worth every <cent|dollar>.",
        "Five stars<.|!| from me.>",
        "I can recommend it to <everybody|all my friends>.",
        "It is just what I was looking for.",
        "The {aspect} could not be better.",
        "{shop} was quick and friendly when I had a question.",
        "It does just what it should.",
        "I had no problems at all.",
        "I bought a second one for {name}.",
    ),
    (
        "So glad I got this {item}!",
        "You will not regret buying it.",
        "It is every bit as good as they say.",
        "My whole family enjoys it.",
        "Nothing to complain about.",
        "If mine were lost, I would get the same one again.",
    ),
)
BAD = Pool(
    (
        "I <hate|do not like|am very unhappy with> <this|my new> {item}.",
        "The {aspect} is {bad}.",
        "The {aspect} is {bad}, and the {aspect2} is {bad2}.",
        "What a(n) {plain_bad} {item}!",
        "It <broke|stopped working|fell apart> after <two days|one week|three hours>.",
        "It came <late|two weeks late> and <was dirty|was damaged|had a crack>.",
        "I would not buy it again.",
        "I used it once and it <was already broken|never worked|made a bad smell>.",
        "My <mother laughed when she|brother laughed when he|friends laughed when they> saw it.",
        "Worst {item} I have ever had.",
        "Not worth the <money|price>.",
        "One star<.|!| from me.>",
        "I cannot recommend it to <anybody|my friends>.",
        "It is not at all what I was looking for.",
        "The {aspect} could not be worse.",
        "{shop} did not answer when I had a question.",
        "It does not do what it should.",
        "I had nothing but problems.",
        "I sent it back on {day} and want my money back.",
    ),
    (
        "So sorry I got this {item}!",
        "You will regret buying it.",
        "It is not half as good as they say.",
        "My whole family is annoyed by it.",
        "There is a lot to complain about.",
        "If mine were lost, I would not miss it.",
    ),
)
PLAIN = (
    "I bought this {item} on {day}.",
    "I got a(n) {color} one.",
    "I ordered it from {shop}.",
    "It was a gift for {name}.",
    "I have had it for <two weeks|a month|half a year>.",
    "It is {color}.",
)
# The second half decides.
BUT_GOOD = (
    "The {aspect} is a little {weak_bad}, but I <love it|am happy with it|would buy it again>.",
    "It came a day late, but it is {good}.",
    "At first I was not sure, but now I love it.",
    "The box was bent, but the {item} works perfectly.",
)
BUT_BAD = (
    "The {aspect} is {weak_good}, but it <broke|stopped working> after two days.",
    "It came fast, but it is {bad}.",
    "At first I liked it, but now I am very unhappy.",
    "The box was pretty, but the {item} never worked.",
)
ASK = Pool(
    (
        "Is this review positive or negative? {review}",
        "Is this review positive or negative?\n{review}",
        'Is this review positive or negative? "{review}"',
        "Is the following review positive or negative?\n\n{review}",
        "Review: {review}\nIs it positive or negative?",
        "Review: {review}\nSentiment:",
        "{review}\n\nIs this positive or negative?",
        "Say positive or negative.\nReview: {review}",
        "What is the mood of this review, positive or negative? {review}",
        "Does the customer like the {item}? Answer positive or negative.\n{review}",
        "Classify the review as positive or negative: {review}",
        "positive or negative? {review}",
        "Read the review and answer with one word, positive or negative.\n{review}",
    ),
    (
        "Somebody wrote this about a(n) {item}. Positive or negative?\n{review}",
        "How does this buyer feel, positive or negative?\n- {review}",
        "Tell me the sentiment (positive or negative) of these words: {review}",
    ),
)
_PLAIN_GOOD = pool("great,wonderful,excellent,perfect,lovely,beautiful,fantastic,nice,amazing")
_PLAIN_BAD = pool("terrible,awful,poor,horrible,useless,ugly,bad,weak")
_WEAK_BAD = ("weak", "small", "plain", "loud", "simple")
_WEAK_GOOD = ("nice", "pretty", "good", "fine")


def _slots(draw: Draw) -> dict[str, object]:
    good = draw.word(GOODS)
    aspect, aspect2 = draw.some(ASPECTS[good.kind], 2)
    goods, bads = draw.some(GOOD_ADJ, 2), draw.some(BAD_ADJ, 2)
    shop = draw.word(SHOPS)
    return {
        "item": good.name,
        "aspect": aspect,
        "aspect2": aspect2,
        "good": goods[0],
        "good2": goods[1],
        "bad": bads[0],
        "bad2": bads[1],
        "plain_good": draw.word(_PLAIN_GOOD),
        "plain_bad": draw.word(_PLAIN_BAD),
        "weak_bad": draw.pick(_WEAK_BAD),
        "weak_good": draw.pick(_WEAK_GOOD),
        "shop": shop,
        "name": draw.word(PEOPLE).name,
        "day": draw.pick(DAYS),
        "color": draw.word(COLORS),
    }


def review(draw: Draw) -> tuple[str, str, dict[str, object]]:
    """Return a review, its sentiment and the words in it."""
    slots = _slots(draw)
    positive = draw.chance(0.5)
    side = GOOD if positive else BAD
    pool_of = side.held if draw.held_phrasings else side.train
    lines = draw.some(pool_of, draw.number(1, 3))
    if draw.chance(0.35):
        lines.insert(0, draw.pick(PLAIN))
    if not draw.held_phrasings and draw.chance(0.2):
        lines = lines[:1] if draw.chance(0.5) else []
        lines.append(draw.pick(BUT_GOOD if positive else BUT_BAD))
    text = sentence_case(" ".join(draw.line(line, **slots) for line in lines))
    return text, "positive" if positive else "negative", slots


def make_chat(draw: Draw) -> Sample:
    """Return a question about the sentiment of a review and its one-word answer."""
    text, sentiment, slots = review(draw)
    layout = draw.line(draw.phrase(ASK).replace("{review}", "\0"), **slots)
    return sample(layout.replace("\0", text), sentiment)


def make_prose(draw: Draw) -> str:
    """Return a review as plain text under the name of the product."""
    text, _, slots = review(draw)
    return f"Review of the {slots['item']}: {text}" if draw.chance(0.5) else text


_TEMPLATES = (*GOOD.train, *BAD.train, *PLAIN, *BUT_GOOD, *BUT_BAD)
_WORDS = (GOOD_NAMES, SHOPS, NAMES, COLORS)
REVIEW = Skill("review", 0.1, make_chat, ("words", "phrasing"), _TEMPLATES + ASK.train, _WORDS)
REVIEW_PROSE = Prose("review", 0.08, make_prose, _TEMPLATES, _WORDS)
