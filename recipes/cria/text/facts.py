"""What cria knows: the animals and land of the puna, and a few everyday certainties."""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

from dataclasses import dataclass

from text.core import Draw, Pool, Prose, Sample, Skill, plural, pool, sample
from text.words import DAYS, MONTHS


@dataclass(frozen=True, slots=True)
class Known:
    """One thing that cria knows: ways to ask for it, and its one answer."""

    asks: Pool[str]
    answer: str


def _known(train: str, held: str, answer: str) -> Known:
    def lines(text: str) -> tuple[str, ...]:
        return tuple(line.strip() for line in text.splitlines() if line.strip())

    return Known(Pool(lines(train), lines(held)), answer)


WORLD = (
    _known(
        "What do llamas eat?\nWhat does a llama eat?\nWhat is the food of llamas?\nWhich food do llamas like?\nTell me what llamas eat.",
        "On what do llamas feed?",
        "Llamas eat grass and other plants.",
    ),
    _known(
        "What is a baby llama called?\nWhat do you call a baby llama?\nWhat is the name for a young llama?\nHow is a baby llama called?\nWhat is the word for a baby llama?",
        "Which word names the young of a llama?",
        "A baby llama is called a cria.",
    ),
    _known(
        "What is a cria?\nWhat does cria mean?\nwhat is a cria\nWhat does the word cria mean?",
        "Explain the word cria.",
        "A cria is a baby llama. Young alpacas, vicuñas and guanacos are called crias too.",
    ),
    _known(
        "What is the puna?\nWhat is a puna?\nTell me about the puna.\nWhat kind of land is the puna?\nWhat does the puna look like?",
        "Which kind of land do people call puna?",
        "The puna is the high grassland of the Andes. The air is thin and the nights are cold.",
    ),
    _known(
        "Where is the puna?\nWhere do I find the puna?\nIn which mountains is the puna?\nIn which countries is the puna?",
        "Name the mountains of the puna.",
        "The puna is in the Andes, in Peru, Bolivia, Chile and Argentina.",
    ),
    _known(
        "Where do llamas live?\nWhere does a llama live?\nWhat is the home of the llama?\nWhere do llamas come from?\nWhere can I see llamas?",
        "In which part of the world are llamas at home?",
        "Llamas live in the Andes of South America.",
    ),
    _known(
        "How high is the puna?\nHow high up is the puna?\nAt what height is the puna?",
        "How many meters up is the puna?",
        "Most of the puna lies higher than 3500 meters.",
    ),
    _known(
        "What sound does a llama make?\nWhat sounds do llamas make?\nHow do llamas talk?\nWhat does a llama say?\nDo llamas make sounds?",
        "How does a llama sound?",
        "Llamas hum.",
    ),
    _known(
        "Do llamas spit?\nWhy do llamas spit?\nWhen does a llama spit?\nIs it true that llamas spit?",
        "Should I be afraid that a llama spits at me?",
        "A llama spits when it is annoyed, mostly at other llamas.",
    ),
    _known(
        "Are llamas related to camels?\nWhich animals are related to llamas?\nWhat family do llamas belong to?\nIs a llama a camel?",
        "Who are the cousins of the llama?",
        "Llamas belong to the camel family, but they have no hump.",
    ),
    _known(
        "What is the difference between a llama and an alpaca?\nHow are llamas and alpacas different?\nIs a llama bigger than an alpaca?\nLlama or alpaca: which is bigger?",
        "How can I tell a llama from an alpaca?",
        "A llama is bigger and has long ears. An alpaca is smaller and has softer wool.",
    ),
    _known(
        "What is an alpaca?\nTell me about alpacas.\nWhat kind of animal is an alpaca?",
        "Describe an alpaca.",
        "An alpaca is a small cousin of the llama. People keep it for its soft wool.",
    ),
    _known(
        "What is a vicuña?\nwhat is a vicuna\nTell me about the vicuña.\nWhat kind of animal is a vicuña?",
        "Describe a vicuña.",
        "A vicuña is a small wild cousin of the llama with very fine wool.",
    ),
    _known(
        "What is a guanaco?\nTell me about guanacos.\nWhat kind of animal is a guanaco?",
        "Describe a guanaco.",
        "A guanaco is a wild animal. The llama comes from it.",
    ),
    _known(
        "Which animal does the llama come from?\nWhat was the llama before people kept it?\nFrom which wild animal do llamas come?",
        "What is the wild parent of the llama?",
        "The llama comes from the wild guanaco.",
    ),
    _known(
        "Which animal does the alpaca come from?\nFrom which wild animal do alpacas come?\nWhat was the alpaca before people kept it?",
        "What is the wild parent of the alpaca?",
        "The alpaca comes from the wild vicuña.",
    ),
    _known(
        "What is a condor?\nTell me about the condor.\nHow big is a condor?\nWhat kind of animal is a condor?",
        "Describe a condor.",
        "The condor is a very big bird. Its open wings are about three meters wide.",
    ),
    _known(
        "What does a condor eat?\nWhat do condors eat?\nDoes the condor hunt?",
        "On what does a condor feed?",
        "Condors eat dead animals that they find.",
    ),
    _known(
        "What is a viscacha?\nTell me about the viscacha.\nWhat kind of animal is a viscacha?",
        "Describe a viscacha.",
        "A viscacha looks like a rabbit with a long tail and lives between rocks.",
    ),
    _known(
        "What do flamingos eat?\nWhat does a flamingo eat?\nWhy are flamingos pink?\nWhat makes a flamingo pink?",
        "Where does the pink of a flamingo come from?",
        "Flamingos eat tiny plants and animals in salt lakes, and that makes them pink.",
    ),
    _known(
        "What are llamas good for?\nWhy do people keep llamas?\nWhat do people use llamas for?\nWhat work does a llama do?",
        "In what way do llamas help people?",
        "Llamas carry loads and give wool.",
    ),
    _known(
        "How long do llamas live?\nHow old can a llama get?\nHow old do llamas get?",
        "Up to what age does a llama live?",
        "A llama can live for about twenty years.",
    ),
    _known(
        "How many toes does a llama have?\nWhat do the feet of a llama look like?\nDo llamas have hooves?",
        "Tell me about the toes of a llama.",
        "A llama has two toes on each foot, with soft pads below.",
    ),
    _known(
        "How many babies does a llama have?\nHow many crias does a llama have at a time?\nDo llamas have twins?",
        "How many young does a llama mother have at once?",
        "A llama mother mostly has one cria at a time.",
    ),
    _known(
        "How long does a llama carry its baby?\nHow long is a llama pregnant?",
        "After how many months is a cria born?",
        "A llama carries its cria for about eleven months.",
    ),
    _known(
        "What is a group of llamas called?\nWhat do you call many llamas together?\nWhat is the word for a group of llamas?",
        "Which word means many llamas in one place?",
        "A group of llamas is called a herd.",
    ),
    _known(
        "Who hunts llamas?\nWhich animal hunts llamas?\nWhat are llamas afraid of?\nWhich animals are dangerous for llamas?",
        "From which animal must a llama run?",
        "The puma hunts llamas, and the fox hunts small crias.",
    ),
    _known(
        "What grows on the puna?\nWhich plants grow on the puna?\nWhat is ichu?\nWhich grass grows on the puna?",
        "Name a plant of the puna.",
        "Ichu grows on the puna. It is a hard, dry grass.",
    ),
    _known(
        "Which animals live on the puna?\nWhat animals are there on the puna?\nName some animals of the puna.\nWho lives on the puna?",
        "Whom could I meet on the puna?",
        "Llamas, alpacas, vicuñas, foxes, viscachas and condors live on the puna.",
    ),
    _known(
        "Is it cold on the puna?\nHow cold is it on the puna?\nWhat is the weather like on the puna?\nHow are the nights on the puna?",
        "Do I need warm clothes on the puna?",
        "The days are sunny and the nights are very cold on the puna.",
    ),
    _known(
        "What is chuño?\nwhat is chuno\nHow do people keep potatoes on the puna?",
        "Explain the word chuño.",
        "Chuño is potatoes that are dried in frost and sun, so that they keep for years.",
    ),
    _known(
        "What is quinoa?\nTell me about quinoa.\nIs quinoa a plant?",
        "Explain the word quinoa.",
        "Quinoa is a plant of the Andes. People cook its small seeds.",
    ),
    _known(
        "What is a herder?\nWhat does a herder do?\nWho looks after llamas?",
        "Explain the work of a herder.",
        "A herder looks after animals and takes them to good grass.",
    ),
    _known(
        "What is a corral?\nWhat is a corral for?\nWhere do llamas sleep?",
        "Explain the word corral.",
        "A corral is a place with a wall around it, where the herd sleeps.",
    ),
    _known(
        "How much can a llama carry?\nHow strong is a llama?\nHow heavy is the load of a llama?",
        "What weight can a llama bear?",
        "A llama can carry about thirty kilos.",
    ),
    _known(
        "Can I ride a llama?\nCan people ride llamas?\nCan a child ride on a llama?",
        "Is a llama good for riding?",
        "No, a llama is not strong enough to carry a grown person.",
    ),
    _known(
        "How soon can a cria walk?\nWhen can a cria stand?\nHow long does a cria need to stand up?",
        "When does a newborn cria take its first steps?",
        "A cria can stand up about one hour after it is born.",
    ),
    _known(
        "When is alpaca wool cut?\nHow often is wool cut?\nHow often do people cut the wool of an alpaca?",
        "How many times a year does an alpaca lose its wool?",
        "The wool of an alpaca is cut about once a year.",
    ),
)

_OPPOSITES = (
    "hot:cold big:small day:night up:down left:right open:closed old:new good:bad fast:slow "
    "happy:sad light:dark early:late long:short full:empty near:far wet:dry soft:hard high:low "
    "strong:weak rich:poor first:last yes:no loud:quiet thick:thin clean:dirty front:back"
)
OPPOSITES = tuple(tuple(pair.split(":")) for pair in _OPPOSITES.split())
OPPOSITE_ASKS = Pool(
    (
        "What is the opposite of {word}?",
        "what is the opposite of {word}",
        "Name the opposite of {word}.",
        "Give me the opposite of the word {word}.",
        "Which word is the opposite of {word}?",
        "Opposite of {word}?",
    ),
    ("Not {word}, but what?", "What word stands against {word}?"),
)
NEXT_ASKS = Pool(
    (
        "Which {unit} comes after {word}?",
        "What {unit} comes after {word}?",
        "What is the {unit} after {word}?",
        "Which {unit} follows {word}?",
        "What comes after {word}?",
    ),
    ("After {word} comes which {unit}?",),
)
BEFORE_ASKS = Pool(
    (
        "Which {unit} comes before {word}?",
        "What is the {unit} before {word}?",
        "What comes before {word}?",
    ),
    ("Before {word} comes which {unit}?",),
)
PLURAL_ASKS = Pool(
    (
        "What is the plural of {word}?",
        "plural of {word}",
        "Give me the plural of {word}.",
        "One {word}, two what?",
        "How do you write more than one {word}?",
    ),
    ("If there are many, what do you call a(n) {word}?",),
)
PLURAL_WORDS = pool(
    "llama alpaca fox mouse goose sheep child knife leaf box city baby dish glass dog bird tooth "
    "foot story key boy wolf potato hat"
).train
_NUMBERS = tuple(str(number) for number in range(31))


def _after_before(draw: Draw) -> Sample:
    unit, ring = draw.pick((("day", DAYS), ("month", MONTHS), ("number", _NUMBERS)))
    closed = unit != "number"
    at = draw.number(0 if closed else 1, len(ring) - (1 if closed else 2))
    after = draw.chance(0.6)
    asks = NEXT_ASKS if after else BEFORE_ASKS
    answer = ring[(at + (1 if after else -1)) % len(ring)]
    return sample(draw.line(draw.phrase(asks), unit=unit, word=ring[at]), answer)


def _basics(draw: Draw) -> Sample:
    kind = draw.number(0, 2)
    if kind == 0:
        pair = draw.pick(OPPOSITES)
        one, two = pair if draw.chance(0.5) else pair[::-1]
        return sample(draw.line(draw.phrase(OPPOSITE_ASKS), word=one), two)
    if kind == 1:
        word = draw.pick(PLURAL_WORDS)
        return sample(draw.line(draw.phrase(PLURAL_ASKS), word=word), plural(word))
    return _after_before(draw)


def make_chat(draw: Draw) -> Sample:
    """Return a question about the world of cria and its answer."""
    if draw.chance(0.35):
        return _basics(draw)
    known = draw.pick(WORLD)
    return sample(draw.line(draw.phrase(known.asks)), known.answer)


_TEMPLATES = (
    *(ask for known in WORLD for ask in known.asks.train),
    *(known.answer for known in WORLD),
    *OPPOSITE_ASKS.train,
    *NEXT_ASKS.train,
    *BEFORE_ASKS.train,
    *PLURAL_ASKS.train,
)
FACT = Skill("fact", 0.05, make_chat, ("phrasing",), _TEMPLATES)


def make_prose(draw: Draw) -> str:
    """Return a page of facts: some of what cria knows, as plain text."""
    return " ".join(known.answer for known in draw.some(WORLD, draw.number(3, 6)))


FACT_PROSE = Prose("fact", 0.03, make_prose, tuple(known.answer for known in WORLD))
